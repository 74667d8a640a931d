//! How alike two rows are, and what the scores so far say about that.

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::matrix::Cholesky;
use crate::search::Table;

/// Variance of the level around which scores lie, about which nothing is known beforehand.
const LEVEL: f64 = 4.0;

/// What knobs do by themselves, of all that they do, as it's thought of before anything was seen. Recorded grids are searched worse
/// without it (results/README.md).
const ALONE: f64 = 0.3;

/// Observations that lengths are fitted to: more would cost time, and say little else.
const MOST_FITTED: usize = 96;

/// Scores are a level, a slope on what was expected, something that changes with the knobs, and noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// For each column: how far a change of the whole column reaches. Great where a knob hardly matters.
    lengths: Vec<f64>,
    /// Variance of what changes with the knobs.
    signal: f64,
    /// How much of that is what each knob does by itself, whatever the others are.
    alone: f64,
    /// Variance of one measurement.
    noise: f64,
    /// Spread of the slope. It's 1 where the expectation is right; with an expectation that misleads it's 0, or negative.
    slope: f64,
}

/// Scores of some rows, as the fit sees them.
pub struct Scores<'a> {
    pub rows: &'a [usize],
    /// Logarithms, with their mean taken away.
    pub values: &'a [f64],
    /// In how many rounds each was measured.
    pub rounds: &'a [f64],
}

impl Kernel {
    pub fn new(columns: usize) -> Kernel {
        Kernel { lengths: vec![1.0; columns], signal: 0.5, alone: ALONE, noise: 1e-3, slope: 0.7 }
    }

    /// What one round of a measurement adds to the variance.
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// Covariance of a row with itself, without noise.
    pub fn variance(&self, expected: f64) -> f64 {
        LEVEL + self.signal + (self.slope * expected).powi(2)
    }

    /// How alike one row is to every row of a table, by the columns alone: from 1 for itself down to 0.
    pub fn alike(&self, table: &Table, row: usize, others: &mut dyn Iterator<Item = usize>) -> Vec<f64> {
        let tables = self.tables(table, row);
        others
            .map(|other| {
                let levels = table.row(other);
                self.joined(tables.iter().map(|(column, near)| near[levels[*column] as usize]))
            })
            .collect()
    }

    /// How alike two rows are, of what they are in each of the columns that matter.
    fn joined(&self, near: impl Iterator<Item = f32>) -> f64 {
        let (mut sum, mut product, mut count) = (0.0, 1.0, 0.0);
        for near in near {
            (sum, product, count) = (sum + near, product * near, count + 1.0);
        }
        if count == 0.0 {
            return 1.0;
        }
        self.alone * f64::from(sum / count) + (1.0 - self.alone) * f64::from(product)
    }

    /// For each column that matters: how near each of its levels is to the row's.
    fn tables(&self, table: &Table, row: usize) -> Vec<(usize, Vec<f32>)> {
        let columns = table.columns().iter().zip(&self.lengths).enumerate();
        columns
            .filter(|(_, (column, _))| column.levels() > 1)
            .map(|(place, (column, length))| {
                let own = table.row(row)[place];
                let near = |level| (-column.distance(own, level) / *length as f32).exp();
                (place, (0..column.levels() as u32).map(near).collect())
            })
            .collect()
    }

    /// Covariances of a row with others, of which `expected` tells what was expected.
    pub fn covariances(
        &self,
        table: &Table,
        expected: &[f64],
        row: usize,
        others: &mut dyn Iterator<Item = usize>,
    ) -> Vec<f64> {
        let others: Vec<usize> = others.collect();
        let alike = self.alike(table, row, &mut others.iter().copied());
        let slope = self.slope.powi(2) * expected[row];
        others
            .iter()
            .zip(alike)
            .map(|(other, alike)| LEVEL + slope * expected[*other] + self.signal * alike)
            .collect()
    }

    /// Looks for lengths, signal, noise and what knobs do alone under which the scores are likelier: some steps of a random walk that
    /// only climbs.
    pub fn fit(
        &mut self,
        table: &Table,
        expected: &[f64],
        scores: &Scores,
        tries: usize,
        random: &mut Pcg64,
    ) {
        let few = Few::of(table, expected, scores);
        let varied: Vec<usize> =
            (0..self.lengths.len()).filter(|place| table.columns()[*place].levels() > 1).collect();
        let mut best = few.unlikeliness(self, &varied);
        for _ in 0..tries {
            let mut changed = self.clone();
            let step: f64 = StandardNormal.sample(random);
            let factor = (0.7 * step).exp();
            match random.random_range(0..varied.len() + 3) {
                place if place < varied.len() => changed.lengths[varied[place]] *= factor,
                place if place == varied.len() => changed.signal *= factor,
                place if place == varied.len() + 1 => {
                    let odds = factor * changed.alone / (1.0 - changed.alone);
                    changed.alone = odds / (1.0 + odds);
                }
                _ => changed.noise *= factor,
            }
            changed.keep_within_reason();
            let unlikeliness = few.unlikeliness(&changed, &varied);
            if unlikeliness < best {
                (best, *self) = (unlikeliness, changed);
            }
        }
    }

    fn keep_within_reason(&mut self) {
        for length in &mut self.lengths {
            *length = length.clamp(0.05, 20.0);
        }
        self.signal = self.signal.clamp(0.01, 10.0);
        self.alone = self.alone.clamp(0.01, 0.99);
        self.noise = self.noise.clamp(1e-5, 0.1);
    }

    /// Minus the logarithm of what is thought of them beforehand.
    fn surprise(&self, varied: &[usize]) -> f64 {
        let off = |value: f64, usual: f64, spread: f64| 0.5 * ((value / usual).ln() / spread).powi(2);
        let lengths: f64 = varied.iter().map(|place| off(self.lengths[*place], 1.0, 1.0)).sum();
        let odds = |share: f64| share / (1.0 - share);
        let alone = off(odds(self.alone), odds(ALONE), 1.5);
        lengths + off(self.signal, 0.3, 1.5) + alone + off(self.noise, 1e-3, 1.5)
    }
}

/// The scores that a fit looks at: the best, and of the others some from all along.
struct Few {
    /// For each pair, the distance in each column.
    far: Vec<f32>,
    columns: usize,
    values: Vec<f64>,
    rounds: Vec<f64>,
    expected: Vec<f64>,
}

impl Few {
    fn of(table: &Table, expected: &[f64], scores: &Scores) -> Few {
        let mut places: Vec<usize> = (0..scores.rows.len()).collect();
        if places.len() > MOST_FITTED {
            places.sort_by(|left, right| scores.values[*right].total_cmp(&scores.values[*left]));
            let rest = places.split_off(MOST_FITTED / 2);
            let every = rest.len().div_ceil(MOST_FITTED / 2);
            places.extend(rest.into_iter().step_by(every));
        }
        let rows: Vec<usize> = places.iter().map(|place| scores.rows[*place]).collect();
        let columns = table.columns().len();
        let pairs = rows.iter().flat_map(|left| rows.iter().map(move |right| (*left, *right)));
        let far = pairs.flat_map(|(left, right)| {
            let both = table.row(left).iter().zip(table.row(right)).zip(table.columns());
            both.map(|((left, right), column)| column.distance(*left, *right))
        });
        Few {
            far: far.collect(),
            columns,
            values: places.iter().map(|place| scores.values[*place]).collect(),
            rounds: places.iter().map(|place| scores.rounds[*place]).collect(),
            expected: rows.iter().map(|row| expected[*row]).collect(),
        }
    }

    /// Minus the logarithm of how likely the scores are under a kernel, and the kernel itself.
    fn unlikeliness(&self, kernel: &Kernel, varied: &[usize]) -> f64 {
        let count = self.values.len();
        let reach: Vec<(usize, f32)> =
            varied.iter().map(|place| (*place, 1.0 / kernel.lengths[*place] as f32)).collect();
        let mut factor = Cholesky::new();
        for left in 0..count {
            let with = (0..=left).map(|right| {
                let far = &self.far[(left * count + right) * self.columns..][..self.columns];
                let near = reach.iter().map(|(column, reach)| (-far[*column] * reach).exp());
                let slope = kernel.slope.powi(2) * self.expected[left] * self.expected[right];
                LEVEL + slope + kernel.signal * kernel.joined(near)
            });
            let mut with: Vec<f64> = with.collect();
            with[left] += kernel.noise / self.rounds[left];
            factor.push(with);
        }
        let off: Vec<f64> =
            self.values.iter().zip(&self.expected).map(|(value, expected)| value - expected).collect();
        let solved = factor.solve(&off);
        let fit: f64 = solved.iter().map(|number| number * number).sum();
        0.5 * fit + factor.log_diagonal() + kernel.surprise(varied)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::search::Column;

    /// What is thought of how much two knobs do by themselves, once all of a table was seen.
    fn alone(score: impl Fn(u32, u32) -> f64) -> f64 {
        let numbers: Vec<f64> = (0..8).map(|step| 2f64.powi(step)).collect();
        let mut table =
            Table::new(vec![Column::of_numbers("left", &numbers), Column::of_numbers("right", &numbers)]);
        let levels: Vec<(u32, u32)> =
            (0..8).flat_map(|left| (0..8).map(move |right| (left, right))).collect();
        for (left, right) in &levels {
            table.add(&[*left, *right]);
        }
        let rows: Vec<usize> = (0..levels.len()).collect();
        let values: Vec<f64> = levels.iter().map(|(left, right)| score(*left, *right)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let values: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let scores = Scores { rows: &rows, values: &values, rounds: &vec![1.0; rows.len()] };
        let mut kernel = Kernel::new(2);
        kernel.fit(&table, &vec![0.0; rows.len()], &scores, 200, &mut Pcg64::seed_from_u64(3));
        kernel.alone
    }

    #[test]
    fn what_knobs_do_by_themselves_is_told_from_what_they_do_together() {
        let wave = |level: u32| (f64::from(level) * 1.7).sin();
        let apart = alone(|left, right| wave(left) + wave(right));
        let together = alone(|left, right| wave(left * right + left));
        assert!(apart > 2.0 * ALONE && together < ALONE, "{apart} {together}");
    }
}
