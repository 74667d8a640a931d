//! Which candidate next. Pure state machines over plain values: no file, no process, no clock.
//!
//! `grid.rs` and `random.rs` decide what is tried; `schedule.rs` decides in which order a round is measured.

mod grid;
mod random;
mod schedule;

pub use grid::Grid;
pub use random::Random;
pub use schedule::order;

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
    /// The next candidates to be measured side by side. None at all: the search is over.
    fn next(&mut self, seen: &[Observation]) -> Vec<Candidate>;
}

/// Starts a search of `space`, whose first member is always tried, for at most `room` candidates.
pub fn start(kind: SearchKind, space: &[Candidate], room: usize, seed: u64) -> Box<dyn Search> {
    match kind {
        SearchKind::Grid => Box::new(Grid::new(space, room)),
        SearchKind::Random => Box::new(Random::new(space, room, seed)),
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
