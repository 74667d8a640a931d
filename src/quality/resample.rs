//! What a metric over few queries can tell: queries, or documents, are drawn again and again, with repetition, and the metric is
//! taken of each draw. The reference's metric is taken of the same draws, so that what a query is hard for everybody by is no
//! difference.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::record::Judged;
use crate::units::quantile;

/// Draws for an interval. More change its ends by less than a tenth of its width.
const DRAWS: usize = 2000;
/// Fewer where units are many, whose intervals are narrow whatever is drawn.
const LEAST_DRAWS: usize = 200;
const MOST_WORK: usize = 20_000_000;

/// What each query, or each document, adds to the sums that a metric is made of.
#[derive(Debug, Clone)]
pub struct Units {
    width: usize,
    /// The sums of one unit, behind those of the one before.
    sums: Vec<f64>,
    value: fn(&[f64]) -> f64,
}

impl Units {
    /// A mean: each unit is a value and its weight.
    pub fn of_means() -> Units {
        Units {
            width: 2,
            sums: Vec::new(),
            value: |sums| if sums[1] > 0.0 { sums[0] / sums[1] } else { 0.0 },
        }
    }

    /// The mean of classes' F1: each unit has for each class how many there are, how many were found, and how many rightly.
    pub fn of_classes(classes: usize) -> Units {
        Units { width: 3 * classes, sums: Vec::new(), value: mean_f1 }
    }

    pub fn push(&mut self, sums: &[f64]) {
        debug_assert_eq!(sums.len(), self.width);
        self.sums.extend(sums);
    }

    fn len(&self) -> usize {
        self.sums.len() / self.width.max(1)
    }

    /// The metric over all units.
    pub fn value(&self) -> f64 {
        self.of(0..self.len())
    }

    /// The metric over some units, some of them perhaps more than once.
    fn of(&self, units: impl Iterator<Item = usize>) -> f64 {
        let mut totals = vec![0.0; self.width];
        for unit in units {
            let sums = &self.sums[unit * self.width..(unit + 1) * self.width];
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        (self.value)(&totals)
    }
}

/// Classes that are neither there nor found have no F1. Where there is none at all, nothing was wrong.
fn mean_f1(sums: &[f64]) -> f64 {
    let there = sums.chunks(3).filter(|class| class[0] + class[1] > 0.0);
    let (count, sum) = there
        .fold((0.0, 0.0), |(count, sum), class| (count + 1.0, sum + 2.0 * class[2] / (class[0] + class[1])));
    if count > 0.0 { sum / count } else { 1.0 }
}

/// A metric with its interval, and with how it differs from the reference's.
pub fn judged(units: &Units, reference: Option<&Units>) -> Judged {
    let count = units.len();
    let reference = reference.filter(|reference| reference.len() == count);
    let value = units.value();
    if count < 2 {
        // One query says nothing of others.
        return Judged { reference: reference.map(Units::value), ..Judged::exactly(value) };
    }
    let draws = (MOST_WORK / (count * units.width)).clamp(LEAST_DRAWS, DRAWS);
    // The same draws for every candidate.
    let mut random = Pcg64::seed_from_u64(0);
    let (mut values, mut changes) = (Vec::with_capacity(draws), Vec::with_capacity(draws));
    for _ in 0..draws {
        let drawn: Vec<usize> = (0..count).map(|_| random.random_range(0..count)).collect();
        let own = units.of(drawn.iter().copied());
        values.push(own);
        changes.extend(reference.map(|reference| own - reference.of(drawn.iter().copied())));
    }
    Judged {
        value,
        interval: ends(values),
        reference: reference.map(Units::value),
        change: ends(changes),
        units: Some(count),
    }
}

/// Between which 95 of 100 lie.
fn ends(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_by(f64::total_cmp);
    Some([quantile(&values, 0.025)?, quantile(&values, 0.975)?])
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, Normal};

    use super::*;

    fn means(values: &[f64]) -> Units {
        let mut units = Units::of_means();
        values.iter().for_each(|value| units.push(&[*value, 1.0]));
        units
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut random = Pcg64::seed_from_u64(7);
        let noise = Normal::new(0.6, 0.2).unwrap();
        let holds = (0..400).filter(|_| {
            let values: Vec<f64> = (0..40).map(|_| noise.sample(&mut random)).collect();
            let [low, high] = judged(&means(&values), None).interval.unwrap();
            (low..=high).contains(&0.6)
        });
        let share = holds.count() as f64 / 400.0;
        assert!((0.90..=0.98).contains(&share), "{share}");
    }

    #[test]
    fn what_is_hard_for_both_is_no_difference() {
        // Queries differ by far more than the candidate differs from the reference.
        let reference: Vec<f64> = (0..40).map(|query| f64::from(query) / 40.0).collect();
        let candidate: Vec<f64> = reference.iter().map(|score| score * 0.98).collect();
        let judged = judged(&means(&candidate), Some(&means(&reference)));
        let ([low, high], [worst, best]) = (judged.interval.unwrap(), judged.change.unwrap());
        assert!(high - low > 0.15 && best < 0.0 && best - worst < 0.01, "{judged:?}");
        assert_eq!((judged.units, judged.reference.unwrap()), (Some(40), means(&reference).value()));
    }

    #[test]
    fn one_query_has_no_interval() {
        let judged = judged(&means(&[0.5]), Some(&means(&[0.75])));
        assert_eq!((judged.value, judged.interval, judged.reference), (0.5, None, Some(0.75)));
    }

    #[test]
    fn classes_that_nobody_has_seen_are_left_out() {
        assert_eq!(mean_f1(&[2.0, 2.0, 2.0, 0.0, 0.0, 0.0]), 1.0);
        assert_eq!(mean_f1(&[2.0, 2.0, 1.0, 0.0, 2.0, 0.0]), 0.25);
        assert_eq!(mean_f1(&[]), 1.0);
    }
}
