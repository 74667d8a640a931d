//! Which candidate next. Pure state machines over plain values: no file, no process, no clock.
//!
//! `sequence.rs` decides what is tried (grid and random; the guided search will stand beside it); `schedule.rs` decides in which order a round is measured.

mod schedule;
mod sequence;

pub use schedule::order;
pub use sequence::Sequence;

use crate::knob::Candidate;
use crate::suite::SearchKind;

/// What is known of a candidate that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub candidate: Candidate,
    /// The objective, turned so that more is better; nothing where the candidate failed.
    pub score: Option<f64>,
    /// Whether it meets the limits.
    pub meets_limits: bool,
}

/// Says what to try, given all that was seen.
pub trait Search {
    /// The next candidates to be measured side by side, where the budget has room for so many in all, those given
    /// before included. None at all: the search has no more to ask for.
    fn next(&mut self, seen: &[Observation], room: usize) -> Vec<Candidate>;
}

/// Starts a search of `space`, whose first member is always tried.
pub fn start(kind: SearchKind, space: &[Candidate], seed: u64) -> Box<dyn Search> {
    match kind {
        SearchKind::Grid => Box::new(Sequence::grid(space)),
        SearchKind::Random => Box::new(Sequence::random(space, seed)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::knob::Value;

    /// Candidates that differ in one number.
    pub fn space(size: i64) -> Vec<Candidate> {
        let candidate = |number| Candidate {
            backend: "fake".into(),
            knobs: [("batch_size".to_owned(), Value::Integer(number))].into_iter().collect(),
        };
        (0..size).map(candidate).collect()
    }

    pub fn number(candidate: &Candidate) -> i64 {
        match candidate.knobs["batch_size"] {
            Value::Integer(number) => number,
            _ => unreachable!("`space` makes integers"),
        }
    }
}
