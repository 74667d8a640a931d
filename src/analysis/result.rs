//! What a run found, as everybody who shows it reads it.

use serde::Serialize;

use super::certificate::Certificate;
use super::doubt::Doubt;
use super::kept::Kept;
use super::service::ServiceAnalysis;
use super::statistics::Estimate;
use super::summary::Summary;
use super::verdict::Verdict;
use crate::backend::DTYPE;
use crate::knob::{BACKEND, Candidate};
use crate::record::{Origin, Part, Stop};
use crate::suite::Figure;
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
    /// What is decided about the service that they make together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceAnalysis>,
    /// What others have promised, beside what was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub promises: Vec<Kept>,
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
    /// The part of the corpus that was measured; nothing where that is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// What its confirmation and its checks say of the winner; nothing where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    pub not_reached: usize,
    /// What those that weren't measured would take, at the pace of those that were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_reached_seconds: Option<f64>,
    /// Why the search tried no more; nothing in a run that was broken off, or doesn't say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stop>,
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
        if self.replica { format!("{} (replica, random weights)", self.model) } else { self.model.clone() }
    }

    pub fn winner(&self) -> Option<&Ranked> {
        self.candidates.first().filter(|ranked| ranked.verdict == Verdict::Won)
    }

    /// The best of those that may win and fulfil a condition.
    pub fn best_of(&self, fulfils: impl Fn(&Candidate) -> bool) -> Option<&Ranked> {
        let mut able = self.candidates.iter().filter(|ranked| ranked.verdict.may_win());
        able.find(|ranked| fulfils(&ranked.summary.candidate))
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
        let shown = |knob: &str| knob == BACKEND || knob == DTYPE || !self.is_shared(knob);
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

    /// Nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.stages.iter().all(|stage| stage.candidates.is_empty())
    }
}
