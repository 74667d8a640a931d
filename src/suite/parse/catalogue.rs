//! Every backend that a suite may name, with its knobs.

use std::ops::Range;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::DeValue;

use crate::backend::{self, declared, exec, fake};
use crate::knob::BACKEND;
use crate::pipeline;
use crate::suite::problem::{Problem, Text};
use crate::suite::{ChosenBackend, Engine};
use crate::units::did_you_mean;

/// Every backend that a stage may name: the built-in ones, and those that the suite describes.
pub(super) fn read(text: Text, wire: Option<Spanned<DeValue>>) -> Result<Vec<ChosenBackend>, Problem> {
    let mut catalogue = built_in_backends();
    let Some(wire) = wire else { return Ok(catalogue) };
    let span = wire.span();
    let DeValue::Table(tables) = wire.into_inner() else {
        return Err(text.problem(span, "`backends` must be tables: [backends.NAME]"));
    };
    for (name, value) in tables {
        let place = name.span();
        let name = name.into_inner().into_owned();
        if name == "candle" || name == "ort" {
            return Err(text.problem(place, format!("{name:?} is built in and has no settings")));
        }
        catalogue.push(described(text, name, place, value)?);
    }
    Ok(catalogue)
}

/// The built-in backends that need no settings.
pub fn built_in_backends() -> Vec<ChosenBackend> {
    backend::BUILT_IN.into_iter().filter(|name| *name != fake::NAME).map(built_in).collect()
}

fn built_in(name: &str) -> ChosenBackend {
    let own = backend::open(name, serde_json::Value::Null).map(|backend| backend.knobs()).unwrap_or_default();
    ChosenBackend {
        name: name.to_owned(),
        kind: name.to_owned(),
        engine: Engine::BuiltIn { settings: serde_json::Value::Null },
        knobs: pipeline::knobs().into_iter().chain(pipeline::overlap_knobs()).chain(own).collect(),
    }
}

/// A backend that the suite describes: a command, or a fake with its script.
fn described(
    text: Text,
    name: String,
    place: Range<usize>,
    value: Spanned<DeValue>,
) -> Result<ChosenBackend, Problem> {
    let problem = |why: String| text.problem(place.clone(), format!("backend {name:?}: {why}"));
    let reader = |error: toml::de::Error| text.reader_problem(&error);
    let span = value.span();
    let DeValue::Table(mut table) = value.into_inner() else {
        return Err(problem("it must be a table".into()));
    };
    let kind = match table.remove("kind") {
        Some(kind) => String::deserialize(kind.into_deserializer()).map_err(reader)?,
        None => name.clone(),
    };
    let value = Spanned::new(span, DeValue::Table(table));
    let declared =
        |knobs| declared::specs(knobs).map_err(|(knob, why)| problem(format!("knob {knob:?}: {why}")));
    let (engine, knobs) = match kind.as_str() {
        exec::NAME => {
            let exec = exec::Exec::deserialize(value.into_deserializer()).map_err(reader)?;
            if exec.command.first().is_none_or(String::is_empty) {
                return Err(problem("`command` is empty: there is no program to start".into()));
            }
            let settings = serde_json::Value::Object(exec.settings);
            (Engine::Command { command: exec.command, settings }, declared(&exec.knobs)?)
        }
        fake::NAME => {
            let script = fake::Script::deserialize(value.into_deserializer()).map_err(reader)?;
            let mut knobs = pipeline::knobs();
            let own = declared(&script.knobs)?;
            if let Some(twice) = own.iter().find(|own| knobs.iter().any(|spec| spec.name == own.name)) {
                return Err(problem(format!("knob {:?}: every built-in backend has it already", twice.name)));
            }
            knobs.extend(own);
            script.validate(|name| knobs.iter().any(|spec| spec.name == name)).map_err(problem)?;
            let settings = serde_json::to_value(&script).map_err(|error| problem(error.to_string()))?;
            (Engine::BuiltIn { settings }, knobs)
        }
        other => {
            let kinds = [exec::NAME, fake::NAME];
            let hint = did_you_mean(other, kinds);
            return Err(problem(format!(
                "unknown kind of backend {other:?}; write `kind = \"exec\"` or `kind = \"fake\"`{hint}"
            )));
        }
    };
    // They become parts of file names and of keys, and stand beside words of ours in templates.
    let taken = |name: &str| [BACKEND, "name", "model", "device"].contains(&name);
    if let Some(wrong) = knobs.iter().find(|spec| !is_plain(&spec.name) || taken(&spec.name)) {
        return Err(problem(format!(
            "{:?} is not a valid name for a knob: use letters, digits, - and _ only",
            wrong.name
        )));
    }
    Ok(ChosenBackend { name, kind, engine, knobs })
}

/// Whether a name can be a part of a file's name and of a key: letters, digits, `-` and `_`.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
