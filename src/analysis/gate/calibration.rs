//! What a gate can tell on this machine, by pairs of the base with itself.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::rule::{Rule, looks};
use crate::analysis::ranks::{self, LEAST_PAIRS};
use crate::analysis::statistics::Estimate;

/// What a gate can tell on this machine, by pairs of the base with itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub pairs: usize,
    /// How far a pair's ratio is off: the standard deviation of its logarithm.
    pub noise: f64,
    /// False alarms in a gate with so many pairs, as a share.
    pub false_alarms: Estimate,
    /// A slowdown that is found 9 times in 10, as a share, the smallest of which that can be said; nothing where not even a doubling is.
    pub smallest: Option<f64>,
}

/// Games that are played to count false alarms…
const GAMES: usize = 400;
/// …again with so many other draws of what was seen, since that is little itself.
const DRAWS: usize = 40;

/// Plays the gate on what the base did beside itself, of which this is the time, one of so many figures. Neither of the two is the
/// better one, so each pair counts with either sign.
pub fn calibrate(own: &[f64], pairs: usize, rule: Rule, figures: usize, seed: u64) -> Option<Calibration> {
    if own.len() < 2 || pairs < LEAST_PAIRS {
        return None;
    }
    let own: Vec<f64> = own.iter().map(|ratio| ratio.ln()).collect();
    let mut random = Pcg64::seed_from_u64(seed);
    let play = |own: &[f64], shift: f64, games: usize, random: &mut Pcg64| {
        share_of_alarms(own, &looks(pairs), shift, rule.margin, rule.error_of_one(figures), games, random)
    };
    let alarms = play(&own, 0.0, GAMES, &mut random);
    let (mut shares, mut spreads): (Vec<f64>, Vec<f64>) = (0..DRAWS)
        .map(|_| {
            let drawn: Vec<f64> = own.iter().map(|_| own[random.random_range(0..own.len())]).collect();
            (play(&drawn, 0.0, GAMES / 4, &mut random), spread(&drawn))
        })
        .unzip();
    shares.sort_by(f64::total_cmp);
    spreads.sort_by(f64::total_cmp);
    // Of no alarm in so many games the share may still be as high as this, 95 times in 100.
    let unseen = 3.0 / GAMES as f64;
    let high = shares[DRAWS - 2].max(alarms + unseen);
    // A few pairs tell little of the noise, too. What is promised holds where it's as high as other draws of them say.
    let wider = spreads[DRAWS - 2] / spread(&own).max(f64::MIN_POSITIVE);
    let noisier: Vec<f64> = own.iter().map(|one| one * wider.max(1.0)).collect();
    let found =
        |slowdown: f64, random: &mut Pcg64| play(&noisier, slowdown.ln_1p(), GAMES / 2, random) >= 0.9;
    let smallest = found(1.0, &mut random).then(|| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..12 {
            let middle = (low + high) / 2.0;
            if found(middle, &mut random) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    });
    Some(Calibration {
        pairs: own.len(),
        noise: spread(&own),
        false_alarms: Estimate::between(shares[1].min(alarms), alarms, high),
        smallest,
    })
}

/// How many pairs find a slowdown of twice the margin 9 times in 10, at this noise, if so many figures are looked at.
pub fn needed(own: &[f64], rule: Rule, figures: usize) -> usize {
    let pairs = (in_margins(own, rule, figures) / rule.margin).powi(2);
    (pairs.ceil() as usize).max(LEAST_PAIRS)
}

/// The margin for which so many pairs are enough, at this noise.
pub fn margin_of(own: &[f64], pairs: usize, rule: Rule, figures: usize) -> f64 {
    in_margins(own, rule, figures) / (pairs.max(1) as f64).sqrt()
}

/// The margin that a single pair would be enough for, if noise were the same for one as for many.
fn in_margins(own: &[f64], rule: Rule, figures: usize) -> f64 {
    let noise = spread(&own.iter().map(|ratio| ratio.ln()).collect::<Vec<_>>());
    let normal = |chance: f64| Normal::standard().inverse_cdf(chance);
    let reach = normal(1.0 - rule.error_of_one(figures)) + normal(0.9);
    // Ranks need a twentieth more pairs than means of normal noise.
    1.05_f64.sqrt() * reach * noise
}

/// The deviation of logarithms around none, by their mean distance: a few that are far off count less than by squares, and of few
/// pairs it tells more than the middle distance.
fn spread(logarithms: &[f64]) -> f64 {
    let distances: f64 = logarithms.iter().map(|one| one.abs()).sum();
    // Of a normal distribution the deviation is so many times the mean distance.
    std::f64::consts::FRAC_PI_2.sqrt() * distances / logarithms.len().max(1) as f64
}

/// In how many of some games, as a share, the gate finds a regression where everything is slower by `shift`.
fn share_of_alarms(
    own: &[f64],
    looks: &[usize],
    shift: f64,
    margin: f64,
    error: f64,
    games: usize,
    random: &mut Pcg64,
) -> f64 {
    let pairs = looks.last().copied().unwrap_or_default();
    let alarm = |random: &mut Pcg64| {
        let drawn: Vec<f64> = (0..pairs)
            .map(|_| {
                // What is drawn twice isn't the same twice: pairs have no ties.
                let one = own[random.random_range(0..own.len())] * (1.0 + 1e-6 * random.random::<f64>());
                let one = if random.random_bool(0.5) { one } else { -one };
                (one + shift).exp()
            })
            .collect();
        looks
            .iter()
            .any(|look| ranks::above(&drawn[..*look], 1.0 + margin).is_some_and(|chance| chance < error))
    };
    (0..games).filter(|_| alarm(random)).count() as f64 / games as f64
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::{RULE, finding, pairs};
    use super::super::compare::{Finding, Gated, compare};
    use super::super::rule::LOOKS;
    use super::*;

    #[test]
    fn as_many_pairs_as_are_needed_find_twice_the_margin() {
        for noise in [0.02, 0.03] {
            let own = pairs(200, 0.0, noise, 7);
            let needed = needed(&own, RULE, 1);
            let found = (0..400)
                .filter(|seed| finding(pairs(needed, 0.02, noise, 1000 + seed)) == Finding::Regression);
            let share = found.count() as f64 / 400.0;
            assert!(share > 0.85, "{needed} pairs at {noise}: {share}");
        }
        assert_eq!(needed(&[1.0; 12], RULE, 1), LEAST_PAIRS);
        let own = pairs(200, 0.0, 0.02, 7);
        let enough = margin_of(&own, needed(&own, RULE, 3), RULE, 3);
        assert!((0.0095..=0.01).contains(&enough), "{enough}");
        // Of more figures each must be the surer.
        assert!(needed(&own, RULE, 3) > needed(&own, RULE, 1));
    }

    #[test]
    fn a_gate_knows_what_it_can_tell() {
        let own = pairs(60, 0.0, 0.02, 11);
        let calibration = calibrate(&own, 60, RULE, 1, 1).unwrap();
        assert!((0.013..0.028).contains(&calibration.noise), "{calibration:?}");
        assert!(calibration.false_alarms.value <= 0.01, "{calibration:?}");
        assert!(calibration.false_alarms.interval.unwrap().high < 0.05, "{calibration:?}");
        let smallest = calibration.smallest.unwrap();
        let found = (0..300).filter(|seed| {
            let ratios = pairs(60, smallest, 0.02, 5000 + seed);
            looks(60).into_iter().any(|look| {
                compare(&[(Gated::Time, ratios[..look].to_vec())], RULE, LOOKS)[0].finding
                    == Finding::Regression
            })
        });
        let share = found.count() as f64 / 300.0;
        assert!(share > 0.8, "{smallest}: {share}");
        // A noisier machine tells less, and of too little nothing is said.
        let noisy = calibrate(&pairs(60, 0.0, 0.10, 12), 60, RULE, 1, 1).unwrap();
        assert!(noisy.smallest.unwrap() > 2.0 * smallest, "{noisy:?}");
        assert_eq!(calibrate(&own[..1], 60, RULE, 1, 1), None);
    }
}
