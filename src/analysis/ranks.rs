//! Planned pairs by the ranks of their ratios, which ask nothing of how the noise is distributed: Wilcoxon's signed-rank test, and
//! the estimate that goes with it.

use std::cmp::Ordering;
use std::sync::OnceLock;

use statrs::distribution::{ContinuousCDF, Normal};

use super::statistics::Estimate;

/// Fewer planned pairs than this don't settle anything by their ranks, whatever they say.
pub const LEAST_PAIRS: usize = 12;

/// So many pairs are counted out; beyond, the normal distribution is as good.
const MOST_COUNTED: usize = 50;

/// How likely ratios as far from 1 as these would be, if neither side were better: on both sides. Nothing for too few pairs.
pub fn signed_rank(ratios: &[f64]) -> Option<f64> {
    let signed = Signed::of(ratios, 1.0)?;
    Some((2.0 * signed.tail(signed.above.min(signed.below))).min(1.0))
}

/// How likely ratios as high as these would be, if the true one were `bound` or less.
pub fn above(ratios: &[f64], bound: f64) -> Option<f64> {
    Signed::of(ratios, bound).map(|signed| signed.tail(signed.below))
}

/// How likely ratios as low as these would be, if the true one were `bound` or more.
pub fn below(ratios: &[f64], bound: f64) -> Option<f64> {
    Signed::of(ratios, bound).map(|signed| signed.tail(signed.above))
}

/// Hodges and Lehmann's estimate of the true ratio, the middle of all means of two, with the interval that the test doesn't rule
/// out at this error on both sides; without one where the pairs are too few for it.
pub fn middle(ratios: &[f64], error: f64) -> Option<Estimate> {
    let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let pairs = logarithms.iter().enumerate();
    let mut means: Vec<f64> = pairs
        .flat_map(|(place, left)| logarithms[place..].iter().map(move |right| (left + right) / 2.0))
        .collect();
    means.sort_by(f64::total_cmp);
    let last = means.len().checked_sub(1)?;
    let value = ((means[last / 2] + means[last.div_ceil(2)]) / 2.0).exp();
    // So many means on each side are ruled out.
    let out = (0..=last / 2).take_while(|sum| untied_tail(ratios.len(), *sum as f64) <= error / 2.0).count();
    Some(match out {
        0 => Estimate::alone(value),
        out => Estimate::between(means[out - 1].exp(), value, means[last + 1 - out].exp()),
    })
}

/// How likely figures as high as these would be, beside others that have nothing in common with them, if the true ratio were `bound` or
/// less: Mann and Whitney's test.
pub fn above_others(own: &[f64], others: &[f64], bound: f64) -> Option<f64> {
    let higher: f64 = own
        .iter()
        .flat_map(|own| others.iter().map(move |other| (own / bound).total_cmp(other)))
        .map(|order| match order {
            Ordering::Greater => 1.0,
            Ordering::Equal => 0.5,
            Ordering::Less => 0.0,
        })
        .sum();
    let (middle, deviation) = of_two(own.len(), others.len())?;
    // Half a rank for what is counted in whole ones.
    Some(1.0 - Normal::standard().cdf((higher - middle - 0.5) / deviation))
}

/// How many times others these figures are, with the interval that the test doesn't rule out at this error on both sides.
pub fn middle_of_two(own: &[f64], others: &[f64], error: f64) -> Option<Estimate> {
    let mut ratios: Vec<f64> =
        own.iter().flat_map(|own| others.iter().map(move |other| (own / other).ln())).collect();
    ratios.sort_by(f64::total_cmp);
    let (middle, deviation) = of_two(own.len(), others.len())?;
    let last = ratios.len() - 1;
    let value = ((ratios[last / 2] + ratios[last.div_ceil(2)]) / 2.0).exp();
    let out = (middle - Normal::standard().inverse_cdf(1.0 - error / 2.0) * deviation).floor();
    let out = out.max(0.0) as usize;
    Some(Estimate::between(ratios[out].exp(), value, ratios[last - out].exp()))
}

/// The middle and the deviation of Mann and Whitney's count, for so many on either side. Nothing for too few.
fn of_two(own: usize, others: usize) -> Option<(f64, f64)> {
    let (own, others) = (own as f64, others as f64);
    let enough = own.min(others) >= LEAST_PAIRS as f64;
    enough.then(|| (own * others / 2.0, (own * others * (own + others + 1.0) / 12.0).sqrt()))
}

/// Ranks of how far ratios are from a bound, and their sums on either side of it.
struct Signed {
    ranks: Vec<f64>,
    above: f64,
    below: f64,
    tied: bool,
}

impl Signed {
    fn of(ratios: &[f64], bound: f64) -> Option<Signed> {
        if ratios.len() < LEAST_PAIRS {
            return None;
        }
        let mut logarithms: Vec<f64> =
            ratios.iter().map(|ratio| (ratio / bound).ln()).filter(|one| *one != 0.0).collect();
        logarithms.sort_by(|left, right| left.abs().total_cmp(&right.abs()));
        let ranks = ranks(&logarithms);
        let above: f64 =
            ranks.iter().zip(&logarithms).filter(|(_, one)| **one > 0.0).map(|(rank, _)| rank).sum();
        let below = ranks.iter().sum::<f64>() - above;
        let tied = logarithms.windows(2).any(|pair| pair[0].abs() == pair[1].abs());
        Some(Signed { ranks, above, below, tied })
    }

    /// How likely it is that the ranks of one side add up to `sum` at most, if both are as likely.
    fn tail(&self, sum: f64) -> f64 {
        if self.ranks.is_empty() {
            1.0
        } else if self.tied {
            normal_tail(&self.ranks, sum)
        } else {
            untied_tail(self.ranks.len(), sum)
        }
    }
}

/// Ranks by size, the mean rank where some are equal. The values are sorted.
fn ranks(sorted: &[f64]) -> Vec<f64> {
    sorted
        .chunk_by(|left, right| left.abs() == right.abs())
        .scan(0, |before, equal| {
            let rank = *before as f64 + (equal.len() + 1) as f64 / 2.0;
            *before += equal.len();
            Some(std::iter::repeat_n(rank, equal.len()))
        })
        .flatten()
        .collect()
}

/// The same for the ranks 1 to `count`.
fn untied_tail(count: usize, sum: f64) -> f64 {
    if count > MOST_COUNTED {
        let ranks: Vec<f64> = (1..=count).map(|rank| rank as f64).collect();
        return normal_tail(&ranks, sum);
    }
    let tails = tails(count);
    tails[(sum as usize).min(tails.len() - 1)]
}

/// For each sum the share of all ways to give the ranks 1 to `count` a sign in which the positive ones add up to it at most.
fn tails(count: usize) -> &'static [f64] {
    static TAILS: [OnceLock<Vec<f64>>; MOST_COUNTED + 1] = [const { OnceLock::new() }; MOST_COUNTED + 1];
    TAILS[count].get_or_init(|| {
        // ways[s]: the share of the signs so far whose positive ranks add up to s.
        let mut ways = vec![0.0; count * (count + 1) / 2 + 1];
        ways[0] = 1.0;
        for rank in 1..=count {
            for total in (0..ways.len()).rev() {
                let with = total.checked_sub(rank).map_or(0.0, |without| ways[without]);
                ways[total] = (ways[total] + with) / 2.0;
            }
        }
        let sums = ways.into_iter().scan(0.0, |sum, way| {
            *sum += way;
            Some(*sum)
        });
        sums.collect()
    })
}

fn normal_tail(ranks: &[f64], least: f64) -> f64 {
    let mean = ranks.iter().sum::<f64>() / 2.0;
    let deviation = (ranks.iter().map(|rank| rank.powi(2)).sum::<f64>() / 4.0).sqrt();
    // Half a rank for the steps that the sum has and the distribution hasn't.
    Normal::standard().cdf((least + 0.5 - mean) / deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_tell_what_tables_say() {
        // Equal ones have the mean rank, 6.5: 38.5 ranks off the mean, of a deviation of 11.26.
        assert!((signed_rank(&[1.1; 12]).unwrap() - 6.3e-4).abs() < 1e-5);
        // All 12 above: 2 of 4096 ways.
        let apart: Vec<f64> = (1..=12).map(|step| 1.0 + f64::from(step) / 100.0).collect();
        assert!((signed_rank(&apart).unwrap() - 2.0 / 4096.0).abs() < 1e-12);
        // The table's critical sum for 12 pairs at 5% is 13: 13 is in, 14 is out.
        let with_sum = |negative: &[u32]| {
            let sign = |rank| if negative.contains(&rank) { -1.0 } else { 1.0 };
            let ratios: Vec<f64> =
                (1..=12).map(|rank| (sign(rank) * f64::from(rank) / 100.0).exp()).collect();
            signed_rank(&ratios).unwrap()
        };
        assert!(with_sum(&[1, 12]) < 0.05 && with_sum(&[2, 12]) > 0.05);
        assert_eq!(signed_rank(&apart[..11]), None);
        assert_eq!(signed_rank(&[1.0; 20]), Some(1.0));
    }

    #[test]
    fn counting_and_the_normal_distribution_agree_where_they_meet() {
        let ranks: Vec<f64> = (1..=50).map(f64::from).collect();
        for sum in [300.0, 434.0, 600.0] {
            let (counted, normal) = (untied_tail(50, sum), normal_tail(&ranks, sum));
            assert!((counted - normal).abs() < 2e-3, "{sum}: {counted} {normal}");
        }
    }

    #[test]
    fn one_side_is_tested_against_a_bound() {
        let slower: Vec<f64> = (1..=12).map(|step| 1.05 + f64::from(step) / 1000.0).collect();
        let least = 1.0 / 4096.0;
        assert!((above(&slower, 1.01).unwrap() - least).abs() < 1e-12);
        assert!((below(&slower, 1.10).unwrap() - least).abs() < 1e-12);
        assert!(above(&slower, 1.10).unwrap() > 0.999 && below(&slower, 1.01).unwrap() > 0.999);
        assert_eq!(above(&slower[..11], 1.01), None);
    }

    #[test]
    fn the_middle_is_that_of_tables_and_holds_the_truth() {
        // Checked by hand: of 1, 2, 3 the means are 1, 1.5, 2, 2, 2.5, 3.
        let ratios = [1.0, 2.0, 3.0].map(f64::exp);
        let estimate = middle(&ratios, 0.05).unwrap();
        assert!((estimate.value.ln() - 2.0).abs() < 1e-12 && estimate.interval.is_none());
        // Of ten pairs R's wilcox.test takes the 9th of the 55 means from either end as its interval of 95%.
        let ten: Vec<f64> = [0.3, -0.1, 0.9, 0.4, 1.3, -0.6, 0.8, 0.05, 1.1, 0.65].map(f64::exp).into();
        let mut means: Vec<f64> = (0..10)
            .flat_map(|left| (left..10).map(move |right| (left, right)))
            .map(|(left, right)| (ten[left].ln() + ten[right].ln()) / 2.0)
            .collect();
        means.sort_by(f64::total_cmp);
        let interval = middle(&ten, 0.05).unwrap().interval.unwrap();
        assert!((interval.low.ln() - means[8]).abs() < 1e-12, "{interval:?}");
        assert!((interval.high.ln() - means[46]).abs() < 1e-12, "{interval:?}");
        assert_eq!(middle(&[], 0.05), None);
    }

    #[test]
    fn two_series_are_told_apart_as_scipy_tells_them() {
        // scipy.stats.mannwhitneyu(own, others, alternative="greater", method="asymptotic").
        let own: Vec<f64> = (1..=12).map(f64::from).collect();
        let others: Vec<f64> =
            (1..=12).map(|one| f64::from(one) - 2.5).map(|one: f64| one.max(0.25)).collect();
        let chance = above_others(&own, &others, 1.0).unwrap();
        assert!((chance - 0.062_97).abs() < 2e-3, "{chance}");
        assert_eq!(above_others(&own[..11], &others, 1.0), None);
        let ratio = middle_of_two(&[2.0; 12], &[1.0; 12], 0.05).unwrap();
        assert_eq!(ratio.value, 2.0);
        let same = middle_of_two(&own, &own, 0.05).unwrap();
        assert!(!same.excludes(1.0) && (same.value - 1.0).abs() < 1e-9, "{same:?}");
    }
}
