//! The only timing loop: pass after pass until there is enough of them that is steady.

use std::time::Duration;

use super::steady::{last_change_of, wanders};
use crate::backend::{BackendError, Clock};
use crate::pipeline::Pass;

/// What doesn't get steady within so many times the time that was asked for won't…
pub const MOST_TIMES: u32 = 10;
/// …but so many passes it may take, however long they are.
pub const MOST_WARMUP_PASSES: u32 = 6;

/// Behind a change of level so many passes are needed to call it one.
const LEAST_BEHIND: usize = 3;

/// An engine that takes no time at all would be measured for ever.
const MOST_PASSES: usize = 100_000;

/// How much is to be measured: all of it at least.
#[derive(Debug, Clone, Copy, Default)]
pub struct Effort {
    pub time: Duration,
    pub passes: u32,
    /// So that percentiles of their times can be said.
    pub batches: u64,
}

/// Passes so far, with what they add up to.
#[derive(Default)]
struct Series {
    passes: Vec<Pass>,
    /// When each began.
    begun: Vec<Duration>,
    /// Seconds and batches of all passes before each, so that asking for the sum of some costs the same however many they are.
    before: Vec<(f64, u64)>,
    seconds: f64,
    batches: u64,
}

impl Series {
    fn push(&mut self, begun: Duration, pass: Pass) {
        self.begun.push(begun);
        self.before.push((self.seconds, self.batches));
        self.seconds += pass.seconds;
        self.batches += pass.batch_seconds.len() as u64;
        self.passes.push(pass);
    }

    /// Whether the passes from this one on are as many as was asked for.
    fn meets(&self, effort: &Effort, from: usize) -> bool {
        let Some((seconds, batches)) = self.before.get(from) else { return false };
        self.passes.len() - from >= effort.passes.max(1) as usize
            && self.seconds - seconds >= effort.time.as_secs_f64()
            && self.batches - batches >= effort.batches
    }
}

pub struct Timed {
    pub passes: Vec<Pass>,
    pub warmup_passes: u32,
    /// From the start of the first pass that counts to the end.
    pub timed: Duration,
    /// Whether the passes that count are all of one level.
    pub steady: bool,
}

/// Runs `pass` until as much as was asked for is of one level. The first pass never counts: it pays for first touches,
/// compiled kernels and grown arenas.
pub fn measure(
    clock: &dyn Clock,
    effort: Effort,
    mut pass: impl FnMut() -> Result<Pass, BackendError>,
) -> Result<Timed, BackendError> {
    let start = clock.now();
    let mut series = Series::default();
    let mut from = 1;
    let mut first_met = None;
    let steady = loop {
        series.push(clock.now(), pass()?);
        let passes = &series.passes;
        if passes.len() > MOST_PASSES {
            break true;
        }
        if !series.meets(&effort, from) {
            continue;
        }
        let so_far = clock.now() - start;
        let most =
            effort.time.saturating_mul(MOST_TIMES).max(first_met.get_or_insert(so_far).saturating_mul(2));
        let change = last_change_of(passes).filter(|change| change.place > 1);
        from = change.map_or(1, |change| change.place);
        let behind = passes.len() - from;
        let least_behind = match change {
            None => 1,
            // Nothing warms up by getting slower: it's somebody else's work, until it lasts as long as what was before.
            Some(change) if change.rise > 0.0 => LEAST_BEHIND.max(from - 1),
            Some(_) => LEAST_BEHIND,
        };
        if behind >= least_behind && series.meets(&effort, from) {
            break true;
        }
        if so_far >= most && passes.len() > (MOST_WARMUP_PASSES + effort.passes.max(1)) as usize {
            // The latest are as good as any.
            from = (1..passes.len()).rev().find(|from| series.meets(&effort, *from)).unwrap_or(1);
            break wanders(passes);
        }
    };
    let from = from.min(series.passes.len() - 1);
    let timed = clock.now() - series.begun[from];
    Ok(Timed { passes: series.passes.split_off(from), warmup_passes: from as u32, timed, steady })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::VirtualClock;

    /// Measures an engine whose passes take the given times, the last of them for ever.
    fn times(seconds: &[f64], least: f64, passes: u32) -> Timed {
        let clock = VirtualClock::default();
        let mut call = 0;
        let effort = Effort { time: Duration::from_secs_f64(least), passes, batches: 0 };
        measure(&clock, effort, || {
            let seconds = seconds[call.min(seconds.len() - 1)];
            call += 1;
            clock.advance(Duration::from_secs_f64(seconds));
            Ok(Pass { seconds, ..Pass::default() })
        })
        .unwrap()
    }

    fn counted(timed: &Timed) -> Vec<f64> {
        timed.passes.iter().map(|pass| pass.seconds).collect()
    }

    #[test]
    fn passes_of_another_level_are_not_counted() {
        let timed = times(&[9.0, 3.0, 1.0], 4.0, 1);
        assert_eq!((timed.warmup_passes, counted(&timed), timed.steady), (2, vec![1.0; 4], true));
        assert!((timed.timed.as_secs_f64() - 4.0).abs() < 1e-6);
    }

    #[test]
    fn a_cold_start_that_outlasts_what_was_asked_for_is_seen_once_it_ends() {
        // Flat for as long as was asked for, and then three times as fast.
        let timed = times(&[&[3.0; 4][..], &[1.0]].concat(), 10.0, 1);
        assert_eq!((timed.warmup_passes, counted(&timed)), (4, vec![1.0; 10]));
    }

    #[test]
    fn somebody_elses_work_at_the_end_is_not_what_is_measured() {
        // It begins with the sixth pass, and is over after three.
        let timed = times(&[&[0.3; 5][..], &[0.6; 3], &[0.3]].concat(), 1.0, 2);
        assert!(timed.passes.iter().all(|pass| pass.seconds == 0.3), "{:?}", counted(&timed));
        // What lasts is how the engine is by now.
        let slower = times(&[&[0.3; 3][..], &[0.6]].concat(), 1.0, 2);
        assert!(slower.passes.iter().all(|pass| pass.seconds == 0.6), "{:?}", counted(&slower));
    }

    #[test]
    fn a_settled_engine_loses_one_pass_only() {
        let timed = times(&[1.0], 2.5, 1);
        assert_eq!((timed.warmup_passes, counted(&timed)), (1, vec![1.0; 3]));
    }

    #[test]
    fn the_least_number_of_passes_is_run_however_long_they_are() {
        assert_eq!(counted(&times(&[10.0], 1.0, 3)), [10.0; 3]);
    }

    #[test]
    fn an_engine_that_never_settles_is_measured_as_it_is_at_last_and_called_unsteady() {
        let faster: Vec<_> = (0..60).map(|power| 0.8f64.powi(power)).collect();
        let timed = times(&faster, 0.0, 2);
        assert_eq!((timed.steady, timed.passes.len()), (false, 2));
        assert!(timed.warmup_passes >= MOST_WARMUP_PASSES, "{}", timed.warmup_passes);
    }

    #[test]
    fn an_engine_that_takes_no_time_is_measured_all_the_same() {
        assert_eq!(times(&[0.0], 1.0, 1).passes.len(), MOST_PASSES);
    }

    #[test]
    fn measuring_goes_on_to_as_many_batches_as_a_percentile_needs() {
        let effort = Effort { time: Duration::ZERO, passes: 1, batches: 130 };
        let clock = VirtualClock::default();
        let pass = || {
            clock.advance(Duration::from_secs(1));
            Ok(Pass { seconds: 1.0, batch_seconds: vec![0.25; 4], ..Pass::default() })
        };
        assert_eq!(measure(&clock, effort, pass).unwrap().passes.len(), 33);
    }
}
