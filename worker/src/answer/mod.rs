//! What comes out of a model, in events and in files. Knows nobody: what an answer means is a matter of tasks.

mod file;
mod tensors;

use serde::{Deserialize, Serialize};

pub use file::{AnswerFile, digest_of, write};

/// What a model says of one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    #[serde(deserialize_with = "numbers::vector")]
    Vector(Vec<f32>),
    #[serde(deserialize_with = "numbers::one")]
    Score(f32),
    Label(String),
    Spans(Vec<Span>),
    /// Ids of tokens with their weights, each id once.
    #[serde(deserialize_with = "numbers::weights")]
    Sparse(Vec<(u32, f32)>),
    #[serde(deserialize_with = "numbers::vectors")]
    Vectors(Vec<Vec<f32>>),
}

/// A labelled stretch of a text, in bytes of its UTF-8 form, end exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub label: String,
}

/// JSON has no NaN: writers put `null` in its place. Half precision overflows to it often enough that it must arrive
/// as what it is, a wrong answer, and not as a line that can't be read.
mod numbers {
    use serde::{Deserialize, Deserializer};

    pub fn one<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f32::NAN))
    }

    pub fn vector<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
        Vec::<Option<f32>>::deserialize(from).map(filled)
    }

    pub fn vectors<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f32>>, D::Error> {
        let vectors = Vec::<Vec<Option<f32>>>::deserialize(from)?;
        Ok(vectors.into_iter().map(filled).collect())
    }

    pub fn weights<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(u32, f32)>, D::Error> {
        let weights = Vec::<(u32, Option<f32>)>::deserialize(from)?;
        Ok(weights.into_iter().map(|(id, weight)| (id, weight.unwrap_or(f32::NAN))).collect())
    }

    fn filled(numbers: Vec<Option<f32>>) -> Vec<f32> {
        numbers.into_iter().map(|number| number.unwrap_or(f32::NAN)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_number_survives_json() {
        let line = serde_json::to_string(&Answer::Vector(vec![1.0, f32::NAN])).unwrap();
        assert_eq!(line, r#"{"vector":[1.0,null]}"#);
        let Answer::Vector(back) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert!(back[0] == 1.0 && back[1].is_nan());
        let score: Answer = serde_json::from_str(r#"{"score":null}"#).unwrap();
        assert!(matches!(score, Answer::Score(score) if score.is_nan()));
    }
}
