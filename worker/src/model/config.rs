//! `config.json`: keys that must be there, within bounds that a network can have.

use serde_json::Value;

use super::error::ModelError;
use super::graph::Activation;

/// More of anything than any network has; products of two such numbers don't overflow.
const MOST: u64 = 1 << 24;

pub struct Config<'a>(pub &'a Value);

impl Config<'_> {
    /// `model_type`.
    pub fn architecture(&self) -> Result<&str, ModelError> {
        self.0["model_type"].as_str().ok_or_else(|| ModelError::Config("no `model_type`".into()))
    }

    /// A whole number of at least one.
    pub fn count(&self, key: &str) -> Result<usize, ModelError> {
        self.optional_count(key)?.ok_or_else(|| ModelError::Config(format!("no `{key}`")))
    }

    pub fn optional_count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match &self.0[key] {
            Value::Null => Ok(None),
            value => match value.as_u64() {
                Some(number @ 1..=MOST) => Ok(Some(number as usize)),
                _ => Err(ModelError::Config(format!(
                    "`{key}` is {value}, not a whole number from 1 to {MOST}"
                ))),
            },
        }
    }

    /// Positions that no table of the checkpoint bounds: something is made for each of them.
    pub fn positions_without_table(&self, key: &str) -> Result<usize, ModelError> {
        const MOST_POSITIONS: usize = 1 << 17;
        match self.count(key)? {
            positions if positions <= MOST_POSITIONS => Ok(positions),
            positions => {
                Err(ModelError::Config(format!("`{key}` is {positions}; the maximum is {MOST_POSITIONS}")))
            }
        }
    }

    /// How many layers there are.
    pub fn layers(&self, key: &str) -> Result<usize, ModelError> {
        const MOST_LAYERS: usize = 1000;
        match self.count(key)? {
            layers if layers <= MOST_LAYERS => Ok(layers),
            layers => Err(ModelError::Config(format!("`{key}` is {layers}; the maximum is {MOST_LAYERS}"))),
        }
    }

    /// A whole number, zero included.
    pub fn index(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        match &self.0[key] {
            Value::Null => Ok(default),
            Value::Number(number) if number.as_u64() == Some(0) => Ok(0),
            _ => self.count(key),
        }
    }

    /// A positive number.
    pub fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match &self.0[key] {
            Value::Null => Ok(default),
            value => match value.as_f64() {
                Some(number) if number.is_finite() && number > 0.0 => Ok(number),
                _ => Err(ModelError::Config(format!("`{key}` is {value}, not a number above 0"))),
            },
        }
    }

    pub fn switch(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match &self.0[key] {
            Value::Null => Ok(default),
            Value::Bool(switch) => Ok(*switch),
            value => Err(ModelError::Config(format!("`{key}` is {value}, not true or false"))),
        }
    }

    pub fn word<'s>(&'s self, key: &str, default: &'s str) -> &'s str {
        self.0[key].as_str().unwrap_or(default)
    }

    pub fn activation(&self, key: &str, default: &str) -> Result<Activation, ModelError> {
        match self.word(key, default) {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            "tanh" => Ok(Activation::Tanh),
            other => Err(ModelError::Config(format!(
                "`{key}` is {other:?}; supported: gelu, gelu_new, relu, silu, tanh"
            ))),
        }
    }

    /// Attention heads, which must share the width evenly.
    pub fn heads(&self, key: &str, width: usize) -> Result<usize, ModelError> {
        let heads = self.count(key)?;
        if width.is_multiple_of(heads) {
            Ok(heads)
        } else {
            Err(ModelError::Config(format!("the width {width} is not divisible by {heads} heads")))
        }
    }

    /// The names of the labels, in the order of their numbers; empty where the model has none.
    pub fn labels(&self) -> Result<Vec<String>, ModelError> {
        let Value::Object(named) = &self.0["id2label"] else { return Ok(Vec::new()) };
        let mut labels = vec![String::new(); named.len()];
        for (number, label) in named {
            let place = number.parse::<usize>().ok().and_then(|number| labels.get_mut(number));
            match (place, label.as_str()) {
                (Some(place), Some(label)) => *place = label.to_owned(),
                _ => {
                    return Err(ModelError::Config(format!(
                        "`id2label` has the invalid entry {number:?}: {label}"
                    )));
                }
            }
        }
        Ok(labels)
    }
}
