//! All trials of one candidate, taken together.

use indexmap::IndexMap;
use serde::Serialize;

use super::figures::{Trials, known_of};
use super::statistics::{Estimate, Rounds};
use crate::knob::Candidate;
use crate::pipeline::{Pass, Split};
use crate::record::{Failure, Judged, Recording, SetAside};
use crate::suite::{Figure, Known, Stage, Subject, Suite};
use crate::task::Metric;
use crate::units::quantile;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub id: String,
    pub candidate: Candidate,
    /// Rounds in which it was measured.
    pub rounds: usize,
    /// Why the figures of some of these decide nothing, one for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAside>,
    pub passes: usize,
    /// Batches of a pass, where the worker tells them.
    pub batches: usize,
    pub figures: IndexMap<Figure, Estimate>,
    /// How good its answers are by every metric of the task; that of the suite's choice is the figure `quality`.
    pub agreements: IndexMap<Metric, Judged>,
    /// Half of the distance between the quartiles of the throughput of its passes, as a share of the median.
    pub spread: Option<f64>,
    /// Seconds of a pass, by where they went.
    pub split: Option<Split>,
    /// Share of the computed tokens that were padding.
    pub padding_waste: Option<f64>,
    pub failure: Option<Failure>,
    /// What was loaded, as the workers stated it; more than one if it changed during the run.
    pub versions: Vec<String>,
    pub device: Option<String>,
    pub simulated: bool,
    /// Of figures that are predicted: the factor within which a ratio of two for the same card is trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_within: Option<f64>,
    /// Samples of the objective, a list a round, for comparisons side by side.
    #[serde(skip)]
    pub samples: Rounds,
}

impl Summary {
    /// Takes the recordings of one candidate together. There must be at least one.
    pub fn of(trials: &Trials, objective: Figure) -> Option<Summary> {
        let recordings = trials.recordings;
        let first = recordings.first()?;
        let passes: Vec<&Pass> = trials.passes().collect();
        let estimates = Figure::ALL.into_iter().map(|figure| Some((figure, trials.estimate(figure)?)));
        let throughput = trials.samples(Figure::Throughput).unwrap_or_default();
        let loaded = recordings.iter().rev().find_map(|recording| recording.loaded.as_ref());
        let tokens: u64 = passes.iter().map(|pass| pass.tokens).sum();
        let padded: u64 = passes.iter().map(|pass| pass.padded_tokens).sum();
        Some(Summary {
            id: first.id.clone(),
            candidate: first.candidate.clone(),
            rounds: recordings.iter().filter(|recording| !recording.passes().is_empty()).count(),
            set_aside: recordings.iter().filter_map(|recording| recording.set_aside()).collect(),
            passes: passes.len(),
            batches: passes.first().map_or(0, |pass| pass.batch_seconds.len()),
            figures: estimates.flatten().collect(),
            agreements: recordings
                .iter()
                .find(|one| !one.agreements.is_empty())
                .map_or_else(IndexMap::new, |one| one.agreements.clone()),
            spread: spread(throughput.into_iter().flatten().collect()),
            split: mean_split(&passes),
            padding_waste: (padded > 0).then(|| 1.0 - tokens as f64 / padded as f64),
            failure: trials.failure().cloned(),
            versions: distinct(
                recordings.iter().filter_map(|recording| Some(&recording.loaded.as_ref()?.version)),
            ),
            device: loaded
                .map(|loaded| &loaded.device)
                .or(trials.predicted().map(|predicted| &predicted.device))
                .cloned(),
            simulated: loaded.is_some_and(|loaded| loaded.simulated),
            predicted_within: trials.predicted().map(|predicted| predicted.ratio_within),
            samples: trials.samples(objective).unwrap_or_default(),
        })
    }

    /// How many times another's figure of the same run this one's is: by the rounds of both, or else as it was said once.
    pub fn beside(&self, other: &Summary, by_round: Option<Estimate>, figure: Figure) -> Option<Estimate> {
        let apart = || Some(self.figure(figure)?.over(other.figure(figure)?));
        let ratio = by_round.or_else(apart)?;
        let doubt = self.predicted_within.into_iter().chain(other.predicted_within).reduce(f64::max);
        Some(doubt.map_or(ratio, |doubt| ratio.within(doubt)))
    }

    pub fn figure(&self, figure: Figure) -> Option<Estimate> {
        self.figures.get(&figure).copied()
    }

    /// What it has of a limit's subject, in a stage that is judged by `metric`.
    pub fn known(&self, subject: Subject, metric: Metric) -> Option<Known> {
        let judged = |metric: Metric| self.agreements.get(&metric).copied();
        known_of(subject, metric, judged, |figure| self.value(figure))
    }

    pub fn value(&self, figure: Figure) -> Option<f64> {
        self.figure(figure).map(|estimate| estimate.value)
    }

    /// Rounds whose times count.
    pub fn calm_rounds(&self) -> usize {
        self.rounds - self.set_aside.len()
    }

    /// Peak memory where it's scarce: on the device if it's known there, or else on the host.
    pub fn memory(&self) -> Option<f64> {
        self.value(Figure::Vram).or_else(|| self.value(Figure::Rss))
    }
}

/// All candidates of a stage, as far as they were measured.
pub fn summaries(suite: &Suite, stage: &Stage, recordings: &[Recording]) -> Vec<Summary> {
    let candidates = by_candidate(stage, recordings).into_values();
    let of = |recordings: Vec<&Recording>| {
        let trials =
            Trials { recordings: &recordings, price_per_hour: suite.price_per_hour, metric: stage.metric };
        Summary::of(&trials, suite.objective)
    };
    candidates.filter_map(of).collect()
}

/// A stage's recordings, by candidate, in the order in which candidates were first tried.
pub fn by_candidate<'r>(stage: &Stage, recordings: &'r [Recording]) -> IndexMap<&'r str, Vec<&'r Recording>> {
    let mut candidates: IndexMap<&str, Vec<&Recording>> = IndexMap::new();
    for recording in recordings.iter().filter(|recording| recording.stage == stage.name) {
        candidates.entry(&recording.id).or_default().push(recording);
    }
    candidates
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
}

fn spread(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let at = |share| quantile(&samples, share);
    Some((at(0.75)? - at(0.25)?) / 2.0 / at(0.5)?)
}

fn mean_split(passes: &[&Pass]) -> Option<Split> {
    let count = passes.len() as f64;
    let mean = |part: fn(&Split) -> f64| passes.iter().map(|pass| part(&pass.split)).sum::<f64>() / count;
    let split = Split {
        tokenise: mean(|split| split.tokenise),
        pad: mean(|split| split.pad),
        to_device: mean(|split| split.to_device),
        compute: mean(|split| split.compute),
        from_device: mean(|split| split.from_device),
        finish: mean(|split| split.finish),
    };
    // A worker of another language may not tell where its time went.
    split.parts().iter().any(|part| *part > 0.0).then_some(split)
}
