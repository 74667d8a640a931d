//! What the clock saw of one way through the corpus.

use serde::{Deserialize, Serialize};

/// One way through the corpus, or a stretch of it, as the clock saw it. All times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    pub seconds: f64,
    pub documents: u64,
    /// Tokens that went into the network, padding not counted.
    #[serde(default)]
    pub tokens: u64,
    /// Tokens that went into the network, padding counted.
    #[serde(default)]
    pub padded_tokens: u64,
    /// End to end, for each batch.
    #[serde(default)]
    pub batch_seconds: Vec<f64>,
    #[serde(default)]
    pub split: Split,
}

/// Where the seconds of a pass went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    pub tokenise: f64,
    pub pad: f64,
    pub to_device: f64,
    pub compute: f64,
    pub from_device: f64,
    pub finish: f64,
}

impl Split {
    pub const NAMES: [&str; 6] = ["tokenise", "pad", "to_device", "compute", "from_device", "finish"];

    pub fn parts(&self) -> [f64; 6] {
        [self.tokenise, self.pad, self.to_device, self.compute, self.from_device, self.finish]
    }
}
