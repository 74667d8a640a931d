//! What one process did in its turns beside others.

use std::collections::BTreeMap;

use super::side::Side;
use crate::analysis::statistics::median;
use crate::pipeline::Stretch;

/// A measurement of one process, next to those of the others.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Which of a pass, over so many documents.
    pub stretch: Stretch,
    pub documents: u64,
    pub tokens: u64,
    pub side: Side,
}

impl Turn {
    /// Of the whole stretch.
    fn seconds(&self) -> f64 {
        self.side.seconds * self.documents as f64
    }
}

/// All turns of a process, in order.
#[derive(Debug, Clone, Default)]
pub struct Turns(Vec<Turn>);

impl Turns {
    pub fn push(&mut self, turn: Turn) {
        self.0.push(turn);
    }

    /// The process as a whole, of which the first turn has loaded.
    pub fn side(&self) -> Option<Side> {
        let stretches = self.stretches();
        let documents: u64 =
            stretches.values().filter_map(|turns| turns.first()).map(|turn| turn.documents).sum();
        let seconds: f64 =
            stretches.values().filter_map(|turns| median(turns.iter().map(|turn| turn.seconds()))).sum();
        let bytes: Option<Vec<f64>> = self.0.iter().map(|turn| turn.side.bytes).collect();
        (documents > 0).then(|| Side {
            seconds: seconds / documents as f64,
            bytes: bytes.and_then(|bytes| bytes.into_iter().reduce(f64::max)),
            load_seconds: self.0.iter().find_map(|turn| turn.side.load_seconds),
        })
    }

    /// How many times as long everything takes as with the base, whose turns were taken beside these: what the machine does lasts
    /// longer than two turns, and cancels. Of each stretch it's the middle, which a few that are disturbed leave alone; and a stretch counts
    /// for as much as it takes.
    pub fn time_beside(&self, base: &Turns) -> Option<f64> {
        let mut weights = 0.0;
        let mut sum = 0.0;
        for (own, other) in self.stretches().values().zip(base.stretches().values()) {
            let ratios =
                own.iter().zip(other).map(|(own, other)| (own.side.seconds / other.side.seconds).ln());
            let weight = median(other.iter().map(|turn| turn.seconds()))?;
            sum += weight * median(ratios)?.exp();
            weights += weight;
        }
        (weights > 0.0).then(|| sum / weights)
    }

    /// Whether every turn was on the same work as the other's.
    pub fn are_like(&self, other: &Turns) -> bool {
        let work = |turn: &Turn| (turn.stretch, turn.documents, turn.tokens);
        self.0.iter().map(work).eq(other.0.iter().map(work))
    }

    fn stretches(&self) -> BTreeMap<u32, Vec<&Turn>> {
        let mut stretches: BTreeMap<u32, Vec<&Turn>> = BTreeMap::new();
        for turn in &self.0 {
            stretches.entry(turn.stretch.index()).or_default().push(turn);
        }
        stretches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(of: &[(Stretch, f64)]) -> Turns {
        let side = |seconds| Side { seconds, bytes: Some(100.0 * seconds), load_seconds: None };
        Turns(
            of.iter()
                .map(|(stretch, seconds)| Turn {
                    stretch: *stretch,
                    documents: 10,
                    tokens: 50,
                    side: side(*seconds),
                })
                .collect(),
        )
    }

    fn whole(seconds: &[f64]) -> Turns {
        turns(&seconds.iter().map(|seconds| (Stretch::WHOLE, *seconds)).collect::<Vec<_>>())
    }

    #[test]
    fn a_process_is_the_middle_of_its_turns() {
        let mut process = whole(&[1.0, 50.0, 1.2]);
        process.0[0].side.load_seconds = Some(2.0);
        let side = process.side().unwrap();
        assert_eq!((side.seconds, side.bytes, side.load_seconds), (1.2, Some(5000.0), Some(2.0)));
        assert_eq!(Turns::default().side(), None);
    }

    #[test]
    fn a_machine_that_slows_down_slows_both() {
        let base = whole(&[1.0, 2.0, 3.0, 4.0, 9.0]);
        let new = whole(&[1.1, 2.2, 3.3, 40.0, 9.9]);
        assert!((new.time_beside(&base).unwrap() - 1.1).abs() < 1e-12);
        assert_eq!(new.time_beside(&Turns::default()), None);
    }

    #[test]
    fn a_part_counts_for_as_much_as_it_takes() {
        let [first, second] = Stretch::all(2).collect::<Vec<_>>()[..] else { panic!("two stretches") };
        let base = turns(&[(first, 9.0), (second, 1.0), (first, 9.0), (second, 1.0)]);
        let new = turns(&[(first, 9.9), (second, 1.0), (first, 9.9), (second, 1.0)]);
        assert!((base.side().unwrap().seconds - 5.0).abs() < 1e-12);
        assert!((new.time_beside(&base).unwrap() - 1.09).abs() < 1e-12);
        assert!(new.are_like(&base) && !new.are_like(&turns(&[(second, 1.0), (first, 9.9)])));
    }
}
