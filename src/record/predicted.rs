//! What stands on a row in place of a measurement when nothing was measured.

use serde::{Deserialize, Serialize};

use crate::pipeline::Pass;

/// What a cost model says of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Where it would run, as services spell it.
    pub device: String,
    /// The factor within which the ratio of two predictions for the same card is trusted.
    pub ratio_within: f64,
    /// A pass over the corpus; nothing of a candidate that can't run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
    /// Between which multiples of that pass's times the truth is expected.
    #[serde(default)]
    pub between: Between,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_vram: Option<PredictedBytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Between {
    pub low: f64,
    pub high: f64,
}

impl Default for Between {
    fn default() -> Self {
        Between { low: 1.0, high: 1.0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictedBytes {
    pub low: u64,
    pub value: u64,
    pub high: u64,
}
