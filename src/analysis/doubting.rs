//! What should make a reader careful, worked out.

use std::time::Duration;

use statrs::distribution::{ContinuousCDF, Normal};

use super::certificate::{Certificate, STABLE};
use super::doubt::Doubt;
use super::figures::known;
use super::ratio::ratios;
use super::result::StageAnalysis;
use super::statistics::Logarithms;
use super::summary::Summary;
use super::verdict::Verdict;
use crate::knob::{Kind, Value};
use crate::pipeline::BATCH_SIZE;
use crate::record::{Recording, Status};
use crate::store::Run;
use crate::suite::{Bound, Budget, Figure, Limit, Stage, Suite};
use crate::telemetry::{DISTURBING_SHARE, Quantity, Telemetry};
use crate::units::Bytes;

/// A spread of passes above this hides differences that people tune for.
const NOISY: f64 = 0.05;

/// Less luck in a gain than this isn't worth a word.
const LEAST_FLATTERY: f64 = 0.01;

/// The doubts about one stage.
pub fn about_stage(stage: &StageAnalysis, suite: &Suite) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    if stage.candidates.iter().any(|ranked| ranked.summary.simulated) {
        doubts.push(Doubt::Simulated);
    }
    let judged = stage.candidates.iter().any(|ranked| ranked.summary.value(Figure::Quality).is_some());
    let instead = stage.reference.as_ref().and_then(|origin| origin.instead.clone());
    if let Some((reference, why)) = stage.reference_label().zip(instead).filter(|_| judged) {
        doubts.push(Doubt::OtherReference { reference, why });
    }
    doubts.extend(stage.part.map(|part| Doubt::Shortened { part }));
    doubts.extend(loss(stage, suite));
    let own = suite.stage(&stage.name);
    doubts.extend(
        own.into_iter()
            .flat_map(|own| &own.unchecked)
            .map(|limit| Doubt::Unchecked { limit: limit.to_string() }),
    );
    // More of them don't help where nobody runs.
    let nobody = stage.candidates.iter().all(|ranked| {
        let failure = ranked.summary.failure.as_ref();
        failure.is_some_and(|failure| [Status::NotAvailable, Status::Refused].contains(&failure.status))
    });
    if stage.not_reached > 0 && !nobody {
        let (candidates, seconds, stopped) = (stage.not_reached, stage.not_reached_seconds, stage.stopped);
        doubts.push(Doubt::NotReached { candidates, seconds, stopped });
    }
    if let Some(baseline) = stage.baseline()
        && let Verdict::Excluded { why, .. } = &baseline.verdict
    {
        doubts.push(Doubt::BaselineFailed { why: why.clone() });
    }
    if let Some(mixed) = stage.candidates.iter().find(|ranked| ranked.summary.versions.len() > 1) {
        doubts.push(Doubt::MixedVersions { versions: mixed.summary.versions.clone() });
    }
    let Some(winner) = stage.winner() else { return doubts };
    let predicted = winner.summary.predicted_within.is_some();
    if let Some(throughput) = winner.summary.figure(Figure::Throughput).filter(|_| predicted)
        && let Some(interval) = throughput.interval
    {
        let (low, high) = (throughput.value / interval.high, throughput.value / interval.low);
        doubts.push(Doubt::Predicted { low, high });
    }
    doubts.extend(few_labels(stage, &winner.summary, suite));
    if stage.rounds_compared < 3 && !predicted {
        doubts.push(Doubt::FewRounds { rounds: stage.rounds_compared });
    }
    if let Some(spread) = winner.summary.spread.filter(|spread| *spread > NOISY) {
        doubts.push(Doubt::Noisy { spread });
    }
    let ties = stage.candidates.iter().filter(|ranked| ranked.verdict.may_be_as_good()).count();
    if ties > 0 {
        doubts.push(match predicted {
            true => Doubt::PredictedTies { candidates: ties },
            false => Doubt::Ties { candidates: ties },
        });
    }
    let certified = stage.certificate.as_ref();
    let by_chance = certified.is_none_or(|certificate| !certificate.fresh || certificate.gain().is_none());
    doubts.extend(picked_from_many(stage, ties + 1).filter(|_| !predicted && by_chance));
    doubts.extend(certified.into_iter().flat_map(about_certificate));
    doubts.extend(edges(stage, suite));
    doubts
}

fn about_certificate(certificate: &Certificate) -> Vec<Doubt> {
    let Certificate { rounds, documents, fresh, stability, worst_batch, .. } = certificate;
    let same = (!fresh && *rounds > 0).then_some(Doubt::SameDocuments { documents: *documents });
    let unstable = stability.as_ref().filter(|own| own.value < STABLE).map(|own| Doubt::Unstable {
        metric: own.metric.name(),
        value: own.value,
        what: own.what.clone(),
    });
    let worst = worst_batch
        .as_ref()
        .and_then(|worst| Some(Doubt::WorstBatch { documents: worst.documents, why: worst.failed.clone()? }));
    [same, unstable, worst].into_iter().flatten().collect()
}

/// What the winner loses of the metric that judges it, where it's worth a word and no limit is on quality.
fn loss(stage: &StageAnalysis, suite: &Suite) -> Option<Doubt> {
    const WORTH_A_WORD: f64 = 0.01;
    let own = suite.stage(&stage.name)?;
    if stage.replica || own.limits.iter().any(Limit::is_on_quality) {
        return None;
    }
    let judged = stage.winner()?.summary.agreements.get(&stage.metric)?;
    // Metrics of agreement hold the reference to be 1.
    let reference = if stage.metric.needs_labels() { judged.reference? } else { 1.0 };
    (judged.value < reference * (1.0 - WORTH_A_WORD)).then(|| Doubt::Loses {
        metric: stage.metric.name(),
        value: judged.value,
        reference,
    })
}

/// Of many figures with noise the highest is too high. By how much to expect it, as a share of the gain.
fn picked_from_many(stage: &StageAnalysis, candidates: usize) -> Option<Doubt> {
    let (winner, baseline) = (&stage.winner()?.summary, &stage.baseline()?.summary);
    let error = Logarithms::of(ratios(&winner.samples, &baseline.samples))?.error?;
    // The winner's part of the noise in the ratio of two. Of the baseline beside itself there is none.
    let noise = error.sqrt() * std::f64::consts::FRAC_1_SQRT_2;
    let flattery = noise * expected_highest(candidates);
    let alone = stage.candidates.len() <= 2;
    (candidates > 1 && !alone && flattery >= LEAST_FLATTERY)
        .then_some(Doubt::PickedFromMany { candidates, flattery })
}

/// The highest of so many normal figures, in deviations above their mean, to be expected: Blom's formula.
fn expected_highest(count: usize) -> f64 {
    Normal::standard().inverse_cdf((count as f64 - 0.375) / (count as f64 + 0.25))
}

/// Numeric knobs whose best value is the highest or lowest that was tried, with another one on its inner side.
fn edges(stage: &StageAnalysis, suite: &Suite) -> Vec<Doubt> {
    let Some(winner) = stage.winner() else { return Vec::new() };
    // A batch of the whole corpus can't grow.
    let whole = |knob: &str| knob == BATCH_SIZE.name && winner.summary.batches == 1;
    let edge = |knob: &String| {
        let chosen = winner.summary.candidate.knobs.get(knob)?;
        let tried = stage.candidates.iter().filter_map(|ranked| ranked.summary.candidate.knobs.get(knob));
        let tried: Vec<f64> = tried.filter_map(Value::number).collect();
        let (lowest, highest) =
            (tried.iter().copied().reduce(f64::min)?, tried.into_iter().reduce(f64::max)?);
        let chosen_number = chosen.number().filter(|number| number.is_finite())?;
        // Beyond 1 there is no batch, and beyond "none" no limit.
        // Nor is there anything beyond what the knob takes.
        let backend = suite.backend(&winner.summary.candidate.backend)?;
        let spec = backend.knobs.iter().find(|spec| spec.name == *knob)?;
        let beyond = |bound: f64| match spec.kind {
            Kind::Integer { least, most } => bound > least as f64 && bound < most as f64,
            Kind::Number { least, most } => bound > least && bound < most,
            _ => true,
        };
        let at_edge =
            beyond(chosen_number) && (chosen_number == highest || (chosen_number == lowest && lowest > 1.0));
        (at_edge && lowest < highest).then(|| Doubt::Edge { knob: knob.clone(), value: chosen.to_string() })
    };
    stage.swept.iter().filter(|knob| !whole(knob)).filter_map(edge).collect()
}

/// The limits on metrics by labels that the winner meets, and may have missed by luck.
fn few_labels(stage: &StageAnalysis, winner: &Summary, suite: &Suite) -> Vec<Doubt> {
    let own = suite.stage(&stage.name);
    let limits = own.into_iter().flat_map(|own| &own.limits);
    let doubt = |limit: &Limit| {
        let metric = limit.metric().filter(|metric| metric.needs_labels())?;
        let judged = winner.agreements.get(&metric)?;
        let bound = limit.bound(known(metric, judged))?;
        let (change, bound) = match limit.bound {
            Bound::Value(bound) => (judged.interval?, bound),
            _ => (judged.change?, bound - judged.reference?),
        };
        let sure = if limit.at_most { change[1] <= bound } else { change[0] >= bound };
        let units = judged.units?;
        (!sure).then(|| Doubt::FewLabels {
            limit: limit.to_string(),
            change,
            units,
            lost: !matches!(limit.bound, Bound::Value(_)),
        })
    };
    limits.filter_map(doubt).collect()
}

/// Whether a time was too short for anything but what is always measured.
pub fn about_budget(suite: &Suite, run: &Run) -> Option<Doubt> {
    let Budget::Time(budget) = suite.budget else { return None };
    let of_baseline = |stage: &Stage| {
        let id = stage.baseline.id();
        run.recordings
            .iter()
            .find(|recording| recording.stage == stage.name && recording.id == id)
            .map_or(0.0, |recording| recording.wall_seconds)
    };
    let baselines: f64 = suite.stages.iter().map(of_baseline).sum();
    let taken = run.references_took() + Duration::try_from_secs_f64(baselines).unwrap_or_default();
    (taken >= budget).then_some(Doubt::BudgetTooShort { budget, taken })
}

/// Whether the winners fit together where each fits alone.
pub fn about_together(stages: &[StageAnalysis], suite: &Suite) -> Option<Doubt> {
    if stages.len() < 2 {
        return None;
    }
    [Figure::Vram, Figure::Rss].into_iter().find_map(|figure| {
        let shared = |stage: &crate::suite::Stage| {
            stage.limits.iter().find(|limit| limit.is_on(figure) && limit.at_most).cloned()
        };
        let limit = shared(suite.stages.first()?)?;
        let together: f64 = stages.iter().filter_map(|stage| stage.winner()?.summary.value(figure)).sum();
        let over = suite.stages.iter().all(|stage| shared(stage).as_ref() == Some(&limit))
            && limit.admits(together.into()) == Some(false);
        over.then(|| Doubt::TogetherOverLimit { together: Bytes(together as u64), limit: limit.to_string() })
    })
}

/// What the card went through while the run lasted.
pub fn about_card(recordings: &[Recording]) -> Vec<Doubt> {
    let measured = recordings.iter().filter(|recording| recording.measured().is_some());
    let watched: Vec<&Telemetry> = measured.filter_map(|recording| recording.telemetry.as_ref()).collect();
    let of = watched.len();
    let told = |tell: fn(&Telemetry) -> Option<String>| -> (usize, Option<String>) {
        let told: Vec<String> = watched.iter().filter_map(|telemetry| tell(telemetry)).collect();
        (told.len(), told.into_iter().next())
    };
    let mut doubts = Vec::new();
    if let (trials, Some(example)) = told(Telemetry::throttling) {
        doubts.push(Doubt::Throttled { trials, of, example });
    }
    if let (trials, Some(example)) = told(Telemetry::neighbours) {
        doubts.push(Doubt::Neighbours { trials, of, example });
    }
    let apart: Vec<f64> = recordings.iter().filter_map(Recording::memory_disagreement).collect();
    let worst = apart.iter().copied().max_by(|left, right| left.abs().total_cmp(&right.abs()));
    if let Some(worst) = worst {
        doubts.push(Doubt::MemoryCounts { trials: apart.len(), worst });
    }
    if let (trials, Some(why)) = told(unseen) {
        doubts.push(Doubt::Unwatched { trials, of, why });
    }
    let capped = |telemetry: &&&Telemetry| telemetry.power_capped_share > DISTURBING_SHARE;
    let trials = watched.iter().filter(capped).count();
    if trials > 0 {
        doubts.push(Doubt::PowerCapped { trials, of });
    }
    doubts
}

/// Why it can't be said whether the card was disturbed.
fn unseen(telemetry: &Telemetry) -> Option<String> {
    let reasons = |absent: &&String| absent.starts_with(Quantity::Reasons.name());
    telemetry.problem.clone().or_else(|| telemetry.absent.iter().find(reasons).cloned())
}
