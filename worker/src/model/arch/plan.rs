//! What a network is made of.

use crate::model::graph::{Pooling, Value};
use crate::model::weights::Shapes;
use crate::task::Task;

/// How a text's vector comes from its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding {
    pub pooling: Pooling,
    pub normalise: bool,
}

impl Default for Embedding {
    /// What sentence-transformers does with a model that says nothing.
    fn default() -> Self {
        Embedding { pooling: Pooling::Mean, normalise: false }
    }
}

/// What a network is made of.
pub struct Plan<'a> {
    pub config: &'a serde_json::Value,
    /// None when only the configuration is there.
    pub checkpoint: Option<&'a dyn Shapes>,
    pub task: Task,
    pub embedding: Embedding,
    /// How many labels it's asked for, if it's a network that is asked.
    pub labels: usize,
}

/// What comes out of an architecture's layers, for a head to read.
pub struct Body {
    pub hidden: Value,
    pub width: usize,
    pub most_tokens: usize,
}
