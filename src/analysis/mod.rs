//! From recordings to verdicts: a pure function of the journal.
//!
//! Decides everything that `emit/` shows. Knows no file and no terminal.

mod compare;
mod doubt;
mod figures;
mod footprint;
mod growth;
mod pareto;
pub mod ratio;
pub mod statistics;
mod summary;
mod verdict;

use indexmap::IndexMap;
use serde::Serialize;

pub use compare::{Comparison, StageComparison, compare};
pub use doubt::Doubt;
pub use footprint::{Kept, MemoryReport, MemoryRow, Taken, taken};
pub use growth::{Growth, Leak, SETTLING};
pub use statistics::{Estimate, Interval};
pub use summary::Summary;
pub use verdict::Verdict;

use figures::Trials;

use crate::hardware;
use crate::knob::{BACKEND, Candidate};
use crate::record::{Origin, Recording};
use crate::search::Observation;
use crate::store::{Entry, Run};
use crate::suite::{Figure, Limit, Stage, Suite};
use crate::task::{Metric, Task};

/// What a run found. `best.json` is its serialised form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    pub suite: String,
    pub target: String,
    pub provenance: Provenance,
    pub objective: Figure,
    /// Whether everything was measured that the budget allowed.
    pub finished: bool,
    pub stages: Vec<StageAnalysis>,
    pub doubts: Vec<Doubt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    Measured,
    /// By the cost model, for a card that isn't asked.
    Predicted,
    Simulated,
    /// Some backends are real and some are scripted.
    Mixed,
    /// Nothing ran, so there are no figures.
    Nothing,
}

impl Provenance {
    pub fn name(self) -> &'static str {
        match self {
            Provenance::Measured => "measured",
            Provenance::Predicted => "predicted",
            Provenance::Simulated => "simulated",
            Provenance::Mixed => "partly simulated",
            Provenance::Nothing => "nothing measured",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageAnalysis {
    pub name: String,
    pub task: Task,
    pub model: String,
    /// Whether the model's weights are made up, so that its quality says nothing of the real one's.
    pub replica: bool,
    pub metric: Metric,
    pub limits: Vec<String>,
    pub swept: Vec<String>,
    /// In how many rounds all that may win were measured: by these they are compared.
    pub rounds_compared: usize,
    /// How many times the default configuration's figure the winner reaches.
    pub gain: Option<Estimate>,
    pub baseline_id: String,
    /// Which configuration gave the answers that quality is judged by; nothing where nobody judges it.
    pub reference: Option<Origin>,
    /// Best first; those that can't win last.
    pub candidates: Vec<Ranked>,
    /// Of those that may win, the candidates on the Pareto front of throughput, latency, memory and quality.
    pub front: Vec<String>,
    pub not_reached: usize,
    /// What the suite left out, and why.
    pub left_out: Vec<LeftOut>,
    pub doubts: Vec<Doubt>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranked {
    #[serde(flatten)]
    pub verdict: Verdict,
    #[serde(flatten)]
    pub summary: Summary,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeftOut {
    pub candidates: usize,
    pub because: String,
}

impl StageAnalysis {
    /// The name of a figure where it's shown: a quality of made-up weights never looks like the real model's.
    pub fn title_of(&self, figure: Figure) -> &'static str {
        if figure == Figure::Quality && self.replica { "replica quality" } else { figure.name() }
    }

    /// The model's name where it's shown.
    pub fn model_title(&self) -> String {
        if self.replica { format!("{} (replica, weights made up)", self.model) } else { self.model.clone() }
    }

    pub fn winner(&self) -> Option<&Ranked> {
        self.candidates.first().filter(|ranked| ranked.verdict == Verdict::Won)
    }

    pub fn baseline(&self) -> Option<&Ranked> {
        self.find(&self.baseline_id)
    }

    pub fn find(&self, id: &str) -> Option<&Ranked> {
        self.candidates.iter().find(|ranked| ranked.summary.id == id)
    }

    /// Whether `knob`, or the backend, is the same in all candidates that have it, so that naming it says nothing.
    pub fn is_shared(&self, knob: &str) -> bool {
        let words = self.candidates.iter().map(|ranked| ranked.summary.candidate.word(knob));
        let mut values = words.filter(|word| !word.is_empty());
        let first = values.next();
        // Of a single candidate nothing is shared, or it could not be named.
        self.candidates.len() > 1 && values.all(|value| Some(value) == first)
    }

    /// The configuration that quality is judged by, with its precision, and where it ran.
    pub fn reference_label(&self) -> Option<String> {
        let origin = self.reference.as_ref()?;
        let shown = |knob: &str| knob == BACKEND || knob == "dtype" || !self.is_shared(knob);
        Some(format!("{} on {}", origin.candidate.label(|knob| !shown(knob)), origin.device))
    }

    /// A candidate in as few words as tell it from the others.
    pub fn label(&self, candidate: &Candidate) -> String {
        candidate.label(|knob| self.is_shared(knob))
    }
}

impl Analysis {
    /// Every stage has a winner.
    pub fn complete(&self) -> bool {
        self.stages.iter().all(|stage| stage.winner().is_some())
    }
}

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
        doubts: doubt::about_together(&stages, suite)
            .into_iter()
            .chain(
                run.header
                    .target
                    .price_per_hour
                    .map(|price_per_hour| Doubt::PriceFromTable { price_per_hour }),
            )
            .chain(doubt::about_card(&run.recordings))
            .collect(),
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
    let ranking = verdict::rank(summaries, &stage.limits, suite.objective);
    let candidates: Vec<Ranked> =
        ranking.candidates.into_iter().map(|(summary, verdict)| Ranked { verdict, summary }).collect();
    let able = candidates.iter().filter(|ranked| !matches!(ranked.verdict, Verdict::Excluded { .. }));
    let able: Vec<&Summary> = able.map(|ranked| &ranked.summary).collect();
    let predicted = candidates.iter().any(|ranked| ranked.summary.predicted_within.is_some());
    let front = pareto::front(&able).into_iter().map(|place| able[place].id.clone()).collect();
    let mut analysis = StageAnalysis {
        name: stage.name.clone(),
        task: stage.task,
        model: stage.model.clone(),
        replica: stage.replica,
        metric: stage.metric,
        limits: stage.limits.iter().map(|limit| said(limit, predicted)).collect(),
        swept: stage.swept.clone(),
        rounds_compared: ranking.rounds,
        gain: None,
        baseline_id: stage.baseline.id(),
        reference: run.origins.get(&stage.name).cloned(),
        front,
        not_reached: stage.candidates.len().saturating_sub(candidates.len()),
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
    analysis.doubts = doubt::about_stage(&analysis, suite);
    analysis
}

/// A limit, and whether anything was held against it.
fn said(limit: &Limit, predicted: bool) -> String {
    if predicted && verdict::never_predicted(limit.figure) {
        format!("{limit} (not checked: predicted)")
    } else {
        limit.to_string()
    }
}

fn summaries(suite: &Suite, stage: &Stage, recordings: &[Recording]) -> Vec<Summary> {
    let candidates = by_candidate(stage, recordings).into_values();
    candidates.filter_map(|trials| Summary::of(&trials, suite.objective, suite.price_per_hour)).collect()
}

/// A stage's recordings, by candidate, in the order in which candidates were first tried.
fn by_candidate<'r>(stage: &Stage, recordings: &'r [Recording]) -> IndexMap<&'r str, Vec<&'r Recording>> {
    let mut candidates: IndexMap<&str, Vec<&Recording>> = IndexMap::new();
    for recording in recordings.iter().filter(|recording| recording.stage == stage.name) {
        candidates.entry(&recording.id).or_default().push(recording);
    }
    candidates
}

/// What the search may know of a stage's recordings so far. Without intervals: it's asked for between rounds.
pub fn observe(suite: &Suite, stage: &Stage, recordings: &[Recording]) -> Vec<Observation> {
    let candidates = by_candidate(stage, recordings).into_values();
    let observation = |recordings: Vec<&Recording>| {
        let trials = Trials { recordings: &recordings, price_per_hour: suite.price_per_hour };
        let failure = trials.failure();
        let value = |figure| trials.value(figure);
        let turned = |value: f64| if suite.objective.more_is_better() { value } else { -value };
        let predicted = trials.predicted().is_some();
        Some(Observation {
            candidate: recordings.first()?.candidate.clone(),
            score: value(suite.objective).filter(|_| failure.is_none()).map(turned),
            meets_limits: verdict::eligible(failure, predicted, value, &stage.limits, suite.objective)
                .is_ok(),
        })
    };
    candidates.filter_map(observation).collect()
}

/// The figure of a single trial, where it has one.
pub fn figure_of_trial(recording: &Recording, figure: Figure, price_per_hour: Option<f64>) -> Option<f64> {
    let trials = Trials { recordings: &[recording], price_per_hour };
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
