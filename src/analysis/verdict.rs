//! Limits first, and then the objective; what can't be told apart from the winner is tied with it.

use serde::Serialize;

use super::statistics::{Estimate, ratio};
use super::summary::Summary;
use crate::runner::Failure;
use crate::suite::{Figure, Limit};

/// Why a candidate is where it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    Won,
    /// The interval of its ratio to the winner holds 1.
    Tied {
        ratio: Estimate,
    },
    /// How many times the winner's figure it reaches.
    Lost {
        ratio: Estimate,
    },
    /// It can't win, however fast it is.
    Excluded {
        status: String,
        why: String,
    },
}

/// Whether a candidate may win, or why it may not: by its failure, if it failed, and its figures.
pub fn eligible(
    failure: Option<&Failure>,
    value: impl Fn(Figure) -> Option<f64>,
    limits: &[Limit],
    objective: Figure,
) -> Result<(), Verdict> {
    let excluded = |status: &str, why: String| Err(Verdict::Excluded { status: status.to_owned(), why });
    if let Some(failure) = failure {
        return excluded(failure.status.name(), failure.in_words());
    }
    for limit in limits {
        match value(limit.figure) {
            None => return excluded("unknown", format!("no figure for the limit {limit}")),
            Some(value) if !limit.admits(value) => {
                let status = if limit.figure == Figure::Quality { "below quality" } else { "over limit" };
                return excluded(status, format!("{} misses {limit}", limit.figure.print(value)));
            }
            Some(_) => {}
        }
    }
    match value(objective) {
        None => excluded("unknown", format!("no figure for the objective {objective}")),
        Some(_) => Ok(()),
    }
}

/// Puts candidates in order, the winner first and those that can't win last, each with its verdict.
pub fn rank(summaries: Vec<Summary>, limits: &[Limit], objective: Figure) -> Vec<(Summary, Verdict)> {
    let mut able = Vec::new();
    let mut unable = Vec::new();
    for summary in summaries {
        match eligible(summary.failure.as_ref(), |figure| summary.value(figure), limits, objective) {
            Ok(()) => able.push(summary),
            Err(verdict) => unable.push((summary, verdict)),
        }
    }
    // Rounds differ by what the machine did meanwhile, so only those that were in all of them are compared.
    let most = able.iter().map(|summary| summary.rounds).max().unwrap_or(0);
    let (able, short): (Vec<_>, Vec<_>) = able.into_iter().partition(|summary| summary.rounds == most);
    let mut able = able;
    unable.extend(short.into_iter().map(|summary| {
        let why = format!("measured in {} of {most} rounds", summary.rounds);
        (summary, Verdict::Excluded { status: "too few rounds".to_owned(), why })
    }));
    let score = |summary: &Summary| {
        let value = summary.value(objective).unwrap_or(f64::NAN);
        if objective.more_is_better() { -value } else { value }
    };
    // Of equal figures the smaller memory first, and then the id, so that every report says the same.
    let memory = |summary: &Summary| summary.memory().unwrap_or(f64::INFINITY);
    able.sort_by(|left, right| {
        let by_score = score(left).total_cmp(&score(right));
        by_score.then(memory(left).total_cmp(&memory(right))).then(left.id.cmp(&right.id))
    });
    let winner = able.first().cloned();
    let ranked = able.into_iter().enumerate().map(|(place, summary)| {
        let verdict = match &winner {
            Some(winner) if place > 0 => compared(&summary, winner, objective),
            _ => Verdict::Won,
        };
        (summary, verdict)
    });
    // Those that can't win are in the order of their speed too: it shows what the limits cost.
    unable.sort_by(|(left, _), (right, _)| {
        let missing = |summary: &Summary| summary.value(objective).is_none();
        missing(left)
            .cmp(&missing(right))
            .then(score(left).total_cmp(&score(right)))
            .then(left.id.cmp(&right.id))
    });
    ranked.chain(unable).collect()
}

fn compared(summary: &Summary, winner: &Summary, objective: Figure) -> Verdict {
    let estimate = match (summary.value(objective), winner.value(objective)) {
        // Memory and load times are read and not sampled: equal is tied.
        (Some(own), Some(best)) if summary.samples.is_empty() => Estimate::exact(own / best),
        (Some(own), Some(best)) => {
            ratio(&summary.samples, &winner.samples).unwrap_or(Estimate::exact(own / best))
        }
        _ => Estimate::exact(f64::NAN),
    };
    if estimate.contains(1.0) { Verdict::Tied { ratio: estimate } } else { Verdict::Lost { ratio: estimate } }
}
