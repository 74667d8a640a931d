//! A random order of numbers that nobody has to hold in memory: a cipher of few rounds over them, by Feistel's scheme.

use sha2::{Digest, Sha256};

const ROUNDS: u8 = 4;

pub struct Permutation {
    count: u64,
    /// Bits of each half: the cipher permutes all numbers of twice as many.
    half: u32,
    seed: u64,
}

impl Permutation {
    /// Of the numbers below `count`.
    pub fn new(count: u64, seed: u64) -> Self {
        let bits = u64::BITS - count.max(2).saturating_sub(1).leading_zeros();
        Permutation { count, half: bits.div_ceil(2), seed }
    }

    /// Which number stands at a place below `count`.
    pub fn at(&self, place: u64) -> u64 {
        let mut number = self.encrypt(place);
        // Whoever lands beyond the end goes on from there, and comes back in the end: a permutation has no dead ends.
        while number >= self.count {
            number = self.encrypt(number);
        }
        number
    }

    fn encrypt(&self, number: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half, number & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (self.mixed(right, round) & mask));
        }
        (left << self.half) | right
    }

    fn mixed(&self, half: u64, round: u8) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update([round]);
        hash.update(half.to_le_bytes());
        hash.finalize()[..8].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_stands_somewhere_once() {
        for count in [1, 2, 3, 10, 64, 1000] {
            let permutation = Permutation::new(count, 7);
            let mut numbers: Vec<u64> = (0..count).map(|place| permutation.at(place)).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{count}");
        }
    }

    #[test]
    fn seeds_give_orders_of_their_own_without_a_pattern() {
        let order = |seed| (0..100).map(|place| Permutation::new(100, seed).at(place)).collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        // Of neighbours as many go up as down, within what chance allows.
        let ups = order(3).windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((35..=64).contains(&ups), "{ups}");
        let far = Permutation::new(10_000_000, 1);
        assert!((0..1000).map(|place| far.at(place)).any(|number| number > 9_000_000));
    }
}
