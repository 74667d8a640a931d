//! The batches of a corpus, as the pipeline makes them, as far as their cost depends on them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::backend::{Batch, Layout};
use crate::item::Item;
use crate::model::graph::Rows;
use crate::model::{Encoding, Marks, Tokenise};
use crate::pipeline::{self, Settings};

/// A batch without its words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// Tokens, those of padding counted.
    pub places: usize,
    /// Tokens of each sequence without its padding.
    pub lengths: Vec<usize>,
    /// Which of them stand for words and for labels.
    pub marks: Vec<Marks>,
}

impl Shape {
    pub fn of(batch: &Batch) -> Shape {
        Shape { places: batch.ids.len(), lengths: batch.lengths.clone(), marks: batch.marks.clone() }
    }

    /// How many rows a value has that stand for these.
    pub fn count(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.places,
            Rows::Sequences => self.lengths.len(),
            Rows::Words => self.marks.iter().map(|marks| marks.words.len()).sum(),
            Rows::Labels => self.marks.iter().map(|marks| marks.labels.len()).sum(),
        }
    }

    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// A batch of this shape, with zeros for words.
    pub fn batch(&self, packed: bool) -> Batch {
        let layout = match self.lengths.len() {
            texts if texts > 0 && !packed => Layout::Padded(self.places / texts),
            _ => Layout::Packed,
        };
        let zeros = vec![0; self.places];
        let (lengths, marks) = (self.lengths.clone(), self.marks.clone());
        Batch { ids: zeros.clone(), types: zeros, lengths, layout, marks }
    }
}

/// All that a worker would run of a corpus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batches {
    /// That of the longest documents, which is run before anything is timed.
    pub longest: Option<Shape>,
    /// Those of a pass, in their order.
    pub of_pass: Vec<Shape>,
}

impl Batches {
    pub fn of(documents: &[Item], settings: &Settings, tokeniser: &dyn Tokenise) -> Result<Batches, String> {
        let longest = pipeline::longest_batch(documents, settings, tokeniser)?;
        let mut of_pass = Vec::new();
        pipeline::batches(documents, settings, tokeniser, |batch| of_pass.push(Shape::of(batch)))?;
        Ok(Batches { longest: longest.as_ref().map(Shape::of), of_pass })
    }
}

/// What texts have become, so that each is tokenised once however often it's put into batches.
pub type Seen = HashMap<(Option<String>, String), (usize, Marks)>;

/// A tokeniser that remembers how many tokens a text has and which of them are marked, and no more of it.
pub struct Remembering<'a> {
    tokeniser: &'a dyn Tokenise,
    seen: Mutex<&'a mut Seen>,
}

impl<'a> Remembering<'a> {
    pub fn new(tokeniser: &'a dyn Tokenise, seen: &'a mut Seen) -> Self {
        Remembering { tokeniser, seen: Mutex::new(seen) }
    }
}

impl Tokenise for Remembering<'_> {
    fn encode(&self, query: Option<&str>, text: &str) -> Result<Encoding, String> {
        let key = (query.map(str::to_owned), text.to_owned());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, marks) = match seen.get(&key) {
            Some(known) => known.clone(),
            None => {
                let encoding = self.tokeniser.encode(query, text)?;
                let known = (encoding.ids.len(), encoding.marks);
                seen.insert(key, known.clone());
                known
            }
        };
        Ok(Encoding { ids: vec![0; tokens], types: vec![0; tokens], marks, ..Encoding::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_zeros_lies_as_the_one_that_it_stands_for() {
        let text =
            |tokens: usize| Encoding { ids: vec![0; tokens], types: vec![0; tokens], ..Encoding::default() };
        for packed in [false, true] {
            for texts in [vec![], vec![text(3), text(1), text(0)]] {
                let batch = Batch::new(&texts, packed);
                let again = Shape::of(&batch).batch(packed);
                assert!(again.rows().eq(batch.rows()), "{again:?}");
                assert_eq!(again.ids.len(), batch.ids.len());
            }
        }
    }
}
