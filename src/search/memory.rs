//! Where memory runs out: learned from what candidates took, and from those that it ran out for.
//!
//! Memory need not grow steadily with a batch: ONNX Runtime's arena took 3 GiB for batches of 750 texts, and 35 GiB for 900. So large
//! batches are approached from below, and where memory has run out once, only what is known to fit is tried.

use std::collections::HashMap;

use super::{Observation, Seen};
use crate::knob::{BACKEND, Candidate};
use crate::pipeline::{BATCH_SIZE, BATCH_TOKENS, MAX_CHARS, MAX_TOKENS};
use crate::suite::Space;

/// A batch of at most so many times the largest that has fitted may be tried.
const STEP: f64 = 4.0;

/// So many times the most that was ever taken is little more.
const LITTLE: f64 = 1.5;

/// Which of a space's candidates may be tried, as far as memory goes.
pub struct Memory {
    /// The cell and the sizes of each row.
    rows: Vec<(usize, Sizes)>,
    cells: Vec<Cell>,
    /// The most memory that anything has taken: so much is there.
    proved: f64,
}

/// What is known of all candidates that are loaded alike: the same engine, precision, arena.
#[derive(Debug, Clone, Default)]
struct Cell {
    /// The sizes of batches that its candidates have, each once.
    batches: Vec<f64>,
    /// What has fitted, and what it took.
    fitted: Vec<(Sizes, Option<f64>)>,
    ran_out: Vec<Sizes>,
}

/// What grows with how much is computed at once; infinite where there is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sizes {
    batch: f64,
    /// The most tokens of a batch, and the most tokens and characters of a text.
    limits: [f64; 3],
}

impl Sizes {
    fn of(candidate: &Candidate) -> Sizes {
        let number = |knob: &str| candidate.knobs.get(knob).and_then(|value| value.number());
        let limit = |knob: &str| number(knob).unwrap_or(f64::INFINITY);
        Sizes {
            batch: number(BATCH_SIZE.name).unwrap_or(1.0),
            limits: [BATCH_TOKENS.name, MAX_TOKENS.name, MAX_CHARS.name].map(limit),
        }
    }

    /// Whether texts may be at least as long as another's.
    fn are_as_long_as(&self, other: &Sizes) -> bool {
        self.limits.iter().zip(&other.limits).all(|(own, other)| own >= other)
    }

    /// Whether it takes much less than another: no more of anything, and of something a quarter.
    fn are_far_below(&self, other: &Sizes) -> bool {
        let limits = || self.limits.iter().zip(&other.limits);
        let quarter = |own: f64, other: f64| own.is_finite() && own * STEP <= other;
        other.are_at_least(self)
            && (quarter(self.batch, other.batch) || limits().any(|(own, other)| quarter(*own, *other)))
    }

    /// Whether it takes at least as much as another.
    fn are_at_least(&self, other: &Sizes) -> bool {
        self.batch >= other.batch && self.are_as_long_as(other)
    }
}

impl Memory {
    pub fn new(space: &Space, candidates: &[Candidate]) -> Memory {
        let knobs = space.load_knobs();
        let mut cells: HashMap<Vec<String>, usize> = HashMap::new();
        let mut memory =
            Memory { rows: Vec::with_capacity(candidates.len()), cells: Vec::new(), proved: 0.0 };
        for candidate in candidates {
            let words = std::iter::once(BACKEND).chain(knobs.iter().copied());
            let key = words.map(|knob| candidate.word(knob)).collect();
            let cell = *cells.entry(key).or_insert(memory.cells.len());
            if cell == memory.cells.len() {
                memory.cells.push(Cell::default());
            }
            let sizes = Sizes::of(candidate);
            if !memory.cells[cell].batches.contains(&sizes.batch) {
                memory.cells[cell].batches.push(sizes.batch);
            }
            memory.rows.push((cell, sizes));
        }
        memory
    }

    /// Whether a row is loaded like another, and takes at least as much.
    pub fn takes_at_least(&self, row: usize, other: usize) -> bool {
        let ((cell, sizes), (other_cell, other)) = (&self.rows[row], &self.rows[other]);
        cell == other_cell && sizes.are_at_least(other)
    }

    /// Learns from all that was seen, anew.
    pub fn learn<'o>(&mut self, seen: impl Iterator<Item = (usize, &'o Observation)>) {
        for cell in &mut self.cells {
            cell.fitted.clear();
            cell.ran_out.clear();
        }
        self.proved = 0.0;
        for (row, observation) in seen {
            let (cell, sizes) = self.rows[row];
            match &observation.seen {
                Seen::Measured(score) => {
                    self.proved = self.proved.max(score.memory.unwrap_or(0.0));
                    self.cells[cell].fitted.push((sizes, score.memory));
                }
                Seen::OutOfMemory => self.cells[cell].ran_out.push(sizes),
                Seen::Failed(_) | Seen::Nothing => {}
            }
        }
    }

    /// Takes it that a row fits: what runs today does.
    pub fn trust(&mut self, row: usize) {
        let (cell, sizes) = self.rows[row];
        self.cells[cell].fitted.push((sizes, None));
    }

    /// Takes it that memory runs out for a row that is to be tried, unless it surely fits: until that is known, nothing that takes
    /// more is worth the risk.
    pub fn suspect(&mut self, row: usize) {
        let (cell, sizes) = self.rows[row];
        let cell = &mut self.cells[cell];
        if !cell.fits(&sizes) {
            cell.ran_out.push(sizes);
        }
    }

    /// Whether a row may be tried.
    pub fn allows(&self, row: usize) -> bool {
        let (cell, sizes) = &self.rows[row];
        self.cells[*cell].allows(sizes, self.proved)
    }
}

impl Cell {
    fn allows(&self, sizes: &Sizes, proved: f64) -> bool {
        if self.ran_out.iter().any(|larger| sizes.are_at_least(larger)) {
            return false;
        }
        if self.fits(sizes) || (self.ran_out.is_empty() && self.fitted.is_empty()) {
            return true;
        }
        if !self.ran_out.is_empty() {
            // Somewhere below it must begin to fit, and a quarter is far below.
            return self.ran_out.iter().any(|larger| sizes.are_far_below(larger))
                || self.estimate(sizes).is_some_and(|bytes| bytes <= proved);
        }
        let longest = |(other, _): &&(Sizes, Option<f64>)| other.are_as_long_as(sizes);
        let beside = self.fitted.iter().filter(longest).map(|(other, _)| other.batch).reduce(f64::max);
        match beside {
            Some(batch) => {
                let is_next = !self.batches.iter().any(|other| *other > batch && *other < sizes.batch);
                let little = |bytes: f64| bytes <= LITTLE * proved;
                sizes.batch <= STEP * batch || is_next || self.estimate(sizes).is_some_and(little)
            }
            // Longer texts than any before: no more of them at once.
            None => self.fitted.iter().any(|(other, _)| sizes.batch <= other.batch),
        }
    }

    /// Whether something at least as large has fitted.
    fn fits(&self, sizes: &Sizes) -> bool {
        self.fitted.iter().any(|(larger, _)| larger.are_at_least(sizes))
    }

    /// What a batch would take if memory grew with it as fast as it ever has: from what texts as long have taken.
    fn estimate(&self, sizes: &Sizes) -> Option<f64> {
        let known = self.fitted.iter().filter(|(other, _)| other.are_as_long_as(sizes));
        let mut known: Vec<(f64, f64)> =
            known.filter_map(|(other, bytes)| Some((other.batch, (*bytes)?))).collect();
        known.sort_by(|left, right| left.0.total_cmp(&right.0));
        let (batch, bytes) = *known.last()?;
        let steps = known.windows(2).filter(|pair| pair[1].0 > pair[0].0);
        let slopes = steps.map(|pair| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0));
        // A single one may be all batch and no weights.
        let slope = slopes.reduce(f64::max).unwrap_or(bytes / batch).max(0.0);
        Some(bytes + slope * (sizes.batch - batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(batch: f64, tokens: f64) -> Sizes {
        Sizes { batch, limits: [f64::INFINITY, tokens, f64::INFINITY] }
    }

    fn cell(fitted: &[(f64, f64, f64)], ran_out: &[(f64, f64)]) -> Cell {
        Cell {
            batches: vec![8.0, 16.0, 32.0, 64.0, 128.0, 129.0, 256.0, 4096.0],
            fitted: fitted.iter().map(|(batch, tokens, gib)| (sizes(*batch, *tokens), Some(*gib))).collect(),
            ran_out: ran_out.iter().map(|(batch, tokens)| sizes(*batch, *tokens)).collect(),
        }
    }

    #[test]
    fn large_batches_are_approached_from_below() {
        let none = f64::INFINITY;
        let untouched = cell(&[], &[]);
        assert!(untouched.allows(&sizes(4096.0, none), 0.0));
        let one = cell(&[(32.0, 128.0, 2.0)], &[]);
        for (batch, tokens, allowed) in [
            (128.0, 128.0, true),
            (129.0, 128.0, false),
            (128.0, 64.0, true),
            // Longer texts have to prove themselves first.
            (32.0, none, true),
            (33.0, none, false),
        ] {
            assert_eq!(one.allows(&sizes(batch, tokens), 2.0), allowed, "{batch} of {tokens}");
        }
        // However far away: the next size that there is.
        let apart = Cell { batches: vec![32.0, 256.0, 512.0], ..one };
        assert!(apart.allows(&sizes(256.0, 128.0), 2.0) && !apart.allows(&sizes(512.0, 128.0), 2.0));
    }

    #[test]
    fn where_memory_ran_out_only_what_fits_is_tried() {
        let none = f64::INFINITY;
        let seen = cell(&[(16.0, 128.0, 2.0), (32.0, 128.0, 3.0)], &[(128.0, 128.0)]);
        for (batch, tokens, proved, allowed) in [
            (128.0, 128.0, 9.0, false),
            (256.0, 512.0, 9.0, false),
            (8.0, 64.0, 3.0, true),
            // 3 GiB and 1 GiB for each 16 more.
            (64.0, 128.0, 5.0, true),
            (64.0, 128.0, 4.9, false),
            // Nobody knows what longer texts take.
            (8.0, 512.0, 9.0, false),
        ] {
            assert_eq!(
                seen.allows(&sizes(batch, tokens), proved),
                allowed,
                "{batch} of {tokens}, {proved} GiB"
            );
        }
        let alone = cell(&[], &[(64.0, 128.0)]);
        assert!(alone.allows(&sizes(16.0, 128.0), 0.0) && !alone.allows(&sizes(17.0, 128.0), 0.0));
        // Where the longest texts don't fit, short ones may.
        let long = cell(&[], &[(32.0, none)]);
        assert!(long.allows(&sizes(32.0, 128.0), 0.0) && !long.allows(&sizes(32.0, none), 0.0));
        let single = cell(&[(16.0, 128.0, 2.0)], &[(128.0, 128.0)]);
        assert!(single.allows(&sizes(32.0, 128.0), 4.0) && !single.allows(&sizes(33.0, 128.0), 4.0));
    }
}
