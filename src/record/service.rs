//! What was seen of a service that searches, once its stages had their winners.

use serde::{Deserialize, Serialize};

/// All that is decided from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// Whose answers were searched by, and who sorted them again: by their ids.
    pub embed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<String>,
    pub scenarios: Vec<Scenario>,
    /// A search for each query that people have judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<Search>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Asked>,
    /// What couldn't be seen, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// A request of a fixed size, again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    pub what: String,
    pub kind: ScenarioKind,
    /// Whether it's the stage's default configuration, and not its winner.
    pub default: bool,
    pub items: usize,
    pub seconds: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioKind {
    Queries,
    Documents,
    /// So many finds of one query, sorted again.
    Rerank,
}

/// One query.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The grades of what was found, the best first.
    pub found: Vec<u32>,
    /// What the first of them were given when they were sorted again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f32>,
    /// The grades that there are.
    pub grades: Vec<u32>,
}

/// A log of queries, as a cache sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub queries: usize,
    pub distinct: usize,
    /// Of each size of a cache the queries that it had.
    pub hits: Vec<(usize, usize)>,
    /// Bytes of what is remembered of a query: itself, and its vector.
    pub bytes_each: u64,
}
