//! What is expected of a whole table where something was told of some of its rows.

use std::sync::Arc;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::kernel::{Kernel, Scores};
use super::process::Process;
use crate::search::Table;

/// More rows than this teach little about the others, and cost time.
const MOST_HEARD: usize = 256;

/// The logarithm of the score that each row may be expected to have, given that of some; nothing where nothing was told.
pub fn of_all(table: &Arc<Table>, told: &[(usize, f64)], seed: u64) -> Vec<Option<f64>> {
    if told.is_empty() {
        return Vec::new();
    }
    let mut expected: Vec<Option<f64>> = vec![None; table.len()];
    if told.len() < table.len() {
        let random = &mut Pcg64::seed_from_u64(seed);
        let every = told.len().div_ceil(MOST_HEARD);
        let heard: Vec<(usize, f64)> = told.iter().copied().step_by(every).collect();
        let rows: Vec<usize> = heard.iter().map(|(row, _)| *row).collect();
        let mean = heard.iter().map(|(_, score)| score).sum::<f64>() / heard.len() as f64;
        let values: Vec<f64> = heard.iter().map(|(_, score)| score - mean).collect();
        let rounds = vec![1.0; heard.len()];
        let scores = Scores { rows: &rows, values: &values, rounds: &rounds };
        let nothing: Arc<[f64]> = vec![0.0; table.len()].into();
        let mut kernel = Kernel::new(table.columns().len());
        kernel.fit(table, &nothing, &scores, 60, random);
        let mut process = Process::new(table.clone(), nothing, kernel, (0..table.len()).collect());
        for row in &rows {
            process.see(*row, 1.0);
        }
        for (expected, belief) in expected.iter_mut().zip(process.beliefs(&scores)) {
            *expected = Some(belief.mean + mean);
        }
    }
    // What was told is not put into question.
    for (row, score) in told {
        expected[*row] = Some(*score);
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Column;

    #[test]
    fn what_lies_between_rows_that_were_told_is_expected_between_them() {
        let numbers: Vec<f64> = (0..21).map(|step| 2f64.powi(step)).collect();
        let mut table = Table::new(vec![Column::of_numbers("n", &numbers)]);
        for level in 0..21 {
            table.add(&[level]);
        }
        let table = Arc::new(table);
        let told: Vec<(usize, f64)> = (0..21).step_by(4).map(|row| (row, 10.0 + 0.1 * row as f64)).collect();
        let expected = of_all(&table, &told, 1);
        for (row, expected) in expected.iter().enumerate() {
            let truth = 10.0 + 0.1 * row as f64;
            assert!((expected.unwrap() - truth).abs() < 0.1, "{row}: {expected:?}");
        }
        assert_eq!(expected[8], Some(10.8), "what was told stays as it is");
        assert!(of_all(&table, &[], 1).is_empty());
    }
}
