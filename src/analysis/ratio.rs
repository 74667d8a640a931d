//! How many times one figure is another: the one place where figures are compared, for verdicts and for two runs. Planned pairs are
//! compared by their ranks (`ranks.rs`).

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
}
