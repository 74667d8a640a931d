//! What a network is asked for in words.

use serde::{Deserialize, Serialize};

/// Labels that stand in front of every text, for networks that learn of them there and nowhere else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    pub labels: Vec<String>,
    /// A span is an answer if it's more likely than this.
    pub threshold: f32,
}
