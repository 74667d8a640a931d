//! From the rounds of a worker to what its model takes, what stays, and whether it leaks.

use serde::Serialize;

use super::growth::{Growth, Leak, SETTLING, growth};
use super::statistics::median;
use crate::backend::DTYPE;
use crate::knob::Candidate;
use crate::record::{Footprint, Levels, Round};
use crate::task::Task;

/// What was asked for, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryReport {
    /// Documents of the one batch that a pass is.
    pub batch_size: u32,
    /// Loads and unloads of each configuration.
    pub rounds: u32,
    pub rows: Vec<MemoryRow>,
}

/// One configuration: who it was, what was seen, and what it comes to.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryRow {
    pub model: String,
    pub task: Task,
    /// Whether the model's weights are made up.
    pub replica: bool,
    /// As it was asked for, or where that is.
    pub device: String,
    pub candidate: Candidate,
    /// `ok`, or what went wrong.
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(flatten)]
    pub taken: Taken,
    pub footprint: Footprint,
}

/// What a model takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Taken {
    /// The first load, if it read its files from the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_load_seconds: Option<f64>,
    /// The median of the loads after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_load_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss: Option<Kept>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vms: Option<Kept>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Kept>,
    /// The most that the engine's own allocator held on the device, and the most of it that was in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
}

/// Memory of one kind, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Kept {
    /// Of the worker before its first load.
    pub before: u64,
    /// Once it's loaded, and after it's unloaded: the median of the rounds that have settled.
    pub loaded: u64,
    pub after: u64,
    /// The highest of all rounds.
    pub peak: u64,
    /// What isn't given back: libraries, a driver's context, arenas.
    pub stays: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
}

impl MemoryRow {
    pub fn is_ok(&self) -> bool {
        self.reason.is_none()
    }

    pub fn dtype(&self) -> String {
        self.candidate.word(DTYPE)
    }

    pub fn is_simulated(&self) -> bool {
        self.footprint.loaded.as_ref().is_some_and(|loaded| loaded.simulated)
    }

    /// Kinds of memory that leak, or may, by what people call them.
    pub fn leaks(&self) -> Vec<(&'static str, Growth)> {
        let grow = |(_, growth): &(_, Growth)| matches!(growth.verdict, Leak::Found | Leak::Suspected);
        self.growths().filter(grow).collect()
    }

    /// The worst of its kinds of memory.
    pub fn leak(&self) -> Leak {
        let told = |leak: Leak| self.growths().any(|(_, growth)| growth.verdict == leak);
        let worst =
            [Leak::Found, Leak::Suspected, Leak::Unknown, Leak::None].into_iter().find(|leak| told(*leak));
        worst.unwrap_or(Leak::Unknown)
    }

    /// The address space isn't among them: what is reserved there costs nothing.
    fn growths(&self) -> impl Iterator<Item = (&'static str, Growth)> {
        let kinds = [("host memory", self.taken.rss), ("device memory", self.taken.device)];
        kinds.into_iter().filter_map(|(kind, kept)| Some((kind, kept?.growth?)))
    }
}

/// Works out what the rounds come to.
pub fn taken(footprint: &Footprint) -> Taken {
    let rounds = &footprint.rounds;
    let peak_of = |of: fn(&Round) -> Option<u64>| rounds.iter().filter_map(of).max();
    let cold = rounds.first().filter(|_| footprint.not_cold.is_none());
    Taken {
        cold_load_seconds: cold.map(|round| round.load_seconds),
        warm_load_seconds: median(rounds.iter().skip(1).map(|round| round.load_seconds)),
        rss: kept(rounds, |round| round.rss),
        vms: kept(rounds, |round| round.vms),
        device: kept(rounds, |round| round.device),
        reserved_bytes: peak_of(|round| Some(round.device_memory?.reserved_peak_bytes)),
        used_bytes: peak_of(|round| round.device_memory?.used_peak_bytes),
    }
}

fn kept(rounds: &[Round], of: impl Fn(&Round) -> Option<Levels>) -> Option<Kept> {
    let levels: Vec<Levels> = rounds.iter().map(of).collect::<Option<_>>()?;
    let before = levels.first()?.before;
    // Where there aren't more rounds than that, the last is the most settled.
    let settled = &levels[SETTLING.min(levels.len() - 1)..];
    let typical = |of: fn(&Levels) -> u64| median(settled.iter().map(|levels| of(levels) as f64));
    let (loaded, after) = (typical(|levels| levels.loaded)? as u64, typical(|levels| levels.after)? as u64);
    let afters: Vec<u64> = levels.iter().map(|levels| levels.after).collect();
    Some(Kept {
        before,
        loaded,
        after,
        peak: levels.iter().map(|levels| levels.peak).max()?,
        stays: after as i64 - before as i64,
        growth: growth(&afters, loaded.saturating_sub(after)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn a_row_is_the_first_round_and_what_the_others_settle_at() {
        let round = |load_seconds: f64, levels: [u64; 4]| {
            let [before, loaded, peak, after] = levels.map(|mib| mib * Bytes::MIB);
            let rss = Some(Levels { before, loaded, peak, after });
            Round { load_seconds, rss, ..Round::default() }
        };
        let rounds = vec![
            round(9.0, [10, 100, 150, 30]),
            round(2.0, [30, 120, 160, 40]),
            round(1.0, [40, 130, 170, 42]),
            round(3.0, [42, 132, 165, 44]),
        ];
        let footprint = Footprint { rounds, ..Footprint::default() };
        let taken = taken(&footprint);
        assert_eq!((taken.cold_load_seconds, taken.warm_load_seconds), (Some(9.0), Some(2.0)));
        let rss = taken.rss.unwrap();
        let mib = [rss.before, rss.loaded, rss.peak, rss.after].map(|bytes| bytes / Bytes::MIB);
        assert_eq!((mib, rss.stays / Bytes::MIB as i64), ([10, 131, 170, 43], 33));
        assert_eq!((taken.device, taken.reserved_bytes), (None, None));
        let warm = Footprint { not_cold: Some("it lies in memory".into()), ..footprint };
        assert_eq!(super::taken(&warm).cold_load_seconds, None);
        assert_eq!(super::taken(&Footprint::default()), Taken::default());
    }
}
