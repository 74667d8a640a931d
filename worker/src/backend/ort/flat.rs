//! A batch as rows that lie one behind the other, as attention on GPUs takes it, and as bytes that travel in one piece.
//! Its memory is used again from batch to batch.

use super::engine::{Given, Numbers};
use super::lower::{GRAIN, Input};
use super::sizes::Sizes;
use crate::backend::{Batch, Layout};

/// Where inputs begin in the bytes of a batch: what a GPU's widest loads want.
const ALIGNED: usize = 256;

/// Rows are tokens, and in a padded batch padding as well: of each text the run of its tokens, and behind it a run of its
/// padding, which attends to itself and is read by nobody. So both layouts are one to the operator, and a padded batch
/// measures the same whatever its texts' lengths are.
#[derive(Debug, Default)]
pub struct Flat {
    pub sizes: Sizes,
    /// Places of the longest text and what fills them up.
    sequence: usize,
    runs: usize,
    ids: Vec<i64>,
    types: Vec<i64>,
    positions: Vec<i64>,
    places: Vec<i64>,
    around: Vec<i64>,
    run_rows: Vec<i64>,
    padded_rows: Vec<i64>,
    first_rows: Vec<i64>,
    last_rows: Vec<i64>,
    offsets: Vec<i32>,
    starts: Vec<i32>,
    shares: Vec<f32>,
    seen: Vec<f32>,
}

impl Flat {
    /// Lays a batch out; `padding` is the token that fills rows up.
    pub fn fill(&mut self, batch: &Batch, padding: u32) {
        let (packed, texts) = (batch.layout == Layout::Packed, batch.lengths.len());
        // A graph can't run over nothing.
        let longest = batch.lengths.iter().copied().max().unwrap_or(0).max(1);
        self.sequence = longest.next_multiple_of(GRAIN);
        for numbers in [&mut self.ids, &mut self.types, &mut self.positions, &mut self.places] {
            numbers.clear();
        }
        for numbers in [&mut self.padded_rows, &mut self.first_rows, &mut self.last_rows, &mut self.around] {
            numbers.clear();
        }
        self.places.extend(0..self.sequence as i64);
        self.around.extend(-(self.sequence as i64)..=self.sequence as i64);
        self.starts.clear();
        self.starts.push(0);
        [&mut self.shares, &mut self.seen].into_iter().for_each(Vec::clear);
        for row in batch.rows() {
            let (start, length) = (self.ids.len(), row.len());
            self.ids.extend(batch.ids[row.clone()].iter().map(|id| i64::from(*id)));
            self.types.extend(batch.types[row].iter().map(|kind| i64::from(*kind)));
            self.starts.push(self.ids.len() as i32);
            if !packed {
                self.ids.resize(start + longest, i64::from(padding));
                self.types.resize(start + longest, 0);
                self.starts.push(self.ids.len() as i32);
            }
            self.positions.extend(0..(self.ids.len() - start) as i64);
            let fill = self.sequence - length;
            self.padded_rows.extend((0..length).map(|place| (start + place) as i64));
            self.padded_rows.resize(self.padded_rows.len() + fill, 0);
            self.shares.resize(self.shares.len() + length, (length.max(1) as f32).recip());
            self.shares.resize(self.shares.len() + fill, 0.0);
            // Any row will do for a text without tokens.
            let [first, last] = if length == 0 { [0, 0] } else { [start, start + length - 1] };
            self.first_rows.push(first as i64);
            self.last_rows.push(last as i64);
            self.seen.push(if length == 0 { 0.0 } else { 1.0 });
        }
        if self.ids.is_empty() {
            // A token of padding that nobody reads, in the last run.
            self.ids.push(i64::from(padding));
            self.types.push(0);
            self.positions.push(0);
            self.starts.iter_mut().skip(1).next_back().into_iter().for_each(|end| *end = 1);
        }
        self.runs = self.starts.len() - 1;
        self.spread();
        self.sizes = Sizes { packed, longest, texts, tokens: self.ids.len(), words: 0 };
    }

    /// For each place of the grid its row; and the places, those that hold rows first.
    fn spread(&mut self) {
        self.offsets.clear();
        self.run_rows.clear();
        for (number, run) in self.starts.windows(2).enumerate() {
            self.run_rows.extend((run[0]..run[1]).map(i64::from));
            self.run_rows.resize((number + 1) * self.sequence, 0);
        }
        let sequence = self.sequence as i32;
        let lengths = || self.starts.windows(2).map(|run| run[1] - run[0]).enumerate();
        for (run, length) in lengths() {
            self.offsets.extend((0..length).map(|place| run as i32 * sequence + place));
        }
        for (run, length) in lengths() {
            self.offsets.extend((length..sequence).map(|place| run as i32 * sequence + place));
        }
    }

    pub fn given(&self, input: Input) -> Given<'_> {
        let (texts, tokens) = (self.sizes.texts, self.sizes.tokens);
        let (numbers, shape) = match input {
            Input::Ids => (Numbers::Long(&self.ids), vec![tokens]),
            Input::Types => (Numbers::Long(&self.types), vec![tokens]),
            Input::Positions => (Numbers::Long(&self.positions), vec![tokens]),
            Input::PaddedRows => (Numbers::Long(&self.padded_rows), vec![texts, self.sequence]),
            Input::Places => (Numbers::Long(&self.places), vec![1, self.sequence]),
            Input::Around => (Numbers::Long(&self.around), vec![2 * self.sequence + 1]),
            Input::RunRows => (Numbers::Long(&self.run_rows), vec![self.runs, self.sequence]),
            Input::FirstRows => (Numbers::Long(&self.first_rows), vec![texts]),
            Input::LastRows => (Numbers::Long(&self.last_rows), vec![texts]),
            Input::Offsets => (Numbers::Int(&self.offsets), vec![self.runs, self.sequence]),
            Input::Starts => (Numbers::Int(&self.starts), vec![self.runs + 1]),
            Input::Shares => (Numbers::Float(&self.shares), vec![texts, 1, self.sequence]),
            Input::Seen => (Numbers::Float(&self.seen), vec![texts, 1]),
            // No graph for a GPU asks for them.
            Input::Mask
            | Input::PackedRows
            | Input::WordRows
            | Input::WordSeen
            | Input::WordCounts
            | Input::LabelRows
            | Input::SpanEnds(_) => (Numbers::Long(&[]), vec![0]),
        };
        Given { name: input.name(), shape, numbers }
    }

    /// Writes inputs one behind the other, as they travel, and says where each begins.
    pub fn lay_out(&self, inputs: &[Input], bytes: &mut Vec<u8>) -> Vec<usize> {
        bytes.clear();
        let lay = |input: &Input| {
            let start = bytes.len().next_multiple_of(ALIGNED);
            bytes.resize(start, 0);
            bytes.extend_from_slice(self.given(*input).numbers.bytes());
            start
        };
        inputs.iter().map(lay).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Encoding;

    fn filled(packed: bool, texts: &[&[u32]]) -> Flat {
        let encode =
            |ids: &&[u32]| Encoding { ids: ids.to_vec(), types: vec![1; ids.len()], ..Encoding::default() };
        let encodings: Vec<Encoding> = texts.iter().map(encode).collect();
        let mut flat = Flat::default();
        // What a batch before has left is no part of this one.
        flat.fill(&Batch::new(&encodings, !packed), 7);
        flat.fill(&Batch::new(&encodings, packed), 9);
        flat
    }

    fn bytes_of(flat: &Flat, input: Input) -> usize {
        let given = flat.given(input);
        let size = if given.numbers.element() == super::super::onnx::Element::Int64 { 8 } else { 4 };
        assert_eq!(given.numbers.bytes().len(), given.shape.iter().product::<usize>() * size, "{input:?}");
        size
    }

    #[test]
    fn packed_texts_are_runs_of_tokens() {
        let flat = filled(true, &[&[5], &[6, 7], &[]]);
        assert_eq!((flat.ids.as_slice(), flat.positions.as_slice()), (&[5, 6, 7][..], &[0, 0, 1][..]));
        assert_eq!(flat.starts, [0, 1, 3, 3]);
        // Three runs of sixteen places: tokens at 0, 16 and 17, and then all the others in their order.
        assert_eq!(flat.offsets[..4], [0, 16, 17, 1]);
        let mut all = flat.offsets.clone();
        all.sort_unstable();
        assert_eq!(all, (0..48).collect::<Vec<i32>>());
        assert_eq!((flat.first_rows.as_slice(), flat.last_rows.as_slice()), (&[0, 1, 0][..], &[0, 2, 0][..]));
        assert_eq!(flat.seen, [1.0, 1.0, 0.0]);
        assert_eq!(flat.shares[..3], [1.0, 0.0, 0.0]);
        assert_eq!(flat.shares[16..19], [0.5, 0.5, 0.0]);
        assert_eq!(flat.shares[32..], [0.0; 16]);
        assert_eq!(flat.padded_rows[16..19], [1, 2, 0]);
    }

    #[test]
    fn padding_is_a_run_of_its_own_behind_each_text() {
        let flat = filled(false, &[&[5], &[6, 7], &[]]);
        assert_eq!(flat.ids, [5, 9, 6, 7, 9, 9]);
        assert_eq!(flat.types, [1, 0, 1, 1, 0, 0]);
        assert_eq!(flat.positions, [0, 1, 0, 1, 0, 1]);
        assert_eq!(flat.starts, [0, 1, 2, 4, 4, 4, 6]);
        assert_eq!(flat.offsets[..6], [0, 16, 32, 33, 80, 81]);
        assert_eq!((flat.first_rows.as_slice(), flat.last_rows.as_slice()), (&[0, 2, 0][..], &[0, 3, 0][..]));
        // The shapes of another batch with as many texts and as long a one are the same.
        let other = filled(false, &[&[1, 2], &[3, 4], &[5, 6]]);
        for input in
            [Input::Ids, Input::PaddedRows, Input::Offsets, Input::Starts, Input::Shares, Input::Seen]
        {
            assert_eq!(flat.given(input).shape, other.given(input).shape);
            bytes_of(&flat, input);
        }
        assert_eq!(flat.sizes, other.sizes);
    }

    #[test]
    fn texts_without_tokens_leave_something_to_run_over() {
        for packed in [false, true] {
            let flat = filled(packed, &[&[], &[]]);
            assert!(!flat.ids.is_empty() && flat.ids.iter().all(|id| *id == 9));
            assert_eq!(flat.starts.last(), Some(&(flat.ids.len() as i32)));
            assert_eq!(flat.seen, [0.0, 0.0]);
            for input in [Input::Ids, Input::Positions, Input::Offsets, Input::Starts, Input::PaddedRows] {
                bytes_of(&flat, input);
            }
        }
    }

    #[test]
    fn inputs_travel_one_behind_the_other() {
        let flat = filled(false, &[&[5], &[6, 7]]);
        let mut bytes = vec![1; 10_000];
        let starts = flat.lay_out(&[Input::Ids, Input::Starts], &mut bytes);
        assert_eq!((starts.as_slice(), bytes.len()), (&[0, 256][..], 276));
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, i64>(&bytes[..32]), [5, 9, 6, 7]);
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, i32>(&bytes[256..]), [0, 1, 2, 4, 4]);
        assert!(bytes[32..256].iter().all(|byte| *byte == 0));
    }
}
