//! `autotune list`.

use clap::Args;
use serde_json::{Value, json};

use super::present;
use crate::addon::AddOn;
use crate::addon::onnxruntime::{self, OnnxRuntime};
use crate::backend::{self, Backend, BackendError, exec, fake, ort};
use crate::emit::dialect::DIALECTS;
use crate::emit::gpus::gpus;
use crate::hardware::{Machine, Target, cards};
use crate::knob::{Applies, KnobSpec};
use crate::model::arch;
use crate::provision::{models, registry};
use crate::suite::{Figure, SearchKind, SuiteSource, built_in_names};
use crate::task::Task;
use crate::{pipeline, suite};

#[derive(Args)]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Entries with what is said of each, or the table of GPUs.
enum Entries {
    Lines(Vec<(String, String)>),
    Gpus,
}

/// A heading, and what stands below it.
type Section = (&'static str, Entries);

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let sections = sections();
    if arguments.json {
        let entries = |entries: &Entries| -> Value {
            match entries {
                Entries::Lines(lines) => {
                    lines.iter().map(|(name, help)| json!({ "name": name, "help": help })).collect()
                }
                Entries::Gpus => json!(cards()),
            }
        };
        let document: serde_json::Map<String, Value> =
            sections.iter().map(|(title, list)| (title.to_string(), entries(list))).collect();
        super::output::print_json(&document)?;
    } else {
        let mut text = String::new();
        for (title, entries) in &sections {
            text.push_str(&format!("{title}\n"));
            text.push_str(&match entries {
                Entries::Lines(lines) => aligned(lines),
                Entries::Gpus => gpus(cards(), present::style()),
            });
            text.push('\n');
        }
        super::output::print(text.trim_end())?;
        super::output::print("\n")?;
    }
    Ok(super::exit::DONE)
}

/// Names in a column, and what is said of each beside it.
fn aligned(lines: &[(String, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, help)| format!("  {name:<width$}  {help}\n")).collect()
}

fn sections() -> Vec<Section> {
    let lines = |lines: Vec<_>| Entries::Lines(lines);
    vec![
        (
            "suites",
            lines(built_in_names().into_iter().map(|name| (name.to_owned(), description(name))).collect()),
        ),
        ("GPUs", Entries::Gpus),
        ("models", lines(models())),
        (
            "architectures of candle and ort",
            lines(arch::names().map(|name| (name.to_owned(), String::new())).collect()),
        ),
        ("backends", lines(backends())),
        ("knobs of every built-in backend", lines(pipeline::knobs().iter().map(knob).collect())),
        ("knobs of candle and ort", lines(pipeline::overlap_knobs().iter().map(knob).collect())),
        ("knobs of candle", lines(knobs_of("candle"))),
        ("knobs of ort", lines(knobs_of(ort::NAME))),
        ("tasks", lines(Task::ALL.iter().map(|task| (task.name().to_owned(), task_help(*task))).collect())),
        (
            "figures (objectives and limits)",
            lines(
                Figure::ALL
                    .iter()
                    .map(|figure| (figure.name().to_owned(), figure.help().to_owned()))
                    .collect(),
            ),
        ),
        (
            "searches",
            lines(
                SearchKind::ALL
                    .iter()
                    .map(|(name, kind)| ((*name).to_owned(), search_help(*kind).to_owned()))
                    .collect(),
            ),
        ),
        (
            "dialects",
            lines(
                DIALECTS.iter().map(|dialect| (dialect.name.to_owned(), dialect.help.to_owned())).collect(),
            ),
        ),
    ]
}

fn description(name: &str) -> String {
    let suite = SuiteSource::find(name)
        .and_then(|source| suite::parse(&source, &Default::default(), &crate::emit::env::names()));
    suite.map_or_else(|problem| problem.to_string(), |suite| suite.description)
}

fn models() -> Vec<(String, String)> {
    let here = models::at_hand();
    let line = |(name, model): (&String, &registry::Model)| {
        let here = if here.iter().any(|(known, _)| known == name) { ", on this machine" } else { "" };
        (name.clone(), format!("{}{here}", task_of(model)))
    };
    registry::models().iter().map(line).collect()
}

fn task_of(model: &registry::Model) -> String {
    model.task.name().to_owned()
}

fn backends() -> Vec<(String, String)> {
    let built_in = backend::BUILT_IN.into_iter().filter(|name| *name != fake::NAME).map(|name| {
        let version = open(name).and_then(|backend| backend.version());
        (name.to_owned(), version.unwrap_or_else(|why| format!("not available: {why}")))
    });
    let described = [
        (exec::NAME, "any program that implements docs/PROTOCOL.md; defined in a suite"),
        (fake::NAME, "simulated by a script in a suite"),
    ];
    built_in.chain(described.map(|(name, help)| (name.to_owned(), help.to_owned()))).collect()
}

/// With what is on this machine; nothing is fetched to make a list.
fn open(name: &str) -> Result<Box<dyn Backend>, BackendError> {
    let here = |provider: &str| OnnxRuntime::of(provider, &Machine::default(), &Target::processor()).here();
    let settings = if name == ort::NAME { onnxruntime::settings(here) } else { Value::Null };
    backend::open(name, settings)
}

fn knobs_of(name: &str) -> Vec<(String, String)> {
    open(name).map_or_else(|_| Vec::new(), |backend| backend.knobs().iter().map(knob).collect())
}

fn knob(spec: &KnobSpec) -> (String, String) {
    let applies = match spec.applies {
        Applies::Load => "at load",
        Applies::Run => "at run",
    };
    (spec.name.clone(), format!("{}: {}; {applies}, default {}", spec.help, spec.kind, spec.default))
}

fn task_help(task: Task) -> String {
    let metrics: Vec<_> = task.metrics().map(|metric| metric.name()).collect();
    format!("{}; judged by {}", task.help(), metrics.join(", "))
}

fn search_help(kind: SearchKind) -> &'static str {
    match kind {
        SearchKind::Guided => {
            "each engine and precision once, then where the most is to be gained; the default"
        }
        SearchKind::Grid => "every candidate, or as many as the budget allows, evenly spread",
        SearchKind::Random => "random candidates, chosen by the seed",
    }
}
