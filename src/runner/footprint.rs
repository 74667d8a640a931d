//! What a model takes: a worker loads it, runs it and lets go of it, round after round, watched from outside.
//!
//! Asks nothing but what the protocol has, so that any worker can be watched. What the figures mean is worked out later.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::interrupt::Interrupt;
use super::memory::{self, HostMemory};
use super::page_cache;
use super::process::{WorkerProcess, unexpected};
use super::trouble::{Stopped, Trouble};
use crate::hardware::Target;
use crate::knob::Value;
use crate::record::{Failure, Footprint, Levels, Round, Status};
use crate::telemetry::{Sample, Telemetry, Watch};
use crate::worker::protocol::{Ask, Load, Loaded, Measure, Measured, Slot, What};

/// Loading tens of gigabytes from a slow disk takes minutes.
const LOAD_TIMEOUT: Duration = Duration::from_secs(900);

/// A pass over long documents takes a processor minutes, and a measurement is up to eight of them.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(3600);

const UNLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A worker that is started is ready once its memory hasn't changed for so many looks…
const QUIET_LOOKS: usize = 5;
/// …so far apart…
const LOOK: Duration = Duration::from_millis(20);
/// …or after this time: libraries that take longer are what loading costs.
const MOST_QUIET: Duration = Duration::from_secs(5);

/// What a worker is asked in each round, and who it is.
pub struct Course<'a> {
    pub command: Vec<String>,
    /// Where the command is started.
    pub folder: PathBuf,
    pub target: &'a Target,
    /// What the worker must state of itself, where it's a program of ours.
    pub receipt: Option<String>,
    pub load: Load,
    /// The knobs that apply at a run.
    pub knobs: IndexMap<String, Value>,
    pub rounds: u32,
}

impl Course<'_> {
    /// Starts the worker and takes it through its rounds. `tell` hears how many are done.
    pub fn run(
        &self,
        watch: &mut Watch,
        interrupt: &Interrupt,
        mut tell: impl FnMut(u32),
    ) -> Result<Footprint, Stopped> {
        let mut footprint = Footprint::default();
        let mut seen = Vec::new();
        match self.rounds(&mut footprint, &mut seen, watch, interrupt, &mut tell) {
            Ok(()) => {}
            Err(Trouble::Failure(failure)) => footprint.failure = Some(failure),
            Err(Trouble::Stopped(stopped)) => return Err(stopped),
        }
        footprint.device_derived = share_out(&seen, &mut footprint.rounds);
        Ok(footprint)
    }

    fn rounds(
        &self,
        footprint: &mut Footprint,
        seen: &mut Vec<Levelled<CardMoment>>,
        watch: &mut Watch,
        interrupt: &Interrupt,
        tell: &mut impl FnMut(u32),
    ) -> Result<(), Trouble> {
        footprint.not_cold = match &self.load.folder {
            Some(folder) => page_cache::drop_folder(Path::new(folder)).err(),
            None => Some("the folder of the model is not known".to_owned()),
        };
        let idle = watch.look();
        let mut process = WorkerProcess::spawn(&self.command, &self.folder).map_err(Trouble::Failure)?;
        let mut host = when_quiet(&process);
        let mut card = CardMoment::of(&process, watch, idle.as_ref());
        for done in 0..self.rounds {
            let pid = process.pid();
            memory::reset_peak(pid);
            watch.begin(idle.clone(), Box::new(move || memory::family(pid)));
            let worked = self.load_and_measure(&mut process, watch, idle.as_ref(), interrupt);
            let telemetry = watch.end(None);
            footprint.unseen = telemetry.as_ref().and_then(|telemetry| telemetry.problem.clone());
            let worked = worked.map_err(|trouble| with_last_words(trouble, &process))?;
            let peak_rss = memory::peak_bytes(pid);
            let unloaded = process.ask(Ask::Unload { slot: Slot::default() }, UNLOAD_TIMEOUT, interrupt);
            expect_unloaded(unloaded).map_err(|trouble| with_last_words(trouble, &process))?;
            let after = memory::now(pid);
            let card_after = CardMoment::of(&process, watch, idle.as_ref());
            let levels = |of: fn(HostMemory) -> u64, peak: Option<u64>| {
                let (before, loaded, after) = (of(host?), of(worked.host?), of(after?));
                let peak = peak.unwrap_or(0).max(before).max(loaded).max(after);
                Some(Levels { before, loaded, peak, after })
            };
            let measured = &worked.measured;
            footprint.rounds.push(Round {
                load_seconds: worked.loaded.seconds,
                tokens: measured.passes.first().map_or(0, |pass| pass.padded_tokens / pass.documents.max(1)),
                rss: levels(|host| host.rss, peak_rss),
                vms: levels(|host| host.vms, after.map(|after| after.vms_peak)),
                device: None,
                device_memory: measured.device_memory,
            });
            seen.push(Levelled {
                before: card,
                loaded: worked.card,
                peak: CardMoment::at_peak(telemetry.as_ref(), idle.as_ref()),
                after: card_after,
            });
            footprint.loaded = Some(worked.loaded);
            (host, card) = (after, card_after);
            tell(done + 1);
        }
        process.end();
        Ok(())
    }

    fn load_and_measure(
        &self,
        process: &mut WorkerProcess,
        watch: &mut Watch,
        idle: Option<&Sample>,
        interrupt: &Interrupt,
    ) -> Result<Worked, Trouble> {
        let loaded =
            process.load(self.load.clone(), self.target, self.receipt.as_deref(), LOAD_TIMEOUT, interrupt)?;
        let (host, card) = (memory::now(process.pid()), CardMoment::of(process, watch, idle));
        // One pass, which follows the worker's warm-up of at least another.
        let request = Measure { knobs: self.knobs.clone(), passes: 1, ..Measure::default() };
        match process.ask(Ask::Measure(request), MEASURE_TIMEOUT, interrupt)? {
            What::Measured(measured) => match measured.implausible() {
                Some(why) => Err(Trouble::Failure(Failure::new(Status::Garbage, why))),
                None => Ok(Worked { loaded, host, card, measured }),
            },
            event => Err(unexpected(&event, "measured")),
        }
    }
}

struct Worked {
    loaded: Loaded,
    host: Option<HostMemory>,
    card: CardMoment,
    measured: Measured,
}

fn expect_unloaded(event: Result<What, Trouble>) -> Result<(), Trouble> {
    match event? {
        What::Unloaded => Ok(()),
        event => Err(unexpected(&event, "unloaded")),
    }
}

fn with_last_words(trouble: Trouble, process: &WorkerProcess) -> Trouble {
    match trouble {
        Trouble::Failure(failure) if failure.stderr.is_empty() => {
            Trouble::Failure(Failure { stderr: process.stderr(), ..failure })
        }
        other => other,
    }
}

/// Memory of a worker that has been started and waits: no event says when that is.
fn when_quiet(process: &WorkerProcess) -> Option<HostMemory> {
    let start = Instant::now();
    let mut last = memory::now(process.pid());
    let mut quiet = 0;
    while quiet < QUIET_LOOKS && start.elapsed() < MOST_QUIET && !process.has_ended() {
        std::thread::sleep(LOOK);
        let now = memory::now(process.pid());
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
    last
}

/// A worker's memory on a card at a moment: by the driver's list of processes, and by what the card's used memory has
/// grown by since before the worker was started.
#[derive(Debug, Clone, Copy, Default)]
struct CardMoment {
    own: Option<u64>,
    grown: Option<u64>,
}

impl CardMoment {
    fn of(process: &WorkerProcess, watch: &mut Watch, idle: Option<&Sample>) -> CardMoment {
        let Some(sample) = watch.glance() else { return CardMoment::default() };
        let family = memory::family(process.pid());
        CardMoment {
            own: sample.bytes_of(|pid| family.contains(&pid)),
            grown: grown(sample.used_bytes(), idle),
        }
    }

    fn at_peak(telemetry: Option<&Telemetry>, idle: Option<&Sample>) -> CardMoment {
        let Some(telemetry) = telemetry else { return CardMoment::default() };
        let own = telemetry.peak_process_bytes.filter(|_| !telemetry.process_bytes_derived);
        CardMoment { own, grown: grown(telemetry.peak_device_bytes, idle) }
    }
}

fn grown(used: Option<u64>, idle: Option<&Sample>) -> Option<u64> {
    Some(used?.saturating_sub(idle?.used_bytes()?))
}

/// Four moments of a round.
struct Levelled<T> {
    before: T,
    loaded: T,
    peak: T,
    after: T,
}

/// Gives each round its levels of device memory, all of them by the same count: by the driver's list if the worker was
/// ever on it (it isn't, before it has opened the card), or else by growth. Says whether it's the latter.
fn share_out(seen: &[Levelled<CardMoment>], rounds: &mut [Round]) -> bool {
    let moments = |seen: &Levelled<CardMoment>| [seen.before, seen.loaded, seen.peak, seen.after];
    let listed = seen.iter().flat_map(moments).any(|moment| moment.own.is_some());
    let bytes = |moment: CardMoment| if listed { Some(moment.own.unwrap_or(0)) } else { moment.grown };
    let levels = |seen: &Levelled<CardMoment>| {
        let (before, loaded, after) = (bytes(seen.before)?, bytes(seen.loaded)?, bytes(seen.after)?);
        let peak = bytes(seen.peak).unwrap_or(0).max(before).max(loaded).max(after);
        Some(Levels { before, loaded, peak, after })
    };
    for (round, seen) in rounds.iter_mut().zip(seen) {
        round.device = levels(seen);
    }
    !listed && rounds.iter().any(|round| round.device.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(own: impl Into<Option<u64>>, grown: impl Into<Option<u64>>) -> CardMoment {
        CardMoment { own: own.into(), grown: grown.into() }
    }

    #[test]
    fn a_worker_that_the_driver_lists_is_counted_by_its_list_and_any_other_by_growth() {
        let seen = |listed: bool| {
            let own = |bytes: u64| if listed { Some(bytes) } else { None };
            // A neighbour takes 5 meanwhile, which is in the growth.
            [Levelled {
                before: moment(None, 5),
                loaded: moment(own(40), 45),
                peak: moment(own(90), 95),
                after: moment(own(30), 35),
            }]
        };
        let mut rounds = [Round::default()];
        assert!(!share_out(&seen(true), &mut rounds));
        assert_eq!(rounds[0].device, Some(Levels { before: 0, loaded: 40, peak: 90, after: 30 }));
        assert!(share_out(&seen(false), &mut rounds));
        assert_eq!(rounds[0].device, Some(Levels { before: 5, loaded: 45, peak: 95, after: 35 }));
        let nothing = moment(None, None);
        let unseen = [Levelled { before: nothing, loaded: nothing, peak: nothing, after: nothing }];
        assert!(!share_out(&unseen, &mut rounds));
        assert_eq!(rounds[0].device, None);
    }
}
