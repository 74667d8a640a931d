//! What is known of candidates before any is measured.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::knob::Candidate;

/// What a recorded run or a prediction says of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub candidate: Candidate,
    /// Its objective, turned so that more is better: only the ratios of these count. Nothing where it's expected to fail.
    pub value: Option<f64>,
}

/// What a recorded run says of the candidates of another, stage by stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// The recorded run, for people.
    pub run: String,
    pub told: IndexMap<String, Vec<Told>>,
}
