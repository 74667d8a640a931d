//! Where a series of passes has become steady: after its last change of level.
//!
//! Engines warm up by steps (kernels that are compiled, caches that are filled, clocks that rise), and a pass that is as
//! slow as the one before it may be as cold. So the whole series since the request is looked at.

use crate::pipeline::Pass;
use crate::units::{median, quantile};

/// Levels that differ by less are one: two percent are what an interval of a good measurement reaches.
const LEAST_STEP: f64 = 0.02;

/// By how many of its standard errors a step must stand out. It's looked for at every place, and again after each pass.
const LEAST_ERRORS: f64 = 5.0;
/// The fewer passes the error itself is estimated from, the more.
const ERRORS_OF_FEW: f64 = 20.0;

/// From one pass to another every machine differs by so much, however even the batches are…
const LEAST_NOISE: f64 = 0.01;
/// …and by so much where batches tell nothing of it.
const USUAL_NOISE: f64 = 0.03;
/// For how many passes that expectation counts.
const EXPECTED_WEIGHT: f64 = 4.0;

/// Fewer batches in a pass say nothing of its noise.
const TELLING_BATCHES: usize = 4;

/// Noise that comes in swings is worth fewer passes than it has; steadier than this it isn't taken for noise.
const MOST_SWING: f64 = 0.9;

/// Of so many passes to the end every beginning is looked at; of more, some.
const FEW: usize = 32;

/// A pass that lies so many times the usual distance off both its neighbours had somebody else's work fall on it.
const HICCUP: f64 = 5.0;

/// The last change of level, if there was any.
pub fn last_change_of(passes: &[Pass]) -> Option<Change> {
    last_change(&levels(passes), expected_noise(passes))
}

/// The series as logarithms, so that a step is a factor.
fn levels(passes: &[Pass]) -> Vec<f64> {
    // Nothing is faster than a clock can tell.
    let levels: Vec<f64> = passes.iter().map(|pass| pass.seconds.max(1e-9).ln()).collect();
    without_hiccups(&levels)
}

/// The noise of a pass to be expected, by how its batches differ from the same batches of the pass before: these have the
/// same work in them.
fn expected_noise(passes: &[Pass]) -> f64 {
    let differences = passes.windows(2).filter_map(|pair| {
        let (before, after) = (&pair[0].batch_seconds, &pair[1].batch_seconds);
        let told = before.len() >= TELLING_BATCHES && before.len() == after.len();
        told.then(|| spread(before.iter().zip(after).map(|(before, after)| (after / before).ln())))
    });
    let of_batch = median(differences);
    let batches = passes.first().map_or(1, |pass| pass.batch_seconds.len().max(1)) as f64;
    of_batch.map_or(USUAL_NOISE, |of_batch| (LEAST_NOISE.powi(2) + of_batch.powi(2) / 2.0 / batches).sqrt())
}

/// The standard deviation of normal noise, by the quartiles, which a hiccup doesn't move.
fn spread(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let quartile = |share| quantile(&values, share).unwrap_or_default();
    (quartile(0.75) - quartile(0.25)) / 1.349
}

/// A single pass that lies apart is no level: it's put where its neighbours are.
fn without_hiccups(levels: &[f64]) -> Vec<f64> {
    let usual = median(levels.windows(2).map(|pair| (pair[1] - pair[0]).abs())).unwrap_or_default();
    let far = HICCUP * usual.max(LEAST_NOISE);
    let mut calm = levels.to_vec();
    for place in 1..levels.len().saturating_sub(1) {
        let (before, here, after) = (levels[place - 1], levels[place], levels[place + 1]);
        if here - before.max(after) > far || before.min(after) - here > far {
            calm[place] = before.midpoint(after);
        }
    }
    calm
}

/// A change of level: the place of the first behind it, and by how much that is higher.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    pub place: usize,
    pub rise: f64,
}

/// The last one, if there is any.
fn last_change(levels: &[f64], noise: f64) -> Option<Change> {
    let mut last = None;
    let mut length = levels.len();
    // Of several steps each makes the others look like noise, so the series is looked at from nearer and nearer to its end.
    while length > 1 {
        let start = levels.len() - length;
        let window = &levels[start..];
        match strongest_step(window, noise).or_else(|| slope(window, noise)) {
            Some(Change { place, rise }) => {
                last = Some(Change { place: start + place, rise });
                length -= place;
            }
            None if length > FEW => length = length * 3 / 4,
            None => length -= 1,
        }
    }
    last
}

/// Whether the level goes up as well as down: that is noise, which rounds take the mean of. One that has only ever gone one
/// way is on its way.
pub fn wanders(passes: &[Pass]) -> bool {
    let (levels, noise) = (levels(passes), expected_noise(passes));
    let (mut up, mut down) = (false, false);
    let mut end = levels.len();
    while let Some(change) = last_change(&levels[..end], noise) {
        up |= change.rise > 0.0;
        down |= change.rise < 0.0;
        end = change.place;
    }
    up && down
}

fn mean(levels: &[f64]) -> f64 {
    levels.iter().sum::<f64>() / levels.len() as f64
}

/// Where the level changes most clearly, if it does anywhere.
fn strongest_step(levels: &[f64], noise: f64) -> Option<Change> {
    let count = levels.len();
    let total: f64 = levels.iter().sum();
    let mut before = 0.0;
    let mut strongest = None;
    let mut explained = 0.0;
    for place in 1..count {
        before += levels[place - 1];
        let (left, right) = (place as f64, (count - place) as f64);
        let rise = (total - before) / right - before / left;
        let gained = rise * rise * left * right / (left + right);
        if gained > explained {
            explained = gained;
            strongest = Some(Change { place, rise });
        }
    }
    strongest.filter(|step| is_clear(step.rise, error_of_step(levels, step.place, noise), count))
}

/// Where the levels lie on a slope there is no level before the last.
fn slope(levels: &[f64], noise: f64) -> Option<Change> {
    let count = levels.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let spread = count * (count * count - 1.0) / 12.0;
    let mean = mean(levels);
    let products = levels.iter().enumerate().map(|(place, level)| (place as f64 - middle) * (level - mean));
    let slope = products.sum::<f64>() / spread;
    let off = levels.iter().enumerate().map(|(place, level)| level - mean - slope * (place as f64 - middle));
    let rise = slope * (count - 1.0);
    let error = deviation(&off.collect::<Vec<_>>(), noise) * (count - 1.0) / spread.sqrt();
    is_clear(rise, error, levels.len()).then(|| Change { place: levels.len() - 1, rise })
}

fn is_clear(rise: f64, error: f64, count: usize) -> bool {
    let needed = LEAST_ERRORS + ERRORS_OF_FEW / (EXPECTED_WEIGHT + count as f64 - 2.0);
    rise.abs() >= LEAST_STEP && rise.abs() >= needed * error
}

/// The standard error of a step, by how the passes lie around their mean before and behind it.
fn error_of_step(levels: &[f64], place: usize, noise: f64) -> f64 {
    let (before, after) = levels.split_at(place);
    let off = |part: &[f64]| {
        let mean = mean(part);
        part.iter().map(|level| level - mean).collect::<Vec<_>>()
    };
    let off = [off(before), off(after)].concat();
    deviation(&off, noise) * (1.0 / before.len() as f64 + 1.0 / after.len() as f64).sqrt()
}

/// The deviation of a pass by the noise to be expected and by how far passes lie off what explains them. Neighbours that
/// are alike, as in the swings of a machine that is shared, are worth fewer.
fn deviation(off: &[f64], noise: f64) -> f64 {
    let squares: f64 = off.iter().map(|off| off * off).sum();
    let freedom = EXPECTED_WEIGHT + off.len() as f64 - 2.0;
    let variance = (EXPECTED_WEIGHT * noise.powi(2) + squares) / freedom;
    let products: f64 = off.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let swing = if squares > 0.0 { (products / squares).clamp(0.0, MOST_SWING) } else { 0.0 };
    (variance * (1.0 + swing) / (1.0 - swing)).sqrt()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, Normal};
    use rand_pcg::Pcg64;

    use super::*;

    fn steady_from(passes: &[Pass]) -> usize {
        last_change_of(passes).map_or(0, |change| change.place)
    }

    /// Passes of so many batches, each of which takes what `level` says of it, by its number since the start.
    fn passes(count: usize, batches: usize, level: impl FnMut(usize) -> f64) -> Vec<Pass> {
        let seconds: Vec<f64> = (0..count * batches).map(level).collect();
        let pass = |batch_seconds: &[f64]| Pass {
            seconds: batch_seconds.iter().sum(),
            batch_seconds: batch_seconds.to_vec(),
            ..Pass::default()
        };
        seconds.chunks(batches).map(pass).collect()
    }

    fn noise(seed: u64, deviation: f64) -> impl FnMut() -> f64 {
        let mut random = Pcg64::seed_from_u64(seed);
        let normal = Normal::new(0.0, deviation).unwrap();
        move || f64::exp(normal.sample(&mut random))
    }

    #[test]
    fn a_step_is_found_where_it_is_and_in_either_direction() {
        for (factor, cold) in [(1.2, 8), (3.0, 8), (0.7, 8), (1.2, 3)] {
            let mut noise = noise(3, 0.03);
            let passes = passes(12, 1, |batch| if batch < cold { factor } else { 1.0 } * noise());
            assert_eq!(steady_from(&passes), cold, "{factor}");
        }
    }

    #[test]
    fn several_steps_are_followed_to_the_last() {
        let mut noise = noise(5, 0.03);
        let level =
            |batch| [(0, 4.0), (6, 2.0), (14, 1.3), (24, 1.0)].into_iter().rfind(|(from, _)| *from <= batch);
        let passes = passes(40, 1, |batch| level(batch).unwrap().1 * noise());
        assert_eq!(steady_from(&passes), 24);
    }

    #[test]
    fn a_pass_in_which_the_level_changes_is_not_steady() {
        // Batches differ by what is in them, by a factor of five.
        let mut noise = noise(7, 0.03);
        let work = |batch: usize| 1.0 + (batch % 10) as f64 / 2.0;
        let passes = passes(12, 10, |batch| if batch < 24 { 1.5 } else { 1.0 } * work(batch) * noise());
        assert_eq!(steady_from(&passes), 3);
    }

    #[test]
    fn noise_is_no_step_nor_is_a_hiccup() {
        let mut random = Pcg64::seed_from_u64(1);
        let found = (0..300).filter(|seed| {
            let mut noise = noise(*seed, 0.03);
            let (count, batches) = (random.random_range(2..30), random.random_range(1..9));
            steady_from(&passes(count, batches, |_| noise())) > 0
        });
        let found = found.count();
        assert!(found <= 3, "{found} of 300");
        let mut noise = noise(2, 0.03);
        let hiccups = passes(24, 1, |batch| if batch % 7 == 5 { 4.0 } else { 1.0 } * noise());
        assert_eq!(steady_from(&hiccups), 0);
    }

    #[test]
    fn a_level_that_goes_up_and_down_wanders_and_one_that_goes_one_way_does_not() {
        let swings = passes(60, 1, |batch| 1.0 + 0.15 * (batch as f64 / 5.0).sin());
        assert!(wanders(&swings));
        let mut noise = noise(2, 0.03);
        let warms_up = passes(60, 1, |batch| (1.0 + 3.0 * (-0.05 * batch as f64).exp()) * noise());
        assert!(!wanders(&warms_up));
    }

    #[test]
    fn workers_that_tell_no_batches_are_judged_by_their_passes() {
        let pass = |seconds| Pass { seconds, ..Pass::default() };
        let passes: Vec<Pass> = [3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0].map(pass).into();
        assert_eq!(steady_from(&passes), 3);
        assert_eq!(steady_from(&passes[..1]), 0);
        assert_eq!(steady_from(&[]), 0);
    }
}
