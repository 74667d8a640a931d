//! A batch as the integers that a graph reads. Its memory is used again from batch to batch.

use super::engine::{Given, Numbers};
use super::lower::Input;
use super::sizes::Sizes;
use crate::backend::{Batch, Layout};
use crate::model::Word;

#[derive(Debug, Default)]
pub struct Feed {
    packed: bool,
    /// Places of the longest text; at least one, since a graph can't run over nothing.
    longest: usize,
    texts: usize,
    tokens: usize,
    ids: Vec<i64>,
    mask: Vec<i64>,
    types: Vec<i64>,
    positions: Vec<i64>,
    padded_rows: Vec<i64>,
    packed_rows: Vec<i64>,
    words: usize,
    word_rows: Vec<i64>,
    word_seen: Vec<f32>,
    word_counts: Vec<i32>,
    label_rows: Vec<i64>,
    span_ends: Vec<i64>,
}

impl Feed {
    /// Lays a batch out; `padding` is the token that fills rows up.
    pub fn fill(&mut self, batch: &Batch, padding: u32) {
        self.packed = batch.layout == Layout::Packed;
        self.texts = batch.lengths.len();
        self.longest = batch.lengths.iter().copied().max().unwrap_or(0).max(1);
        for numbers in [&mut self.ids, &mut self.types, &mut self.mask, &mut self.positions] {
            numbers.clear();
        }
        self.padded_rows.clear();
        self.packed_rows.clear();
        let places = self.texts * self.longest;
        for row in batch.rows() {
            let fill = self.longest - row.len();
            self.ids.extend(batch.ids[row.clone()].iter().map(|id| i64::from(*id)));
            self.types.extend(batch.types[row.clone()].iter().map(|kind| i64::from(*kind)));
            if self.packed {
                let (token, place) = (self.packed_rows.len() as i64, self.mask.len() as i64);
                self.positions.extend(0..row.len() as i64);
                self.packed_rows.extend((0..row.len() as i64).map(|at| place + at));
                self.padded_rows.extend((0..row.len() as i64).map(|at| token + at));
                self.padded_rows.resize(self.padded_rows.len() + fill, 0);
            } else {
                self.ids.resize(self.ids.len() + fill, i64::from(padding));
                self.types.resize(self.types.len() + fill, 0);
            }
            self.mask.resize(self.mask.len() + row.len(), 1);
            self.mask.resize(self.mask.len() + fill, 0);
        }
        debug_assert_eq!(self.mask.len(), places);
        if self.packed && self.ids.is_empty() {
            // A token of padding that nobody sees, for the places of empty texts to hold.
            self.ids.push(i64::from(padding));
            for numbers in [&mut self.types, &mut self.positions, &mut self.packed_rows] {
                numbers.push(0);
            }
        }
        self.tokens = self.ids.len();
        self.mark(batch);
    }

    /// Which rows stand for words and for labels. There is always a word, since a graph can't run over nothing.
    fn mark(&mut self, batch: &Batch) {
        [&mut self.word_rows, &mut self.label_rows, &mut self.span_ends].into_iter().for_each(Vec::clear);
        self.word_counts.clear();
        self.word_seen.clear();
        self.words = batch.marks.iter().map(|marks| marks.words.len()).max().unwrap_or(0).max(1);
        let mut first = 0;
        for (number, (marks, length)) in batch.marks.iter().zip(&batch.lengths).enumerate() {
            let row = |word: &Word| word.token.map_or(0, |token| first + i64::from(token));
            self.word_rows.extend(marks.words.iter().map(row));
            self.word_rows.resize((number + 1) * self.words, 0);
            self.word_seen.extend(marks.words.iter().map(|word| f32::from(word.token.is_some())));
            self.word_seen.resize((number + 1) * self.words, 0.0);
            self.word_counts.push(marks.words.len().max(1) as i32);
            self.label_rows.extend(marks.labels.iter().map(|token| first + i64::from(*token)));
            first += if self.packed { *length } else { self.longest } as i64;
        }
    }

    /// Makes what depends on how long spans are.
    pub fn spread(&mut self, inputs: &[Input]) {
        let widths = inputs.iter().find_map(|input| match input {
            Input::SpanEnds(width) => Some(*width),
            _ => None,
        });
        let Some(width) = widths else { return };
        let last = self.words - 1;
        let ends = (0..=last).flat_map(|word| (word..word + width).map(|end| end.min(last) as i64));
        self.span_ends.clear();
        self.span_ends.extend(ends);
    }

    pub fn sizes(&self) -> Sizes {
        let Feed { packed, longest, texts, tokens, words, .. } = *self;
        Sizes { packed, longest, texts, tokens: if packed { tokens } else { texts * longest }, words }
    }

    pub fn given(&self, input: Input) -> Given<'_> {
        let numbers = match input {
            Input::Ids => &self.ids[..],
            Input::Mask => &self.mask,
            Input::Types => &self.types,
            Input::Positions => &self.positions,
            Input::PaddedRows => &self.padded_rows,
            Input::PackedRows => &self.packed_rows,
            Input::WordRows => &self.word_rows,
            Input::LabelRows => &self.label_rows,
            Input::SpanEnds(_) => &self.span_ends,
            // Only graphs for GPUs ask for others.
            _ => &[][..],
        };
        let shape = match input {
            Input::WordCounts => {
                let (name, numbers) = (input.name(), Numbers::Int(&self.word_counts));
                return Given { name, shape: vec![self.texts], numbers };
            }
            Input::WordSeen => {
                let (name, numbers) = (input.name(), Numbers::Float(&self.word_seen));
                return Given { name, shape: vec![self.word_seen.len(), 1], numbers };
            }
            Input::WordRows => vec![self.texts, self.words],
            Input::LabelRows => vec![self.texts, self.label_rows.len() / self.texts.max(1)],
            Input::SpanEnds(width) => vec![self.words, width],
            _ if input.is_packed(self.packed) => vec![self.tokens],
            _ => vec![self.texts, self.longest],
        };
        Given { name: input.name(), shape, numbers: Numbers::Long(numbers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Encoding;

    fn batch(packed: bool, texts: &[&[u32]]) -> Batch {
        let encodings: Vec<Encoding> = texts
            .iter()
            .map(|ids| Encoding { ids: ids.to_vec(), types: vec![1; ids.len()], ..Encoding::default() })
            .collect();
        Batch::new(&encodings, packed)
    }

    fn longs(feed: &Feed, input: Input) -> Vec<i64> {
        bytemuck::pod_collect_to_vec(feed.given(input).numbers.bytes())
    }

    #[test]
    fn padded_rows_are_filled_up_with_the_models_own_token() {
        let mut feed = Feed::default();
        feed.fill(&batch(false, &[&[5], &[6, 7], &[]]), 9);
        assert_eq!(longs(&feed, Input::Ids), [5, 9, 6, 7, 9, 9]);
        assert_eq!(longs(&feed, Input::Types), [1, 0, 1, 1, 0, 0]);
        assert_eq!(longs(&feed, Input::Mask), [1, 0, 1, 1, 0, 0]);
        assert_eq!(feed.given(Input::Ids).shape, [3, 2]);
    }

    #[test]
    fn packed_rows_know_their_places_and_places_their_rows() {
        let mut feed = Feed::default();
        feed.fill(&batch(true, &[&[5], &[6, 7], &[]]), 9);
        assert_eq!((longs(&feed, Input::Ids), feed.given(Input::Ids).shape), (vec![5, 6, 7], vec![3]));
        assert_eq!(longs(&feed, Input::Positions), [0, 0, 1]);
        assert_eq!(longs(&feed, Input::PackedRows), [0, 2, 3]);
        assert_eq!(longs(&feed, Input::PaddedRows), [0, 0, 1, 2, 0, 0]);
        assert_eq!(feed.given(Input::Mask).shape, [3, 2]);
    }

    #[test]
    fn texts_without_tokens_leave_something_to_run_over() {
        let mut feed = Feed::default();
        for packed in [false, true] {
            feed.fill(&batch(packed, &[&[], &[]]), 9);
            assert!(longs(&feed, Input::Ids).iter().all(|id| *id == 9));
            assert_eq!((longs(&feed, Input::Mask), feed.longest), (vec![0, 0], 1));
        }
    }
}
