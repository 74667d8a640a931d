//! From the samples of a trial to what its row says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reader::Sample;
use super::reason::Reason;
use super::sensor::{Load, Process};
use crate::units::{Bytes, quantile};

/// A trial counts as disturbed if more than this share of its samples is. A slowdown by half that lasts as long costs
/// 2.5%, which is about what intervals can tell apart; and the hardware reports a slowdown for a moment whenever it
/// changes its clocks.
pub const DISTURBING_SHARE: f64 = 0.05;

/// A process, or a card before a worker is started, counts as busy above so many percent: a desktop that draws itself
/// stays below.
pub(super) const BUSY_PERCENT: u32 = 10;

/// NVML tells who worked once in this time at least, where anybody did.
pub(super) const NEWS: Duration = Duration::from_secs(1);

/// Neighbours that are named on a row.
const MOST_NAMED: usize = 8;

/// What the card did during a measurement, warm-up included.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    pub samples: usize,
    /// Device memory of the worker and all it has started, at its highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_process_bytes: Option<u64>,
    /// Whether that is what the card's used memory grew by since before the worker was started, because the driver
    /// doesn't tell the worker's own: in a container, it may list no processes, or under other numbers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub process_bytes_derived: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_device_bytes: Option<u64>,
    /// Used on the card before the worker was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_bytes_before: Option<u64>,
    /// Mean share of the time in which a kernel ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilisation_percent: Option<f64>,
    /// The highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<u32>,
    /// The median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sm_clock_mhz: Option<f64>,
    /// The mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    /// By the card's counter, or else the power, summed up over the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// The same without the warm-up, where the worker tells when that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timed_energy_j: Option<f64>,
    /// Every reason for which the card was throttled in some sample, its power limit among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttled: Vec<Reason>,
    /// Share of the samples in which the card was throttled by more than its power limit.
    pub throttled_share: f64,
    /// Share of the samples in which it was at its power limit.
    pub power_capped_share: f64,
    /// Other processes with memory on the card, those with the most first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_processes: Vec<Process>,
    /// Share of the samples in which one of them worked.
    pub busy_share: f64,
    /// Quantities that the card doesn't tell, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// Why nobody watched, or not to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Telemetry {
    pub fn unwatched(problem: impl Into<String>) -> Telemetry {
        Telemetry { problem: Some(problem.into()), ..Telemetry::default() }
    }

    /// Why the figures taken meanwhile decide nothing, if so.
    pub fn disturbance(&self) -> Option<String> {
        let parts: Vec<String> = [self.throttling(), self.neighbours()].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// How the card was throttled, if it was enough to matter.
    pub fn throttling(&self) -> Option<String> {
        if self.throttled_share <= DISTURBING_SHARE {
            return None;
        }
        let reasons: Vec<&str> =
            self.throttled.iter().filter(|reason| reason.disturbs()).map(|reason| reason.words()).collect();
        let heat = self.temperature_celsius.map(|celsius| format!("{celsius} °C"));
        let clock = self.sm_clock_mhz.map(|clock| format!("{clock:.0} MHz"));
        let beside: Vec<String> = [heat, clock].into_iter().flatten().collect();
        let beside =
            if beside.is_empty() { String::new() } else { format!(" (up to {})", beside.join(", at ")) };
        let percent = self.throttled_share * 100.0;
        Some(format!("the card was throttled for {percent:.0}% of the time: {}{beside}", reasons.join(", ")))
    }

    /// Who else worked on the card, if it was enough to matter.
    pub fn neighbours(&self) -> Option<String> {
        if self.busy_share <= DISTURBING_SHARE {
            return None;
        }
        let who: Vec<String> = self.other_processes.iter().map(Process::in_words).collect();
        let who =
            if who.is_empty() { "a process that is not visible here".to_owned() } else { who.join(", ") };
        let percent = self.busy_share * 100.0;
        Some(format!("another process worked on the card for {percent:.0}% of the time: {who}"))
    }
}

impl Process {
    fn in_words(&self) -> String {
        let name = self.name.as_deref().unwrap_or("process");
        let memory = self.bytes.map(|bytes| format!(" with {}", Bytes(bytes))).unwrap_or_default();
        format!("{name} {}{memory}", self.pid)
    }
}

/// The samples of a measurement, and what is needed to read them.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The card before the worker was started.
    pub before: Option<Sample>,
    pub samples: Vec<Sample>,
    /// The worker and all that it has started, as far as they were seen.
    pub family: BTreeSet<u32>,
}

impl Trace {
    /// `timed`: how much of the time, up to the end, is what was measured.
    pub fn telemetry(&self, timed: Option<Duration>) -> Telemetry {
        let samples = &self.samples;
        let taken = self.taken();
        // The first sample is of before the worker heard of it: what it holds from the candidate before isn't this one's.
        let own_samples = if samples.len() > 1 { &samples[1..] } else { &samples[..] };
        let peak_device_bytes = own_samples.iter().filter_map(Sample::used_bytes).max();
        let device_bytes_before = self.before.as_ref().and_then(Sample::used_bytes);
        let own = own_samples.iter().filter_map(|sample| self.own_bytes(sample)).max();
        let grown =
            peak_device_bytes.zip(device_bytes_before).map(|(peak, before)| peak.saturating_sub(before));
        let mut clocks: Vec<f64> =
            samples.iter().filter_map(|sample| Some(f64::from(sample.clocks?.sm_mhz))).collect();
        clocks.sort_by(f64::total_cmp);
        let reasons = samples.iter().filter_map(|sample| sample.reasons.as_deref());
        let throttled: BTreeSet<Reason> =
            reasons.flatten().copied().filter(|reason| reason.throttles()).collect();
        Telemetry {
            samples: samples.len(),
            peak_process_bytes: own.or(grown),
            process_bytes_derived: own.is_none() && grown.is_some(),
            peak_device_bytes,
            device_bytes_before,
            utilisation_percent: mean(
                samples.iter().filter_map(|sample| Some(f64::from(sample.load?.gpu_percent))),
            ),
            temperature_celsius: samples.iter().filter_map(|sample| sample.temperature_celsius).max(),
            sm_clock_mhz: quantile(&clocks, 0.5),
            power_w: mean(samples.iter().filter_map(|sample| Some(sample.power?.watts))),
            energy_j: energy(&taken, None),
            timed_energy_j: timed.and_then(|timed| energy(&taken, Some(timed.as_secs_f64()))),
            throttled: throttled.into_iter().collect(),
            throttled_share: self.share_slowed(Reason::disturbs),
            power_capped_share: self.share_slowed(|reason| reason == Reason::PowerCap),
            other_processes: self.others(),
            busy_share: self.busy_share(),
            ..Telemetry::default()
        }
    }

    fn own_bytes(&self, sample: &Sample) -> Option<u64> {
        sample.bytes_of(|pid| self.family.contains(&pid))
    }

    /// Whether the driver lists the worker under the number by which we know it.
    fn sees_family(&self) -> bool {
        let listed = self.samples.iter().filter_map(|sample| sample.processes.as_ref()).flatten();
        let busy = self.samples.iter().filter_map(|sample| sample.busy.as_ref()).flatten();
        listed
            .map(|process| process.pid)
            .chain(busy.map(|(pid, _)| *pid))
            .any(|pid| self.family.contains(&pid))
    }

    /// Tells neighbours from the worker. Where the driver lists processes under numbers of another namespace, whoever was
    /// there before the worker was started is a neighbour, and whoever came since is taken for the worker.
    fn is_neighbour(&self) -> impl Fn(u32) -> bool + '_ {
        let sees_family = self.sees_family();
        let before = self.before.iter().filter_map(|before| before.processes.as_ref()).flatten();
        let before: BTreeSet<u32> = before.map(|process| process.pid).collect();
        move |pid| if sees_family { !self.family.contains(&pid) } else { before.contains(&pid) }
    }

    fn others(&self) -> Vec<Process> {
        let is_neighbour = self.is_neighbour();
        let mut others: BTreeMap<u32, Process> = BTreeMap::new();
        let listed = self.samples.iter().filter_map(|sample| sample.processes.as_ref()).flatten();
        for process in listed.filter(|process| process.bytes != Some(0) && is_neighbour(process.pid)) {
            let known = others.entry(process.pid).or_insert_with(|| process.clone());
            known.bytes = known.bytes.max(process.bytes);
        }
        let mut others: Vec<Process> = others.into_values().collect();
        others.sort_by_key(|process| std::cmp::Reverse(process.bytes));
        others.truncate(MOST_NAMED);
        others
    }

    fn share_slowed(&self, counts: fn(Reason) -> bool) -> f64 {
        let known = self.samples.iter().filter_map(|sample| sample.reasons.as_ref());
        share(known.map(|reasons| reasons.iter().any(|reason| counts(*reason))))
    }

    /// By the driver's word on each process, where it has one; else by how busy the card was before the worker was there.
    fn busy_share(&self) -> f64 {
        if self.samples.iter().flat_map(|sample| &sample.busy).all(Vec::is_empty) {
            let busy = |load: Load| load.gpu_percent > BUSY_PERCENT;
            let was_busy = self.before.as_ref().and_then(|before| before.load).is_some_and(busy);
            return if was_busy && !self.samples.is_empty() { 1.0 } else { 0.0 };
        }
        let is_neighbour = self.is_neighbour();
        // What is told in one sample holds until there are news, for NVML has them less often than we sample.
        let mut told = None;
        share(self.samples.iter().map(|sample| {
            if let Some(news) = sample.busy.as_ref().filter(|news| !news.is_empty()) {
                let busy = news.iter().any(|(pid, percent)| *percent > BUSY_PERCENT && is_neighbour(*pid));
                told = Some((sample.at, busy));
            }
            told.is_some_and(|(at, busy)| busy && sample.at.saturating_sub(at) <= NEWS)
        }))
    }

    /// Joule that the card had taken at each sample, by its counter or else by its power.
    fn taken(&self) -> Vec<(f64, f64)> {
        let of = |told: fn(&Sample) -> Option<f64>| -> Vec<(f64, f64)> {
            self.samples.iter().filter_map(|sample| Some((sample.at.as_secs_f64(), told(sample)?))).collect()
        };
        let counted = of(|sample| sample.energy_joules);
        // A counter that stood still, or was set back by a reload of the driver, counted nothing.
        if counted.first().zip(counted.last()).is_some_and(|(first, last)| last.1 > first.1) {
            return counted;
        }
        let power = of(|sample| Some(sample.power?.watts));
        let mut taken = 0.0;
        let trapezia = power.windows(2).map(|pair| {
            let [(start, before), (end, after)] = [pair[0], pair[1]];
            taken += (end - start) * (before + after) / 2.0;
            (end, taken)
        });
        power.first().map(|first| (first.0, 0.0)).into_iter().chain(trapezia).collect()
    }
}

/// What was taken in the last `seconds`, or in all the time; between two samples evenly.
fn energy(taken: &[(f64, f64)], seconds: Option<f64>) -> Option<f64> {
    let [first, .., last] = taken else { return None };
    let Some(seconds) = seconds else { return Some(last.1 - first.1) };
    let start = (last.0 - seconds).max(first.0);
    let behind = taken.iter().position(|(at, _)| *at >= start).unwrap_or(taken.len() - 1).max(1);
    let (before, after) = (taken[behind - 1], taken[behind]);
    let share = if after.0 > before.0 { (start - before.0) / (after.0 - before.0) } else { 0.0 };
    Some(last.1 - (before.1 + (after.1 - before.1) * share))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn share(marks: impl Iterator<Item = bool>) -> f64 {
    let marks: Vec<bool> = marks.collect();
    let marked = marks.iter().filter(|mark| **mark).count();
    if marks.is_empty() { 0.0 } else { marked as f64 / marks.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::sensor::{Clocks, Memory, Power};
    use super::*;

    const WORKER: u32 = 100;
    const GIB: u64 = 1 << 30;

    fn process(pid: u32, gib: u64) -> Process {
        Process { pid, bytes: Some(gib * GIB), name: Some(format!("program{pid}")) }
    }

    fn sample(milliseconds: u64) -> Sample {
        Sample {
            at: Duration::from_millis(milliseconds),
            memory: Some(Memory { used_bytes: 5 * GIB, total_bytes: 24 * GIB }),
            load: Some(Load { gpu_percent: 90, memory_percent: 40 }),
            temperature_celsius: Some(70),
            clocks: Some(Clocks { sm_mhz: 1800, memory_mhz: None }),
            reasons: Some(vec![]),
            power: Some(Power { watts: 300.0, limit_watts: None }),
            energy_joules: Some(5000.0 + 0.3 * milliseconds as f64),
            processes: Some(vec![process(WORKER, 3)]),
            busy: Some(vec![]),
        }
    }

    fn trace(samples: Vec<Sample>) -> Trace {
        let memory = Some(Memory { used_bytes: GIB, total_bytes: 24 * GIB });
        let before =
            Sample { memory, load: Some(Load { gpu_percent: 0, memory_percent: 0 }), ..Sample::default() };
        Trace { before: Some(before), samples, family: [WORKER, 101].into() }
    }

    #[test]
    fn samples_are_reduced_each_in_its_own_way() {
        let mut samples: Vec<Sample> = (0..5).map(|step| sample(20 * step)).collect();
        samples[1].clocks = Some(Clocks { sm_mhz: 300, memory_mhz: None });
        samples[2].temperature_celsius = Some(81);
        samples[3].memory = Some(Memory { used_bytes: 9 * GIB, total_bytes: 24 * GIB });
        samples[3].processes = Some(vec![process(WORKER, 4), process(101, 2)]);
        samples[4].load = Some(Load { gpu_percent: 40, memory_percent: 0 });
        let telemetry = trace(samples).telemetry(None);
        assert_eq!(telemetry.samples, 5);
        assert_eq!(telemetry.peak_process_bytes, Some(6 * GIB), "the worker and its child together");
        assert!(!telemetry.process_bytes_derived);
        assert_eq!(telemetry.peak_device_bytes, Some(9 * GIB));
        assert_eq!(telemetry.device_bytes_before, Some(GIB));
        assert_eq!(telemetry.utilisation_percent, Some(80.0));
        assert_eq!(telemetry.temperature_celsius, Some(81));
        assert_eq!(telemetry.sm_clock_mhz, Some(1800.0));
        assert_eq!(telemetry.power_w, Some(300.0));
        assert_eq!(telemetry.energy_j, Some(24.0));
        assert_eq!(telemetry.disturbance(), None);
    }

    #[test]
    fn energy_of_the_timed_passes_alone_is_told_apart_between_two_samples_too() {
        let taken = [(0.0, 100.0), (1.0, 110.0), (2.0, 140.0), (3.0, 180.0)];
        assert_eq!(energy(&taken, None), Some(80.0));
        for (seconds, joules) in [(1.0, 40.0), (1.5, 55.0), (2.5, 75.0), (9.0, 80.0), (0.0, 0.0)] {
            assert_eq!(energy(&taken, Some(seconds)), Some(joules), "{seconds}");
        }
        assert_eq!(energy(&taken[..1], Some(1.0)), None);
    }

    #[test]
    fn energy_is_summed_up_where_no_counter_moves() {
        let mut samples = vec![sample(0), sample(1000), sample(3000)];
        samples[2].power = Some(Power { watts: 100.0, limit_watts: None });
        for counter in [None, Some(7.0)] {
            samples.iter_mut().for_each(|sample| sample.energy_joules = counter);
            let telemetry = trace(samples.clone()).telemetry(None);
            assert_eq!(telemetry.energy_j, Some(300.0 + 2.0 * 200.0));
        }
        assert_eq!(trace(vec![Sample::default()]).telemetry(None).energy_j, None);
        assert_eq!(
            trace(Vec::new()).telemetry(None),
            Telemetry { device_bytes_before: Some(GIB), ..Default::default() }
        );
    }

    #[test]
    fn throttling_disturbs_above_a_share_and_a_power_limit_never() {
        let throttled = |reason: Reason, count: usize| {
            let mut samples: Vec<Sample> = (0..100).map(|step| sample(20 * step)).collect();
            samples[..count].iter_mut().for_each(|sample| sample.reasons = Some(vec![reason, Reason::Idle]));
            trace(samples).telemetry(None)
        };
        let telemetry = throttled(Reason::ThermalSoftware, 40);
        assert_eq!(
            (telemetry.throttled_share, telemetry.throttled.as_slice()),
            (0.4, &[Reason::ThermalSoftware][..])
        );
        assert_eq!(
            telemetry.disturbance().unwrap(),
            "the card was throttled for 40% of the time: too hot (up to 70 °C, at 1800 MHz)"
        );
        assert_eq!(throttled(Reason::HardwareSlowdown, 5).disturbance(), None, "a change of clocks");
        let capped = throttled(Reason::PowerCap, 100);
        assert_eq!((capped.power_capped_share, capped.throttled_share), (1.0, 0.0));
        assert_eq!(capped.disturbance(), None);
        assert_eq!(capped.throttled, [Reason::PowerCap]);
        assert_eq!(throttled(Reason::ApplicationClocks, 100).throttled, []);
    }

    #[test]
    fn a_neighbour_disturbs_while_it_works_and_not_by_being_there() {
        let mut samples: Vec<Sample> = (0..100).map(|step| sample(100 * step)).collect();
        for sample in &mut samples {
            sample.processes = Some(vec![process(WORKER, 3), process(7, 2), process(8, 0)]);
        }
        let idle = trace(samples.clone()).telemetry(None);
        assert_eq!(idle.other_processes, [process(7, 2)], "one without memory isn't there");
        assert_eq!(idle.disturbance(), None);
        // Told once, it holds for a second at most, and no longer than until the next news.
        samples[10].busy = Some(vec![(WORKER, 50), (7, 45)]);
        samples[14].busy = Some(vec![(WORKER, 95), (7, 5)]);
        samples[50].busy = Some(vec![(7, 45)]);
        let busy = trace(samples).telemetry(None);
        assert_eq!(busy.busy_share, (4.0 + 11.0) / 100.0);
        assert_eq!(
            busy.disturbance().unwrap(),
            "another process worked on the card for 15% of the time: program7 7 with 2.00 GiB"
        );
    }

    #[test]
    fn numbers_of_another_namespace_are_told_apart_by_when_they_came() {
        let mut samples: Vec<Sample> = (0..10).map(|step| sample(100 * step)).collect();
        for sample in &mut samples {
            // 4001 is the worker, as the machine outside of the container numbers it.
            sample.processes = Some(vec![process(4001, 3), process(7, 2)]);
            sample.busy = Some(vec![(4001, 90)]);
        }
        let mut trace = trace(samples);
        trace.before.as_mut().unwrap().processes = Some(vec![process(7, 2)]);
        let telemetry = trace.telemetry(None);
        assert_eq!(telemetry.other_processes, [process(7, 2)]);
        assert_eq!(telemetry.busy_share, 0.0);
        assert_eq!((telemetry.peak_process_bytes, telemetry.process_bytes_derived), (Some(4 * GIB), true));
        trace.samples.iter_mut().for_each(|sample| sample.busy = Some(vec![(7, 90)]));
        assert_eq!(trace.telemetry(None).busy_share, 1.0);
    }

    #[test]
    fn where_processes_tell_nothing_a_card_that_was_busy_before_has_a_neighbour() {
        let mut samples = vec![sample(0), sample(20)];
        samples.iter_mut().for_each(|sample| (sample.processes, sample.busy) = (None, None));
        let mut trace = trace(samples);
        assert_eq!(trace.telemetry(None).busy_share, 0.0);
        trace.before.as_mut().unwrap().load = Some(Load { gpu_percent: 37, memory_percent: 5 });
        let why = trace.telemetry(None).disturbance().unwrap();
        assert!(why.ends_with("100% of the time: a process that is not visible here"), "{why}");
    }
}
