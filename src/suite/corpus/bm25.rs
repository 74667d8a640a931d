//! A search by words, for what a reranker is given and for how hard a corpus is.

use std::collections::HashMap;

/// How soon more of a word adds nothing, and how much long documents are held back: as Anserini has them for short passages.
const K1: f64 = 0.9;
const B: f64 = 0.4;

pub struct Bm25 {
    /// For each word the documents that have it, with how often.
    postings: HashMap<String, Vec<(usize, f64)>>,
    /// What each document's length divides by.
    norms: Vec<f64>,
}

impl Bm25 {
    pub fn new<'a>(documents: impl Iterator<Item = &'a str>) -> Bm25 {
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (document, text) in documents.enumerate() {
            let mut length = 0.0;
            for word in words(text) {
                length += 1.0;
                let found = postings.entry(word).or_default();
                match found.last_mut() {
                    Some((last, count)) if *last == document => *count += 1.0,
                    _ => found.push((document, 1.0)),
                }
            }
            lengths.push(length);
        }
        let mean = lengths.iter().sum::<f64>() / (lengths.len() as f64).max(1.0);
        let norms = lengths.iter().map(|length| K1 * (1.0 - B + B * length / mean.max(1.0))).collect();
        Bm25 { postings, norms }
    }

    /// The best documents that have a word of the query, the best first.
    pub fn search(&self, query: &str, count: usize) -> Vec<usize> {
        let mut scores: HashMap<usize, f64> = HashMap::new();
        for word in words(query) {
            let Some(found) = self.postings.get(&word) else { continue };
            let (all, with) = (self.norms.len() as f64, found.len() as f64);
            let rarity = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            for (document, often) in found {
                *scores.entry(*document).or_default() +=
                    rarity * often * (K1 + 1.0) / (often + self.norms[*document]);
            }
        }
        let mut found: Vec<(usize, f64)> = scores.into_iter().collect();
        found.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        found.into_iter().take(count).map(|(document, _)| document).collect()
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_and_short_documents_come_first() {
        let index =
            Bm25::new(["the hut in the snow", "Snow!", "the tram, the tram, the hut", "the"].into_iter());
        assert_eq!(index.search("SNOW", 10), [1, 0]);
        assert_eq!(index.search("the snow", 1), [0]);
        assert_eq!(index.search("hut", 1).len(), 1);
        assert!(index.search("bread", 10).is_empty());
    }
}
