//! A network that is ready to run, whatever it was made of: what it's given, and how its output is read.

use super::engine::Engine;
use super::lower::Input;
use super::sizes::Sizes;
use crate::backend::{BackendError, Batch};
use crate::model::graph::{Graph, Pooling, Rows};

pub struct Network {
    pub engine: Engine,
    pub inputs: Vec<Input>,
    pub output: String,
    pub reading: Reading,
}

pub enum Reading {
    Lowered { columns: usize, rows: Rows },
    File(FileReading),
}

impl Reading {
    /// Of a lowered graph.
    pub fn lowered(graph: &Graph) -> Reading {
        let output = graph.output();
        Reading::Lowered { columns: graph.columns(output), rows: graph.rows(output) }
    }

    /// How many rows are each text's.
    pub fn lengths(&self, batch: &Batch) -> Vec<usize> {
        match self {
            Reading::Lowered { rows: Rows::Words, .. } => {
                batch.marks.iter().map(|marks| marks.words.len()).collect()
            }
            _ => batch.lengths.clone(),
        }
    }

    /// What the output of a batch measures.
    pub fn shape(&self, sizes: Sizes) -> Vec<usize> {
        match self {
            Reading::File(reading) => reading.shape(sizes),
            Reading::Lowered { columns, rows } => {
                let rows = match rows {
                    Rows::Tokens => sizes.tokens,
                    Rows::Words => sizes.texts * sizes.words,
                    Rows::Sequences | Rows::Labels => sizes.texts,
                };
                vec![rows, *columns]
            }
        }
    }

    /// A row for each text.
    pub fn rows(
        &self,
        floats: &[f32],
        lengths: &[usize],
        sizes: Sizes,
    ) -> Result<Vec<Vec<f32>>, BackendError> {
        let shape = self.shape(sizes);
        if floats.len() != shape.iter().product::<usize>() {
            let floats = floats.len();
            return Err(BackendError::Failed(format!(
                "the graph returned {floats} numbers, expected the shape {shape:?}"
            )));
        }
        let (columns, rows) = match self {
            Reading::File(reading) => return Ok(reading.rows(floats, lengths, sizes)),
            Reading::Lowered { columns, rows } => (*columns, *rows),
        };
        let mut next = 0;
        let row = |length: &usize| {
            let (taken, passed) = match (rows, sizes.packed) {
                (Rows::Sequences | Rows::Labels, _) => (1, 1),
                (Rows::Words, _) => (*length, sizes.words),
                (Rows::Tokens, false) => (*length, sizes.longest),
                (Rows::Tokens, true) => (*length, *length),
            };
            let row = floats[next * columns..(next + taken) * columns].to_vec();
            next += passed;
            row
        };
        Ok(lengths.iter().map(row).collect())
    }
}

/// What an output of a known name holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Answers,
    Vectors,
    Tokens,
}

/// How the output of a file is read.
pub struct FileReading {
    pub holds: Holds,
    pub pooling: Option<Pooling>,
    pub normalise: bool,
    pub by_token: bool,
    /// Columns of an answer: of another width the file is another model's.
    pub width: usize,
}

impl FileReading {
    pub fn shape(&self, sizes: Sizes) -> Vec<usize> {
        match self.holds {
            Holds::Answers | Holds::Vectors if !self.by_token => vec![sizes.texts, self.width],
            _ => vec![sizes.texts, sizes.longest, self.width],
        }
    }

    /// Answers of a batch that was laid out with padding, out of as many floats as the shape says.
    pub fn rows(&self, floats: &[f32], lengths: &[usize], sizes: Sizes) -> Vec<Vec<f32>> {
        let columns = self.width;
        let texts = floats.chunks_exact(floats.len() / sizes.texts).zip(lengths);
        let row = |(text, &length): (&[f32], &usize)| {
            let mut row = match self.holds {
                Holds::Tokens => pool(&text[..length * columns], columns, self.pooling),
                _ if self.by_token => text[..length * columns].to_vec(),
                _ => text.to_vec(),
            };
            if self.holds != Holds::Answers && self.normalise {
                scale_to_one(&mut row);
            }
            row
        };
        texts.map(row).collect()
    }
}

/// One vector of the tokens of a text; zeros if it has none.
fn pool(tokens: &[f32], columns: usize, pooling: Option<Pooling>) -> Vec<f32> {
    let mut rows = tokens.chunks_exact(columns);
    let count = rows.len().max(1) as f32;
    let one = match pooling {
        Some(Pooling::First) => rows.next(),
        Some(Pooling::Last) => rows.next_back(),
        Some(Pooling::Mean) | None => {
            let mut mean = vec![0.0; columns];
            for row in rows {
                mean.iter_mut().zip(row).for_each(|(sum, number)| *sum += number / count);
            }
            return mean;
        }
    };
    one.map_or_else(|| vec![0.0; columns], <[f32]>::to_vec)
}

fn scale_to_one(row: &mut [f32]) {
    let length = row.iter().map(|number| number * number).sum::<f32>().sqrt().max(1e-12);
    row.iter_mut().for_each(|number| *number /= length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_pooled_as_the_model_says() {
        let tokens = [1.0, 2.0, 3.0, 6.0];
        assert_eq!(pool(&tokens, 2, Some(Pooling::Mean)), [2.0, 4.0]);
        assert_eq!(pool(&tokens, 2, Some(Pooling::First)), [1.0, 2.0]);
        assert_eq!(pool(&tokens, 2, Some(Pooling::Last)), [3.0, 6.0]);
        assert_eq!(pool(&[], 2, Some(Pooling::Last)), [0.0, 0.0]);
        let mut row = [3.0, 4.0];
        scale_to_one(&mut row);
        assert_eq!(row, [0.6, 0.8]);
    }
}
