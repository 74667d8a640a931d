//! Which configuration a stage's right answers come from.

use serde::{Deserialize, Serialize};

use crate::knob::Candidate;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub candidate: Candidate,
    /// Where it ran: `cpu`, `cuda:0`.
    pub device: String,
    /// Why it isn't the suite's reference on the target, if it's another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}
