//! Figures out of rounds, and how far to trust them.
//!
//! Samples of one round share what the machine did meanwhile, so a round is one observation, however many passes it had:
//! their median. Figures here are positive and drift by factors, so rounds are taken together as logarithms.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

pub use crate::units::median;

/// A figure, and the interval in which it lies in 95 of 100 cases, where there can be one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    #[serde(flatten)]
    pub interval: Option<Interval>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// A figure of which nobody can say how far to trust it.
    pub fn alone(value: f64) -> Self {
        Estimate { value, interval: None }
    }

    /// A figure that is the same whenever it's asked for.
    pub fn exact(value: f64) -> Self {
        Estimate::between(value, value, value)
    }

    pub fn between(low: f64, value: f64, high: f64) -> Self {
        Estimate { value, interval: Some(Interval { low, high }) }
    }

    /// Whether it can be told apart from `value`.
    pub fn excludes(&self, value: f64) -> bool {
        self.interval.is_some_and(|interval| !interval.contains(value))
    }

    /// The ratio of two figures that have nothing in common but their intervals.
    pub fn over(self, other: Estimate) -> Self {
        let interval = self.interval.zip(other.interval);
        Estimate {
            value: self.value / other.value,
            interval: interval
                .map(|(own, other)| Interval { low: own.low / other.high, high: own.high / other.low }),
        }
    }

    /// The same figure, doubted by a factor either way, besides what it's doubted by already.
    pub fn within(self, factor: f64) -> Self {
        let Interval { low, high } = self.interval.unwrap_or(Interval::of(self.value));
        Estimate::between(low / factor, self.value, high * factor)
    }

    /// Half of the interval's width, as a share of the value.
    pub fn relative_error(&self) -> Option<f64> {
        self.interval.map(|interval| (interval.high - interval.low) / 2.0 / self.value.abs())
    }
}

impl Interval {
    /// One without width.
    pub fn of(value: f64) -> Self {
        Interval { low: value, high: value }
    }

    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The same, and `value` in it.
    pub fn with(self, value: f64) -> Self {
        Interval { low: self.low.min(value), high: self.high.max(value) }
    }
}

/// Samples of one candidate, a list a round.
pub type Rounds = Vec<Vec<f64>>;

/// A round's own figure: the median of its samples.
pub fn of_round(samples: &[f64]) -> Option<f64> {
    median(samples.iter().copied())
}

/// The figure over all rounds: the geometric mean of theirs.
pub fn estimate(rounds: &Rounds) -> Option<Estimate> {
    let figures: Vec<f64> = rounds.iter().filter_map(|round| of_round(round)).collect();
    if figures.iter().any(|figure| *figure <= 0.0) {
        // As of a load that took no time: nothing can be multiplied with that.
        return median(figures).map(Estimate::alone);
    }
    Logarithms::of(figures).map(|logarithms| logarithms.estimate())
}

/// Mean and spread of logarithms, of which each is an observation of its own.
pub struct Logarithms {
    pub count: usize,
    pub mean: f64,
    /// The square of the mean's standard error; nothing for a single observation.
    pub error: Option<f64>,
}

impl Logarithms {
    /// Of positive figures; others have none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Logarithms> {
        let logarithms: Vec<f64> = figures.into_iter().map(f64::ln).filter(|one| one.is_finite()).collect();
        let count = logarithms.len();
        if count == 0 {
            return None;
        }
        let mean = logarithms.iter().sum::<f64>() / count as f64;
        let squares: f64 = logarithms.iter().map(|one| (one - mean).powi(2)).sum();
        let error = (count > 1).then(|| squares / (count - 1) as f64 / count as f64);
        Some(Logarithms { count, mean, error })
    }

    /// How likely a mean as high as this is, if the true one is zero: Student's test on one side. Nothing for a single observation.
    pub fn chance_of_none(&self) -> Option<f64> {
        let error = self.error?.sqrt();
        if error == 0.0 {
            return Some(if self.mean > 0.0 { 0.0 } else { 1.0 });
        }
        let student = StudentsT::new(0.0, 1.0, (self.count - 1) as f64).ok()?;
        Some(1.0 - student.cdf(self.mean / error))
    }

    pub fn estimate(&self) -> Estimate {
        let Some(error) = self.error else { return Estimate::alone(self.mean.exp()) };
        interval_of_mean(self.mean, error, (self.count - 1) as f64)
    }
}

/// The figure whose logarithm was estimated with so many degrees of freedom, with Student's interval.
pub fn interval_of_mean(mean: f64, error: f64, freedom: f64) -> Estimate {
    let reach = student(freedom) * error.sqrt();
    Estimate::between((mean - reach).exp(), mean.exp(), (mean + reach).exp())
}

/// The mean of independent values, with Student's interval; nothing of nothing.
pub fn mean(values: &[f64]) -> Option<Estimate> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    match values.len() {
        0 => None,
        1 => Some(Estimate::alone(mean)),
        _ => {
            let reach = student(count - 1.0) * (squares / (count - 1.0) / count).sqrt();
            Some(Estimate::between(mean - reach, mean, mean + reach))
        }
    }
}

/// How many standard errors an interval of 95% reaches, where the error itself is estimated.
fn student(freedom: f64) -> f64 {
    // Refused for no freedom only, which nobody asks for; an endless interval says the same.
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |student| student.inverse_cdf(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_one_round_has_no_interval_and_one_of_equal_rounds_no_width() {
        assert_eq!(estimate(&vec![vec![2.0, 4.0, 3.0], vec![]]).unwrap().interval, None);
        assert_eq!(estimate(&vec![vec![1.0, 1.0], vec![1.0]]), Some(Estimate::between(1.0, 1.0, 1.0)));
        assert_eq!(estimate(&vec![vec![], vec![]]), None);
        assert_eq!(estimate(&vec![vec![0.0], vec![0.0]]), Some(Estimate::alone(0.0)));
    }

    #[test]
    fn each_round_weighs_the_same_however_many_passes_it_had() {
        let even = estimate(&vec![vec![1.0], vec![4.0]]).unwrap();
        let uneven = estimate(&vec![vec![1.0; 20], vec![4.0, 4.0]]).unwrap();
        assert!((even.value - 2.0).abs() < 1e-9 && even == uneven, "{even:?} {uneven:?}");
    }

    #[test]
    fn intervals_reach_as_far_as_students_distribution_has_it() {
        for (freedom, reach) in [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (19.0, 2.093), (1e6, 1.960)] {
            assert!((student(freedom) - reach).abs() < 1e-3, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn a_figure_without_an_interval_can_be_told_apart_from_nothing() {
        assert!(!Estimate::alone(5.0).excludes(1.0));
        assert!(Estimate::between(4.0, 5.0, 6.0).excludes(1.0));
        assert!(!Estimate::between(0.9, 5.0, 6.0).excludes(1.0));
    }

    #[test]
    fn an_interval_is_written_beside_its_value_and_read_again() {
        let json = serde_json::to_string(&Estimate::between(1.0, 2.0, 3.0)).unwrap();
        assert_eq!(json, r#"{"value":2.0,"low":1.0,"high":3.0}"#);
        assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), Estimate::between(1.0, 2.0, 3.0));
        let json = serde_json::to_string(&Estimate::alone(2.0)).unwrap();
        assert_eq!(json, r#"{"value":2.0}"#);
        assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), Estimate::alone(2.0));
    }
}
