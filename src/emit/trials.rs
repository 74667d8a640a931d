//! `trials.csv`: one row a trial. `results/README.md` explains each column.

use std::io;

use crate::analysis::{Analysis, Verdict, figure_of_trial};
use crate::hardware::Provenance;
use crate::record::{Recording, SetAside};
use crate::suite::{Figure, Suite};

/// The columns before and after those of the knobs.
pub const BEFORE: [&str; 4] = ["stage", "candidate", "round", "backend"];
pub const AFTER: [&str; 39] = [
    "status",
    "reason",
    "remedy",
    "docs_per_s",
    "docs_per_s_low",
    "docs_per_s_high",
    "tokens_per_s",
    "p50_ms",
    "p95_ms",
    "passes",
    "tokenise_s",
    "pad_s",
    "to_device_s",
    "compute_s",
    "from_device_s",
    "finish_s",
    "padding_waste",
    "quality",
    "agreements",
    "peak_vram_bytes",
    "predicted_vram_bytes",
    "peak_rss_bytes",
    "load_s",
    "wall_s",
    "energy_j",
    "clock_mhz",
    "utilisation_percent",
    "temperature_celsius",
    "power_w",
    "throttled",
    "process_vram_bytes",
    "device_vram_bytes",
    "cap_bytes",
    "reserved_vram_bytes",
    "used_vram_bytes",
    "memory_disagreement",
    "version",
    "weights",
    "provenance",
];

pub fn csv(suite: &Suite, analysis: &Analysis, recordings: &[Recording]) -> io::Result<Vec<u8>> {
    let mut knobs: Vec<&str> = Vec::new();
    for spec in suite.backends.iter().flat_map(|backend| &backend.knobs) {
        if !knobs.contains(&spec.name.as_str()) {
            knobs.push(&spec.name);
        }
    }
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(BEFORE.iter().chain(&knobs).chain(&AFTER))?;
    for recording in recordings {
        table.write_record(row(analysis, &knobs, recording))?;
    }
    table.into_inner().map_err(|error| error.into_error())
}

fn row(analysis: &Analysis, knobs: &[&str], recording: &Recording) -> Vec<String> {
    let mut row = vec![
        recording.stage.clone(),
        recording.id.clone(),
        recording.round.to_string(),
        recording.candidate.backend.clone(),
    ];
    row.extend(
        knobs
            .iter()
            .map(|knob| recording.candidate.knobs.get(*knob).map(ToString::to_string).unwrap_or_default()),
    );
    row.extend(outcome(analysis, recording));
    let number = |number: Option<f64>| number.map(|number| format!("{number}")).unwrap_or_default();
    let passes = recording.passes();
    let seconds: f64 = passes.iter().map(|pass| pass.seconds).sum();
    let sum = |count: fn(&crate::pipeline::Pass) -> u64| passes.iter().map(count).sum::<u64>() as f64;
    let some = |value: f64| number((!passes.is_empty()).then_some(value));
    let docs_per_s = sum(|pass| pass.documents) / seconds;
    row.push(some(docs_per_s));
    let between = recording.predicted().map(|predicted| predicted.between);
    for times in [between.map(|between| between.high), between.map(|between| between.low)] {
        row.push(number(times.filter(|_| !passes.is_empty()).map(|times| docs_per_s / times)));
    }
    row.push(some(sum(|pass| pass.tokens) / seconds));
    for figure in [Figure::Latency, Figure::P95] {
        row.push(number(figure_of_trial(recording, figure, None).map(|seconds| seconds * 1e3)));
    }
    row.push(some(passes.len() as f64));
    for part in 0..crate::pipeline::Split::NAMES.len() {
        // Nothing is what a worker leaves that doesn't tell its parts.
        let seconds: f64 = passes.iter().map(|pass| pass.split.parts()[part]).sum();
        row.push(number((seconds > 0.0).then_some(seconds)));
    }
    let padded = sum(|pass| pass.padded_tokens);
    row.push(number((padded > 0.0).then(|| 1.0 - sum(|pass| pass.tokens) / padded)));
    row.push(number(recording.quality));
    let agreements =
        recording.agreements.iter().map(|(metric, judged)| format!("{}={}", metric.name(), judged.value));
    row.push(agreements.collect::<Vec<_>>().join(" "));
    row.push(number(recording.measured().and_then(|one| one.peak_vram_bytes).map(|bytes| bytes as f64)));
    row.push(number(recording.predicted_vram_bytes.map(|bytes| bytes as f64)));
    row.push(number(recording.peak_rss_bytes.map(|bytes| bytes as f64)));
    let loaded = recording.loaded.as_ref();
    row.push(number(loaded.map(|loaded| loaded.seconds)));
    row.push(number(Some(recording.wall_seconds)));
    let telemetry = recording.telemetry.clone().unwrap_or_default();
    row.push(number(telemetry.energy_j));
    row.push(number(telemetry.sm_clock_mhz));
    row.push(number(telemetry.utilisation_percent));
    row.push(number(telemetry.temperature_celsius.map(f64::from)));
    row.push(number(telemetry.power_w));
    row.push(telemetry.throttled.iter().map(|reason| reason.name()).collect::<Vec<_>>().join(" "));
    row.push(number(telemetry.peak_process_bytes.map(|bytes| bytes as f64)));
    row.push(number(telemetry.peak_device_bytes.map(|bytes| bytes as f64)));
    let memory = recording.measured().and_then(|measured| measured.device_memory);
    row.push(number(memory.and_then(|memory| memory.cap_bytes).map(|bytes| bytes as f64)));
    row.push(number(memory.map(|memory| memory.reserved_peak_bytes as f64)));
    row.push(number(memory.and_then(|memory| memory.used_peak_bytes).map(|bytes| bytes as f64)));
    row.push(number(recording.memory_disagreement()));
    row.push(loaded.map_or_else(String::new, |loaded| loaded.version.clone()));
    let replica = analysis.stages.iter().any(|stage| stage.name == recording.stage && stage.replica);
    row.push(if replica { "replica" } else { "checkpoint" }.to_owned());
    row.push(recording.provenance().map_or("", Provenance::name).to_owned());
    row
}

/// `ok`, or what went wrong and why: the trial's own failure or disturbance, or why its candidate can't win.
fn outcome(analysis: &Analysis, recording: &Recording) -> [String; 3] {
    let plain = |status: &str, reason: String| [status.to_owned(), reason, String::new()];
    if let Some(failure) = recording.failure() {
        return [failure.status.name().to_owned(), failure.reason.clone(), failure.remedy.clone()];
    }
    if let Some(SetAside { status, why }) = recording.set_aside() {
        return plain(status, why);
    }
    let stage = analysis.stages.iter().find(|stage| stage.name == recording.stage);
    let ranked = stage.and_then(|stage| stage.find(&recording.id));
    match ranked.map(|ranked| (&ranked.verdict, &ranked.summary.failure)) {
        Some((Verdict::Excluded { status, why }, None)) => plain(status, why.clone()),
        _ => plain("ok", String::new()),
    }
}
