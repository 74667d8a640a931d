//! The order of a round: random, so that drift of the machine hits nobody in particular, and with the fewest loads.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

/// Puts a round's candidates in order, as indices into `keys`. Candidates with the same load key stay together, and
/// those that fit what is `loaded` already come first: `g` keys over `r` rounds cost `r·(g − 1) + 1` loads.
pub fn order(keys: &[String], loaded: Option<&str>, seed: u64) -> Vec<usize> {
    let mut random = Pcg64::seed_from_u64(seed);
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        match groups.iter_mut().find(|(known, _)| known == key) {
            Some((_, members)) => members.push(index),
            None => groups.push((key, vec![index])),
        }
    }
    groups.shuffle(&mut random);
    groups.sort_by_key(|(key, _)| Some(*key) != loaded);
    for (_, members) in &mut groups {
        members.shuffle(&mut random);
    }
    groups.into_iter().flat_map(|(_, members)| members).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<String> {
        ["a", "b", "a", "c", "b", "a"].map(String::from).into()
    }

    #[test]
    fn groups_stay_together_and_the_loaded_one_comes_first() {
        for seed in 0..20 {
            let mut order: Vec<usize> = order(&keys(), Some("b"), seed);
            let groups: Vec<String> = order.iter().map(|&index| keys()[index].clone()).collect();
            let mut changes = groups.clone();
            changes.dedup();
            assert_eq!((changes.len(), groups[0].as_str()), (3, "b"), "{groups:?}");
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn rounds_differ_and_repeat() {
        let orders: Vec<_> = (0..20).map(|seed| order(&keys(), None, seed)).collect();
        assert!(orders.iter().any(|other| *other != orders[0]));
        assert_eq!(orders[7], order(&keys(), None, 7));
    }
}
