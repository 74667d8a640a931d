//! Searches that ask nothing of what was seen: the space in an order of which a budget takes as much as it can.
//!
//! A larger budget takes the same candidates and more, so that a run whose budget grows goes on where it was.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::{Observation, Search};
use crate::knob::Candidate;

pub struct Sequence {
    order: Vec<Candidate>,
    given: usize,
}

impl Sequence {
    /// The whole grid, in an order whose every beginning is spread evenly over it.
    pub fn grid(space: &[Candidate]) -> Self {
        let bits = space.len().next_power_of_two().trailing_zeros();
        // Counting with the bits turned round: first the halves, then the quarters, then the eighths.
        let turned = |number: usize| number.reverse_bits().checked_shr(usize::BITS - bits).unwrap_or(0);
        let places = (0..space.len().next_power_of_two()).map(turned);
        Sequence { order: places.filter_map(|place| space.get(place).cloned()).collect(), given: 0 }
    }

    /// Draws without replacement; the same seed draws the same.
    pub fn random(space: &[Candidate], seed: u64) -> Self {
        let mut order = space.to_vec();
        if let Some((_, others)) = order.split_first_mut() {
            others.shuffle(&mut Pcg64::seed_from_u64(seed));
        }
        Sequence { order, given: 0 }
    }
}

impl Search for Sequence {
    fn next(&mut self, _: &[Observation], room: usize) -> Vec<Candidate> {
        let end = room.clamp(self.given, self.order.len());
        let next = self.order[self.given..end].to_vec();
        self.given = end;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::{number, space};

    fn numbers(candidates: Vec<Candidate>) -> Vec<i64> {
        candidates.iter().map(number).collect()
    }

    #[test]
    fn a_grid_is_tried_evenly_and_in_the_end_whole() {
        let mut grid = Sequence::grid(&space(10));
        assert_eq!(numbers(grid.next(&[], 4)), [0, 8, 4, 2]);
        assert_eq!(numbers(grid.next(&[], 4)), Vec::<i64>::new());
        let mut rest = numbers(grid.next(&[], usize::MAX));
        rest.sort_unstable();
        assert_eq!(rest, [1, 3, 5, 6, 7, 9]);
        assert!(grid.next(&[], usize::MAX).is_empty());
        assert_eq!(numbers(Sequence::grid(&space(1)).next(&[], 9)), [0]);
        assert!(Sequence::grid(&[]).next(&[], 9).is_empty());
    }

    #[test]
    fn draws_are_distinct_repeatable_and_start_with_the_first() {
        let draw = |seed| numbers(Sequence::random(&space(50), seed).next(&[], 10));
        let drawn = draw(1);
        assert_eq!((drawn.len(), drawn[0]), (10, 0));
        let mut distinct = drawn.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 10);
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn, draw(2));
    }
}
