//! A run as a recorded grid: each configuration of a stage with what its rounds gave.

use std::collections::BTreeSet;

use super::grid::Objective;
use crate::analysis::{by_candidate, figure_of_trial};
use crate::knob::{BACKEND, Candidate};
use crate::record::Recording;
use crate::store::Run;
use crate::suite::{Figure, Stage, Suite};
use crate::units::median;

/// The objective of a run's grid.
pub fn objective(suite: &Suite) -> Objective {
    let figure = suite.objective;
    Objective { column: Some(figure.name().to_owned()), more_is_better: Some(figure.more_is_better()) }
}

/// The configurations of a stage that were measured: the knobs that differ, the objective, its samples, and what a trial cost.
pub fn csv(suite: &Suite, stage: &Stage, run: &Run) -> Result<Vec<u8>, csv::Error> {
    let configurations = by_candidate(stage, &run.recordings);
    let knobs = differing(configurations.values().map(|recordings| &recordings[0].candidate));
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(knobs.iter().chain(&[
        suite.objective.name(),
        "samples",
        "error",
        "memory_mib",
        "trial_seconds",
    ]))?;
    for recordings in configurations.values() {
        let mut row: Vec<String> = knobs.iter().map(|knob| recordings[0].candidate.word(knob)).collect();
        row.extend(measured(suite, recordings));
        table.write_record(row)?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

/// The backend, and the knobs in which candidates differ that have them.
fn differing<'r>(candidates: impl Iterator<Item = &'r Candidate> + Clone) -> Vec<&'r str> {
    let all: BTreeSet<&str> =
        candidates.clone().flat_map(|candidate| candidate.knobs.keys().map(String::as_str)).collect();
    let differs = |knob: &&str| {
        let words = candidates.clone().map(|candidate| candidate.word(knob)).filter(|word| !word.is_empty());
        let words: BTreeSet<String> = words.collect();
        words.len() > 1
    };
    std::iter::once(BACKEND).chain(all.into_iter().filter(differs)).collect()
}

/// The objective, its samples, the error, the memory and the seconds of a configuration.
fn measured(suite: &Suite, recordings: &[&Recording]) -> [String; 5] {
    let of = |figure: Figure| {
        recordings.iter().filter_map(move |one| figure_of_trial(one, figure, suite.price_per_hour))
    };
    let samples: Vec<f64> = of(suite.objective).collect();
    let failed = recordings.iter().find_map(|one| one.failure());
    let objective = median(samples.iter().copied()).filter(|_| failed.is_none());
    let error = match (failed, objective) {
        (Some(failure), _) => failure.status.name(),
        (None, None) => "no figure",
        (None, Some(_)) => "",
    };
    // Six digits, however small the unit.
    let print = |number: f64| format!("{number:.5e}").parse::<f64>().unwrap_or(number).to_string();
    let memory = median(of(Figure::Vram)).or_else(|| median(of(Figure::Rss)));
    let seconds = median(recordings.iter().map(|one| one.wall_seconds));
    [
        objective.map(print).unwrap_or_default(),
        samples.iter().copied().map(print).collect::<Vec<_>>().join(";"),
        error.to_owned(),
        memory.map(|bytes| format!("{:.0}", bytes / f64::from(1 << 20))).unwrap_or_default(),
        seconds.map(|seconds| format!("{seconds:.3}")).unwrap_or_default(),
    ]
}
