//! What else the processor did while something was measured on it: other programs, the hypervisor, a container's quota, heat.

use std::time::Duration;

/// A moment, as counters that only grow.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment(Counters);

/// Since the machine was started. Times are those of all cores that we may use, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counters {
    /// In which a core did something, or nothing.
    all: Duration,
    busy: Duration,
    /// In which the hypervisor gave a core to somebody else.
    stolen: Duration,
    /// In which we and all that we have started used a core.
    own: Duration,
    /// In which the container's quota was used up.
    stalled: Duration,
    /// How often a core was slowed by its heat.
    throttled: u64,
}

/// What disturbed a measurement, as shares of the processor's time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disturbance {
    others: f64,
    stolen: f64,
    stalled: f64,
    throttled: bool,
}

impl Moment {
    /// Now; nothing where the system doesn't tell.
    pub fn now() -> Option<Moment> {
        system::counters().map(Moment)
    }

    /// What disturbed us between this moment and now.
    pub fn disturbance_since(&self) -> Option<Disturbance> {
        Some(Disturbance::between(&self.0, &system::counters()?))
    }
}

impl Disturbance {
    fn between(before: &Counters, after: &Counters) -> Disturbance {
        let passed = |of: fn(&Counters) -> Duration| of(after).saturating_sub(of(before)).as_secs_f64();
        let all = passed(|counters| counters.all);
        let share = |time: f64| if all > 0.0 { (time / all).clamp(0.0, 1.0) } else { 0.0 };
        let others = passed(|counters| counters.busy) - passed(|counters| counters.own);
        Disturbance {
            others: share(others),
            stolen: share(passed(|counters| counters.stolen)),
            // The kernel adds up what each core has waited.
            stalled: share(passed(|counters| counters.stalled)),
            throttled: after.throttled > before.throttled,
        }
    }

    /// Why a measurement counts as disturbed, if others took more than this share.
    pub fn beyond(&self, most: f64) -> Option<String> {
        let percent = |share: f64| format!("{:.0}%", share * 100.0);
        if self.others > most {
            let used = percent(self.others);
            return Some(format!(
                "other programs used {used} of the processor, and {} are allowed",
                percent(most)
            ));
        }
        if self.stolen > most {
            return Some(format!("the hypervisor took {} of the processor", percent(self.stolen)));
        }
        if self.stalled > most {
            return Some(format!(
                "the container's share of the processor was used up for {} of the time",
                percent(self.stalled)
            ));
        }
        // Who takes whatever comes takes heat, too.
        (self.throttled && most < 1.0).then(|| "the processor was slowed by its heat".to_owned())
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;

    use procfs::process::Process;
    use procfs::{CpuTime, CurrentSI, KernelStats};

    use super::Counters;
    use crate::runner::memory;

    pub fn counters() -> Option<Counters> {
        let stats = KernelStats::current().ok()?;
        let allowed = Process::myself().ok()?.status().ok()?.cpus_allowed_list;
        let ours = |core: &usize| match &allowed {
            Some(ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&(*core as u32))),
            None => true,
        };
        let cores = stats.cpu_time.iter().enumerate().filter(|(core, _)| ours(core));
        let mut sum =
            Counters { own: own()?, stalled: stalled(), throttled: throttled(), ..Counters::default() };
        for (_, core) in cores {
            let (busy, stolen) = busy(core);
            sum.busy += busy;
            sum.stolen += stolen;
            sum.all += busy + stolen + core.idle_duration() + core.iowait_duration().unwrap_or_default();
        }
        Some(sum)
    }

    /// How long a core has worked, and how long the hypervisor had it.
    fn busy(core: &CpuTime) -> (Duration, Duration) {
        let busy = core.user_duration()
            + core.nice_duration()
            + core.system_duration()
            + core.irq_duration().unwrap_or_default()
            + core.softirq_duration().unwrap_or_default();
        (busy, core.steal_duration().unwrap_or_default())
    }

    /// Of this process and all that it has started; of those that have ended, too.
    fn own() -> Option<Duration> {
        let ticks = |pid: u32| {
            let stat = Process::new(pid.try_into().ok()?).ok()?.stat().ok()?;
            let ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or_default();
            Some(stat.utime + stat.stime + ended)
        };
        let sum: u64 = memory::family(std::process::id()).into_iter().filter_map(ticks).sum();
        Some(Duration::from_secs_f64(sum as f64 / procfs::ticks_per_second() as f64))
    }

    fn stalled() -> Duration {
        let text = std::fs::read_to_string("/sys/fs/cgroup/cpu.stat").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("throttled_usec "));
        Duration::from_micros(line.and_then(|count| count.trim().parse().ok()).unwrap_or_default())
    }

    fn throttled() -> u64 {
        static FILES: OnceLock<Vec<PathBuf>> = OnceLock::new();
        let files = FILES.get_or_init(|| {
            let cores = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
            let counts = cores.map(|core| core.path().join("thermal_throttle/core_throttle_count"));
            counts.filter(|file| file.is_file()).collect()
        });
        let count = |file: &PathBuf| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
        files.iter().filter_map(count).sum()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Counters;

    pub fn counters() -> Option<Counters> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: f64) -> Duration {
        Duration::from_secs_f64(count)
    }

    #[test]
    fn what_others_take_is_what_is_busy_and_not_ours() {
        let before =
            Counters { all: seconds(100.0), busy: seconds(50.0), own: seconds(10.0), ..Counters::default() };
        let after = Counters { all: seconds(104.0), busy: seconds(53.0), own: seconds(12.0), ..before };
        let disturbance = Disturbance::between(&before, &after);
        assert_eq!(disturbance.others, 0.25);
        assert_eq!(disturbance.beyond(0.25), None);
        assert_eq!(
            disturbance.beyond(0.2).unwrap(),
            "other programs used 25% of the processor, and 20% are allowed"
        );
        let why = |after: Counters| Disturbance::between(&before, &after).beyond(0.25);
        let idle = Counters { all: seconds(104.0), ..before };
        assert_eq!(why(idle), None);
        assert!(why(Counters { stolen: seconds(2.0), ..idle }).unwrap().contains("hypervisor took 50%"));
        assert!(
            why(Counters { stalled: seconds(2.0), ..idle }).unwrap().contains("used up for 50% of the time")
        );
        assert!(why(Counters { throttled: 1, ..idle }).unwrap().contains("heat"));
        // Of no time at all nothing is said.
        assert_eq!(Disturbance::between(&before, &before).beyond(0.0), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn our_own_work_is_no_disturbance() {
        let before = Moment::now().unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < seconds(0.3) {
            std::hint::spin_loop();
        }
        let after = system::counters().unwrap();
        let own = after.own.saturating_sub(before.0.own);
        let busy = after.busy.saturating_sub(before.0.busy);
        assert!(own >= seconds(0.05), "{own:?}");
        // Counters are read one after the other, and in steps of a hundredth of a second.
        assert!(busy + seconds(0.1) >= own, "{busy:?} {own:?}");
    }
}
