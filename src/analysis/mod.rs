//! From recordings to verdicts: a pure function of the journal.
//!
//! Decides everything that `emit/` shows. Knows no file and no terminal.

pub mod certificate;
mod compare;
pub mod counts;
mod decisions;
mod doubt;
mod doubting;
mod figures;
mod footprint;
pub mod gate;
mod growth;
mod kept;
mod pareto;
mod promise;
pub mod ranks;
pub mod ratio;
mod result;
mod service;
pub mod statistics;
mod summary;
mod verdict;

pub use certificate::{Certificate, finalists, rounds_wanted, standing, unchecked};
pub use compare::{Comparison, StageComparison, compare};
pub use decisions::{Decision, Decisions, Left, decisions};
pub use doubt::Doubt;
pub use footprint::{Kept, MemoryReport, MemoryRow, Taken, taken};
pub use growth::{Growth, Leak, SETTLING};
pub use kept::{Kept as KeptPromise, PromiseVerdict};
pub use result::{Analysis, LeftOut, Provenance, Ranked, StageAnalysis};
pub use service::{Cache, Choice, Request, ServiceAnalysis, estimate as judged_estimate};
pub use statistics::{Estimate, Interval};
pub use summary::{Summary, by_candidate};
pub use verdict::Verdict;

use std::collections::HashSet;

use figures::Trials;
use summary::summaries;

use crate::hardware;
use crate::record::{Recording, Status};
use crate::search::{Observation, Score, Seen};
use crate::store::{Entry, Run};
use crate::suite::{Figure, Limit, Stage, Subject, Suite};
use crate::task::Metric;

/// Judges a run.
pub fn analyse(suite: &Suite, run: &Run) -> Analysis {
    let stages: Vec<StageAnalysis> =
        suite.stages.iter().map(|stage| analyse_stage(suite, stage, run)).collect();
    let provenance = provenance(&run.recordings);
    Analysis {
        suite: suite.name.clone(),
        target: run.header.target.description.clone(),
        provenance,
        objective: suite.objective,
        finished: run.finished(),
        doubts: doubting::about_together(&stages, suite)
            .into_iter()
            .chain(
                run.header
                    .target
                    .price_per_hour
                    .map(|price_per_hour| Doubt::PriceFromTable { price_per_hour }),
            )
            .chain(doubting::about_card(&run.recordings))
            .chain(doubting::about_budget(suite, run))
            .collect(),
        service: suite
            .service
            .as_ref()
            .zip(run.served())
            .map(|(service, served)| ServiceAnalysis::of(service, served)),
        promises: promise::kept(
            &suite.promises,
            &stages,
            suite.objective,
            run.header.target.device.as_deref().unwrap_or("a script"),
        ),
        stages,
    }
}

fn provenance(recordings: &[Recording]) -> Provenance {
    let known: Vec<hardware::Provenance> = recordings.iter().filter_map(Recording::provenance).collect();
    let has = |one| known.contains(&one);
    if has(hardware::Provenance::Predicted) {
        return Provenance::Predicted;
    }
    match (has(hardware::Provenance::Simulated), has(hardware::Provenance::Measured)) {
        (true, true) => Provenance::Mixed,
        (true, false) => Provenance::Simulated,
        (false, true) => Provenance::Measured,
        (false, false) => Provenance::Nothing,
    }
}

fn analyse_stage(suite: &Suite, stage: &Stage, run: &Run) -> StageAnalysis {
    let summaries = summaries(suite, stage, &run.recordings);
    let ranking = verdict::rank(summaries, &stage.limits, stage.metric, suite.objective);
    let confirmation = run.confirmations().remove(&stage.name);
    let ranking = certificate::crown(ranking, suite, stage, confirmation.as_ref());
    let candidates: Vec<Ranked> =
        ranking.candidates.into_iter().map(|(summary, verdict)| Ranked { verdict, summary }).collect();
    let able = candidates.iter().filter(|ranked| !matches!(ranked.verdict, Verdict::Excluded { .. }));
    let able: Vec<&Summary> = able.map(|ranked| &ranked.summary).collect();
    let predicted = candidates.iter().any(|ranked| ranked.summary.predicted_within.is_some());
    let front = pareto::front(&able).into_iter().map(|place| able[place].id.clone()).collect();
    let not_reached = stage.space.len().saturating_sub(candidates.len());
    let mut analysis = StageAnalysis {
        name: stage.name.clone(),
        task: stage.task,
        model: stage.model.clone(),
        replica: stage.replica,
        metric: stage.metric,
        limits: stage
            .limits
            .iter()
            .map(|limit| said(limit, predicted))
            .chain(
                stage
                    .unchecked
                    .iter()
                    .map(|limit| format!("{limit} (not checked: the corpus has no labels)")),
            )
            .chain(stage.stability.map(|least| format!("{} >= {least}", Subject::Stability)))
            .collect(),
        swept: stage.swept.clone(),
        rounds_compared: ranking.rounds,
        gain: None,
        baseline_id: stage.baseline.id(),
        reference: run.origins.get(&stage.name).cloned(),
        front,
        part: run.parts().remove(&stage.name),
        certificate: None,
        not_reached,
        not_reached_seconds: seconds_each(stage, run)
            .map(|each| each * not_reached as f64)
            .filter(|seconds| *seconds >= 1.0),
        stopped: decisions::stopped(run, &stage.name),
        candidates,
        left_out: stage
            .exclusions
            .iter()
            .map(|exclusion| LeftOut { candidates: exclusion.candidates, because: exclusion.because.clone() })
            .collect(),
        doubts: Vec::new(),
    };
    analysis.gain = analysis.winner().zip(analysis.baseline()).and_then(|(winner, baseline)| {
        let (won, base) = (&winner.summary, &baseline.summary);
        won.beside(base, ratio::by_round(&won.samples, &base.samples), suite.objective)
    });
    analysis.certificate = confirmation.zip(analysis.winner()).and_then(|(confirmation, winner)| {
        certificate::certificate(suite, stage, &confirmation, &winner.summary.id, &run.header.machine)
    });
    // What was confirmed is nobody's luck.
    let confirmed = analysis.certificate.as_ref().and_then(|certificate| certificate.gain());
    analysis.gain = confirmed.or(analysis.gain);
    analysis.doubts = doubting::about_stage(&analysis, suite);
    analysis
}

/// What a candidate of a stage has taken, loads and all of its rounds included.
fn seconds_each(stage: &Stage, run: &Run) -> Option<f64> {
    let own = || run.recordings.iter().filter(|recording| recording.stage == stage.name);
    let candidates: HashSet<&str> = own().map(|recording| recording.id.as_str()).collect();
    let seconds: f64 = own().map(|recording| recording.wall_seconds).sum();
    (seconds > 0.0).then(|| seconds / candidates.len() as f64)
}

/// A limit, and whether anything was held against it.
fn said(limit: &Limit, predicted: bool) -> String {
    if predicted && verdict::never_predicted(limit.on) {
        format!("{limit} (not checked: predicted)")
    } else {
        limit.to_string()
    }
}

/// What the search may know of a stage's recordings so far.
pub fn observe(suite: &Suite, stage: &Stage, recordings: &[Recording]) -> Vec<Observation> {
    let candidates: Vec<Vec<&Recording>> = by_candidate(stage, recordings).into_values().collect();
    let mut observed: Vec<Observation> =
        candidates.iter().filter_map(|recordings| observation(suite, stage, recordings)).collect();
    let able = (0..observed.len()).filter(|place| observed[*place].may_win());
    let Some(best) = able.max_by(|left, right| observed[*left].value().total_cmp(&observed[*right].value()))
    else {
        return observed;
    };
    let samples = |recordings: &[&Recording]| {
        let trials = Trials { recordings, price_per_hour: suite.price_per_hour, metric: stage.metric };
        trials.samples(suite.objective)
    };
    let Some(of_best) = samples(&candidates[best]) else { return observed };
    for (observation, recordings) in observed.iter_mut().zip(&candidates) {
        let own = samples(recordings).filter(|_| observation.score().is_some());
        let beside = own.and_then(|own| match suite.objective.more_is_better() {
            true => ratio::by_round(&own, &of_best),
            false => ratio::by_round(&of_best, &own),
        });
        observation.beside_best = beside.map(|ratio| ratio.value);
        observation.interval_beside_best =
            beside.and_then(|ratio| ratio.interval).map(|interval| (interval.low, interval.high));
    }
    observed
}

fn observation(suite: &Suite, stage: &Stage, recordings: &[&Recording]) -> Option<Observation> {
    let trials = Trials { recordings, price_per_hour: suite.price_per_hour, metric: stage.metric };
    let turned = |value: f64| if suite.objective.more_is_better() { value } else { -value };
    let seen = match (trials.failure(), trials.estimate(suite.objective)) {
        (Some(failure), _) if failure.status == Status::OutOfMemory => Seen::OutOfMemory,
        (Some(failure), _) => Seen::Failed(failure.status),
        (None, None) => Seen::Nothing,
        (None, Some(estimate)) => {
            let value = |figure| trials.value(figure);
            let interval = estimate.interval.map(|interval| {
                let (left, right) = (turned(interval.low), turned(interval.high));
                (left.min(right), left.max(right))
            });
            Seen::Measured(Score {
                value: turned(estimate.value),
                interval,
                memory: value(Figure::Vram).or_else(|| value(Figure::Rss)),
                misses: verdict::missed(&stage.limits, trials.predicted().is_some(), |subject| {
                    trials.known(subject)
                })
                .map(|(limit, known)| (limit, known.map(|known| known.value))),
            })
        }
    };
    Some(Observation {
        candidate: recordings.first()?.candidate.clone(),
        seen,
        rounds: recordings.len(),
        seconds: recordings.iter().map(|recording| recording.wall_seconds).sum(),
        beside_best: None,
        interval_beside_best: None,
    })
}

/// The figure of a single trial, where it has one.
pub fn figure_of_trial(recording: &Recording, figure: Figure, price_per_hour: Option<f64>) -> Option<f64> {
    // How good answers are is another column.
    let trials = Trials { recordings: &[recording], price_per_hour, metric: Metric::Cosine };
    trials.value(figure).filter(|_| trials.failure().is_none())
}

/// The last thing that a run's journal says of how it ended, for people.
pub fn ending(run: &Run) -> &'static str {
    match run.entries.last().map(|stamped| &stamped.entry) {
        Some(Entry::Finished) => "finished",
        Some(Entry::Interrupted { .. }) => "interrupted",
        _ => "unfinished",
    }
}
