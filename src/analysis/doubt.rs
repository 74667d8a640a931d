//! What should make a reader careful, in words.

use std::time::Duration;

use serde::Serialize;

use crate::record::{Part, Stop};
use crate::units::{Bytes, print_duration};

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "doubt", rename_all = "kebab-case")]
pub enum Doubt {
    Simulated,
    /// The winner answers worse than the reference, and no limit forbids it.
    Loses {
        metric: &'static str,
        value: f64,
        reference: f64,
    },
    /// A limit that nothing was held against.
    Unchecked {
        limit: String,
    },
    /// The reference answers and the default configuration alone have taken all of the time.
    BudgetTooShort {
        budget: Duration,
        taken: Duration,
    },
    /// What was measured stands for more documents.
    Shortened {
        part: Part,
    },
    Predicted {
        low: f64,
        high: f64,
    },
    PredictedTies {
        candidates: usize,
    },
    FewRounds {
        rounds: usize,
    },
    Noisy {
        spread: f64,
    },
    Edge {
        knob: String,
        value: String,
    },
    NotReached {
        candidates: usize,
        /// What they would take, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// Why the search tried no more, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        stopped: Option<Stop>,
    },
    BaselineFailed {
        why: String,
    },
    Ties {
        candidates: usize,
    },
    /// The winner is the best of several that can't be told apart, so that chance has a part in its gain.
    PickedFromMany {
        candidates: usize,
        flattery: f64,
    },
    /// The winner was confirmed by the documents that it was chosen by.
    SameDocuments {
        documents: usize,
    },
    /// The winner's answers to a document depend on the others in its batch.
    Unstable {
        metric: &'static str,
        value: f64,
        what: String,
    },
    /// The longest documents of the corpus don't go through.
    WorstBatch {
        documents: usize,
        why: String,
    },
    MixedVersions {
        versions: Vec<String>,
    },
    TogetherOverLimit {
        together: Bytes,
        limit: String,
    },
    /// Trials in which the card was slowed, of those with telemetry, and an example.
    Throttled {
        trials: usize,
        of: usize,
        example: String,
    },
    Neighbours {
        trials: usize,
        of: usize,
        example: String,
    },
    PowerCapped {
        trials: usize,
        of: usize,
    },
    Unwatched {
        trials: usize,
        of: usize,
        why: String,
    },
    /// The engine and the driver count a worker's memory differently.
    MemoryCounts {
        trials: usize,
        worst: f64,
    },
    PriceFromTable {
        price_per_hour: f64,
    },
    /// The winner meets a limit on a metric by labels, and there are too few of them to be sure.
    FewLabels {
        limit: String,
        change: [f64; 2],
        units: usize,
        /// Whether the limit is a loss, and what is between these two a difference from the reference.
        lost: bool,
    },
    /// Quality is judged by other answers than those of the suite's reference on the target.
    OtherReference {
        reference: String,
        why: String,
    },
}

impl Doubt {
    /// What it is, and what mends it.
    pub fn text(&self) -> String {
        match self {
            Doubt::Simulated => {
                "these figures are simulated by a script; they describe no real machine".to_owned()
            }
            Doubt::Predicted { low, high } => format!(
                "predicted from data sheet figures, not measured: real times may be {low:.2} to {high:.2} times these, \
                 and quality is not checked. To measure, run autotune on the machine that has the card"
            ),
            Doubt::PredictedTies { candidates } => {
                format!("{} by a prediction alone: measure them", others(*candidates))
            }
            Doubt::Loses { metric, value, reference } => format!(
                "the winner has {metric} {value:.4} where the reference has {reference:.4}, and no limit forbids it: \
                 to forbid it, add --limit \"{metric} >= reference - 0.5%\""
            ),
            Doubt::BudgetTooShort { budget, taken } => format!(
                "the reference answers and the default configuration alone took {} of a budget of {}: raise --budget",
                print_duration(*taken),
                print_duration(*budget)
            ),
            Doubt::Shortened { part: Part { documents, of } } => format!(
                "measured on {documents} of {of} documents, which have the same mix of lengths, because passes over all \
                 take too long for the budget: a new run with a larger --budget measures more of them"
            ),
            Doubt::Unchecked { limit } => {
                format!("the limit {limit} was not checked: the corpus has no labels")
            }
            Doubt::FewRounds { rounds: 1 } => {
                let why = "candidates were compared in only one round, which can't separate them";
                format!("{why}: raise --rounds or --budget")
            }
            Doubt::FewRounds { rounds } => format!(
                "candidates were compared in only {rounds} rounds, which separate few of them: raise --rounds or \
                 --budget"
            ),
            Doubt::Noisy { spread } => format!(
                "the winner's passes differ by ±{:.0}%: close other programs, or raise `measure.time` in a suite",
                spread * 100.0
            ),
            Doubt::Edge { knob, value } => {
                format!(
                    "the winner's {knob}={value} is at the edge of the tried values: try values beyond it"
                )
            }
            Doubt::NotReached { candidates, seconds, stopped: None | Some(Stop::Spent) } => {
                let more = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.round()).ok());
                let more =
                    more.map(|more| format!(" (all of them take about {} more)", print_duration(more)));
                format!(
                    "{candidates} candidates were not measured: continue with --resume and a larger --budget{}",
                    more.unwrap_or_default()
                )
            }
            Doubt::NotReached { candidates, stopped: Some(Stop::AllTried), .. } => format!(
                "{candidates} candidates were not measured: they would run out of memory, or fail as those like them did"
            ),
            Doubt::NotReached { candidates, stopped: Some(Stop::NotWorthIt { gain }), .. } => format!(
                "{candidates} candidates were not measured: none is expected to gain more than {:.1}%. `--search grid` \
                 measures all",
                gain * 100.0
            ),
            Doubt::BaselineFailed { why } => format!("the default configuration itself can't be used: {why}"),
            Doubt::Ties { candidates } => format!("{}: raise --rounds", others(*candidates)),
            Doubt::PickedFromMany { candidates, flattery } => format!(
                "the winner was picked from {candidates} candidates that can't be distinguished, so about {:.1}% of \
                 the gain is chance. A new run of only the winner and the default (`--set`) avoids this",
                flattery * 100.0
            ),
            Doubt::SameDocuments { documents } => format!(
                "the winner was confirmed on the {documents} documents that it was chosen by: the corpus has too few for others"
            ),
            Doubt::Unstable { metric, value, what } => format!(
                "the winner's answer to a document depends on the others in its batch: {metric} {value:.4} with {what}. \
                 To rule that out, add --limit \"stability >= 0.999\""
            ),
            Doubt::WorstBatch { documents, why } => format!(
                "a batch of the {documents} longest documents fails with the winner: {why}. Lower batch_size or max_tokens"
            ),
            Doubt::MixedVersions { versions } => {
                format!("the library changed during the run: {}. Measure again", versions.join(", then "))
            }
            Doubt::FewLabels { limit, change: [low, high], units, lost } => {
                let what = if *lost { "its difference from the reference" } else { "its value" };
                format!(
                    "{units} labelled queries or documents are too few to decide whether the winner meets {limit}: \
                     {what} is between {low:.4} and {high:.4}. Add labels. A budget of 10m or more uses all \
                     labels that the corpus has"
                )
            }
            Doubt::OtherReference { reference, why } => format!(
                "quality is agreement with {reference}, because the suite's reference didn't run on the target: {why}"
            ),
            Doubt::PriceFromTable { price_per_hour } => format!(
                "the cost uses the price in the table of GPUs, {price_per_hour:.2} an hour: set your own price with \
                 `price_per_hour` in the suite"
            ),
            Doubt::TogetherOverLimit { together, limit } => format!(
                "each stage alone meets {limit}, but all stages loaded together need {together}: load one stage at a \
                 time, or lower the limit"
            ),
            Doubt::Throttled { trials, of, example } => format!(
                "{trials} of {of} trials are set aside because the card was slowed, for example: {example}. Cool the \
                 card or lower its clocks (nvidia-smi --lock-gpu-clocks), and measure again"
            ),
            Doubt::Neighbours { trials, of, example } => format!(
                "{trials} of {of} trials are set aside because the card was shared, for example: {example}. End \
                 that process, and measure again"
            ),
            Doubt::PowerCapped { trials, of } => format!(
                "the card was at its power limit in {trials} of {of} trials: the figures are valid for that limit \
                 (nvidia-smi --query-gpu=power.limit --format=csv)"
            ),
            Doubt::MemoryCounts { trials, worst } => format!(
                "in {trials} trials the engine's count of its device memory differs from the driver's by up to {:+.0}% \
                 (`memory_disagreement` in trials.csv): use the driver's count, and check what else uses the card",
                worst * 100.0
            ),
            Doubt::Unwatched { trials, of, why } => format!(
                "it is not known whether the card was slowed or shared in {trials} of {of} trials: {why} (run \
                 `autotune doctor`)"
            ),
        }
    }
}

fn others(tied: usize) -> String {
    let others =
        if tied == 1 { "one other candidate".to_owned() } else { format!("{tied} other candidates") };
    format!("{others} can't be distinguished from the winner")
}
