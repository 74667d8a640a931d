//! Documents made from a seed: for load, where words don't matter.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};
use rand_pcg::Pcg64;

use crate::item::Item;

/// Lengths are log-normal, as those of real texts nearly are.
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    pub documents: usize,
    pub median_words: f64,
    /// Standard deviation of the logarithm of the number of words.
    pub spread: f64,
    pub most_words: usize,
    /// Queries, each shared by as many documents as any other; none for tasks that need none.
    pub queries: usize,
    pub seed: u64,
}

impl Synthetic {
    /// Makes the same documents on every machine.
    pub fn documents(&self) -> Vec<Item> {
        let mut random = Pcg64::seed_from_u64(self.seed);
        let vocabulary = vocabulary(&mut random);
        let lengths = LogNormal::new(self.median_words.ln(), self.spread);
        let queries: Vec<_> = (0..self.queries).map(|_| sentence(&vocabulary, 6, &mut random)).collect();
        (0..self.documents)
            .map(|index| {
                let words = lengths.map_or(self.median_words, |lengths| lengths.sample(&mut random));
                let words = (words.round() as usize).clamp(1, self.most_words);
                let query = queries.get(index * self.queries / self.documents.max(1)).cloned();
                Item { text: sentence(&vocabulary, words, &mut random), query }
            })
            .collect()
    }
}

/// What the words of synthetic documents are made of.
pub const SYLLABLES: [&str; 24] = [
    "ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "za", "bre", "cla",
    "dri", "flo", "gru", "pla", "ste", "tri", "zen",
];

/// Two thousand words of two to four syllables.
fn vocabulary(random: &mut Pcg64) -> Vec<String> {
    (0..2000)
        .map(|_| {
            let syllables = random.random_range(2..=4);
            (0..syllables).filter_map(|_| SYLLABLES.choose(random)).copied().collect()
        })
        .collect()
}

fn sentence(vocabulary: &[String], words: usize, random: &mut Pcg64) -> String {
    // The square of a uniform draw prefers the front of the list: some words are frequent, most are rare.
    let draw = |random: &mut Pcg64| {
        let place: f64 = random.random();
        vocabulary[((place * place * vocabulary.len() as f64) as usize).min(vocabulary.len() - 1)].as_str()
    };
    (0..words).map(|_| draw(random)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synthetic() -> Synthetic {
        Synthetic { documents: 400, median_words: 50.0, spread: 0.6, most_words: 200, queries: 4, seed: 1 }
    }

    #[test]
    fn synthetic_documents_have_the_lengths_that_were_asked_for() {
        let documents = synthetic().documents();
        let mut lengths: Vec<_> = documents.iter().map(|document| document.text.split(' ').count()).collect();
        lengths.sort_unstable();
        assert_eq!(documents.len(), 400);
        assert!((40..60).contains(&lengths[200]), "median {}", lengths[200]);
        assert!(lengths[399] <= 200 && lengths[0] >= 1 && lengths[20] < 25 && lengths[380] > 100);
        assert_eq!(documents, synthetic().documents());
        assert_ne!(documents, Synthetic { seed: 2, ..synthetic() }.documents());
    }

    #[test]
    fn queries_are_shared_out_evenly() {
        let documents = synthetic().documents();
        let mut queries: Vec<_> = documents.iter().map(|document| document.query.clone().unwrap()).collect();
        assert_eq!(queries.iter().filter(|query| **query == queries[0]).count(), 100);
        queries.dedup();
        assert_eq!(queries.len(), 4);
    }
}
