//! How many times one figure is another: the one place where figures are compared, for verdicts, for two runs, for planned
//! pairs.

use statrs::distribution::{ContinuousCDF, Normal};

use super::statistics::{Estimate, Logarithms, Rounds, interval_of_mean, of_round};

/// How many times `left` is `right`, by the rounds in which both were measured: what the machine did in a round cancels in
/// its ratio. One round has a ratio and no interval.
pub fn by_round(left: &Rounds, right: &Rounds) -> Option<Estimate> {
    Logarithms::of(ratios(left, right)).map(|logarithms| logarithms.estimate())
}

/// The ratios of the rounds that two candidates share.
pub fn ratios<'a>(left: &'a Rounds, right: &'a Rounds) -> impl Iterator<Item = f64> + 'a {
    left.iter().zip(right).filter_map(|(left, right)| Some(of_round(left)? / of_round(right)?))
}

/// How many times `left` is `right`, of rounds that have nothing in common: those of two runs. Welch's interval, since the
/// machine may have been calm in one of them and not in the other.
pub fn between_runs(left: &Rounds, right: &Rounds) -> Option<Estimate> {
    let of = |rounds: &Rounds| Logarithms::of(rounds.iter().filter_map(|round| of_round(round)));
    let (left, right) = (of(left)?, of(right)?);
    let mean = left.mean - right.mean;
    let Some((above, below)) = left.error.zip(right.error) else { return Some(Estimate::alone(mean.exp())) };
    let error = above + below;
    if error == 0.0 {
        return Some(Estimate::exact(mean.exp()));
    }
    let freedom = |error: f64, count: usize| error.powi(2) / (count - 1) as f64;
    let freedom = error.powi(2) / (freedom(above, left.count) + freedom(below, right.count));
    Some(interval_of_mean(mean, error, freedom))
}

/// Fewer planned pairs than this don't settle anything by their ranks.
pub const LEAST_PAIRS: usize = 12;

/// So many pairs are counted out; beyond, the normal distribution is as good.
const MOST_COUNTED: usize = 50;

/// How likely ratios as far from 1 as these would be, if neither side were better: Wilcoxon's signed-rank test, on both
/// sides, which asks nothing of how the noise is distributed. Nothing for fewer than twelve pairs.
pub fn signed_rank(ratios: &[f64]) -> Option<f64> {
    if ratios.len() < LEAST_PAIRS {
        return None;
    }
    let mut logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).filter(|one| *one != 0.0).collect();
    if logarithms.is_empty() {
        return Some(1.0);
    }
    logarithms.sort_by(|left, right| left.abs().total_cmp(&right.abs()));
    let ranks = ranks(&logarithms);
    let above: f64 = ranks.iter().zip(&logarithms).filter(|(_, one)| **one > 0.0).map(|(rank, _)| rank).sum();
    let below = ranks.iter().sum::<f64>() - above;
    let tied = logarithms.windows(2).any(|pair| pair[0].abs() == pair[1].abs());
    let least = above.min(below);
    let tail = if logarithms.len() <= MOST_COUNTED && !tied {
        counted_tail(logarithms.len(), least as usize)
    } else {
        normal_tail(&ranks, least)
    };
    Some((2.0 * tail).min(1.0))
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

/// The share of all ways to give the ranks 1 to `count` a sign in which the positive ones add up to `sum` at most.
fn counted_tail(count: usize, sum: usize) -> f64 {
    // ways[s]: the share of the signs so far whose positive ranks add up to s.
    let mut ways = vec![0.0; count * (count + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=count {
        for total in (0..ways.len()).rev() {
            let with = total.checked_sub(rank).map_or(0.0, |without| ways[without]);
            ways[total] = (ways[total] + with) / 2.0;
        }
    }
    ways[..=sum].iter().sum()
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
    fn a_ratio_is_of_the_rounds_that_both_were_in() {
        // The machine halves in the second round, in which the slower one wasn't measured.
        let fast = vec![vec![111.0], vec![55.5]];
        let slow = vec![vec![100.0], vec![]];
        let ratio = by_round(&fast, &slow).unwrap();
        assert!((ratio.value - 1.11).abs() < 1e-9 && ratio.interval.is_none(), "{ratio:?}");
        assert_eq!(by_round(&vec![vec![], vec![3.0]], &vec![vec![2.0], vec![]]), None);
    }

    #[test]
    fn drift_that_both_share_cancels() {
        // The machine slows to half over the rounds; one candidate is always 5% faster than the other.
        let rounds =
            |speed: f64| -> Rounds { [1.0, 0.8, 0.6, 0.5].map(|machine| vec![speed * machine]).into() };
        let interval = by_round(&rounds(105.0), &rounds(100.0)).unwrap().interval.unwrap();
        assert!(interval.low > 1.049 && interval.high < 1.051, "{interval:?}");
        let apart = between_runs(&rounds(105.0), &rounds(100.0)).unwrap();
        assert!(!apart.excludes(1.0), "{apart:?}");
    }

    #[test]
    fn what_people_saw_on_a_xeon_is_told_apart() {
        // Two candidates of three rounds, one of which was a slow one for both of them or for one.
        let rounds = |figures: [f64; 3]| -> Rounds { figures.map(|figure| vec![figure]).into() };
        let ratio = by_round(&rounds([86.0, 88.0, 102.0]), &rounds([374.0, 381.0, 234.0])).unwrap();
        assert!(ratio.excludes(1.0), "{ratio:?}");
    }

    #[test]
    fn rounds_of_two_runs_are_compared_by_welch() {
        // Checked by hand: ln 2 apart, errors of 0.01²/2 and 0, one degree of freedom.
        let left = vec![vec![(0.01f64).exp()], vec![(-0.01f64).exp()]];
        let right = vec![vec![0.5], vec![0.5]];
        let ratio = between_runs(&left, &right).unwrap();
        let Some(interval) = ratio.interval else { panic!("{ratio:?}") };
        assert!((ratio.value - 2.0).abs() < 1e-9);
        assert!(((interval.high / 2.0).ln() - 12.706 * 0.01).abs() < 1e-4, "{interval:?}");
        assert_eq!(between_runs(&left, &vec![vec![0.5]]).unwrap().interval, None);
    }

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
            let (counted, normal) = (counted_tail(50, sum as usize), normal_tail(&ranks, sum));
            assert!((counted - normal).abs() < 2e-3, "{sum}: {counted} {normal}");
        }
    }
}
