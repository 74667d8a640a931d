//! What people say of items, which no worker ever sees.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::answer::Span;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gold {
    /// The first items are queries, and the others the documents that are searched.
    Retrieval(Retrieval),
    /// Items are pairs of a query and a document.
    Pairs(Pairs),
    Labels(Labelled<String>),
    Spans(Labelled<Vec<Span>>),
}

impl Gold {
    /// How much of what there is, of so many items.
    pub fn in_words(&self, items: usize) -> String {
        match self {
            Gold::Retrieval(retrieval) => {
                let queries = retrieval.grades.len();
                format!("{queries} queries over {} documents", items - queries)
            }
            Gold::Pairs(pairs) => format!("{} queries with {items} documents to sort", pairs.queries.len()),
            Gold::Labels(_) => format!("{items} labelled documents"),
            Gold::Spans(_) => format!("{items} documents with labelled spans"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// For each query the documents that are judged, by their places among the documents, with their grades.
    pub grades: Vec<Vec<(usize, u32)>>,
    /// For each document its place in the order of ids: of two with the same score trec_eval takes the later one first.
    pub ranks: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pairs {
    /// The pairs of each query.
    pub queries: Vec<Vec<Pair>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub item: usize,
    /// Its document's place in the order of ids.
    pub rank: usize,
    pub grade: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labelled<Label> {
    /// For each item what is right, where somebody has said it.
    pub items: Vec<Option<Label>>,
    /// What the model's names stand for, where they're others than people's.
    pub names: IndexMap<String, String>,
}

impl<Label> Labelled<Label> {
    /// A label of the model's in people's words.
    pub fn name_of<'a>(&'a self, label: &'a str) -> &'a str {
        self.names.get(label).map_or(label, String::as_str)
    }
}
