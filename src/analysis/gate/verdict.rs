//! The verdict on a stage, with its sentence.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::compare::{Compared, Finding, Gated};
use super::rule::Rule;
use crate::record::Judged;
use crate::task::Metric;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Improved,
    Pass,
    Ambiguous,
    /// Nothing can be said of the new arm, because the base or the machine is at fault.
    Invalid,
    Regression,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Improved => "improved",
            Verdict::Pass => "pass",
            Verdict::Ambiguous => "ambiguous",
            Verdict::Invalid => "invalid",
            Verdict::Regression => "regression",
        }
    }
}

/// An agreement with the base's answers below this is no rounding.
const LEAST_AGREEMENT: f64 = 0.999;

/// A loss by labels of less than this share is none.
const LEAST_LOSS: f64 = 0.005;

/// Why the new arm's answers are worse than the base's, if they are.
pub fn worse_answers(metric: Metric, answers: &IndexMap<Metric, Judged>) -> Option<String> {
    answers.iter().find_map(|(of, judged)| {
        let value = judged.value;
        if of.needs_labels() {
            let (reference, [_, high]) = judged.reference.zip(judged.change)?;
            let lost = high < 0.0 && value < reference * (1.0 - LEAST_LOSS);
            return lost.then(|| format!("{} fell from {reference:.4} to {value:.4}", of.name()));
        }
        // Other agreements say the same in other words.
        let own = *of == metric || (*of == Metric::Cosine);
        (own && value < LEAST_AGREEMENT)
            .then(|| format!("{} with the base's answers is {value:.4}, below {LEAST_AGREEMENT}", of.name()))
    })
}

/// Why answers are worse by labels than those of a program whose figures were kept, if they are.
pub fn worse_than_kept(now: &IndexMap<Metric, f64>, then: &IndexMap<Metric, f64>) -> Option<String> {
    then.iter().find_map(|(metric, then)| {
        let now = now.get(metric).copied().unwrap_or_default();
        let lost = now < then * (1.0 - LEAST_LOSS);
        lost.then(|| format!("{} fell from {then:.4} to {now:.4}", metric.name()))
    })
}

/// The verdict on a stage whose pairs were taken, with its sentence.
/// `units` are what was counted: pairs.
pub fn verdict(figures: &[Compared], dropped: usize, rule: Rule, units: &str) -> (Verdict, String) {
    let sentence = |one: &Compared| one.sentence(rule, units);
    let with = |finding: Finding| figures.iter().find(|one| one.finding == finding);
    let time = figures.iter().find(|one| one.figure == Gated::Time);
    if let Some(one) = with(Finding::Regression) {
        return (Verdict::Regression, sentence(one));
    }
    let Some(time) = time else {
        return (Verdict::Invalid, format!("no {units} could be measured"));
    };
    if dropped > time.pairs {
        let why = format!("{dropped} {units} were set aside and {} are left", time.pairs);
        return (Verdict::Invalid, why);
    }
    // A load is a single event: where it doesn't tell, the others do.
    let unsure = figures.iter().find(|one| one.finding == Finding::Ambiguous && one.figure != Gated::Load);
    if let Some(one) = unsure {
        return (Verdict::Ambiguous, sentence(one));
    }
    match time.finding {
        Finding::Improved => (Verdict::Improved, sentence(time)),
        _ => (Verdict::Pass, sentence(time)),
    }
}
