//! Whether memory grows from round to round: a leak, told from settling and from noise.

use serde::{Deserialize, Serialize};

use super::statistics::{Estimate, median};
use crate::units::Bytes;

/// In the first rounds allocators reach the size at which they stay and libraries make what they keep: growth there is
/// what stays, and no leak.
pub const SETTLING: usize = 2;

/// Fewer rounds than this can't show at the level of 5% that something grows: four are sorted by chance, up or down, once
/// in twelve times.
const LEAST_ROUNDS: usize = 5;

/// How memory goes on from round to round, once it has settled. In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// From one round to the next.
    pub per_round: Estimate,
    /// From the first third of the rounds to the last.
    pub total: f64,
    /// How far a round lies from the line, typically.
    pub noise: f64,
    /// Slower growth is none that matters.
    pub floor: f64,
    pub verdict: Leak,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leak {
    None,
    /// There are too few rounds to tell, and nothing looks like one.
    Unknown,
    /// There are too few rounds to tell, and each of them took more.
    Suspected,
    Found,
}

/// How slow growth may be that isn't called a leak: half a percent of what a load adds. A service that loads a model anew
/// every hour for a week has then grown by less than the model. Below a quarter of a MiB lie the steps in which heaps
/// grow (glibc's are 128 KiB); and more than a MiB a round is a leak of any model.
fn floor(added: u64) -> f64 {
    const LEAST: u64 = Bytes::MIB / 4;
    (added as f64 * 0.005).clamp(LEAST as f64, Bytes::MIB as f64)
}

/// Judges memory after each unload, where a load adds so many bytes. Nothing for fewer rounds than two that have settled.
///
/// The line is Theil's and Sen's: the median of the slopes between all pairs of rounds, which a few strange rounds don't
/// move, with the interval that follows from Kendall's test.
pub fn growth(after: &[u64], added: u64) -> Option<Growth> {
    let settled: Vec<f64> = after.iter().skip(SETTLING).map(|bytes| *bytes as f64).collect();
    let slopes = slopes(&settled);
    let slope = median(slopes.iter().copied())?;
    let (low, high) = interval(&slopes, settled.len());
    let level = median(settled.iter().enumerate().map(|(round, bytes)| bytes - slope * round as f64))?;
    let distance =
        |(round, bytes): (usize, &f64)| (bytes - level - slope * round as f64).abs() * NORMAL_DEVIATION;
    let noise = median(settled.iter().enumerate().map(distance))?;
    let third = settled.len().div_ceil(3);
    let total =
        median(settled[settled.len() - third..].iter().copied())? - median(settled[..third].iter().copied())?;
    let floor = floor(added);
    let steady = low > 0.0 && slope > floor;
    let verdict = if settled.len() < LEAST_ROUNDS {
        if low > floor { Leak::Suspected } else { Leak::Unknown }
    } else if steady && total > NOISES * noise && goes_on(&settled, floor) {
        Leak::Found
    } else {
        Leak::None
    };
    let per_round = Estimate::between(low, slope, high);
    Some(Growth { per_round, total, noise, floor, verdict })
}

/// What the median distance is multiplied with to be a standard deviation, if the noise is normal.
const NORMAL_DEVIATION: f64 = 1.4826;

/// Growth over all rounds that is no more than so many deviations may be noise that wanders.
const NOISES: f64 = 3.0;

/// A leak grows to the end. What grows at first and stays then, or jumps once, is an arena that has found its size; the
/// second half alone tells half as well, so half of the floor will do.
fn goes_on(settled: &[f64], floor: f64) -> bool {
    let second = slopes(&settled[settled.len() / 2..]);
    median(second).is_some_and(|slope| slope > floor / 2.0)
}

/// Between all pairs, the lowest first.
fn slopes(values: &[f64]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(values.len() * values.len() / 2);
    for (first, before) in values.iter().enumerate() {
        for (apart, after) in values[first..].iter().enumerate().skip(1) {
            slopes.push((after - before) / apart as f64);
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes
}

/// The slopes between which the true one lies in 95 of 100 cases, or all of them where there are too few rounds for that.
fn interval(slopes: &[f64], rounds: usize) -> (f64, f64) {
    let count = rounds as f64;
    let deviation = (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    // The so-manieth from either end, counted from 1.
    let place = ((pairs - 1.96 * deviation) / 2.0).floor().max(1.0) as usize;
    (slopes[place - 1], slopes[slopes.len() - place])
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_distr::{Distribution, Normal};
    use rand_pcg::Pcg64;

    use super::*;

    const MIB: f64 = Bytes::MIB as f64;
    const MODEL: u64 = 100 * Bytes::MIB;

    /// Rounds of which each is what `level` says, in MiB, and normal noise.
    fn rounds(count: u32, noise: f64, seed: u64, level: impl Fn(f64) -> f64) -> Vec<u64> {
        let mut random = Pcg64::seed_from_u64(seed);
        let noise = Normal::new(0.0, noise).unwrap();
        (0..count)
            .map(|round| ((level(f64::from(round)) + noise.sample(&mut random)) * MIB).max(0.0) as u64)
            .collect()
    }

    fn verdict(after: &[u64]) -> Leak {
        growth(after, MODEL).unwrap().verdict
    }

    #[test]
    fn a_leak_is_found_in_noise_and_its_size_is_told() {
        for seed in 0..50 {
            let growth = growth(&rounds(50, 3.0, seed, |round| 50.0 + 1.5 * round), MODEL).unwrap();
            assert_eq!(growth.verdict, Leak::Found, "{growth:?}");
            assert!((growth.per_round.value / MIB - 1.5).abs() < 0.15, "{growth:?}");
            assert!(growth.total > 40.0 * MIB && growth.noise < 6.0 * MIB, "{growth:?}");
        }
        // One that takes memory in steps.
        assert_eq!(verdict(&rounds(50, 0.0, 0, |round| 50.0 + 4.0 * (round / 4.0).floor())), Leak::Found);
        // Seven rounds are the fewest.
        assert_eq!(verdict(&rounds(7, 0.0, 0, |round| 50.0 + round)), Leak::Found);
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let holds = |seed| {
            let growth = growth(&rounds(22, 2.0, seed, |round| 50.0 + 0.3 * round), MODEL).unwrap();
            !growth.per_round.excludes(0.3 * MIB)
        };
        let held = (0..400).filter(|seed| holds(*seed)).count();
        assert!((370..=395).contains(&held), "{held} of 400");
    }

    #[test]
    fn noise_settling_and_a_jump_are_no_leak() {
        let found = |count| {
            (0..1000).filter(|seed| verdict(&rounds(count, 5.0, *seed, |_| 50.0)) == Leak::Found).count()
        };
        // One of forty series of noise grows significantly, and few of those do so in their second half, too.
        let found = [7, 12, 50].map(found);
        assert!(found[0] < 25 && found[1] < 25 && found[2] == 0, "{found:?} of 1000");
        let saturating = |round: f64| 50.0 + 30.0 * (1.0 - (-round / 6.0).exp());
        assert_eq!(verdict(&rounds(50, 0.2, 1, saturating)), Leak::None);
        for at in [5.0, 25.0, 40.0] {
            let jump = |round: f64| if round < at { 50.0 } else { 80.0 };
            assert_eq!(verdict(&rounds(50, 0.2, 1, jump)), Leak::None, "at {at}");
        }
        // Nothing moves at all, or less than anybody would miss.
        assert_eq!(verdict(&rounds(50, 0.0, 1, |_| 50.0)), Leak::None);
        assert_eq!(verdict(&rounds(50, 0.0, 1, |round| 50.0 + 0.2 * round)), Leak::None);
        assert_eq!(verdict(&rounds(50, 0.0, 1, |round| 90.0 - round)), Leak::None);
    }

    #[test]
    fn the_first_rounds_do_not_count_and_few_rounds_tell_little() {
        let settling = |round: f64| if round < 2.0 { 10.0 + 20.0 * round } else { 50.0 };
        assert_eq!(verdict(&rounds(50, 0.0, 1, settling)), Leak::None);
        assert_eq!(growth(&rounds(3, 0.0, 1, |_| 50.0), MODEL), None);
        assert_eq!(verdict(&rounds(5, 0.0, 1, |_| 50.0)), Leak::Unknown);
        assert_eq!(verdict(&rounds(5, 0.0, 1, |round| 50.0 + 20.0 * round)), Leak::Suspected);
    }

    #[test]
    fn the_floor_follows_the_model_within_bounds() {
        assert_eq!(floor(Bytes::MIB) / MIB, 0.25);
        assert_eq!(floor(100 * Bytes::MIB) / MIB, 0.5);
        assert_eq!(floor(10 * Bytes::GIB) / MIB, 1.0);
    }
}
