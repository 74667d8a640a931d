//! A trial, as the journal keeps it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::failure::{Failure, Status};
use super::judged::Judged;
use super::outcome::Outcome;
use super::predicted::Predicted;
use crate::backend::DeviceMemory;
use crate::hardware::Provenance;
use crate::knob::Candidate;
use crate::pipeline::Pass;
use crate::task::Metric;
use crate::telemetry::Telemetry;
use crate::worker::protocol::{Loaded, Measured};

/// What a trial gave, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    pub stage: String,
    pub id: String,
    pub candidate: Candidate,
    pub round: u32,
    /// What was loaded, as the worker states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Loaded>,
    /// Whether the load was made for this trial, or an earlier one's was used again.
    #[serde(default)]
    pub fresh: bool,
    /// How good its answers are, by the metric that the stage has chosen. Only the first round asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
    /// The same by every metric that can judge the task.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub agreements: IndexMap<Metric, Judged>,
    /// The candidate whose answers were judged, where it's another one that gives the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_as: Option<String>,
    /// SHA-256 of the file of its answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers_digest: Option<String>,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The device memory that was to be expected, whatever was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_vram_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// What the GPU did meanwhile, where the target is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// From the start of the trial to its end, loading and checking included.
    pub wall_seconds: f64,
}

/// Why a trial's figures are shown, and decide nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetAside {
    pub status: &'static str,
    pub why: String,
}

impl Recording {
    /// A trial that came out so, and of which nothing else is known.
    pub fn of(stage: &str, candidate: &Candidate, round: u32, outcome: Outcome) -> Recording {
        Recording {
            stage: stage.to_owned(),
            id: candidate.id(),
            candidate: candidate.clone(),
            round,
            loaded: None,
            fresh: false,
            quality: None,
            agreements: IndexMap::new(),
            judged_as: None,
            answers_digest: None,
            outcome,
            predicted_vram_bytes: None,
            peak_rss_bytes: None,
            telemetry: None,
            wall_seconds: 0.0,
        }
    }

    /// Takes in another turn of the same trial. Of a failure there is nothing more to say.
    pub fn go_on(&mut self, turn: Recording) {
        self.wall_seconds += turn.wall_seconds;
        self.peak_rss_bytes = self.peak_rss_bytes.max(turn.peak_rss_bytes);
        match (&mut self.outcome, turn.outcome) {
            (Outcome::Measured(all), Outcome::Measured(more)) => go_on(all, more),
            (own, outcome) => *own = outcome,
        }
    }

    pub fn failure(&self) -> Option<&Failure> {
        self.outcome.failure()
    }

    pub fn measured(&self) -> Option<&Measured> {
        self.outcome.measured()
    }

    pub fn predicted(&self) -> Option<&Predicted> {
        self.outcome.predicted()
    }

    /// Whether it has failed for want of an engine or a model, which may be here another time.
    pub fn was_not_available(&self) -> bool {
        self.failure().is_some_and(|failure| failure.status == Status::NotAvailable)
    }

    /// The passes that figures come from, measured or predicted.
    pub fn passes(&self) -> &[Pass] {
        let predicted = || self.predicted()?.pass.as_ref().map(std::slice::from_ref);
        match self.measured() {
            Some(measured) => &measured.passes,
            None => predicted().unwrap_or_default(),
        }
    }

    /// How its figures came, if there are any or a prediction says why there are none.
    pub fn provenance(&self) -> Option<Provenance> {
        match (self.predicted(), &self.loaded) {
            (Some(_), _) => Some(Provenance::Predicted),
            (None, Some(loaded)) if loaded.simulated => Some(Provenance::Simulated),
            (None, loaded) => loaded.as_ref().map(|_| Provenance::Measured),
        }
    }

    /// Why its figures decide nothing, if they don't: the card was slowed, somebody else worked on it, or its passes never
    /// came to one level.
    pub fn set_aside(&self) -> Option<SetAside> {
        let measured = self.measured()?;
        if let Some(why) = self.telemetry.as_ref().and_then(Telemetry::disturbance) {
            return Some(SetAside { status: "disturbed", why });
        }
        (measured.steady == Some(false)).then(|| SetAside {
            status: "unstable",
            why:
                "its passes kept getting faster or slower for ten times `measure.time`: raise `measure.time`"
                    .to_owned(),
        })
    }

    /// Peak device memory: the worker's own word, or what the driver says of it.
    pub fn peak_vram_bytes(&self) -> Option<u64> {
        if let Some(predicted) = self.predicted() {
            return predicted.peak_vram.map(|peak| peak.value);
        }
        let told = self.measured()?.peak_vram_bytes;
        told.or_else(|| self.telemetry.as_ref()?.peak_process_bytes)
    }

    /// The worker's device memory as it counts it, and as the driver does, where both can.
    fn memory_counts(&self) -> Option<(DeviceMemory, u64)> {
        if self.loaded.as_ref()?.simulated {
            return None;
        }
        let telemetry = self.telemetry.as_ref()?;
        // Growth of a card that others are on may be theirs.
        let of_worker = !telemetry.process_bytes_derived || telemetry.other_processes.is_empty();
        let seen = telemetry.peak_process_bytes.filter(|bytes| of_worker && *bytes > 0)?;
        Some((self.measured()?.device_memory?, seen))
    }

    /// By how much the worker's own count of its device memory differs from the driver's, if it's worth a word.
    pub fn memory_disagreement(&self) -> Option<f64> {
        self.memory_counts().and_then(|(memory, seen)| memory.disagreement(seen))
    }

    /// Why the worker has taken more than its share of the device's memory, whatever its allocator says, if it has.
    pub fn broken_share(&self) -> Option<String> {
        self.memory_counts().and_then(|(memory, seen)| memory.broken(seen))
    }

    /// Joule of the GPU for a document, over the passes that count. Where the worker doesn't tell when these began, over the
    /// whole measurement, and warm-up passes count too.
    pub fn joules_per_document(&self) -> Option<f64> {
        let measured = self.measured()?;
        let telemetry = self.telemetry.as_ref()?;
        let (joules, passes) = match telemetry.timed_energy_j {
            Some(joules) => (joules, measured.passes.len() as f64),
            None => (telemetry.energy_j?, measured.passes.len() as f64 + f64::from(measured.warmup_passes)),
        };
        Some(joules / (measured.passes.first()?.documents as f64 * passes))
    }
}

fn go_on(all: &mut Measured, more: Measured) {
    all.passes.extend(more.passes);
    all.warmup_passes += more.warmup_passes;
    all.timed_seconds = all.timed_seconds.zip(more.timed_seconds).map(|(all, more)| all + more);
    all.steady = None;
    all.busy_seconds += more.busy_seconds;
    all.peak_vram_bytes = all.peak_vram_bytes.max(more.peak_vram_bytes);
    all.device_memory = more.device_memory.or(all.device_memory);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Process;

    const GIB: u64 = 1 << 30;

    /// A worker with a share of 4 GiB that counts 3 of its own, where the driver sees `seen`.
    fn recording(seen: u64) -> Recording {
        let memory = DeviceMemory {
            total_bytes: 8 * GIB,
            cap_bytes: Some(4 * GIB),
            overhead_bytes: GIB,
            reserved_peak_bytes: 2 * GIB,
            used_peak_bytes: None,
        };
        let loaded = serde_json::json!({ "protocol": 1, "version": "v", "device": "cuda:0", "seconds": 1.0 });
        let measured = serde_json::json!({ "passes": [], "device_memory": memory });
        let candidate = Candidate { backend: String::new(), knobs: IndexMap::new() };
        Recording {
            loaded: Some(serde_json::from_value(loaded).unwrap()),
            telemetry: Some(Telemetry { peak_process_bytes: Some(seen), ..Telemetry::default() }),
            ..Recording::of("", &candidate, 0, Outcome::Measured(serde_json::from_value(measured).unwrap()))
        }
    }

    #[test]
    fn the_drivers_count_is_held_against_the_workers_and_against_its_share() {
        let agreeing = recording(3 * GIB);
        assert_eq!((agreeing.memory_disagreement(), agreeing.broken_share()), (None, None));
        let more = recording(7 * GIB / 2);
        assert!(more.memory_disagreement().is_some() && more.broken_share().is_none());
        assert!(recording(5 * GIB).broken_share().unwrap().contains("its share was 4.00 GiB"));
        // A driver that lists nothing says nothing.
        assert_eq!(recording(0).memory_disagreement(), None);
    }

    #[test]
    fn figures_that_never_came_to_one_level_are_set_aside() {
        let measured = |steady: serde_json::Value| {
            let measured = serde_json::json!({ "passes": [], "steady": steady });
            let candidate = Candidate { backend: String::new(), knobs: IndexMap::new() };
            Recording::of("", &candidate, 0, Outcome::Measured(serde_json::from_value(measured).unwrap()))
        };
        assert_eq!(measured(false.into()).set_aside().unwrap().status, "unstable");
        // Workers that don't look are believed.
        assert_eq!((measured(true.into()).set_aside(), measured(().into()).set_aside()), (None, None));
    }

    #[test]
    fn turns_are_one_trial_until_one_fails() {
        let turn = |seconds: f64, peak: u64| {
            let measured = serde_json::json!({
                "passes": [{ "seconds": seconds, "documents": 4 }], "warmup_passes": 1, "steady": false,
                "timed_seconds": seconds, "busy_seconds": 2.0 * seconds
            });
            let candidate = Candidate { backend: String::new(), knobs: IndexMap::new() };
            let outcome = Outcome::Measured(serde_json::from_value(measured).unwrap());
            let recording = Recording::of("", &candidate, 0, outcome);
            Recording { peak_rss_bytes: Some(peak), wall_seconds: 3.0 * seconds, ..recording }
        };
        let mut all = Recording { fresh: true, ..turn(1.0, 5) };
        all.go_on(turn(2.0, 7));
        all.go_on(turn(3.0, 6));
        let seconds: Vec<f64> = all.passes().iter().map(|pass| pass.seconds).collect();
        assert_eq!(
            (seconds, all.peak_rss_bytes, all.wall_seconds, all.fresh),
            (vec![1.0, 2.0, 3.0], Some(7), 18.0, true)
        );
        let measured = all.measured().unwrap();
        assert_eq!(
            (measured.warmup_passes, measured.timed_seconds, measured.busy_seconds),
            (3, Some(6.0), 12.0)
        );
        // What one turn was too short to tell, the others tell.
        assert_eq!(all.set_aside(), None);
        let failure = Failure::new(Status::Crashed, "why");
        all.go_on(Recording { outcome: failure.into(), ..turn(1.0, 1) });
        assert!(all.failure().is_some() && all.passes().is_empty());
    }

    #[test]
    fn what_neighbours_may_have_taken_is_nobodys_fault() {
        let mut derived = recording(5 * GIB);
        let telemetry = derived.telemetry.as_mut().unwrap();
        telemetry.process_bytes_derived = true;
        assert!(derived.broken_share().is_some());
        let telemetry = derived.telemetry.as_mut().unwrap();
        telemetry.other_processes = vec![Process { pid: 7, bytes: Some(GIB), name: None }];
        assert_eq!((derived.memory_disagreement(), derived.broken_share()), (None, None));
    }
}
