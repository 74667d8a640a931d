//! What an answer means: which answers a task gives to items, and which metrics can judge them.
//!
//! Knows no backend and no suite. A new task is a variant of [`Task`], what its answers are, and the metrics
//! of [`metric`] that can judge them.

mod metric;
mod prompt;

use serde::{Deserialize, Serialize};

use crate::answer::Answer;

pub use metric::Metric;
pub use prompt::Prompt;

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

    /// The metrics by which answers agree with the reference's; the first is the one that a suite gets when it names none.
    pub fn agreements(self) -> &'static [Metric] {
        match self {
            Task::Embed => &[Metric::Cosine, Metric::WorstCosine, Metric::Top10],
            Task::Rerank => &[Metric::Order],
            Task::Classify => &[Metric::Labels],
            Task::Entities => &[Metric::SpanF1],
            Task::Sparse | Task::MultiVector => &[Metric::Cosine, Metric::WorstCosine],
        }
    }

    /// The metrics by which answers are judged where people have said what is right.
    pub fn by_labels(self) -> &'static [Metric] {
        match self {
            Task::Embed | Task::Sparse | Task::MultiVector | Task::Rerank => {
                &[Metric::Ndcg10, Metric::Mrr10, Metric::Recall10, Metric::Recall100]
            }
            Task::Classify => &[Metric::Accuracy, Metric::MacroF1],
            Task::Entities => &[Metric::GoldF1],
        }
    }

    /// Every metric that can judge this task.
    pub fn metrics(self) -> impl Iterator<Item = Metric> {
        self.agreements().iter().chain(self.by_labels()).copied()
    }

    /// The task that gives such an answer.
    pub fn of(answer: &Answer) -> Task {
        match answer {
            Answer::Vector(_) => Task::Embed,
            Answer::Score(_) => Task::Rerank,
            Answer::Label(_) => Task::Classify,
            Answer::Spans(_) => Task::Entities,
            Answer::Sparse(_) => Task::Sparse,
            Answer::Vectors(_) => Task::MultiVector,
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
