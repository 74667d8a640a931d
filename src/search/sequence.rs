//! Searches that ask nothing of what was seen: the space in an order of which a budget takes as much as it can.
//!
//! A larger budget takes the same candidates and more, so that a run whose budget grows goes on where it was. Candidates are
//! made as they are asked for, however many there are.

use super::permutation::Permutation;
use super::{Choice, Observation, Search};
use crate::knob::Candidate;
use crate::record::{Stop, Why};
use crate::suite::Space;

pub struct Sequence<'s> {
    space: &'s Space,
    order: Order,
    /// How many were given, the baseline first.
    given: usize,
    /// How far the order has been gone through.
    step: u64,
    ended: bool,
}

enum Order {
    /// Counting in so many bits, turned round: first the halves, then the quarters, then the eighths.
    Turned {
        bits: u32,
    },
    Drawn(Permutation),
}

impl<'s> Sequence<'s> {
    /// The whole grid, in an order whose every beginning is spread evenly over it.
    pub fn grid(space: &'s Space) -> Self {
        let bits = (space.places() as u64).next_power_of_two().trailing_zeros();
        Sequence { space, order: Order::Turned { bits }, given: 0, step: 0, ended: false }
    }

    /// Draws without replacement; the same seed draws the same.
    pub fn random(space: &'s Space, seed: u64) -> Self {
        let order = Order::Drawn(Permutation::new(space.places() as u64, seed));
        Sequence { space, order, given: 0, step: 0, ended: false }
    }

    fn one(&mut self) -> Option<Candidate> {
        if self.given == 0 {
            return Some(self.space.baseline().clone());
        }
        loop {
            let place = self.order.place(self.step, self.space.places() as u64)?;
            self.step += 1;
            if let Some(candidate) = self.space.at(place as usize) {
                return Some(candidate);
            }
        }
    }
}

impl Order {
    /// The place that comes at a step, which may lie beyond the space; nothing once all have come.
    fn place(&self, step: u64, places: u64) -> Option<u64> {
        match self {
            Order::Turned { bits } => {
                (step < 1 << bits).then(|| step.reverse_bits().checked_shr(u64::BITS - bits).unwrap_or(0))
            }
            Order::Drawn(permutation) => (step < places).then(|| permutation.at(step)),
        }
    }
}

impl Search for Sequence<'_> {
    fn next(&mut self, _: &[Observation], room: usize) -> Vec<Choice> {
        let mut next = Vec::new();
        while self.given < room {
            let Some(candidate) = self.one() else {
                self.ended = true;
                break;
            };
            let why = if self.given == 0 { Why::Baseline } else { Why::InTurn };
            self.given += 1;
            next.push(Choice { candidate, why });
        }
        next
    }

    fn stop(&self) -> Stop {
        if self.ended { Stop::AllTried } else { Stop::Spent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::{number, space};

    fn numbers(choices: Vec<Choice>) -> Vec<i64> {
        choices.iter().map(|choice| number(&choice.candidate)).collect()
    }

    #[test]
    fn a_grid_is_tried_evenly_and_in_the_end_whole() {
        let ten = space(10);
        let mut grid = Sequence::grid(&ten);
        assert_eq!(numbers(grid.next(&[], 4)), [0, 8, 4, 2]);
        assert_eq!(numbers(grid.next(&[], 4)), Vec::<i64>::new());
        assert_eq!(grid.stop(), Stop::Spent);
        let mut rest = numbers(grid.next(&[], usize::MAX));
        rest.sort_unstable();
        assert_eq!(rest, [1, 3, 5, 6, 7, 9]);
        assert!(grid.next(&[], usize::MAX).is_empty());
        assert_eq!(grid.stop(), Stop::AllTried);
        assert_eq!(numbers(Sequence::grid(&space(1)).next(&[], 9)), [0]);
        // Without an axis there is the baseline all the same.
        assert_eq!(numbers(Sequence::grid(&space(0)).next(&[], 9)), [0]);
    }

    #[test]
    fn draws_are_distinct_repeatable_and_start_with_the_first() {
        let fifty = space(50);
        let draw = |seed| numbers(Sequence::random(&fifty, seed).next(&[], 10));
        let drawn = draw(1);
        assert_eq!((drawn.len(), drawn[0]), (10, 0));
        let mut distinct = drawn.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 10);
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn, draw(2));
        assert_eq!(numbers(Sequence::random(&fifty, 3).next(&[], usize::MAX)).len(), 50);
    }

    #[test]
    fn a_million_are_begun_at_once() {
        let space = space(1_000_000);
        assert_eq!(Sequence::grid(&space).next(&[], 100).len(), 100);
        assert_eq!(Sequence::random(&space, 1).next(&[], 100).len(), 100);
    }
}
