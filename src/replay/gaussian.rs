//! A Gaussian process with expected improvement and nothing else, as libraries of Bayesian optimisation have it: draws first, lengths
//! fitted to what is likely, and a failure as bad as the worst that was seen.

use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::player::Player;
use crate::search::{Kernel, Process, Scores, Table, Tried};

/// Rows that are drawn before anything is inferred.
const DRAWS: usize = 10;

/// After so many observations the kernel is fitted anew, in so many steps.
const FIT_EVERY: usize = 5;
const FIT_STEPS: usize = 60;

pub struct Gaussian {
    table: Arc<Table>,
    kernel: Kernel,
    /// After how many observations the kernel was fitted last.
    fitted: usize,
    random: Pcg64,
}

impl Gaussian {
    pub fn new(table: Arc<Table>, seed: u64) -> Gaussian {
        let kernel = Kernel::new(table.columns().len());
        Gaussian { table, kernel, fitted: 0, random: Pcg64::seed_from_u64(seed) }
    }
}

impl Player for Gaussian {
    fn choose(&mut self, tried: &[Tried]) -> Option<usize> {
        let mut open: Vec<usize> = (0..self.table.len()).collect();
        open.retain(|row| !tried.iter().any(|tried| tried.row == *row));
        let worst = tried.iter().filter_map(|tried| tried.score).reduce(f64::min);
        let (Some(worst), true) = (worst, tried.len() >= DRAWS) else {
            return (!open.is_empty()).then(|| open[self.random.random_range(0..open.len())]);
        };
        let values: Vec<f64> = tried.iter().map(|tried| tried.score.unwrap_or(worst)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let values: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let rows: Vec<usize> = tried.iter().map(|tried| tried.row).collect();
        let rounds: Vec<f64> = tried.iter().map(|tried| tried.rounds as f64).collect();
        let scores = Scores { rows: &rows, values: &values, rounds: &rounds };
        let nothing: Arc<[f64]> = vec![0.0; self.table.len()].into();
        if tried.len() >= self.fitted + FIT_EVERY {
            self.kernel.fit(&self.table, &nothing, &scores, FIT_STEPS, &mut self.random);
            self.fitted = tried.len();
        }
        // Of equals, of which there are many at first, any.
        open.shuffle(&mut self.random);
        let mut process = Process::new(self.table.clone(), nothing, self.kernel.clone(), open);
        for (row, rounds) in rows.iter().zip(&rounds) {
            process.see(*row, *rounds);
        }
        let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let beliefs = process.beliefs(&scores);
        let worth = process.rows().iter().zip(&beliefs).map(|(row, belief)| (*row, belief.improvement(best)));
        worth.max_by(|(_, left), (_, right)| left.total_cmp(right)).map(|(row, _)| row)
    }
}
