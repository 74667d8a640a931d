//! Medians, and how far to trust them.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use crate::units::quantile;

/// A figure with the interval in which it lies in 95 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// A figure that was read and not sampled.
    pub fn exact(value: f64) -> Self {
        Estimate { value, low: value, high: value }
    }

    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        let (left, right) = (change(self.low), change(self.high));
        Estimate { value: change(self.value), low: left.min(right), high: left.max(right) }
    }

    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The ratio of two figures that have nothing in common but their intervals.
    pub fn over(self, other: Estimate) -> Self {
        Estimate { value: self.value / other.value, low: self.low / other.high, high: self.high / other.low }
    }

    /// The same figure, doubted by a factor either way.
    pub fn within(self, factor: f64) -> Self {
        Estimate { value: self.value, low: self.low / factor, high: self.high * factor }
    }

    /// Half of the interval's width, as a share of the value.
    pub fn relative_error(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.value.abs()
    }
}

/// Enough that the ends of a 95% interval settle to about a percent of its width.
const RESAMPLES: usize = 1000;

/// A round with more samples than this is drawn from as often as this: the interval is set by the rounds anyway.
const MOST_DRAWN: usize = 64;

/// Samples of one candidate, a list a round.
pub type Rounds = Vec<Vec<f64>>;

pub fn median(samples: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    quantile(&samples, 0.5)
}

/// The median of all samples, with a bootstrap interval that draws rounds first and samples within them second:
/// samples of one round share that round's conditions, so they are worth less than as many rounds.
pub fn estimate(rounds: &Rounds) -> Option<Estimate> {
    let value = median(rounds.iter().flatten().copied())?;
    let mut random = random();
    let resampled = (0..RESAMPLES).filter_map(|_| {
        let drawn = draw_rounds(rounds.len(), &mut random);
        median(drawn.into_iter().flat_map(|round| draw(&rounds[round], &mut random)))
    });
    Some(interval(value, resampled.collect(), rounds.iter().filter(|round| !round.is_empty()).count()))
}

/// How many times `left` is `right`, by the rounds in which both were measured: each round's conditions cancel.
pub fn ratio(left: &Rounds, right: &Rounds) -> Option<Estimate> {
    let shared: Vec<_> =
        left.iter().zip(right).filter(|(left, right)| !left.is_empty() && !right.is_empty()).collect();
    let above = median(shared.iter().flat_map(|(left, _)| left.iter().copied()))?;
    let value = above / median(shared.iter().flat_map(|(_, right)| right.iter().copied()))?;
    let mut random = random();
    let resampled = (0..RESAMPLES).filter_map(|_| {
        let drawn = draw_rounds(shared.len(), &mut random);
        let (mut above, mut below) = (Vec::new(), Vec::new());
        for round in drawn {
            above.extend(draw(shared[round].0, &mut random));
            below.extend(draw(shared[round].1, &mut random));
        }
        Some(median(above)? / median(below)?)
    });
    Some(interval(value, resampled.collect(), shared.len()))
}

/// The same draws in every report of the same journal.
fn random() -> Pcg64 {
    Pcg64::seed_from_u64(0x0b00_7574)
}

fn draw_rounds(count: usize, random: &mut Pcg64) -> Vec<usize> {
    (0..count).map(|_| random.random_range(0..count)).collect()
}

fn draw(samples: &[f64], random: &mut Pcg64) -> Vec<f64> {
    if samples.is_empty() {
        return Vec::new();
    }
    (0..samples.len().min(MOST_DRAWN)).map(|_| samples[random.random_range(0..samples.len())]).collect()
}

/// The interval of a positive figure, from its resampled values.
fn interval(value: f64, mut resampled: Vec<f64>, rounds: usize) -> Estimate {
    resampled.sort_by(f64::total_cmp);
    let end = |share| quantile(&resampled, share).unwrap_or(value);
    let widen = |end: f64| value * (end / value).powf(few_rounds(rounds));
    // A median of few samples can lie outside of its resampled medians' middle; an interval without its value would
    // confuse more than it says.
    Estimate { value, low: widen(end(0.025).min(value)), high: widen(end(0.975).max(value)) }
}

/// What a bootstrap of few rounds falls short by: their spread is estimated from few, as Student's distribution has it,
/// and around their own mean. For one round there is nothing to widen by; that is a doubt of its own.
fn few_rounds(rounds: usize) -> f64 {
    // Quantiles of Student's distribution at 0.975, from one degree of freedom on.
    const STUDENT: [f64; 14] =
        [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145];
    const NORMAL: f64 = 1.960;
    let Some(freedom) = rounds.checked_sub(1).filter(|freedom| *freedom > 0) else { return 1.0 };
    let student = STUDENT.get(freedom - 1).copied().unwrap_or(NORMAL + 2.5 / freedom as f64);
    student / NORMAL * (rounds as f64 / freedom as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, Normal};

    #[test]
    fn an_interval_of_equal_samples_has_no_width() {
        assert_eq!(estimate(&vec![vec![2.0, 2.0], vec![2.0]]), Some(Estimate::exact(2.0)));
        assert_eq!(estimate(&vec![vec![], vec![]]), None);
        assert_eq!(ratio(&vec![vec![3.0]], &vec![vec![2.0]]), Some(Estimate::exact(1.5)));
        assert_eq!(ratio(&vec![vec![], vec![3.0]], &vec![vec![2.0], vec![]]), None);
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say_with_few_rounds_too() {
        let mut random = Pcg64::seed_from_u64(1);
        let (level, noise) = (Normal::new(100.0, 3.0).unwrap(), Normal::new(0.0, 1.0).unwrap());
        let mut rounds = |count: usize| -> Rounds {
            let round = |random: &mut Pcg64| {
                let level = level.sample(random);
                (0..5).map(|_| level + noise.sample(random)).collect()
            };
            (0..count).map(|_| round(&mut random)).collect()
        };
        for count in [2, 3, 5, 8] {
            let held = (0..200).filter(|_| estimate(&rounds(count)).unwrap().contains(100.0)).count();
            assert!(held >= 182, "{count} rounds: {held} of 200 intervals hold the figure");
            let held =
                (0..200).filter(|_| ratio(&rounds(count), &rounds(count)).unwrap().contains(1.0)).count();
            assert!(held >= 182, "{count} rounds: {held} of 200 intervals hold the ratio");
        }
    }

    #[test]
    fn a_ratio_is_of_the_rounds_that_both_were_in() {
        // The machine halves in the second round, in which the slower one wasn't measured.
        let fast = vec![vec![111.0], vec![55.5]];
        let slow = vec![vec![100.0], vec![]];
        assert!((ratio(&fast, &slow).unwrap().value - 1.11).abs() < 1e-9);
    }

    #[test]
    fn drift_that_both_share_cancels_in_a_ratio() {
        // The machine slows to half over the rounds; one candidate is always 5% faster than the other.
        let rounds =
            |speed: f64| -> Rounds { [1.0, 0.8, 0.6, 0.5].map(|machine| vec![speed * machine]).into() };
        let apart = estimate(&rounds(105.0)).unwrap();
        assert!(apart.contains(100.0 * 0.7), "{apart:?}");
        let ratio = ratio(&rounds(105.0), &rounds(100.0)).unwrap();
        assert!((ratio.low, ratio.high) > (1.049, 1.049) && ratio.high < 1.051, "{ratio:?}");
    }
}
