//! What a search may know of a candidate that was tried.

use crate::knob::Candidate;
use crate::record::Status;
use crate::suite::Limit;

#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub candidate: Candidate,
    pub seen: Seen,
    /// Rounds in which it was tried.
    pub rounds: usize,
    /// What trying it has cost, loading included.
    pub seconds: f64,
    /// How many times as good it is as the best so far, by the rounds that both were measured in.
    pub beside_best: Option<f64>,
    /// Between which values that lies; nothing after one round.
    pub interval_beside_best: Option<(f64, f64)>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Measured(Score),
    OutOfMemory,
    Failed(Status),
    /// It ran, and has no figure for the objective.
    Nothing,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The objective, turned so that more is better.
    pub value: f64,
    /// Between which values it lies; nothing after one round.
    pub interval: Option<(f64, f64)>,
    /// Peak memory where it's scarce, in bytes.
    pub memory: Option<f64>,
    /// The first limit that it misses, and its figure for that, if it has one.
    pub misses: Option<(Limit, Option<f64>)>,
}

impl Observation {
    pub fn score(&self) -> Option<&Score> {
        match &self.seen {
            Seen::Measured(score) => Some(score),
            Seen::OutOfMemory | Seen::Failed(_) | Seen::Nothing => None,
        }
    }

    /// The objective, turned so that more is better; less than any for what has none.
    pub fn value(&self) -> f64 {
        self.score().map_or(f64::NEG_INFINITY, |score| score.value)
    }

    /// Whether nothing rules it out so far.
    pub fn may_win(&self) -> bool {
        self.score().is_some_and(|score| score.misses.is_none())
    }
}
