//! Knobs, their values, and the candidates made of them.
//!
//! A knob is a setting that a backend understands; a candidate is a backend's name and a value for each of its
//! knobs. This room knows no backend: a backend states its knobs as [`KnobSpec`]s.

mod typed;

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use typed::Knob;

/// The name under which a candidate's backend appears beside its knobs.
pub const BACKEND: &str = "backend";

/// The value of a limit that isn't set: `max_tokens = "none"`.
pub const NO_LIMIT: &str = "none";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected true, false, a number or a word")]
pub enum Value {
    Switch(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Switch(value) => value.fmt(out),
            Value::Integer(value) => value.fmt(out),
            Value::Number(value) => value.fmt(out),
            Value::Text(value) => value.fmt(out),
        }
    }
}

impl Value {
    /// The position on a numeric axis. A limit that isn't set lies beyond every number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Integer(value) => Some(*value as f64),
            Value::Number(value) => Some(*value),
            Value::Text(text) if text == NO_LIMIT => Some(f64::INFINITY),
            _ => None,
        }
    }
}

/// One value, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a value (true, false, a number or a word), or a list of them")]
pub enum Values {
    One(Value),
    Several(Vec<Value>),
}

impl Values {
    pub fn as_slice(&self) -> &[Value] {
        match self {
            Values::One(value) => std::slice::from_ref(value),
            Values::Several(values) => values,
        }
    }
}

/// The values that some knobs must have, any of those given for each. `backend` stands for the backend's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Condition(pub IndexMap<String, Values>);

impl Condition {
    pub fn holds(&self, candidate: &Candidate) -> bool {
        self.0.iter().all(|(name, values)| {
            // By what they print, so that `1` meets a knob whose value became `1.0`.
            let value = candidate.word(name);
            values.as_slice().iter().any(|wanted| wanted.to_string() == value)
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = |values: &Values| {
            values.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
        };
        let all: Vec<String> = self.0.iter().map(|(knob, of)| format!("{knob}={}", values(of))).collect();
        out.write_str(&all.join(", "))
    }
}

/// What values a knob takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Switch,
    Integer {
        least: i64,
        most: i64,
    },
    Number {
        least: f64,
        most: f64,
    },
    /// A whole number of at least 1, or `none`.
    Limit,
    Choice(Vec<String>),
}

impl Kind {
    /// Takes a value as a file gives it; a whole number will do where any number is asked for.
    pub fn accept(&self, value: &Value) -> Result<Value, String> {
        let accepted = match (self, value) {
            (Kind::Switch, Value::Switch(_)) => true,
            (Kind::Integer { least, most }, Value::Integer(number)) => (least..=most).contains(&number),
            (Kind::Number { least, most }, Value::Number(number)) => (least..=most).contains(&number),
            (Kind::Number { .. }, Value::Integer(number)) => {
                return self.accept(&Value::Number(*number as f64));
            }
            (Kind::Limit, Value::Integer(number)) => *number >= 1,
            (Kind::Limit, Value::Text(text)) => text == NO_LIMIT,
            (Kind::Choice(choices), Value::Text(text)) => choices.contains(text),
            _ => false,
        };
        if accepted { Ok(value.clone()) } else { Err(format!("{} is not {self}", quoted(value))) }
    }

    /// Takes a value as the command line gives it, `--set batch_size=8,16`.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self {
            Kind::Switch => text.parse().map(Value::Switch).ok(),
            Kind::Integer { .. } | Kind::Limit => text.parse().map(Value::Integer).ok(),
            Kind::Number { .. } => text.parse().map(Value::Number).ok(),
            Kind::Choice(_) => None,
        };
        self.accept(&value.unwrap_or_else(|| Value::Text(text.to_owned())))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Switch => write!(out, "true or false"),
            Kind::Integer { least, most: i64::MAX } => write!(out, "a whole number ≥ {least}"),
            Kind::Integer { least, most } => write!(out, "a whole number from {least} to {most}"),
            Kind::Number { least, most } => write!(out, "a number from {least} to {most}"),
            Kind::Limit => write!(out, "a whole number ≥ 1, or \"{NO_LIMIT}\""),
            Kind::Choice(choices) => write!(out, "one of {}", choices.join(", ")),
        }
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// When a knob takes effect: a change of a `Load` knob needs a fresh worker, a change of a `Run` knob doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Applies {
    Load,
    Run,
}

/// What a knob has an effect on besides speed and memory: which answers can be judged once for several candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Changes {
    /// The answers themselves: a precision, a truncation.
    #[default]
    Answers,
    /// Which texts share a batch, and how they lie in it.
    Batches,
    /// Neither, but for the last digits.
    Speed,
}

/// One knob of a backend, as `list`, the suite's check and the search see it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnobSpec {
    pub name: String,
    pub applies: Applies,
    pub changes: Changes,
    pub kind: Kind,
    /// What a service has that sets nothing: the configuration to beat.
    pub default: Value,
    /// The value that costs no quality: answers are compared with those given at it.
    pub reference: Value,
    pub help: String,
}

impl KnobSpec {
    /// A knob that costs no quality at its default.
    pub fn new(name: &str, applies: Applies, kind: Kind, default: Value, help: &str) -> KnobSpec {
        let reference = default.clone();
        let changes = Changes::default();
        KnobSpec { name: name.to_owned(), applies, changes, kind, default, reference, help: help.to_owned() }
    }

    pub fn with_reference(self, reference: Value) -> KnobSpec {
        KnobSpec { reference, ..self }
    }

    pub fn with_effect_on(self, changes: Changes) -> KnobSpec {
        KnobSpec { changes, ..self }
    }
}

/// A backend's name and a value for every knob that it has, in the order in which it states them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub backend: String,
    pub knobs: IndexMap<String, Value>,
}

impl Candidate {
    /// The same in every run and on every machine: it hashes the backend and the knobs sorted by name.
    pub fn id(&self) -> String {
        let mut settings: Vec<_> = self.knobs.iter().collect();
        settings.sort_by_key(|(name, _)| *name);
        let mut hash = Sha256::new();
        hash.update(self.backend.as_bytes());
        for (name, value) in settings {
            hash.update(format!("\n{name}={value}").as_bytes());
        }
        // 40 bits: a collision among a thousand candidates has a chance of one in two million.
        hash.finalize()[..5].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What it says of a knob, or of [`BACKEND`], as text; nothing for a knob that it doesn't have.
    pub fn word(&self, name: &str) -> String {
        match name {
            BACKEND => self.backend.clone(),
            knob => self.knobs.get(knob).map(Value::to_string).unwrap_or_default(),
        }
    }

    /// The backend and the knobs as `name=value` words, without what every candidate shares.
    pub fn label(&self, shared: impl Fn(&str) -> bool) -> String {
        let mut words = Vec::new();
        if !shared(BACKEND) {
            words.push(self.backend.clone());
        }
        for (name, value) in &self.knobs {
            if !shared(name) {
                words.push(format!("{name}={value}"));
            }
        }
        if words.is_empty() { self.backend.clone() } else { words.join(" ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(knobs: &[(&str, Value)]) -> Candidate {
        Candidate {
            backend: "fake".into(),
            knobs: knobs.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
        }
    }

    #[test]
    fn an_id_depends_on_the_values_and_not_on_their_order() {
        let batch = ("batch_size", Value::Integer(8));
        let dtype = ("dtype", Value::Text("fp16".into()));
        let id = candidate(&[batch.clone(), dtype.clone()]).id();
        assert_eq!(id, candidate(&[dtype.clone(), batch.clone()]).id());
        assert_ne!(id, candidate(&[batch]).id());
        // Pinned, because run folders, journals and people's notes name candidates by it.
        assert_eq!(id, "73efff5c7c");
    }

    #[test]
    fn a_kind_takes_its_values_and_says_what_it_takes() {
        let fraction = Kind::Number { least: 0.0, most: 1.0 };
        assert_eq!(fraction.accept(&Value::Integer(1)), Ok(Value::Number(1.0)));
        assert_eq!(fraction.parse("1.5").unwrap_err(), "1.5 is not a number from 0 to 1");
        assert_eq!(Kind::Limit.parse("none"), Ok(Value::Text("none".into())));
        assert_eq!(Kind::Limit.parse("0").unwrap_err(), "0 is not a whole number ≥ 1, or \"none\"");
        let dtype = Kind::Choice(vec!["fp32".into(), "fp16".into()]);
        assert_eq!(dtype.parse("fp8").unwrap_err(), "\"fp8\" is not one of fp32, fp16");
    }
}
