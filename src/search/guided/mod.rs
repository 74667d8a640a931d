//! The guided search's choice: which row of a table to measure next, given all that was seen.
//!
//! It starts with what must be seen at all, what was expected to be best, and rows far apart. Then it measures where the score is most
//! likely to exceed the best one, or is least known: where the expected improvement is greatest. Every so often it tries a
//! neighbour of the best, in case the picture as a whole misleads.
//!
//! A plain state machine: the same table, the same seed and the same scores give the same choices.

mod expectation;
mod kernel;
mod matrix;
mod process;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::{Table, Tried};
use crate::record::Why;
use crate::units::median;
pub use expectation::of_all;
pub use kernel::{Kernel, Scores};
use process::Belief;
pub use process::Process;

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

/// A trial counts as this many times as dear as another at most: what trials cost is known from a few.
const DEAREST: f64 = 4.0;

/// A row that is as near to a failed one as can be keeps this share of its worth.
const NEAR_FAILURE: f64 = 0.1;

/// What is known of a space before anything is measured.
#[derive(Debug, Clone, Default)]
pub struct Foreknowledge {
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
    /// The group of each row that is in one.
    group_of: HashMap<usize, usize>,
    kernel: Kernel,
    /// What is thought of the rows, as long as the kernel stays as it is: the next score costs little then.
    process: Option<Process>,
    /// With how many scores the kernel was fitted last.
    fitted: usize,
    random: Pcg64,
    /// Why the last choice was made.
    why: Why,
    /// What the most promising of all rows may be expected to gain over the best, once that can be said.
    most_to_gain: Option<f64>,
}

impl Guided {
    pub fn new(table: Arc<Table>, foreknowledge: Foreknowledge, seed: u64) -> Self {
        let Foreknowledge { expected: told, groups } = foreknowledge;
        let known: Vec<f64> = told.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let least = known.iter().copied().fold(mean, f64::min);
        let of = |expected: &Option<f64>| expected.unwrap_or(least) - mean;
        let mut expected: Vec<f64> = told.iter().map(of).collect();
        let mut order: Vec<usize> = (0..expected.len()).filter(|row| told[*row].is_some()).collect();
        order.sort_by(|left, right| expected[*right].total_cmp(&expected[*left]));
        let doomed = (0..expected.len()).filter(|row| told[*row].is_none()).collect();
        expected.resize(table.len(), 0.0);
        let kernel = Kernel::new(table.columns().len());
        let places = groups.iter().enumerate();
        let group_of = places.flat_map(|(place, rows)| rows.iter().map(move |row| (*row, place))).collect();
        Guided {
            table,
            expected: expected.into(),
            order,
            doomed,
            groups,
            group_of,
            kernel,
            process: None,
            fitted: 0,
            random: Pcg64::seed_from_u64(seed),
            why: Why::Far,
            most_to_gain: None,
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

    /// What the most promising row may be expected to gain over the best one, as a share, when the last was chosen.
    pub fn most_to_gain(&self) -> Option<f64> {
        self.most_to_gain
    }

    /// The row to measure next, of those that may be tried at all; nothing once there is none.
    pub fn choose(&mut self, tried: &[Tried], may: &dyn Fn(usize) -> bool) -> Option<usize> {
        let known: HashSet<usize> = tried.iter().map(|tried| tried.row).collect();
        self.most_to_gain = None;
        if known.len() >= self.table.len() {
            return None;
        }
        let scored: Vec<&Tried> = tried.iter().filter(|tried| tried.score.is_some()).collect();
        if let Some(row) = self.of_group(&known, may) {
            self.why = Why::Unseen;
            return Some(row);
        }
        if scored.len() < FIRST.min(self.table.len()) {
            return self.first(&known, may, tried.len());
        }
        self.promising(tried, &scored, &known, may)
    }

    /// A row of a group of which none was tried.
    fn of_group(&self, known: &HashSet<usize>, may: &dyn Fn(usize) -> bool) -> Option<usize> {
        let mut unseen = self.groups.iter().filter(|group| !group.iter().any(|row| known.contains(row)));
        unseen.find_map(|group| group.iter().copied().find(|row| may(*row)))
    }

    /// One of those that are measured before anything is inferred.
    fn first(&mut self, known: &HashSet<usize>, may: &dyn Fn(usize) -> bool, turn: usize) -> Option<usize> {
        let is_open = |row: &usize| !known.contains(row) && may(*row);
        if turn.is_multiple_of(2)
            && let Some(row) = self.order.iter().copied().find(is_open)
        {
            self.why = Why::Expected;
            return Some(row);
        }
        self.why = Why::Far;
        // Of those that may be good: an upper part of what was expected, or anything.
        let upper = self.order[..self.order.len() / 4].iter().copied();
        let from: Vec<usize> = upper.filter(is_open).collect();
        let from = if from.is_empty() { self.open(known, may) } else { from };
        let drawn = self.draw(&from, DRAWN);
        let apart = |row: usize| {
            known.iter().map(|other| self.table.distance(row, *other)).fold(f32::INFINITY, f32::min)
        };
        drawn.into_iter().map(|row| (row, apart(row))).reduce(greater).map(|(row, _)| row)
    }

    /// Rows that weren't tried and aren't expected to fail; once there is none, all that weren't tried.
    fn open(&self, known: &HashSet<usize>, may: &dyn Fn(usize) -> bool) -> Vec<usize> {
        let untried = || (0..self.table.len()).filter(|row| !known.contains(row) && may(*row));
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

    fn promising(
        &mut self,
        tried: &[Tried],
        scored: &[&Tried],
        known: &HashSet<usize>,
        may: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
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
        let open = self.open(known, may);
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
        let costs = self.costs(tried);
        let (mut chosen, mut most) = (None, 0.0_f64);
        for (row, belief) in asked {
            // Of logarithms: as a share it's this.
            let gain = belief.improvement(highest).exp_m1() * self.feasible(row, &failed);
            most = most.max(gain);
            let cost = self.group_of.get(&row).and_then(|group| costs.get(group)).unwrap_or(&1.0);
            let worth = gain / cost;
            if (!neighbour || near.contains(&row)) && chosen.is_none_or(|(_, _, best)| worth > best) {
                chosen = Some((row, gain, worth));
            }
        }
        let (row, gain, _) = chosen?;
        self.why = if neighbour { Why::Neighbour { gain } } else { Why::Promising { gain } };
        self.most_to_gain = Some(most);
        Some(row)
    }

    /// How dear a trial of each group is, beside one of any.
    fn costs(&self, tried: &[Tried]) -> HashMap<usize, f64> {
        let mut all = Vec::new();
        let mut by_group: HashMap<usize, Vec<f64>> = HashMap::new();
        for tried in tried.iter().filter(|tried| tried.seconds > 0.0) {
            let seconds = tried.seconds / tried.rounds.max(1) as f64;
            all.push(seconds);
            if let Some(group) = self.group_of.get(&tried.row) {
                by_group.entry(*group).or_default().push(seconds);
            }
        }
        let Some(usual) = median(all) else { return HashMap::new() };
        let beside =
            |own: &Vec<f64>| Some((median(own.iter().copied())? / usual).clamp(1.0 / DEAREST, DEAREST));
        by_group.iter().filter_map(|(group, own)| Some((*group, beside(own)?))).collect()
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
