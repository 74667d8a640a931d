//! Two runs side by side on paper, which is not side by side in time: drift between them is in every ratio.

use serde::Serialize;

use super::ratio::between_runs;
use super::statistics::Estimate;
use super::{Analysis, Ranked, StageAnalysis};
use crate::knob::Candidate;
use crate::store::RunHeader;
use crate::suite::Figure;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub objective: Figure,
    pub stages: Vec<StageComparison>,
    /// What makes the two runs hard to compare.
    pub cautions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageComparison {
    pub name: String,
    pub before: Option<Winner>,
    pub after: Option<Winner>,
    /// The later winner's figure over the earlier one's.
    pub winners: Option<Estimate>,
    /// The same for each candidate that both runs measured.
    pub shared: Vec<Shared>,
    pub only_before: usize,
    pub only_after: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Winner {
    pub id: String,
    pub candidate: Candidate,
    pub value: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shared {
    pub id: String,
    pub candidate: Candidate,
    pub before: f64,
    pub after: f64,
    pub ratio: Estimate,
}

/// Compares two runs of the same objective, stage by stage. Figures of two objectives have nothing to be compared by.
pub fn compare(
    (before, then): (&Analysis, &RunHeader),
    (after, now): (&Analysis, &RunHeader),
) -> Result<Comparison, String> {
    let objective = after.objective;
    if before.objective != objective {
        let theirs = before.objective;
        return Err(format!(
            "the runs can't be compared: one is tuned for {theirs}, the other for {objective}"
        ));
    }
    let mut cautions = vec![
        "the two runs were not measured at the same time: the speed of a machine can drift by half between them"
            .to_owned(),
    ];
    let mut differ = |what: &str, before: &str, after: &str| {
        if before != after {
            cautions.push(format!("the {what} differs: {before} then, {after} now"));
        }
    };
    differ("target", &before.target, &after.target);
    differ("machine", &then.machine.cpu_line(), &now.machine.cpu_line());
    // Worked out anew: versions differ in how they did it.
    let digest = |header: &RunHeader| header.source.digest(&header.overrides);
    differ("suite", &digest(then), &digest(now));
    differ("corpus", &then.corpus_digest, &now.corpus_digest);
    differ("version of autotune", &then.revision, &now.revision);
    differ("provenance", before.provenance.name(), after.provenance.name());
    let lone = |stages: &[StageAnalysis], others: &[StageAnalysis]| -> String {
        let missing = stages.iter().filter(|stage| others.iter().all(|other| other.name != stage.name));
        missing.map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    differ("list of stages", &lone(&before.stages, &after.stages), &lone(&after.stages, &before.stages));
    for now in &after.stages {
        if let Some(then) = before.stages.iter().find(|stage| stage.name == now.name) {
            differ(&format!("model of {}", now.name), &then.model, &now.model);
            differ(&format!("limits of {}", now.name), &then.limits.join(", "), &now.limits.join(", "));
            let version = |stage: &StageAnalysis| {
                stage.winner().map(|winner| winner.summary.versions.join(", ")).unwrap_or_default()
            };
            differ(&format!("library of {}'s winner", now.name), &version(then), &version(now));
        }
    }
    let stages = after.stages.iter().filter_map(|now| {
        let then = before.stages.iter().find(|stage| stage.name == now.name)?;
        let winner = |ranked: &Ranked| {
            let value = ranked.summary.value(objective)?;
            Some(Winner { id: ranked.summary.id.clone(), candidate: ranked.summary.candidate.clone(), value })
        };
        let shared: Vec<Shared> = now
            .candidates
            .iter()
            .filter_map(|now| shared(then.find(&now.summary.id)?, now, objective))
            .collect();
        Some(StageComparison {
            name: now.name.clone(),
            before: then.winner().and_then(winner),
            after: now.winner().and_then(winner),
            winners: then.winner().zip(now.winner()).and_then(|(then, now)| estimate(then, now, objective)),
            only_before: then
                .candidates
                .iter()
                .filter(|ranked| now.find(&ranked.summary.id).is_none())
                .count(),
            only_after: now
                .candidates
                .iter()
                .filter(|ranked| then.find(&ranked.summary.id).is_none())
                .count(),
            shared,
        })
    });
    Ok(Comparison { objective, stages: stages.collect(), cautions })
}

fn shared(then: &Ranked, now: &Ranked, objective: Figure) -> Option<Shared> {
    Some(Shared {
        id: now.summary.id.clone(),
        candidate: now.summary.candidate.clone(),
        before: then.summary.value(objective)?,
        after: now.summary.value(objective)?,
        ratio: estimate(then, now, objective)?,
    })
}

fn estimate(then: &Ranked, now: &Ranked, objective: Figure) -> Option<Estimate> {
    let (before, after) = (&then.summary, &now.summary);
    if before.predicted_within.or(after.predicted_within).is_some() {
        // Of two cards, or of a card and its prediction: nothing that they have in common cancels.
        return Some(after.figure(objective)?.over(before.figure(objective)?));
    }
    between_runs(&after.samples, &before.samples)
        .or_else(|| Some(Estimate::alone(after.value(objective)? / before.value(objective)?)))
}
