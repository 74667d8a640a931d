//! Documents for choosing, and others for confirming what was chosen.

use std::collections::BTreeSet;

use super::part::{by_length, bytes};
use crate::item::Item;

/// A corpus with fewer documents isn't divided.
const LEAST: usize = 64;

/// Batches that each half must fill, or large ones would be tried in vain.
const BATCHES: usize = 2;

/// What is measured while the best are looked for, and others on which they are confirmed: where only the first are wanted, as many
/// of the rest, and else a half each. Both have the same mix of lengths, and the first has the longest. Nothing to confirm on
/// where there are too few.
pub fn apart(mut documents: Vec<Item>, first: Option<usize>, largest_batch: usize) -> (Vec<Item>, Vec<Item>) {
    let all = documents.len();
    if let Some(first) = first.filter(|first| *first < all) {
        let rest = documents.split_off(first);
        // Much fewer wouldn't be as much work.
        let enough = all >= LEAST && 2 * rest.len() >= first;
        let fresh = if enough { like(&documents, rest) } else { Vec::new() };
        return (documents, fresh);
    }
    if all < LEAST.max(2 * BATCHES * largest_batch) {
        return (documents, Vec::new());
    }
    let mut is_fresh = vec![false; all];
    // From the longest on: one, the other; the other, one; so that neither gets the longer of every two.
    for (place, document) in by_length(&documents).into_iter().rev().enumerate() {
        is_fresh[document] = matches!(place % 4, 1 | 2);
    }
    let mut is_fresh = is_fresh.into_iter();
    let (fresh, chosen) = documents.into_iter().partition(|_| is_fresh.next() == Some(true));
    (chosen, fresh)
}

/// For each document one of the rest that is about as long, in the order of the rest.
fn like(documents: &[Item], rest: Vec<Item>) -> Vec<Item> {
    let mut left: BTreeSet<(usize, usize)> =
        rest.iter().enumerate().map(|(place, one)| (bytes(one), place)).collect();
    let mut taken = vec![false; rest.len()];
    for document in by_length(documents).into_iter().rev() {
        let wanted = (bytes(&documents[document]), 0);
        let (above, below) = (left.range(wanted..).next(), left.range(..wanted).next_back());
        let nearest = above.into_iter().chain(below).min_by_key(|(length, _)| length.abs_diff(wanted.0));
        let Some(nearest) = nearest.copied() else { break };
        left.remove(&nearest);
        taken[nearest.1] = true;
    }
    let mut taken = taken.into_iter();
    rest.into_iter().filter(|_| taken.next() == Some(true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(count: usize) -> Vec<Item> {
        (0..count)
            .map(|place| Item { text: format!("{place}{}", "x".repeat(place * 37 % 101)), query: None })
            .collect()
    }

    fn mean_length(documents: &[Item]) -> f64 {
        documents.iter().map(|one| one.text.len()).sum::<usize>() as f64 / documents.len() as f64
    }

    #[test]
    fn halves_share_nothing_but_their_mix_of_lengths() {
        let all = documents(200);
        let (chosen, fresh) = apart(all.clone(), None, 16);
        assert_eq!((chosen.len(), fresh.len()), (100, 100));
        assert!(chosen.iter().all(|one| !fresh.contains(one)));
        assert!((mean_length(&chosen) / mean_length(&fresh) - 1.0).abs() < 0.01);
        let longest = all.iter().max_by_key(|one| one.text.len()).unwrap();
        assert!(chosen.contains(longest));
        let place = |one: &Item| all.iter().position(|other| other == one).unwrap();
        assert!(fresh.is_sorted_by_key(place) && chosen.is_sorted_by_key(place));
    }

    #[test]
    fn the_first_keep_their_place_and_as_many_others_are_fresh() {
        let all = documents(200);
        let (chosen, fresh) = apart(all.clone(), Some(32), 512);
        assert_eq!((chosen.as_slice(), fresh.len()), (&all[..32], 32));
        assert!(fresh.iter().all(|one| all[32..].contains(one)));
        assert!((mean_length(&chosen) / mean_length(&fresh) - 1.0).abs() < 0.03);
    }

    #[test]
    fn few_documents_are_not_divided() {
        for (count, first, largest_batch) in
            [(63, None, 1), (100, None, 32), (50, Some(32), 1), (100, Some(90), 1)]
        {
            let all = documents(count);
            let (chosen, fresh) = apart(all.clone(), first, largest_batch);
            assert_eq!(chosen, all[..first.unwrap_or(count)]);
            assert!(fresh.is_empty(), "{count} {first:?} {largest_batch}");
        }
    }
}
