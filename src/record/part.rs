//! A part of a corpus.

use serde::{Deserialize, Serialize};

/// So many documents of a corpus that stand for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub documents: usize,
    pub of: usize,
}
