//! Candidates drawn without replacement; the same seed draws the same.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::{Observation, Search};
use crate::knob::Candidate;

pub struct Random {
    left: Vec<Candidate>,
}

impl Random {
    pub fn new(space: &[Candidate], room: usize, seed: u64) -> Self {
        let Some((first, others)) = space.split_first() else { return Random { left: Vec::new() } };
        let mut others = others.to_vec();
        others.shuffle(&mut Pcg64::seed_from_u64(seed));
        Random { left: std::iter::once(first.clone()).chain(others).take(room).collect() }
    }
}

impl Search for Random {
    fn next(&mut self, _: &[Observation]) -> Vec<Candidate> {
        std::mem::take(&mut self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::{number, space};

    #[test]
    fn draws_are_distinct_repeatable_and_start_with_the_first() {
        let draw =
            |seed| -> Vec<i64> { Random::new(&space(50), 10, seed).next(&[]).iter().map(number).collect() };
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
