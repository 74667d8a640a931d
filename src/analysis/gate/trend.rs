//! How the gates of one stage on one machine went: where its level has changed, and what the machine let gates tell.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::verdict::Verdict;
use crate::analysis::statistics::{Estimate, median};

/// A gate of one stage, as it's remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// When it ended.
    pub at: String,
    /// What the new arm was: its revision where that is known.
    pub new: String,
    pub verdict: Verdict,
    pub pairs: usize,
    /// What the new arm took for a document.
    pub seconds: Option<f64>,
    /// How many times the base's that was.
    pub ratio: Option<Estimate>,
    pub calibration: Option<Calibration>,
}

/// All gates of a stage that can be compared with each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trend {
    pub stage: String,
    /// Suite, configuration and target, in words.
    pub setting: String,
    pub gates: Vec<Past>,
    /// Times at which nothing changed for a while, the oldest first.
    pub levels: Vec<Level>,
    /// The deviation of a pair's ratio.
    pub noise: Option<Range>,
    /// The smallest slowdown that was found 9 times in 10.
    pub smallest: Option<Range>,
}

/// Gates between two changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Level {
    /// The place of its first gate.
    pub first: usize,
    pub gates: usize,
    /// For a document: the middle of its gates.
    pub seconds: f64,
}

/// The lowest, the middle and the highest of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Option<Range> {
        let low = values.clone().min_by(f64::total_cmp)?;
        let high = values.clone().max_by(f64::total_cmp)?;
        Some(Range { low, middle: median(values)?, high })
    }
}

impl Trend {
    pub fn of(stage: String, setting: String, gates: Vec<Past>) -> Trend {
        let timed: Vec<(usize, f64)> =
            gates.iter().enumerate().filter_map(|(place, gate)| Some((place, gate.seconds?))).collect();
        let seconds: Vec<f64> = timed.iter().map(|(_, seconds)| *seconds).collect();
        let mut starts = vec![0];
        starts.extend(changes(&seconds));
        let ends = starts.iter().copied().skip(1).chain([seconds.len()]);
        let level = |(start, end): (&usize, usize)| {
            let own = &seconds[*start..end];
            Some(Level {
                first: timed.get(*start)?.0,
                gates: own.len(),
                seconds: median(own.iter().copied())?,
            })
        };
        let calibrations = || gates.iter().filter_map(|gate| gate.calibration.as_ref());
        Trend {
            levels: starts.iter().zip(ends).filter_map(level).collect(),
            noise: Range::of(calibrations().map(|one| one.noise)),
            smallest: Range::of(calibrations().filter_map(|one| one.smallest)),
            stage,
            setting,
            gates,
        }
    }
}

/// A level has so many gates at least.
const LEAST: usize = 4;

/// Shuffles that tell how far apart two parts are by chance, and how many of them may be as far.
const SHUFFLES: usize = 999;
const MOST_AS_FAR: usize = 4;

/// Where a series changes its level: the places at which a new one begins.
fn changes(values: &[f64]) -> Vec<usize> {
    let Some(place) = split(values) else { return Vec::new() };
    let (before, after) = values.split_at(place);
    let later = changes(after).into_iter().map(|change| place + change);
    changes(before).into_iter().chain([place]).chain(later).collect()
}

/// The place that parts a series best, if shuffling it hardly ever gives parts as different. By ranks, so that one gate that is far
/// off is no change.
fn split(values: &[f64]) -> Option<usize> {
    let mut ranks = ranks(values);
    let (place, distance) = farthest(&ranks)?;
    let mut random = Pcg64::seed_from_u64(values.len() as u64);
    let as_far = (0..SHUFFLES).filter(|_| {
        ranks.shuffle(&mut random);
        farthest(&ranks).is_some_and(|(_, other)| other >= distance)
    });
    (as_far.count() <= MOST_AS_FAR).then_some(place)
}

/// Where the ranks before and after differ most, in deviations of what chance gives.
fn farthest(ranks: &[f64]) -> Option<(usize, f64)> {
    let all = ranks.len();
    let mut sum: f64 = ranks.iter().take(LEAST.saturating_sub(1)).sum();
    let mut best = None;
    for before in LEAST..=all.saturating_sub(LEAST) {
        sum += ranks[before - 1];
        let (count, after) = (before as f64, (all - before) as f64);
        let middle = count * (all as f64 + 1.0) / 2.0;
        let deviation = (count * after * (all as f64 + 1.0) / 12.0).sqrt();
        let distance = (sum - middle).abs() / deviation;
        if best.is_none_or(|(_, farthest)| distance > farthest) {
            best = Some((before, distance));
        }
    }
    best
}

/// Each value's rank from 1 on, the mean of them where some are equal.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal + 1) as f64 / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
pub mod tests {
    use rand_distr::{Distribution, Normal};

    use super::*;

    /// Gates whose times are these.
    pub fn gates(seconds: &[f64]) -> Vec<Past> {
        let calibration = |place: usize| Calibration {
            pairs: 12,
            noise: 0.01 + 0.001 * place as f64,
            false_alarms: Estimate::alone(0.0),
            smallest: Some(0.03),
        };
        let gate = |(place, seconds): (usize, &f64)| Past {
            at: format!("2026-11-{:02}T10:00:00Z", place + 1),
            new: format!("commit{place}"),
            verdict: Verdict::Pass,
            pairs: 12,
            seconds: Some(*seconds),
            ratio: Some(Estimate::alone(1.002)),
            calibration: Some(calibration(place)),
        };
        seconds.iter().enumerate().map(gate).collect()
    }

    fn noisy(levels: &[(usize, f64)], seed: u64) -> Vec<f64> {
        let mut random = Pcg64::seed_from_u64(seed);
        let noise = Normal::new(0.0, 0.02).unwrap();
        let of_level = |(count, level): &(usize, f64)| vec![*level; *count];
        levels.iter().flat_map(of_level).map(|level| level * f64::exp(noise.sample(&mut random))).collect()
    }

    #[test]
    fn a_change_is_found_where_it_is() {
        for seed in 0..20 {
            let found = changes(&noisy(&[(15, 1.0), (10, 1.1), (12, 0.95)], seed));
            assert_eq!(found.len(), 2, "{seed}: {found:?}");
            assert!(found[0].abs_diff(15) <= 1 && found[1].abs_diff(25) <= 1, "{seed}: {found:?}");
        }
    }

    #[test]
    fn what_stays_as_it_is_has_no_change_but_by_rare_chance() {
        let alarms = (0..300).filter(|seed| !changes(&noisy(&[(30, 1.0)], 1000 + seed)).is_empty()).count();
        assert!(alarms <= 6, "{alarms} of 300");
        // One that is far off is none, and of too few nothing is said.
        let mut spike = noisy(&[(20, 1.0)], 1);
        spike[10] = 9.0;
        assert_eq!(changes(&spike), Vec::<usize>::new());
        assert_eq!(changes(&[1.0, 1.0, 2.0, 2.0]), Vec::<usize>::new());
        assert_eq!(changes(&[]), Vec::<usize>::new());
    }

    #[test]
    fn a_trend_has_its_levels_and_what_gates_could_tell() {
        let mut past = gates(&noisy(&[(10, 1.0), (10, 1.2)], 3));
        // One that measured nothing is counted, and has no time.
        past.insert(
            0,
            Past { seconds: None, calibration: None, verdict: Verdict::Invalid, ..past[0].clone() },
        );
        let trend = Trend::of("embed".into(), "s".into(), past);
        assert_eq!((trend.gates.len(), trend.levels.len()), (21, 2), "{:?}", trend.levels);
        assert_eq!((trend.levels[0].first, trend.levels[1].first), (1, 11));
        assert_eq!((trend.levels[0].gates, trend.levels[1].gates), (10, 10));
        assert!((trend.levels[1].seconds / trend.levels[0].seconds - 1.2).abs() < 0.03);
        let noise = trend.noise.unwrap();
        assert!((noise.low - 0.010).abs() < 1e-9 && (noise.high - 0.029).abs() < 1e-9, "{noise:?}");
        assert_eq!(Trend::of("embed".into(), "s".into(), Vec::new()).levels, []);
    }
}
