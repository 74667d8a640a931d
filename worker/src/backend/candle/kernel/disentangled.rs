//! What disentangled attention adds to scores: each query meets the keys of distances, and each key their queries. Both are products
//! with a table that has few rows, spread out afterwards by the distance of each pair.

use std::ops::Range;
use std::sync::Arc;

use super::stretches;
use super::tile::{COLUMNS, Tile};

/// Rows that one tile is worked out for.
const ROWS: usize = 48;

/// The tables of a layer, ready to be multiplied.
pub struct DistanceTables {
    /// Numbers of one head.
    size: usize,
    /// The row of each distance, key minus query; that of 0 is in the middle. The later the key, the earlier the row.
    row_of: Arc<[u32]>,
    /// Rows of a table, filled up to whole panels.
    rows: usize,
    /// For each head panels of 32 rows: for each number of the head that of each row.
    keys: Vec<f32>,
    queries: Vec<f32>,
}

/// Keys and queries of distances, of all heads of a layer.
pub struct TableRows<'a> {
    pub keys: &'a [f32],
    pub queries: &'a [f32],
    pub count: usize,
}

/// What one thread works with.
#[derive(Default)]
pub struct Scratch {
    /// Tokens of the sequence.
    length: usize,
    /// What each query of a block is to the keys of distances…
    content: Vec<f32>,
    /// …and what each key of a head is to their queries.
    position: Vec<f32>,
}

impl DistanceTables {
    /// `scale` is that of the scores; the queries of tokens come scaled. `row_of` has the row of each distance that there can be.
    pub fn new(table: &TableRows, heads: usize, scale: f32, row_of: Arc<[u32]>) -> DistanceTables {
        let (width, rows) = (table.keys.len() / table.count, table.count.next_multiple_of(COLUMNS));
        let size = width / heads;
        let panels = |numbers: &[f32], scale: f32| {
            let mut panels = vec![0.0; heads * rows * size];
            for (place, numbers) in numbers.chunks_exact(width).enumerate() {
                for (head, numbers) in numbers.chunks_exact(size).enumerate() {
                    let first = head * rows * size + place / COLUMNS * COLUMNS * size + place % COLUMNS;
                    let column = panels[first..].iter_mut().step_by(COLUMNS);
                    column.zip(numbers).for_each(|(to, number)| *to = number * scale);
                }
            }
            panels
        };
        let (keys, queries) = (panels(table.keys, 1.0), panels(table.queries, scale));
        DistanceTables { size, row_of, rows, keys, queries }
    }

    /// Bytes that the tables take.
    pub fn bytes(width: usize, rows: usize) -> u64 {
        (2 * rows.next_multiple_of(COLUMNS) * width * size_of::<f32>()) as u64
    }

    /// Begins with a head: what its keys, one row behind the other, are to the queries of distances.
    pub fn begin(&self, head: usize, keys: &[f32], scratch: &mut Scratch) {
        scratch.length = keys.len() / self.size;
        self.product(&self.queries, head, keys, scratch.length, &mut scratch.position);
    }

    /// Adds to the scores of some of the head's queries over all of its keys. A query's scores lie `stride` from the next's.
    pub fn add(
        &self,
        head: usize,
        queries: &[f32],
        places: &Range<usize>,
        scratch: &mut Scratch,
        stride: usize,
        scores: &mut [f32],
    ) {
        self.product(&self.keys, head, queries, scratch.length, &mut scratch.content);
        let Scratch { length, content, position } = &*scratch;
        let columns = self.columns(*length);
        for (row, query) in places.clone().enumerate() {
            let content = &content[row * columns.len()..][..columns.len()];
            let nearest = self.row_of.len() / 2;
            let rows = &self.row_of[nearest - query..][..*length];
            let scores = &mut scores[row * stride..][..*length];
            spread(scores, rows, columns.start, content, position);
        }
    }

    /// Of the table's rows those that a sequence needs, in whole panels.
    fn columns(&self, length: usize) -> Range<usize> {
        let nearest = self.row_of.len() / 2;
        let (first, last) = (self.row_of[nearest + length - 1], self.row_of[nearest + 1 - length]);
        first as usize / COLUMNS * COLUMNS..(last as usize + 1).next_multiple_of(COLUMNS).min(self.rows)
    }

    /// Rows of numbers by the rows of a table that a sequence of this length needs.
    fn product(&self, table: &[f32], head: usize, input: &[f32], length: usize, output: &mut Vec<f32>) {
        let (size, columns) = (self.size, self.columns(length));
        let rows = input.len() / size;
        if output.len() < rows * columns.len() {
            output.resize(rows * columns.len(), 0.0);
        }
        let table = &table[head * self.rows * size..][..self.rows * size];
        for part in stretches(rows, ROWS) {
            for panel in columns.clone().step_by(COLUMNS) {
                let tile = Tile {
                    rows: part.len(),
                    depth: size,
                    columns: COLUMNS,
                    input: input[part.start * size..part.end * size].as_ptr(),
                    input_stride: size,
                    panel: table[panel * size..(panel + COLUMNS) * size].as_ptr(),
                    panel_stride: COLUMNS,
                    output: output[part.start * columns.len() + panel - columns.start..].as_mut_ptr(),
                    output_stride: columns.len(),
                    accumulate: false,
                };
                // SAFETY: the slices above hold the tile's rows, panels are whole, and the output has room for every row's columns.
                unsafe { tile.run() };
            }
        }
    }
}

vectorised! {
    /// Adds to each score what its distance says: of the query's row, and of the row of the score's own key.
    fn spread(scores: &mut [f32], rows: &[u32], first: usize, content: &[f32], position: &[f32]) {
        let keys = position.chunks_exact(content.len());
        for ((score, row), position) in scores.iter_mut().zip(rows).zip(keys) {
            let row = *row as usize - first;
            *score += content[row] + position[row];
        }
    }
}
