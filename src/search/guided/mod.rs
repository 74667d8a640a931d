//! The guided search's choice: which row of a table to measure next, given all that was seen.
//!
//! It starts with what must be seen at all, what was expected to be best, and rows far apart. Then it measures where the score is most
//! likely to exceed the best one, or is least known: where the expected improvement is greatest. Every so often it tries a
//! neighbour of the best, in case the picture as a whole misleads.
//!
//! A plain state machine: the same table, the same seed and the same scores give the same choices.

mod kernel;
mod matrix;
mod process;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::{Table, Tried};
use kernel::{Kernel, Scores};
use process::{Belief, Process};

/// A table of at most so many rows is thought about whole.
const MOST_ROWS: usize = 6144;

/// Of a larger table so many are drawn.
const DRAWN_ROWS: usize = 3072;

/// Rows that are measured before anything is inferred.
const FIRST: usize = 8;

/// Rows that compete for being far from all others.
const DRAWN: usize = 200;

/// Every so many choices one is made among the neighbours of the best.
const HEDGE: usize = 5;

/// A row that is as near to a failed one as can be keeps this share of its worth.
const NEAR_FAILURE: f64 = 0.1;

/// What is known of a space before anything is measured.
#[derive(Debug, Clone, Default)]
pub struct Prior {
    /// The logarithm of the expected score of each row; nothing where it's expected to fail. Empty: nothing is expected.
    pub expected: Vec<Option<f64>>,
    /// Rows of which one each must be seen, such as all of an engine and a precision: groups by number, the rows in the order in
    /// which they come into question.
    pub groups: Vec<Vec<usize>>,
}

pub struct Guided {
    table: Arc<Table>,
    /// The logarithms of what was expected, around their mean; zeros where nothing was.
    expected: Arc<[f64]>,
    /// Rows in the order of what is expected of them, the best first; empty without an expectation.
    order: Vec<usize>,
    doomed: HashSet<usize>,
    groups: Vec<Vec<usize>>,
    kernel: Kernel,
    /// What is thought of the rows, as long as the kernel stays as it is: the next score costs little then.
    process: Option<Process>,
    /// With how many scores the kernel was fitted last.
    fitted: usize,
    random: Pcg64,
    /// Why the last choice was made.
    why: Why,
}

/// Why a row was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// Of its group, none has been measured.
    Group,
    /// It's the best of what was expected.
    Expected,
    /// It's far from all that was measured.
    Far,
    /// Of all rows, or of the neighbours of the best, it's the most promising: by this much, as a share.
    Promising { neighbour: bool, improvement: f64 },
}

impl Guided {
    pub fn new(table: Arc<Table>, prior: Prior, seed: u64) -> Self {
        let known: Vec<f64> = prior.expected.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let least = known.iter().copied().fold(mean, f64::min);
        let of = |expected: &Option<f64>| expected.unwrap_or(least) - mean;
        let mut expected: Vec<f64> = prior.expected.iter().map(of).collect();
        let mut order: Vec<usize> =
            (0..expected.len()).filter(|row| prior.expected[*row].is_some()).collect();
        order.sort_by(|left, right| expected[*right].total_cmp(&expected[*left]));
        let doomed = (0..expected.len()).filter(|row| prior.expected[*row].is_none()).collect();
        expected.resize(table.len(), 0.0);
        let kernel = Kernel::new(table.columns().len());
        Guided {
            table,
            expected: expected.into(),
            order,
            doomed,
            groups: prior.groups,
            kernel,
            process: None,
            fitted: 0,
            random: Pcg64::seed_from_u64(seed),
            why: Why::Far,
        }
    }

    /// Rows of which one each must be seen.
    pub fn groups(&self) -> &[Vec<usize>] {
        &self.groups
    }

    /// Why the last row was chosen.
    pub fn why(&self) -> Why {
        self.why
    }

    /// The row to measure next; nothing once every row was tried.
    pub fn choose(&mut self, tried: &[Tried]) -> Option<usize> {
        let known: HashSet<usize> = tried.iter().map(|tried| tried.row).collect();
        if known.len() >= self.table.len() {
            return None;
        }
        let scored: Vec<&Tried> = tried.iter().filter(|tried| tried.score.is_some()).collect();
        if let Some(row) = self.of_group(&known) {
            self.why = Why::Group;
            return Some(row);
        }
        if scored.len() < FIRST.min(self.table.len()) {
            return self.first(&known, tried.len());
        }
        self.promising(tried, &scored, &known)
    }

    /// A row of a group of which none was tried.
    fn of_group(&self, known: &HashSet<usize>) -> Option<usize> {
        let unseen = self.groups.iter().find(|group| !group.iter().any(|row| known.contains(row)));
        unseen.and_then(|group| group.first().copied())
    }

    /// One of those that are measured before anything is inferred.
    fn first(&mut self, known: &HashSet<usize>, turn: usize) -> Option<usize> {
        if turn.is_multiple_of(2)
            && let Some(row) = self.order.iter().copied().find(|row| !known.contains(row))
        {
            self.why = Why::Expected;
            return Some(row);
        }
        self.why = Why::Far;
        // Of those that may be good: an upper part of what was expected, or anything.
        let upper = self.order[..self.order.len() / 4].iter().copied();
        let from: Vec<usize> = upper.filter(|row| !known.contains(row)).collect();
        let from = if from.is_empty() { self.open(known) } else { from };
        let drawn = self.draw(&from, DRAWN);
        let apart = |row: usize| {
            known.iter().map(|other| self.table.distance(row, *other)).fold(f32::INFINITY, f32::min)
        };
        drawn.into_iter().map(|row| (row, apart(row))).reduce(greater).map(|(row, _)| row)
    }

    /// Rows that weren't tried and aren't expected to fail; once there is none, all that weren't tried.
    fn open(&self, known: &HashSet<usize>) -> Vec<usize> {
        let untried = || (0..self.table.len()).filter(|row| !known.contains(row));
        let open: Vec<usize> = untried().filter(|row| !self.doomed.contains(row)).collect();
        if open.is_empty() { untried().collect() } else { open }
    }

    /// So many of some rows, without replacement.
    fn draw(&mut self, from: &[usize], most: usize) -> Vec<usize> {
        if from.len() <= most {
            return from.to_vec();
        }
        let places = rand::seq::index::sample(&mut self.random, from.len(), most);
        places.into_iter().map(|place| from[place]).collect()
    }

    fn promising(&mut self, tried: &[Tried], scored: &[&Tried], known: &HashSet<usize>) -> Option<usize> {
        let rows: Vec<usize> = scored.iter().map(|tried| tried.row).collect();
        let rounds: Vec<f64> = scored.iter().map(|tried| tried.rounds.max(1) as f64).collect();
        let values: Vec<f64> = scored.iter().filter_map(|tried| tried.score).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let values: Vec<f64> = values.into_iter().map(|value| value - mean).collect();
        let scores = Scores { rows: &rows, values: &values, rounds: &rounds };
        if scores.rows.len() < 20 || scores.rows.len() >= self.fitted + 5 {
            self.fitted = scores.rows.len();
            self.kernel.fit(&self.table, &self.expected, &scores, 30, &mut self.random);
            self.process = None;
        }
        let open = self.open(known);
        let process = self.thought(&rows, &rounds, &open);
        let beliefs = process.beliefs(&scores);
        let place_of: HashMap<usize, usize> =
            process.rows().iter().enumerate().map(|(place, row)| (*row, place)).collect();
        let believed = |row: &usize| Some((*row, beliefs[*place_of.get(row)?]));
        let asked: Vec<(usize, Belief)> = open.iter().filter_map(believed).collect();
        // Which of those that were measured is best is a matter of belief, too.
        let own = rows.iter().filter_map(believed).map(|(row, belief)| (row, belief.mean));
        let (best, highest) = own.reduce(greater)?;
        self.process = Some(process);
        let failed: Vec<usize> =
            tried.iter().filter(|tried| tried.score.is_none()).map(|tried| tried.row).collect();
        let hedge = tried.len().is_multiple_of(HEDGE);
        let near: HashSet<usize> = if hedge { self.table.neighbours(best).collect() } else { HashSet::new() };
        let neighbour = asked.iter().any(|(row, _)| near.contains(row));
        let candidates = asked.into_iter().filter(|(row, _)| !neighbour || near.contains(row));
        let worth =
            |(row, belief): (usize, Belief)| (row, belief.improvement(highest) * self.feasible(row, &failed));
        let (row, improvement) = candidates.map(worth).reduce(greater)?;
        self.why = Why::Promising { neighbour, improvement };
        Some(row)
    }

    /// What is thought of the rows: what was thought before with the last scores taken in, where that can be had; or all
    /// anew.
    fn thought(&mut self, rows: &[usize], rounds: &[f64], open: &[usize]) -> Process {
        let seen: Vec<(usize, f64)> = rows.iter().copied().zip(rounds.iter().copied()).collect();
        let goes_on = |process: &Process| {
            let known = process.seen().len();
            seen.get(..known) == Some(process.seen())
                && seen[known..].iter().all(|(row, _)| process.rows().contains(row))
        };
        let before = self.process.take().filter(goes_on);
        let mut process = before.unwrap_or_else(|| {
            let asked = match self.table.len() {
                few if few <= MOST_ROWS => (0..few).collect(),
                _ => self.draw(open, DRAWN_ROWS).into_iter().chain(rows.iter().copied()).collect(),
            };
            Process::new(self.table.clone(), self.expected.clone(), self.kernel.clone(), asked)
        });
        for (row, rounds) in &seen[process.seen().len()..] {
            process.see(*row, *rounds);
        }
        process
    }

    /// How much of a row's worth is left beside rows that failed.
    fn feasible(&self, row: usize, failed: &[usize]) -> f64 {
        let nearest =
            failed.iter().map(|other| self.table.distance(row, *other)).fold(f32::INFINITY, f32::min);
        1.0 - (1.0 - NEAR_FAILURE) * f64::from((-nearest / 0.3).exp())
    }
}

/// Whichever has more beside it; of equals the first.
fn greater<T, N: PartialOrd>(left: (T, N), right: (T, N)) -> (T, N) {
    if right.1 > left.1 { right } else { left }
}
