//! Which candidate next, and which again. Pure state machines over plain values: no file, no process, no clock.
//!
//! `sequence.rs` tries a space in an order of its own (grid and random). `plan.rs` is the guided search: it makes a `table.rs` of the
//! space and asks `guided/` where the most is to be gained; `memory.rs` says what may run out of it. `schedule.rs` decides in which order a round is measured.

mod guided;
mod memory;
mod observation;
mod permutation;
mod plan;
mod schedule;
mod sequence;
mod table;

use crate::knob::Candidate;
use crate::record::{Leaving, Stop, Told, Why};
use crate::suite::{SearchKind, Space};

pub use guided::{Foreknowledge, Guided, Kernel, Process, Scores};
pub use observation::{Observation, Score, Seen};
pub use plan::{Plan, of_space};
pub use schedule::order;
pub use sequence::Sequence;
pub use table::{Column, Table};

/// A row of a table that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tried {
    pub row: usize,
    /// The logarithm of its score, more being better; nothing if it failed.
    pub score: Option<f64>,
    /// In how many rounds.
    pub rounds: usize,
    /// What trying it has cost.
    pub seconds: f64,
}

/// Says what to try, given all that was seen.
pub trait Search {
    /// The next candidates to be measured side by side, where the budget has room for so many in all, those given
    /// before included. None at all: the search has no more to ask for.
    fn next(&mut self, seen: &[Observation], room: usize) -> Vec<Choice>;

    /// Why it had no more to ask for.
    fn stop(&self) -> Stop;

    /// What the most promising of those that weren't tried may gain over the best, as a share; as much again where that can't be told.
    fn to_gain(&mut self, _: &[Observation]) -> f64 {
        1.0
    }

    /// Why somebody isn't worth another round, if so: asked before each round but the first, with all that was seen until then. A
    /// search that races drops whoever can't catch up any more. This one drops whoever is ruled out, but for the baseline, which
    /// is what others are compared with as long as it works.
    fn leaves(&self, observation: &Observation, is_baseline: bool) -> Option<Leaving> {
        let stays = observation.may_win() || (is_baseline && observation.score().is_some());
        (!stays).then_some(Leaving::RuledOut)
    }
}

/// A candidate that is to be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub candidate: Candidate,
    pub why: Why,
}

/// Starts a search of `space`, whose baseline is always tried, with what was told of its candidates.
pub fn start<'s>(kind: SearchKind, space: &'s Space, told: &[Told], seed: u64) -> Box<dyn Search + 's> {
    match kind {
        SearchKind::Guided => Box::new(Plan::new(space, told, seed)),
        SearchKind::Grid => Box::new(Sequence::grid(space)),
        SearchKind::Random => Box::new(Sequence::random(space, seed)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::knob::{Applies, Kind, KnobSpec, Value};
    use crate::suite::{Axis, ChosenBackend, Engine};

    /// Candidates that differ in one number, from 0 on, which is the baseline's.
    pub fn space(size: i64) -> Space {
        let kind = Kind::Integer { least: 0, most: i64::MAX };
        let backend = ChosenBackend {
            name: "fake".into(),
            kind: "fake".into(),
            engine: Engine::BuiltIn { settings: serde_json::Value::Null },
            knobs: vec![KnobSpec::new("batch_size", Applies::Run, kind, Value::Integer(0), "")],
        };
        let axis = Axis { knob: "batch_size".into(), values: (0..size).map(Value::Integer).collect() };
        Space::new(backend.default_candidate(), &[backend], &[axis]).0
    }

    pub fn number(candidate: &Candidate) -> i64 {
        match candidate.knobs["batch_size"] {
            Value::Integer(number) => number,
            _ => unreachable!("`space` makes integers"),
        }
    }

    #[test]
    fn whoever_is_ruled_out_gets_no_further_round_but_the_baseline_while_it_works() {
        let space = space(1);
        let observed = |seen: Seen| Observation {
            candidate: space.baseline().clone(),
            seen,
            rounds: 1,
            seconds: 1.0,
            beside_best: None,
            interval_beside_best: None,
        };
        let score = |misses| Seen::Measured(Score { value: 1.0, interval: None, memory: None, misses });
        let search = Sequence::grid(&space);
        let missed = score(Some(("vram <= 8GiB".parse().unwrap(), None)));
        for (seen, stays, baseline_stays) in [
            (score(None), true, true),
            (missed, false, true),
            (Seen::OutOfMemory, false, false),
            (Seen::Nothing, false, false),
        ] {
            let observed = observed(seen);
            let leaves = |is_baseline| search.leaves(&observed, is_baseline);
            assert_eq!((leaves(false).is_none(), leaves(true).is_none()), (stays, baseline_stays));
        }
    }
}
