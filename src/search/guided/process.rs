//! A Gaussian process over the rows of a table: what is thought of each row, given the scores of some.

use std::sync::Arc;

use super::kernel::{Kernel, Scores};
use super::matrix::Cholesky;
use crate::search::Table;

/// What is thought of some rows.
pub struct Process {
    table: Arc<Table>,
    /// What was expected of each row of the table beforehand: logarithms around their mean, zeros where nothing was.
    expected: Arc<[f64]>,
    kernel: Kernel,
    /// The rows that are asked about.
    rows: Vec<usize>,
    factor: Cholesky,
    /// With the number of their rounds.
    seen: Vec<(usize, f64)>,
    /// For each observation: its share in each of the rows.
    shares: Vec<Vec<f32>>,
    /// What is left of each row's variance.
    variance: Vec<f64>,
}

/// What is thought of a row's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Belief {
    pub mean: f64,
    pub spread: f64,
}

impl Process {
    /// About these rows, with nothing seen yet.
    pub fn new(table: Arc<Table>, expected: Arc<[f64]>, kernel: Kernel, rows: Vec<usize>) -> Self {
        let variance = rows.iter().map(|row| kernel.variance(expected[*row])).collect();
        let (factor, seen, shares) = (Cholesky::new(), Vec::new(), Vec::new());
        Process { table, expected, kernel, rows, factor, seen, shares, variance }
    }

    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The rows that were seen, with the number of their rounds.
    pub fn seen(&self) -> &[(usize, f64)] {
        &self.seen
    }

    /// Takes in that a row was measured in so many rounds. What came out is told to [`Process::beliefs`].
    pub fn see(&mut self, row: usize, rounds: f64) {
        let seen = &mut self.seen.iter().map(|(row, _)| *row);
        let mut own = self.kernel.covariances(&self.table, &self.expected, row, seen);
        own.push(self.kernel.variance(self.expected[row]) + self.kernel.noise() / rounds);
        self.factor.push(own);
        let known = self.factor.last();
        let (diagonal, known) = (known[known.len() - 1], &known[..known.len() - 1]);
        let covariances =
            self.kernel.covariances(&self.table, &self.expected, row, &mut self.rows.iter().copied());
        let mut share: Vec<f32> = covariances.into_iter().map(|number| number as f32).collect();
        for (factor, earlier) in known.iter().zip(&self.shares) {
            let factor = *factor as f32;
            for (number, earlier) in share.iter_mut().zip(earlier) {
                *number -= factor * earlier;
            }
        }
        let scale = 1.0 / diagonal as f32;
        for (number, variance) in share.iter_mut().zip(&mut self.variance) {
            *number *= scale;
            *variance -= f64::from(*number * *number);
        }
        self.shares.push(share);
        self.seen.push((row, rounds));
    }

    /// What is thought of each of the rows, given the scores of what was seen, in the same order.
    pub fn beliefs(&self, scores: &Scores) -> Vec<Belief> {
        let off: Vec<f64> = self
            .seen
            .iter()
            .zip(scores.values)
            .map(|((row, _), value)| value - self.expected[*row])
            .collect();
        let solved = self.factor.solve(&off);
        let mut means: Vec<f32> = self.rows.iter().map(|row| self.expected[*row] as f32).collect();
        for (number, share) in solved.iter().zip(&self.shares) {
            let number = *number as f32;
            for (mean, share) in means.iter_mut().zip(share) {
                *mean += number * share;
            }
        }
        means
            .into_iter()
            .zip(&self.variance)
            .map(|(mean, variance)| Belief { mean: f64::from(mean), spread: variance.max(1e-9).sqrt() })
            .collect()
    }
}

impl Belief {
    /// By how much a score may be expected to exceed the best one so far, what falls short of it counting as nothing.
    pub fn improvement(self, best: f64) -> f64 {
        let off = (self.mean - best) / self.spread;
        self.spread * (off * below(off) + density(off))
    }
}

fn density(off: f64) -> f64 {
    (-0.5 * off * off).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The share of a normal distribution below this many standard deviations.
fn below(off: f64) -> f64 {
    0.5 * statrs::function::erf::erfc(-off / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::table::Column;

    fn line(count: u32) -> Table {
        let numbers: Vec<f64> = (1..=count).map(f64::from).collect();
        let mut table = Table::new(vec![Column::of_numbers("n", &numbers)]);
        for level in 0..count {
            table.add(&[level]);
        }
        table
    }

    #[test]
    fn what_was_measured_is_believed_and_what_lies_near_is_known_better() {
        let table = line(9);
        let nothing = vec![0.0; 9].into();
        let mut process = Process::new(table.into(), nothing, Kernel::new(1), (0..9).collect());
        process.see(0, 1.0);
        process.see(8, 1.0);
        let scores = Scores { rows: &[0, 8], values: &[-1.0, 1.0], rounds: &[1.0, 1.0] };
        let beliefs = process.beliefs(&scores);
        assert!((beliefs[0].mean + 1.0).abs() < 0.02 && (beliefs[8].mean - 1.0).abs() < 0.02);
        assert!(beliefs[0].spread < beliefs[1].spread && beliefs[1].spread < beliefs[3].spread);
        assert!(beliefs.windows(2).all(|pair| pair[0].mean < pair[1].mean));
        assert!(beliefs[7].improvement(1.0) > beliefs[1].improvement(1.0));
    }

    #[test]
    fn an_expectation_that_misleads_is_turned_round() {
        let table = line(40);
        // The opposite of what will be measured.
        let expected: Vec<f64> = (0..40).map(|row| f64::from(row % 7) - 3.0).collect();
        let told = expected.clone().into();
        let mut process = Process::new(table.into(), told, Kernel::new(1), (0..40).collect());
        let rows: Vec<usize> = (0..20).collect();
        let values: Vec<f64> = rows.iter().map(|row| -expected[*row]).collect();
        for row in &rows {
            process.see(*row, 1.0);
        }
        let beliefs = process.beliefs(&Scores { rows: &rows, values: &values, rounds: &[1.0; 20] });
        for row in 25..40 {
            assert!((beliefs[row].mean + expected[row]).abs() < 0.5, "{row}: {:?}", beliefs[row]);
        }
    }
}
