//! What an answer means: documents in, answers out, and how much two lists of answers agree.
//!
//! Knows no backend and no suite. A new task is a variant of [`Task`], what its answers are, and the metrics
//! in [`quality`] that can judge them.

mod quality;

use serde::{Deserialize, Serialize};

pub use quality::{Disagreement, Metric, agreement};

/// One text of the corpus. Reranking scores the text for a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// A vector for a text.
    Embed,
    /// A score for a query and a text.
    Rerank,
    /// A label for a text.
    Classify,
    /// Labelled spans of a text.
    Entities,
    /// A weight for each of a text's words, as lexical search wants them.
    Sparse,
    /// A vector for each of a text's tokens, as late interaction wants them.
    MultiVector,
}

impl Task {
    pub const ALL: [Task; 6] =
        [Task::Embed, Task::Rerank, Task::Classify, Task::Entities, Task::Sparse, Task::MultiVector];

    pub fn name(self) -> &'static str {
        match self {
            Task::Embed => "embed",
            Task::Rerank => "rerank",
            Task::Classify => "classify",
            Task::Entities => "entities",
            Task::Sparse => "sparse",
            Task::MultiVector => "multi-vector",
        }
    }

    /// The metrics that can judge this task; the first is the one that a suite gets when it names none.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Task::Embed => &[Metric::Cosine, Metric::WorstCosine, Metric::Top10],
            Task::Rerank => &[Metric::Order],
            Task::Classify => &[Metric::Labels],
            Task::Entities => &[Metric::SpanF1],
            Task::Sparse | Task::MultiVector => &[Metric::Cosine, Metric::WorstCosine],
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Task::Embed => "a vector for each text",
            Task::Rerank => "a score for each text and its query",
            Task::Classify => "a label for each text",
            Task::Entities => "labelled spans in each text",
            Task::Sparse => "a weight for each token that is in a text",
            Task::MultiVector => "a vector for each token of a text",
        }
    }
}

/// What a model says of one document.
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

impl Answer {
    /// The task that gives such answers.
    fn task(&self) -> Task {
        match self {
            Answer::Vector(_) => Task::Embed,
            Answer::Score(_) => Task::Rerank,
            Answer::Label(_) => Task::Classify,
            Answer::Spans(_) => Task::Entities,
            Answer::Sparse(_) => Task::Sparse,
            Answer::Vectors(_) => Task::MultiVector,
        }
    }
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
