//! The fake's "network": answers that depend on every token, so that truncation costs quality as it does in life.

use crate::backend::Legend;
use crate::model::Encoding;
use crate::task::Task;

/// Width of the vectors, and the number of labels to choose from.
const WIDTH: usize = 32;
const LABELS: usize = 5;

/// One token a word, the query's first. An id is the hash of the word and never zero, which is padding.
pub fn words(query: Option<&str>, text: &str, limit: usize) -> Encoding {
    let start = text.as_ptr() as usize;
    let of_query = query.into_iter().flat_map(str::split_whitespace).map(|word| (word, None));
    let of_text = text.split_whitespace().map(|word| (word, Some(word.as_ptr() as usize - start)));
    let mut encoding = Encoding::default();
    for (word, offset) in of_query.chain(of_text).take(limit) {
        encoding.ids.push(mix(word.bytes().fold(0, |hash, byte| mix(hash ^ u32::from(byte)))) | 1);
        encoding.types.push(u32::from(query.is_some() && offset.is_some()));
        encoding.offsets.push(offset.map_or((0, 0), |offset| (offset, offset + word.len())));
    }
    encoding
}

pub fn legend(task: Task) -> Legend {
    let labels = match task {
        Task::Classify => (0..LABELS).map(|label| label.to_string()).collect(),
        Task::Entities => vec!["O".to_owned(), "entity".to_owned()],
        _ => Vec::new(),
    };
    Legend { labels, ..Legend::default() }
}

/// What the network says of one row. A wrong network says something else of the same length.
pub fn answer(task: Task, ids: &[u32], wrong: bool) -> Vec<f32> {
    let ids = ids.iter().map(|&id| if wrong { mix(id ^ 0x5eed) } else { id });
    match task {
        // Two numbers a token: the second is higher inside of an entity.
        Task::Entities => {
            ids.flat_map(|id| [0.0, if mix(id).is_multiple_of(5) { 1.0 } else { -1.0 }]).collect()
        }
        Task::Sparse => ids.map(|id| mix(id) as f32 / u32::MAX as f32).collect(),
        Task::MultiVector => ids.flat_map(|id| bag(std::iter::once(id))).collect(),
        Task::Embed => bag(ids).to_vec(),
        Task::Classify => bag(ids)[..LABELS].to_vec(),
        Task::Rerank => bag(ids)[..1].to_vec(),
    }
}

/// A normalised bag of words, each in a direction of its own.
fn bag(ids: impl Iterator<Item = u32>) -> [f32; WIDTH] {
    let mut sum = [0f32; WIDTH];
    for id in ids {
        for (place, number) in sum.iter_mut().enumerate() {
            let bits = mix(id ^ (place as u32).wrapping_mul(0x9e37_79b9));
            *number += bits as f32 / u32::MAX as f32 - 0.5;
        }
    }
    let norm = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
    if norm > 0.0 { sum.map(|number| number / norm) } else { sum }
}

/// A bijection of 32 bits that spreads near inputs far apart (the finaliser of MurmurHash3).
fn mix(mut bits: u32) -> u32 {
    bits ^= bits >> 16;
    bits = bits.wrapping_mul(0x85eb_ca6b);
    bits ^= bits >> 13;
    bits = bits.wrapping_mul(0xc2b2_ae35);
    bits ^ bits >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_tokens_with_their_place_in_the_text() {
        let encoding = words(None, " é b  é", 10);
        assert_eq!(encoding.offsets, [(1, 3), (4, 5), (7, 9)]);
        assert_eq!(encoding.ids[0], encoding.ids[2]);
        assert_ne!(encoding.ids[0], encoding.ids[1]);
        assert_eq!(words(None, " é b  é", 1).ids.len(), 1);
        let pair = words(Some("why"), "so", 10);
        assert_eq!((pair.offsets, pair.types), (vec![(0, 0), (0, 2)], vec![0, 1]));
    }

    #[test]
    fn a_wrong_network_points_elsewhere() {
        let ids = words(None, "the quick brown fox jumps over the lazy dog", 9).ids;
        let cosine = |left: &[f32], right: &[f32]| left.iter().zip(right).map(|(a, b)| a * b).sum::<f32>();
        let right = answer(Task::Embed, &ids, false);
        assert!((cosine(&right, &right) - 1.0).abs() < 1e-6);
        assert!(cosine(&right, &answer(Task::Embed, &ids, true)) < 0.8);
        assert!(cosine(&right, &answer(Task::Embed, &ids[..4], false)) < 0.99);
    }
}
