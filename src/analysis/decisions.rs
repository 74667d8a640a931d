//! Why each candidate was tried, and why it wasn't measured further: from the journal, and from what came of it.

use indexmap::IndexMap;
use serde::Serialize;

use super::result::StageAnalysis;
use super::verdict::Verdict;
use crate::record::{Leaving, Stop, Why};
use crate::store::{Entry, Run};
use crate::suite::Figure;

/// What the search of a stage decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decisions {
    pub stage: String,
    /// In the order in which they were first tried.
    pub candidates: Vec<Decision>,
    /// Why nothing more was tried; nothing in a run that was broken off, or doesn't say.
    pub stopped: Option<Stop>,
    pub not_tried: usize,
}

/// What was decided about a candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    pub id: String,
    /// The candidate, in as few words as tell it from the others.
    pub label: String,
    /// Why it was tried; older runs don't say.
    pub tried: Option<Why>,
    pub rounds: usize,
    /// The objective.
    pub value: Option<f64>,
    /// Why it was measured no further, if it wasn't, and from which round on.
    pub left: Option<Left>,
    #[serde(flatten)]
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Left {
    pub round: u32,
    #[serde(flatten)]
    pub why: Leaving,
}

/// Why the search of a stage tried no more, if the journal says so.
pub fn stopped(run: &Run, stage: &str) -> Option<Stop> {
    let mut stopped = None;
    for stamped in &run.entries {
        match &stamped.entry {
            Entry::Stopped { stage: own, why } if own == stage => stopped = Some(*why),
            Entry::Resumed { .. } => stopped = None,
            _ => {}
        }
    }
    stopped
}

/// The decisions about a stage.
pub fn decisions(stage: &StageAnalysis, objective: Figure, run: &Run) -> Decisions {
    let mut by_id: IndexMap<&str, (Option<Why>, Option<Left>)> = IndexMap::new();
    for stamped in &run.entries {
        match &stamped.entry {
            Entry::Began { stage: own, id, why, .. } if *own == stage.name => {
                let (tried, left) = by_id.entry(id).or_default();
                *tried = tried.or(*why);
                // Whoever is measured again has come back.
                *left = None;
            }
            Entry::Left { stage: own, id, round, why } if *own == stage.name => {
                by_id.entry(id).or_default().1 = Some(Left { round: *round, why: *why });
            }
            _ => {}
        }
    }
    let decision = |(id, (tried, left)): (&str, (Option<Why>, Option<Left>))| {
        let ranked = stage.find(id)?;
        Some(Decision {
            id: id.to_owned(),
            label: stage.label(&ranked.summary.candidate),
            tried,
            rounds: ranked.summary.rounds,
            value: ranked.summary.value(objective),
            left,
            verdict: ranked.verdict.clone(),
        })
    };
    Decisions {
        stage: stage.name.clone(),
        candidates: by_id.into_iter().filter_map(decision).collect(),
        stopped: stopped(run, &stage.name),
        not_tried: stage.not_reached,
    }
}
