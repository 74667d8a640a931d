//! A batch as the integers that a graph reads. Its memory is used again from batch to batch.

use super::engine::{Given, Numbers};
use super::lower::Input;
use super::sizes::Sizes;
use crate::backend::{Batch, Layout};

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
    }

    pub fn sizes(&self) -> Sizes {
        let Feed { packed, longest, texts, tokens, .. } = *self;
        Sizes { packed, longest, texts, tokens: if packed { tokens } else { texts * longest } }
    }

    pub fn given(&self, input: Input) -> Given<'_> {
        let numbers = match input {
            Input::Ids => &self.ids[..],
            Input::Mask => &self.mask,
            Input::Types => &self.types,
            Input::Positions => &self.positions,
            Input::PaddedRows => &self.padded_rows,
            Input::PackedRows => &self.packed_rows,
            // Only graphs for GPUs ask for others.
            _ => &[][..],
        };
        let shape =
            if input.is_packed(self.packed) { vec![self.tokens] } else { vec![self.texts, self.longest] };
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
            .map(|ids| Encoding { ids: ids.to_vec(), types: vec![1; ids.len()], offsets: vec![] })
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
