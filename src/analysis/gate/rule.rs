//! How a gate decides, and when it looks at its pairs.

use serde::{Deserialize, Serialize};

use crate::analysis::ranks::LEAST_PAIRS;

/// How a gate decides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// A slowdown up to this share is none.
    pub margin: f64,
    /// The most false alarms, as a share, whatever the noise.
    pub error: f64,
}

impl Rule {
    /// The error of one look at one of so many figures, whatever the others are: Holm's correction at its strictest.
    pub fn error_of_one(self, figures: usize) -> f64 {
        self.error / (LOOKS * figures.max(1)) as f64
    }
}

/// How often the pairs are looked at before all are there, and then. The error is split among the looks.
pub const LOOKS: usize = 3;

/// When a gate of so many pairs looks at them: after how many.
pub fn looks(pairs: usize) -> [usize; LOOKS] {
    [LEAST_PAIRS.min(pairs), usize::midpoint(LEAST_PAIRS.min(pairs), pairs), pairs]
}
