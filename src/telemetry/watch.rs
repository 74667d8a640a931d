//! The thread that samples a card while a worker measures.
//!
//! One for the run, so that NVML is opened once; between measurements it sleeps. A driver that hangs holds up nobody:
//! whoever asks waits so long and no longer, and goes on without telemetry.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::nvml::{self, Address};
use super::reader::{Depth, Reader, Sample};
use super::sensor::Sensor;
use super::trace::{BUSY_PERCENT, NEWS, Telemetry, Trace};
use super::trouble::Trouble;
use crate::hardware::Machine;

/// From one sample to the next. Memory, clocks and reasons are those of the moment; utilisation is NVML's mean over a
/// sixth of a second to a second, whatever this is.
pub const INTERVAL: Duration = Duration::from_millis(20);

/// Every so many samples processes are read too, which takes the driver longest.
const PROCESSES_EVERY: usize = 5;

/// How long a driver may take to answer. Opening a card whose driver nobody has loaded takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

type Open = Box<dyn FnMut() -> Result<Box<dyn Sensor>, Trouble> + Send>;
type Clock = Box<dyn FnMut() -> Duration + Send>;

/// The worker and all that it has started, at the moment.
pub type Family = Box<dyn Fn() -> Vec<u32> + Send>;

enum Ask {
    Look(Sender<Option<Sample>>),
    Glance(Sender<Option<Sample>>),
    Begin(Box<(Option<Sample>, Family)>, Sender<()>),
    End(Option<Duration>, Sender<Telemetry>),
}

/// The runner's end of it.
pub struct Watch {
    asks: Option<Sender<Ask>>,
    /// Why the thread is asked no more.
    problem: Option<String>,
}

impl Watch {
    /// Where there is no card to watch.
    pub fn off() -> Watch {
        Watch { asks: None, problem: None }
    }

    /// Watches a card, if there is one to watch.
    pub fn of(address: Option<Address>) -> Watch {
        address.map_or_else(Watch::off, |address| Watch::new(move || nvml::open(&address), INTERVAL))
    }

    /// Watches the card that workers run on, where that is one.
    pub fn over(machine: &Machine, device: Option<&str>) -> Watch {
        let address = device.and_then(|device| Address::of(machine, device));
        match (&machine.no_nvml, address) {
            (Some(why), Some(_)) if machine.driver_hangs => Watch::impossible(why.clone()),
            (_, address) => Watch::of(address),
        }
    }

    /// Where there is a card, and it can't be watched.
    pub fn impossible(why: String) -> Watch {
        Watch { asks: None, problem: Some(why) }
    }

    /// Watches what `open` opens, which is called on the thread itself when it's first needed.
    pub fn new(
        open: impl FnMut() -> Result<Box<dyn Sensor>, Trouble> + Send + 'static,
        interval: Duration,
    ) -> Watch {
        let start = Instant::now();
        let station = Station::new(Box::new(open), Box::new(move || start.elapsed()), interval);
        let (sender, asks) = mpsc::channel();
        let spawned = std::thread::Builder::new().name("telemetry".to_owned()).spawn(|| serve(asks, station));
        match spawned {
            Ok(_) => Watch { asks: Some(sender), problem: None },
            Err(error) => {
                Watch { asks: None, problem: Some(format!("can't start the thread to watch it: {error}")) }
            }
        }
    }

    /// The card as it is while no worker of ours is there, if it can be read.
    pub fn look(&mut self) -> Option<Sample> {
        self.ask(Ask::Look)?
    }

    /// The card at this moment, whoever is on it.
    pub fn glance(&mut self) -> Option<Sample> {
        self.ask(Ask::Glance)?
    }

    /// Begins to sample. `before` is the card before the worker was started.
    pub fn begin(&mut self, before: Option<Sample>, family: Family) {
        self.ask(|reply| Ask::Begin(Box::new((before, family)), reply));
    }

    /// Ends it. `timed` is how much of the time, up to now, is what was measured, where that is known. Nothing where there is
    /// no card to watch.
    pub fn end(&mut self, timed: Option<Duration>) -> Option<Telemetry> {
        self.ask(|reply| Ask::End(timed, reply)).or_else(|| self.problem.clone().map(Telemetry::unwatched))
    }

    fn ask<T>(&mut self, ask: impl FnOnce(Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = mpsc::channel();
        self.asks.as_ref()?.send(ask(reply)).ok();
        match answer.recv_timeout(PATIENCE) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.asks = None;
                self.problem = Some(match error {
                    RecvTimeoutError::Timeout => {
                        format!("the driver didn't answer within {}", crate::units::print_duration(PATIENCE))
                    }
                    RecvTimeoutError::Disconnected => "the thread that watches the card has ended".to_owned(),
                });
                None
            }
        }
    }
}

/// Serves until nobody can ask any more.
fn serve(asks: Receiver<Ask>, mut station: Station) {
    loop {
        let ask = match station.until_next() {
            Some(time) => asks.recv_timeout(time),
            None => asks.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        // Whoever asked may have lost patience: then the answer goes nowhere.
        match ask {
            Ok(Ask::Look(reply)) => _ = reply.send(station.look()),
            Ok(Ask::Glance(reply)) => {
                station.ready();
                _ = reply.send(station.read(Depth::All));
            }
            Ok(Ask::Begin(with, reply)) => {
                station.begin(with.0, with.1);
                _ = reply.send(());
            }
            Ok(Ask::End(timed, reply)) => _ = reply.send(station.end(timed)),
            Err(RecvTimeoutError::Timeout) => station.sample(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What the thread does, apart from when.
struct Station {
    open: Open,
    clock: Clock,
    interval: Duration,
    reader: Option<Reader>,
    /// Why there is no reader.
    problem: Option<String>,
    watched: Option<Watched>,
    /// How long a worker that has ended may be seen in the card's load.
    settle: Duration,
}

/// A measurement that is being watched.
struct Watched {
    trace: Trace,
    family: Family,
    /// When the next sample is due.
    next: Duration,
}

impl Station {
    fn new(open: Open, clock: Clock, interval: Duration) -> Station {
        Station { open, clock, interval, reader: None, problem: None, watched: None, settle: NEWS }
    }

    fn until_next(&mut self) -> Option<Duration> {
        let next = self.watched.as_ref().filter(|_| self.reader.is_some())?.next;
        Some(next.saturating_sub((self.clock)()))
    }

    fn read(&mut self, depth: Depth) -> Option<Sample> {
        let at = (self.clock)();
        match self.reader.as_mut()?.read(at, depth) {
            Ok(sample) => Some(sample),
            Err(gone) => {
                self.problem = Some(gone.why);
                self.reader = None;
                None
            }
        }
    }

    /// Opens the card, also one that went away and may be back.
    fn ready(&mut self) {
        if self.reader.is_none() {
            match (self.open)() {
                Ok(sensor) => self.reader = Some(Reader::new(sensor)),
                Err(trouble) => self.problem = Some(trouble.why),
            }
        }
    }

    fn look(&mut self) -> Option<Sample> {
        self.ready();
        let sample = self.read(Depth::All)?;
        let is_busy = sample.load.is_some_and(|load| load.gpu_percent > BUSY_PERCENT);
        if !is_busy {
            return Some(sample);
        }
        // That may be the worker before, which is still in NVML's mean. Once it isn't, what is left is somebody else's.
        std::thread::sleep(self.settle);
        self.read(Depth::All)
    }

    fn begin(&mut self, before: Option<Sample>, family: Family) {
        self.ready();
        let trace = Trace { before, family: family().into_iter().collect(), ..Trace::default() };
        self.watched = Some(Watched { trace, family, next: Duration::ZERO });
        self.sample();
        if let Some(first) = self.watched.as_mut().and_then(|watched| watched.trace.samples.first_mut()) {
            // Who worked before now is none of this measurement's business.
            first.busy = first.busy.take().map(|_| Vec::new());
        }
    }

    fn sample(&mut self) {
        let Some(count) = self.watched.as_ref().map(|watched| watched.trace.samples.len()) else { return };
        let depth = if count.is_multiple_of(PROCESSES_EVERY) { Depth::All } else { Depth::Numbers };
        self.sample_to(depth);
    }

    fn sample_to(&mut self, depth: Depth) {
        let sample = self.read(depth);
        let (Some(watched), Some(sample)) = (self.watched.as_mut(), sample) else { return };
        let trace = &mut watched.trace;
        let listed = sample.processes.iter().flatten().map(|process| process.pid);
        let busy = sample.busy.iter().flatten().map(|(pid, _)| *pid);
        // A process that isn't known may be one that the worker has just started.
        if listed.chain(busy).any(|pid| !trace.family.contains(&pid)) {
            trace.family.extend((watched.family)());
        }
        watched.next = sample.at + self.interval;
        trace.samples.push(sample);
    }

    fn end(&mut self, timed: Option<Duration>) -> Telemetry {
        self.sample_to(Depth::All);
        let problem = self.problem.clone().filter(|_| self.reader.is_none());
        let Some(watched) = self.watched.take() else {
            return Telemetry { problem, ..Telemetry::default() };
        };
        let absent = self.reader.as_ref().map(Reader::absent_in_words).unwrap_or_default();
        Telemetry { absent, problem, ..watched.trace.telemetry(timed) }
    }
}

#[cfg(test)]
mod tests {
    use nvml_wrapper::error::NvmlError;

    use super::super::scripted::Scripted;
    use super::super::sensor::{Load, Process, Reading};
    use super::*;

    /// A station on whose clock 20 ms pass from one look at it to the next.
    fn station(readings: Vec<Result<Reading, Trouble>>) -> Station {
        let mut sensor = Some(Scripted::new(readings));
        let open = move || -> Result<Box<dyn Sensor>, Trouble> {
            let once = sensor.take().ok_or_else(|| Trouble::from(NvmlError::GpuLost))?;
            Ok(Box::new(once))
        };
        let mut now = Duration::ZERO;
        let clock = move || {
            now += Duration::from_millis(20);
            now
        };
        Station::new(Box::new(open), Box::new(clock), INTERVAL)
    }

    fn with(change: impl FnOnce(&mut Reading)) -> Result<Reading, Trouble> {
        let mut reading = Scripted::calm();
        change(&mut reading);
        Ok(reading)
    }

    #[test]
    fn samples_are_taken_at_the_start_when_due_and_at_the_end() {
        let energy = |joules: f64| with(|reading| reading.energy = Some(Ok(joules)));
        let mut station = station(vec![energy(1.0), energy(10.0), energy(20.0), energy(50.0)]);
        assert_eq!(station.until_next(), None, "nothing is due while nothing is measured");
        let before = station.look();
        assert_eq!(before.as_ref().and_then(|sample| sample.energy_joules), Some(1.0));
        station.begin(before, Box::new(|| vec![100]));
        assert!(station.until_next().is_some());
        station.sample();
        let telemetry = station.end(None);
        assert_eq!((telemetry.samples, telemetry.energy_j), (3, Some(40.0)));
        assert_eq!((telemetry.problem, telemetry.device_bytes_before), (None, Some(2 << 30)));
        assert_eq!(station.until_next(), None);
    }

    #[test]
    fn a_card_that_looks_busy_before_a_load_is_looked_at_again() {
        let load = |percent| {
            with(|reading| reading.load = Some(Ok(Load { gpu_percent: percent, memory_percent: 0 })))
        };
        // The worker before is still in the first, and nobody is in the second.
        for (second, seen) in [(0, 0), (60, 60)] {
            let mut station = Station { settle: Duration::ZERO, ..station(vec![load(90), load(second)]) };
            assert_eq!(
                station.look().and_then(|sample| sample.load).map(|load| load.gpu_percent),
                Some(seen)
            );
        }
    }

    #[test]
    fn a_card_that_goes_away_ends_the_sampling_and_the_reason_is_kept() {
        let lost = || Err(Trouble::from(NvmlError::GpuLost));
        let mut station = station(vec![with(|_| ()), with(|_| ()), lost()]);
        station.begin(None, Box::new(Vec::new));
        station.sample();
        station.sample();
        assert_eq!(station.until_next(), None, "there is nothing to sample any more");
        let telemetry = station.end(None);
        assert_eq!(telemetry.samples, 2);
        assert_eq!(telemetry.problem.unwrap(), "the card fell off the bus");
        // The next trial finds it gone, and says so too.
        station.begin(None, Box::new(Vec::new));
        let telemetry = station.end(None);
        assert_eq!((telemetry.samples, telemetry.problem.is_some()), (0, true));
    }

    #[test]
    fn a_child_that_the_worker_starts_later_is_no_neighbour() {
        let listed = with(|reading| {
            let process = |pid| Process { pid, bytes: Some(1 << 30), name: None };
            reading.processes = Some(Ok(vec![process(100), process(101), process(7)]));
        });
        let mut station = station(vec![with(|_| ()), listed]);
        let started = std::sync::atomic::AtomicBool::new(false);
        // The child isn't there when it begins.
        let family = move || {
            let later = started.swap(true, std::sync::atomic::Ordering::Relaxed);
            if later { vec![100, 101] } else { vec![100] }
        };
        station.begin(None, Box::new(family));
        let telemetry = station.end(None);
        let others: Vec<u32> = telemetry.other_processes.iter().map(|process| process.pid).collect();
        assert_eq!(others, [7]);
        assert_eq!(telemetry.peak_process_bytes, Some(2 << 30));
    }

    #[test]
    fn who_worked_before_the_measurement_is_not_held_against_it() {
        let busy = || {
            with(|reading| {
                reading.busy = Some(Ok(vec![(7, 90)]));
                reading.processes = Some(Ok(vec![Process { pid: 100, bytes: Some(1), name: None }]));
            })
        };
        let mut station = station(vec![busy(), with(|_| ())]);
        station.begin(None, Box::new(|| vec![100]));
        assert_eq!(station.end(None).busy_share, 0.0);
    }

    #[test]
    fn what_the_card_does_not_tell_is_named() {
        let mut station =
            station(vec![with(|reading| reading.power = Some(Err(NvmlError::NotSupported.into())))]);
        station.begin(None, Box::new(Vec::new));
        assert_eq!(station.end(None).absent, ["power (this card doesn't report it)"]);
    }

    #[test]
    fn the_thread_answers_and_a_card_that_cannot_be_opened_is_told() {
        let mut watch = Watch::new(|| Ok(Box::new(Scripted::new([with(|_| ())]))), Duration::from_secs(3600));
        let before = watch.look();
        assert_eq!(
            before.as_ref().and_then(|sample| sample.load),
            Some(Load { gpu_percent: 0, memory_percent: 0 })
        );
        watch.begin(before, Box::new(Vec::new));
        // What is asked for meanwhile is no sample of the measurement.
        assert_eq!(watch.glance().and_then(|sample| sample.used_bytes()), Some(2 << 30));
        assert_eq!(watch.end(None).unwrap().samples, 2);
        let mut watch = Watch::new(|| Err(NvmlError::LibraryNotFound.into()), INTERVAL);
        assert_eq!(watch.look(), None);
        watch.begin(None, Box::new(Vec::new));
        let telemetry = watch.end(None).unwrap();
        assert!(telemetry.problem.unwrap().contains("libnvidia-ml.so.1"));
        let mut off = Watch::of(None);
        off.begin(None, Box::new(Vec::new));
        assert_eq!((off.look(), off.end(None)), (None, None));
    }

    #[test]
    fn a_sensor_that_panics_takes_nobody_with_it() {
        let mut watch = Watch::new(|| panic!("a broken sensor, as this test wants it"), INTERVAL);
        assert_eq!(watch.look(), None);
        assert_eq!(watch.end(None).unwrap().problem.unwrap(), "the thread that watches the card has ended");
    }
}
