//! Knobs that a suite declares for a backend that can't be asked: a command, or the fake.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::knob::{Applies, Changes, Kind, KnobSpec, NO_LIMIT, Value};

pub type DeclaredKnobs = IndexMap<String, DeclaredKnob>;

/// `[backends.NAME.knobs.KNOB]`: the type of `default` is the type of the knob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredKnob {
    pub applies: Applies,
    #[serde(default, skip_serializing_if = "is_default")]
    pub changes: Changes,
    pub default: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Value>,
    /// The values of a knob that is a word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    #[serde(default)]
    pub help: String,
}

impl DeclaredKnob {
    fn kind(&self) -> Result<Kind, String> {
        let bounded = self.least.is_some() || self.most.is_some();
        let kind = match &self.default {
            Value::Switch(_) => Kind::Switch,
            Value::Integer(_) => Kind::Integer {
                // `as` saturates, which is what an open end means.
                least: self.least.unwrap_or(1.0) as i64,
                most: self.most.map_or(i64::MAX, |most| most as i64),
            },
            Value::Number(_) => {
                Kind::Number { least: self.least.unwrap_or(f64::MIN), most: self.most.unwrap_or(f64::MAX) }
            }
            Value::Text(text) if text == NO_LIMIT && self.values.is_empty() => Kind::Limit,
            Value::Text(_) if self.values.is_empty() => {
                return Err("a knob whose default is a word needs `values`, the list of its words".to_owned());
            }
            Value::Text(_) => Kind::Choice(self.values.clone()),
        };
        match kind {
            Kind::Integer { .. } | Kind::Number { .. } if self.values.is_empty() => Ok(kind),
            Kind::Choice(_) if !bounded => Ok(kind),
            Kind::Switch | Kind::Limit if !bounded && self.values.is_empty() => Ok(kind),
            _ => Err("`values` is only for words, `least` and `most` are only for numbers".to_owned()),
        }
    }

    fn spec(&self, name: &str) -> Result<KnobSpec, String> {
        let kind = self.kind()?;
        let default = kind.accept(&self.default).map_err(|why| format!("default: {why}"))?;
        let reference = self.reference.as_ref().unwrap_or(&self.default);
        let reference = kind.accept(reference).map_err(|why| format!("reference: {why}"))?;
        Ok(KnobSpec {
            name: name.to_owned(),
            applies: self.applies,
            changes: self.changes,
            kind,
            default,
            reference,
            help: self.help.clone(),
        })
    }
}

fn is_default(changes: &Changes) -> bool {
    *changes == Changes::default()
}

/// The knobs as specifications, or the first that makes no sense and why.
pub fn specs(knobs: &DeclaredKnobs) -> Result<Vec<KnobSpec>, (String, String)> {
    let spec = |(name, knob): (&String, &DeclaredKnob)| knob.spec(name).map_err(|why| (name.clone(), why));
    knobs.iter().map(spec).collect()
}
