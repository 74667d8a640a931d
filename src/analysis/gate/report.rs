//! What a gate has found, stage by stage, and its verdict.

use indexmap::IndexMap;
use serde::Serialize;

use super::calibration::Calibration;
use super::compare::{Compared, Gated};
use super::rule::Rule;
use super::trend::Trend;
use super::verdict::Verdict;
use crate::analysis::counts::Change;
use crate::analysis::statistics::median;
use crate::knob::Candidate;
use crate::record::Judged;
use crate::task::Metric;

/// What a gate has found about one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatedStage {
    pub stage: String,
    /// The configuration that both arms ran…
    pub candidate: Candidate,
    /// …or that of the new arm, where it's another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_candidate: Option<Candidate>,
    /// What the base has loaded, and what the new arm has, as they state it.
    pub versions: [String; 2],
    pub verdict: Verdict,
    /// What, how much, how sure.
    pub sentence: String,
    pub figures: Vec<Compared>,
    /// How the new arm's answers are, beside the base's.
    pub answers: IndexMap<Metric, Judged>,
    pub calibration: Option<Calibration>,
    /// How many pairs it would take to find a slowdown of twice the margin.
    pub needed: Option<usize>,
    /// What a pair takes.
    pub pair_seconds: Option<f64>,
    /// In how many turns each is measured in a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<usize>,
    pub pairs: Vec<Pair>,
    /// Why pairs were set aside.
    pub dropped: Vec<String>,
    /// What the new arm does more or less of, in counts, where both were counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// One pair: each arm measured several times, in turn, in processes of their own; and the base beside itself in the same way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The base's, for a document.
    pub seconds: f64,
    /// How many times the base's a figure of the new arm is.
    pub ratios: IndexMap<Gated, f64>,
    /// The same of another process of the base: the time a document.
    pub own: f64,
}

impl GatedStage {
    /// A stage in which nothing was compared.
    pub fn without_figures(
        stage: &str,
        candidate: &Candidate,
        verdict: Verdict,
        sentence: String,
    ) -> GatedStage {
        GatedStage {
            stage: stage.to_owned(),
            candidate: candidate.clone(),
            new_candidate: None,
            versions: Default::default(),
            verdict,
            sentence,
            figures: Vec::new(),
            answers: IndexMap::new(),
            calibration: None,
            needed: None,
            pair_seconds: None,
            turns: None,
            pairs: Vec::new(),
            dropped: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// What the new arm takes for a document, as the middle of its pairs.
    pub fn seconds(&self) -> Option<f64> {
        median(self.pairs.iter().filter_map(|pair| Some(pair.seconds * pair.ratios.get(&Gated::Time)?)))
    }

    /// A figure as it was compared.
    pub fn compared(&self, figure: Gated) -> Option<&Compared> {
        self.figures.iter().find(|one| one.figure == figure)
    }
}

/// Both arms in all stages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    pub suite: String,
    pub target: String,
    pub base: String,
    pub new: String,
    pub rule: Rule,
    pub stages: Vec<GatedStage>,
    /// How it went before, where that was kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trends: Vec<Trend>,
}

impl GateReport {
    /// The worst of all stages.
    pub fn verdict(&self) -> Verdict {
        self.stages.iter().map(|stage| stage.verdict).max().unwrap_or(Verdict::Invalid)
    }
}
