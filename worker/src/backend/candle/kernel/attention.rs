//! Attention of sequences to themselves: scores, softmax and context of a block of queries while they are in the cache.

use std::cell::RefCell;
use std::ops::Range;

use super::disentangled::{self, DistanceTables};
use super::exp::exp;
use super::tile::{COLUMNS, Tile};
use super::{Crew, Shared, norm, stretches};

/// Queries that are worked on at once: their scores over some thousand keys stay in the second level of the cache.
const QUERIES: usize = 48;

pub struct Attention<'a> {
    pub heads: usize,
    /// Numbers of one head.
    pub size: usize,
    /// What the product of a query and a key is multiplied with.
    pub scale: f32,
    /// Keys farther away than this aren't seen.
    pub window: Option<usize>,
    pub rotary: Option<&'a Rotary>,
    pub distances: Option<Distances<'a>>,
}

/// How the distance of two tokens changes what they are to one another.
#[derive(Clone, Copy)]
pub enum Distances<'a> {
    Bias(&'a DistanceBias),
    Disentangled(&'a DistanceTables),
}

/// Cosines and sines of the angles by which positions turn pairs of numbers.
pub struct Rotary {
    half: usize,
    /// For each position the cosines, then the sines.
    turns: Vec<f32>,
}

impl Rotary {
    pub fn new(base: f32, size: usize, positions: usize) -> Self {
        let half = size / 2;
        let mut turns = Vec::with_capacity(positions * size);
        for position in 0..positions {
            let angle = |pair: usize| position as f32 * base.powf(-2.0 * pair as f32 / size as f32);
            turns.extend((0..half).map(|pair| angle(pair).cos()));
            turns.extend((0..half).map(|pair| angle(pair).sin()));
        }
        Rotary { half, turns }
    }

    /// For each position the cosines of half a head, and then the sines.
    #[cfg(feature = "cuda")]
    pub fn turns(&self) -> &[f32] {
        &self.turns
    }

    #[inline(always)]
    fn turn(&self, position: usize, numbers: &mut [f32]) {
        let (cosines, sines) = self.turns[position * 2 * self.half..][..2 * self.half].split_at(self.half);
        let (left, right) = numbers.split_at_mut(self.half);
        for (((left, right), cosine), sine) in left.iter_mut().zip(right).zip(cosines).zip(sines) {
            (*left, *right) = (*left * cosine - *right * sine, *right * cosine + *left * sine);
        }
    }
}

/// What a head adds to a score, by the distance of key and query.
pub struct DistanceBias {
    /// The longest sequence.
    pub positions: usize,
    /// For each head the distances from `1 - positions` to `positions - 1`.
    pub table: Vec<f32>,
}

impl DistanceBias {
    /// What is added to the scores of a query, for the keys in `keys`.
    fn row(&self, head: usize, query: usize, keys: &Range<usize>) -> &[f32] {
        let start = head * (2 * self.positions - 1) + self.positions - 1 + keys.start - query;
        &self.table[start..start + keys.len()]
    }
}

/// What one thread works with, kept between tasks.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    /// Panels of 32 keys: for each number of the head that of each key.
    keys: Vec<f32>,
    /// One key, while it's turned.
    key: Vec<f32>,
    /// The keys one behind the other, where distances meet them.
    key_rows: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    by_distance: disentangled::Scratch,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Reads rows of queries, keys and values of all heads, and writes rows of contexts. Each of `sequences` says where the
/// tokens of one lie; rows between them are zeroed.
pub fn attend(
    attention: &Attention,
    qkv: &[f32],
    sequences: &[Range<usize>],
    context: &mut [f32],
    crew: Crew,
) {
    let width = attention.heads * attention.size;
    let tokens: usize = sequences.iter().map(ExactSizeIterator::len).sum();
    if tokens * width < context.len() {
        context.fill(0.0);
    }
    let inside = sequences.iter().all(|sequence| sequence.end * width <= context.len());
    // What follows writes to each sequence's rows from a thread of its own.
    let apart = sequences.windows(2).all(|pair| pair[0].end <= pair[1].start);
    assert!(inside && apart && qkv.len() >= 3 * context.len());
    let output = Shared::of(context);
    let tasks = sequences
        .iter()
        .filter(|sequence| !sequence.is_empty())
        .flat_map(|sequence| (0..attention.heads).map(move |head| (sequence, head)));
    crew.each(tasks, |(sequence, head)| {
        SCRATCH.with_borrow_mut(|scratch| {
            // SAFETY: no two tasks share both a sequence and a head, so each writes to places of its own.
            unsafe { one_head(attention, qkv, sequence, head, scratch, output) }
        });
    });
}

/// # Safety
/// Nobody else may use the head's part of the sequence's rows in the output meanwhile.
unsafe fn one_head(
    attention: &Attention,
    qkv: &[f32],
    sequence: &Range<usize>,
    head: usize,
    scratch: &mut Scratch,
    output: Shared,
) {
    let Attention { heads, size, .. } = *attention;
    let (width, length) = (heads * size, sequence.len());
    gather(scratch, attention, &qkv[sequence.start * 3 * width..sequence.end * 3 * width], head);
    if let Some(Distances::Disentangled(distances)) = attention.distances {
        distances.begin(head, &scratch.key_rows[..length * size], &mut scratch.by_distance);
    }
    for queries in stretches(length, QUERIES) {
        let keys = match attention.window {
            Some(window) => queries.start.saturating_sub(window)..length.min(queries.end + window),
            None => 0..length,
        };
        // Panels begin at whole multiples of their width.
        let first = keys.start / COLUMNS * COLUMNS;
        let stride = (keys.end - first).next_multiple_of(COLUMNS);
        for panel in (first..keys.end).step_by(COLUMNS) {
            let tile = Tile {
                rows: queries.len(),
                depth: size,
                columns: COLUMNS,
                input: scratch.queries[queries.start * size..].as_ptr(),
                input_stride: size,
                panel: scratch.keys[panel * size..].as_ptr(),
                panel_stride: COLUMNS,
                output: scratch.scores[panel - first..].as_mut_ptr(),
                output_stride: stride,
                accumulate: false,
            };
            // SAFETY: `gather` has made room for every query, key and score.
            unsafe { tile.run() };
        }
        if let Some(Distances::Disentangled(distances)) = attention.distances {
            let Scratch { queries: rows, scores, by_distance, .. } = scratch;
            let rows = &rows[queries.start * size..queries.end * size];
            distances.add(head, rows, &queries, by_distance, stride, scores);
        }
        softmax(attention, head, &queries, &keys, stride, &mut scratch.scores[keys.start - first..]);
        for column in (0..size).step_by(COLUMNS) {
            let tile = Tile {
                rows: queries.len(),
                depth: keys.len(),
                columns: COLUMNS.min(size - column),
                input: scratch.scores[keys.start - first..].as_ptr(),
                input_stride: stride,
                panel: scratch.values[keys.start * size + column..].as_ptr(),
                panel_stride: size,
                // SAFETY: the head's part of these rows is this task's alone, and inside of the output.
                output: unsafe { output.at((sequence.start + queries.start) * width + head * size + column) },
                output_stride: width,
                accumulate: false,
            };
            // SAFETY: as above, and for the values as for the keys.
            unsafe { tile.run() };
        }
    }
}

vectorised! {
    /// Copies what a head needs of a sequence to where it lies close together, turned by its positions.
    fn gather(scratch: &mut Scratch, attention: &Attention, qkv: &[f32], head: usize) {
        let size = attention.size;
        let width = attention.heads * size;
        let length = qkv.len() / (3 * width);
        let padded = length.next_multiple_of(COLUMNS);
        grow(&mut scratch.queries, length * size);
        grow(&mut scratch.keys, padded * size);
        grow(&mut scratch.key, size);
        let meets_distances = matches!(attention.distances, Some(Distances::Disentangled(_)));
        if meets_distances {
            grow(&mut scratch.key_rows, length * size);
        }
        grow(&mut scratch.values, length * size);
        grow(&mut scratch.scores, QUERIES * padded);
        for (token, row) in qkv.chunks_exact(3 * width).enumerate() {
            let part = |which: usize| &row[which * width + head * size..][..size];
            let query = &mut scratch.queries[token * size..][..size];
            let key = &mut scratch.key[..size];
            query.copy_from_slice(part(0));
            key.copy_from_slice(part(1));
            if let Some(rotary) = attention.rotary {
                rotary.turn(token, query);
                rotary.turn(token, key);
            }
            query.iter_mut().for_each(|number| *number *= attention.scale);
            if meets_distances {
                scratch.key_rows[token * size..][..size].copy_from_slice(key);
            }
            let panel = &mut scratch.keys[token / COLUMNS * COLUMNS * size..][..COLUMNS * size];
            for (column, number) in panel.chunks_exact_mut(COLUMNS).zip(key) {
                column[token % COLUMNS] = *number;
            }
            scratch.values[token * size..][..size].copy_from_slice(part(2));
        }
    }
}

fn grow(numbers: &mut Vec<f32>, count: usize) {
    if numbers.len() < count {
        numbers.resize(count, 0.0);
    }
}

vectorised! {
    /// Turns the scores of queries over keys into weights whose sum is one. A query's scores lie `stride` from the next's.
    fn softmax(
        attention: &Attention,
        head: usize,
        queries: &Range<usize>,
        keys: &Range<usize>,
        stride: usize,
        scores: &mut [f32],
    ) {
        for (row, query) in queries.clone().enumerate() {
            let scores = &mut scores[row * stride..][..keys.len()];
            if let Some(Distances::Bias(bias)) = attention.distances {
                scores.iter_mut().zip(bias.row(head, query, keys)).for_each(|(score, bias)| *score += bias);
            }
            if let Some(window) = attention.window {
                let seen = query.saturating_sub(window).max(keys.start)..(query + window + 1).min(keys.end);
                scores[..seen.start - keys.start].fill(f32::NEG_INFINITY);
                scores[seen.end - keys.start..].fill(f32::NEG_INFINITY);
            }
            let highest = highest(scores);
            scores.iter_mut().for_each(|score| *score = exp(*score - highest));
            let scale = 1.0 / norm::sum(scores, |score| score);
            scores.iter_mut().for_each(|score| *score *= scale);
        }
    }
}

/// In strands, so that it's vectorised: the order of a maximum doesn't matter, and compilers don't know.
#[inline(always)]
fn highest(numbers: &[f32]) -> f32 {
    const STRANDS: usize = 32;
    let mut strands = [f32::NEG_INFINITY; STRANDS];
    let chunks = numbers.chunks_exact(STRANDS);
    let rest = chunks.remainder();
    let larger = |left: f32, right: f32| if right > left { right } else { left };
    for chunk in chunks {
        for (strand, number) in strands.iter_mut().zip(chunk) {
            *strand = larger(*strand, *number);
        }
    }
    strands.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of tables of distances.
    const ROWS: usize = 50;

    fn row(distance: isize) -> usize {
        // Near ones have a row each, three far ones share one.
        let away = distance.unsigned_abs();
        let bucket = if away > 10 { 10 + (away - 10).div_ceil(3).min(14) } else { away };
        if distance > 0 { 25 - bucket } else { 25 + bucket }
    }

    fn table(width: usize, step: usize) -> Vec<f32> {
        (0..ROWS * width).map(|place| ((place * step) % 89) as f32 / 50.0 - 0.9).collect()
    }

    /// As the definition has it, in double precision. `tables` are the keys and the queries of distances.
    fn plain(
        attention: &Attention,
        tables: [&[f32]; 2],
        qkv: &[f32],
        sequences: &[Range<usize>],
        rows: usize,
    ) -> Vec<f32> {
        let Attention { heads, size, .. } = *attention;
        let width = heads * size;
        let mut output = vec![0.0; rows * width];
        for (sequence, head) in sequences.iter().flat_map(|s| (0..heads).map(move |head| (s, head))) {
            let part = |token: usize, which: usize| {
                let start = (sequence.start + token) * 3 * width + which * width + head * size;
                let mut numbers = qkv[start..start + size].to_vec();
                if let (Some(rotary), true) = (attention.rotary, which < 2) {
                    rotary.turn(token, &mut numbers);
                }
                numbers
            };
            for query in 0..sequence.len() {
                let score = |key: usize| {
                    let far = attention.window.is_some_and(|window| query.abs_diff(key) > window);
                    let dot: f64 = part(query, 0)
                        .iter()
                        .zip(part(key, 1))
                        .map(|(a, b)| f64::from(*a) * f64::from(b))
                        .sum();
                    let dot_by_distance = |numbers: &[f32], table: &[f32]| -> f64 {
                        let row = &table[row(key as isize - query as isize) * width + head * size..][..size];
                        numbers.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                    };
                    let (by_distance, bias) = match attention.distances {
                        Some(Distances::Bias(bias)) => (0.0, bias.row(head, query, &(key..key + 1))[0]),
                        Some(Distances::Disentangled(_)) => {
                            let [keys, queries] = tables;
                            let met = dot_by_distance(&part(query, 0), keys);
                            (met + dot_by_distance(&part(key, 1), queries), 0.0)
                        }
                        None => (0.0, 0.0),
                    };
                    let score = (dot + by_distance) * f64::from(attention.scale) + f64::from(bias);
                    if far { 0.0 } else { score.exp() }
                };
                let weights: Vec<f64> = (0..sequence.len()).map(score).collect();
                let sum: f64 = weights.iter().sum();
                for place in 0..size {
                    let mixed: f64 =
                        weights.iter().enumerate().map(|(key, w)| w * f64::from(part(key, 2)[place])).sum();
                    output[(sequence.start + query) * width + head * size + place] = (mixed / sum) as f32;
                }
            }
        }
        output
    }

    #[test]
    fn attention_of_every_kind_is_what_its_definition_says() {
        let (heads, rows) = (2, 230);
        let sequences = [0..1, 3..3, 5..40, 40..230];
        for size in [4, 32, 40] {
            let width = heads * size;
            let qkv: Vec<f32> =
                (0..rows * 3 * width).map(|place| ((place * 31) % 97) as f32 / 60.0 - 0.8).collect();
            let rotary = Rotary::new(100.0, size, rows);
            let by_distance = (0..heads * (2 * rows - 1)).map(|place| (place % 5) as f32 * 0.3).collect();
            let bias = DistanceBias { positions: rows, table: by_distance };
            let scale = 1.0 / (size as f32).sqrt();
            let [keys, queries] = [table(width, 29), table(width, 17)];
            let tables = disentangled::TableRows { keys: &keys, queries: &queries, count: ROWS };
            let furthest = rows as isize - 1;
            let row_of = (-furthest..=furthest).map(|distance| row(distance) as u32).collect();
            let disentangled = DistanceTables::new(&tables, heads, scale, row_of);
            for (window, rotary, distances) in [
                (None, None, None),
                (Some(3), Some(&rotary), None),
                (Some(70), None, None),
                (None, None, Some(Distances::Bias(&bias))),
                (None, None, Some(Distances::Disentangled(&disentangled))),
            ] {
                let attention = Attention { heads, size, scale, window, rotary, distances };
                let mut context = vec![f32::NAN; rows * width];
                attend(&attention, &qkv, &sequences, &mut context, Crew::All);
                for (given, wanted) in
                    context.iter().zip(plain(&attention, [&keys, &queries], &qkv, &sequences, rows))
                {
                    assert!((given - wanted).abs() < 2e-5, "{size} {window:?}: {given} {wanted}");
                }
            }
        }
    }
}
