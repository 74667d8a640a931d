//! A batch as one row of words that the kernels read: ids, types and positions of tokens, starts and lengths of sequences.

use crate::backend::{BackendError, Batch};
use crate::model::graph::{Graph, Operation};

/// How many rows the tables have that words of a batch point into: a kernel doesn't look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    words: usize,
    types: usize,
    positions: usize,
}

impl Tables {
    pub fn of(graph: &Graph) -> Tables {
        let mut tables = Tables { words: usize::MAX, types: usize::MAX, positions: graph.most_tokens };
        for operation in &graph.operations {
            if let Operation::Embedding { words, positions, types } = operation {
                tables.words = tables.words.min(words.shape[0]);
                tables.types = tables.types.min(types.as_ref().map_or(usize::MAX, |types| types.shape[0]));
                let rows = positions.as_ref().map(|at| at.table.shape[0].saturating_sub(at.first));
                tables.positions = tables.positions.min(rows.unwrap_or(usize::MAX));
            }
        }
        tables
    }
}

/// Where the parts lie, in words from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Tokens, those of padding counted.
    pub tokens: usize,
    /// Where the tokens of each sequence lie.
    pub sequences: Vec<std::ops::Range<usize>>,
    pub longest: usize,
}

impl Layout {
    const WORD: u64 = size_of::<u32>() as u64;

    pub fn ids(&self, address: u64) -> u64 {
        address
    }

    pub fn types(&self, address: u64) -> u64 {
        address + self.tokens as u64 * Self::WORD
    }

    pub fn positions(&self, address: u64) -> u64 {
        address + 2 * self.tokens as u64 * Self::WORD
    }

    pub fn starts(&self, address: u64) -> u64 {
        address + 3 * self.tokens as u64 * Self::WORD
    }

    pub fn lengths(&self, address: u64) -> u64 {
        self.starts(address) + self.sequences.len() as u64 * Self::WORD
    }
}

/// Memory for the words, used again from batch to batch.
#[derive(Debug, Default)]
pub struct Words {
    words: Vec<u32>,
}

impl Words {
    pub fn fill(&mut self, batch: &Batch, tables: &Tables) -> Result<Layout, BackendError> {
        // A kernel over nothing can't be launched: a token of padding that nobody reads is always there.
        let tokens = batch.ids.len().max(1);
        let sequences: Vec<_> = batch.rows().collect();
        let longest = batch.lengths.iter().copied().max().unwrap_or(0);
        let missing = |what: &str, row: usize| {
            Err(BackendError::Failed(format!("a batch with a {what} {row}, for which the table has no row")))
        };
        if let Some(id) = batch.ids.iter().find(|id| **id as usize >= tables.words) {
            return missing("word", *id as usize);
        }
        if let Some(kind) = batch.types.iter().find(|kind| **kind as usize >= tables.types) {
            return missing("type", *kind as usize);
        }
        if longest > tables.positions {
            return missing("position", longest - 1);
        }
        let words = &mut self.words;
        words.clear();
        for part in [&batch.ids, &batch.types] {
            words.extend_from_slice(part);
            words.resize(words.len() + tokens - part.len(), 0);
        }
        let positions = words.len();
        words.resize(positions + tokens, 0);
        for sequence in &sequences {
            let own = &mut words[positions + sequence.start..positions + sequence.end];
            own.iter_mut().zip(0..).for_each(|(word, position)| *word = position);
        }
        words.extend(sequences.iter().map(|sequence| sequence.start as u32));
        words.extend(sequences.iter().map(|sequence| sequence.len() as u32));
        Ok(Layout { tokens, sequences, longest })
    }

    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Encoding;

    fn batch(packed: bool, texts: &[&[u32]]) -> Batch {
        let encoding =
            |ids: &&[u32]| Encoding { ids: ids.to_vec(), types: vec![1; ids.len()], ..Encoding::default() };
        Batch::new(&texts.iter().map(encoding).collect::<Vec<_>>(), packed)
    }

    const TABLES: Tables = Tables { words: 10, types: 2, positions: 3 };

    #[test]
    fn words_lie_where_the_layout_says() {
        let mut words = Words::default();
        for (packed, expected) in [
            (false, vec![5, 0, 6, 7, 1, 0, 1, 1, 0, 0, 0, 1, 0, 2, 1, 2]),
            (true, vec![5, 6, 7, 1, 1, 1, 0, 0, 1, 0, 1, 1, 2]),
        ] {
            let layout = words.fill(&batch(packed, &[&[5], &[6, 7]]), &TABLES).unwrap();
            assert_eq!(words.words, expected);
            let at = |address: u64| words.words[address as usize / 4..].to_vec();
            assert_eq!(at(layout.starts(0)), expected[expected.len() - 4..]);
            assert_eq!(at(layout.lengths(0)), [1, 2]);
            assert_eq!(at(layout.types(0))[0], 1);
            assert_eq!(at(layout.positions(0))[..layout.tokens].last(), Some(&1));
        }
    }

    #[test]
    fn what_no_table_has_never_reaches_a_kernel() {
        let mut words = Words::default();
        let error = |words: &mut Words, ids: &[u32]| {
            words.fill(&batch(true, &[ids]), &TABLES).unwrap_err().to_string()
        };
        assert!(error(&mut words, &[10]).contains("word 10"));
        assert!(error(&mut words, &[1, 2, 3, 4]).contains("position 3"));
        let few = Tables { types: 1, ..TABLES };
        let found = words.fill(&batch(true, &[&[1]]), &few).unwrap_err();
        assert!(found.to_string().contains("type 1"));
    }

    #[test]
    fn texts_without_tokens_leave_one_that_nobody_reads() {
        let layout = Words::default().fill(&batch(true, &[&[], &[]]), &TABLES).unwrap();
        assert_eq!((layout.tokens, layout.longest), (1, 0));
        assert_eq!(layout.sequences, [0..0, 0..0]);
    }
}
