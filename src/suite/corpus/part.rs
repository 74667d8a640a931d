//! A part of the documents that stands for all: as long and as short ones, in the same shares.

use crate::item::Item;

/// So many documents, at most all, in their order: of equal groups by length the one in the middle, and the longest of all in place
/// of the last, since memory must be tried with it.
pub fn part(documents: &[Item], count: usize) -> Vec<Item> {
    let by_length = by_length(documents);
    let count = count.min(documents.len());
    let middle = |group: usize| (2 * group + 1) * documents.len() / (2 * count);
    let mut chosen: Vec<usize> = (0..count).map(|group| by_length[middle(group)]).collect();
    if let (Some(last), Some(longest)) = (chosen.last_mut(), by_length.last()) {
        *last = *longest;
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|place| documents[place].clone()).collect()
}

/// The places of documents, the shortest first.
pub fn by_length(documents: &[Item]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..documents.len()).collect();
    places.sort_by_key(|place| bytes(&documents[*place]));
    places
}

/// The length of all that a model is given of a document.
pub fn bytes(document: &Item) -> usize {
    document.text.len() + document.query.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(lengths: impl Iterator<Item = usize>) -> Vec<Item> {
        lengths.map(|words| Item { text: "word ".repeat(words), query: None }).collect()
    }

    fn lengths(documents: &[Item]) -> Vec<usize> {
        documents.iter().map(super::bytes).collect()
    }

    #[test]
    fn a_part_has_the_mix_of_lengths_the_order_and_the_longest() {
        // Out of order, and with one that is far longer than the others.
        let all = documents((0..1000).map(|place| if place == 500 { 5000 } else { place * 7 % 100 + 1 }));
        let some = part(&all, 50);
        assert_eq!(some.len(), 50);
        let mean = |documents: &[Item]| {
            let short: Vec<usize> = lengths(documents).into_iter().filter(|bytes| *bytes < 5000).collect();
            short.iter().sum::<usize>() as f64 / short.len() as f64
        };
        assert!((mean(&some) / mean(&all) - 1.0).abs() < 0.03, "{} and {}", mean(&some), mean(&all));
        assert_eq!(lengths(&some).into_iter().max(), Some(25_000));
        let places: Vec<usize> =
            some.iter().map(|one| all.iter().position(|other| other == one).unwrap()).collect();
        assert!(lengths(&some).windows(2).any(|pair| pair[0] > pair[1]), "by length: {places:?}");
    }

    #[test]
    fn a_part_as_large_as_all_is_all() {
        let all = documents([3, 1, 2].into_iter());
        assert_eq!(part(&all, 3), all);
        assert_eq!(part(&all, 10), all);
        assert_eq!(lengths(&part(&all, 1)), [15]);
        assert!(part(&[], 5).is_empty() && part(&all, 0).is_empty());
    }
}
