//! The only timing loop: warm up until it's warm, then pass after pass until there is enough.

use std::time::Duration;

use crate::backend::{BackendError, Clock};
use crate::pipeline::Pass;

/// A pass still belongs to the warm-up when the one after it is faster by more than this share.
const SETTLED: f64 = 0.05;

/// An engine that is still getting faster after so many passes drifts; it isn't warming up.
pub const MOST_WARMUP_PASSES: u32 = 6;

pub struct Timed {
    pub passes: Vec<Pass>,
    pub warmup_passes: u32,
    pub busy: Duration,
}

/// Runs `pass` until it has settled, then until `least` of time and `passes` in number are measured.
pub fn measure(
    clock: &dyn Clock,
    least: Duration,
    passes: u32,
    mut pass: impl FnMut() -> Result<Pass, BackendError>,
) -> Result<Timed, BackendError> {
    let start = clock.now();
    // The first pass pays for first touches, compiled kernels and grown arenas. It's never counted.
    let mut before = pass()?;
    let mut warmup_passes = 1;
    let mut kept = vec![pass()?];
    while kept[0].seconds < before.seconds * (1.0 - SETTLED) && warmup_passes < MOST_WARMUP_PASSES {
        before = std::mem::replace(&mut kept[0], pass()?);
        warmup_passes += 1;
    }
    let measured = |kept: &[Pass]| kept.iter().map(|pass| pass.seconds).sum::<f64>();
    while kept.len() < passes.max(1) as usize || measured(&kept) < least.as_secs_f64() {
        // An engine that takes no time at all would be measured for ever.
        if kept.len() >= 100_000 {
            break;
        }
        kept.push(pass()?);
    }
    Ok(Timed { passes: kept, warmup_passes, busy: clock.now() - start })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::VirtualClock;

    /// Measures an engine whose passes take the given times, the last of them for ever.
    fn times(seconds: &[f64], least: f64, passes: u32) -> Timed {
        let clock = VirtualClock::default();
        let mut call = 0;
        measure(&clock, Duration::from_secs_f64(least), passes, || {
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
    fn passes_that_are_still_getting_faster_are_not_counted() {
        let timed = times(&[9.0, 3.0, 1.0, 0.98], 2.0, 1);
        assert_eq!(timed.warmup_passes, 3);
        assert_eq!(counted(&timed), [0.98, 0.98, 0.98]);
        assert!((timed.busy.as_secs_f64() - (9.0 + 3.0 + 1.0 + 3.0 * 0.98)).abs() < 1e-6);
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
    fn an_engine_that_never_settles_or_takes_no_time_is_measured_all_the_same() {
        let faster: Vec<_> = (0..20).map(|power| 0.5f64.powi(power)).collect();
        assert_eq!(times(&faster, 0.0, 1).warmup_passes, MOST_WARMUP_PASSES);
        assert_eq!(times(&[0.0], 1.0, 1).passes.len(), 100_000);
    }
}
