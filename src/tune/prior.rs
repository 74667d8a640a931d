//! What a recorded run tells of a suite's candidates: `--prior RUN`.

use std::collections::HashSet;
use std::path::Path;

use indexmap::IndexMap;

use crate::analysis;
use crate::record::{Prior, Recording, Told};
use crate::report;
use crate::search::{self, Observation};
use crate::store::Run;
use crate::suite::{Problem, Stage, Suite};

/// The figures of a run, perhaps of another model or on another device, of candidates that this suite has, too.
pub fn of_run(folder: &Path, suite: &Suite) -> anyhow::Result<Prior> {
    let run = Run::read(folder)?;
    let theirs = report::suite_of(&run)?;
    let mut told = IndexMap::new();
    for stage in &suite.stages {
        let Some(their) = counterpart(stage, &theirs) else { continue };
        let own = run.recordings.iter().filter(|recording| recording.stage == their.name);
        let recordings: Vec<Recording> =
            own.map(|recording| Recording { stage: stage.name.clone(), ..recording.clone() }).collect();
        // What has failed elsewhere may work here.
        let known: Vec<Told> = of_recordings(suite, stage, &recordings)
            .into_iter()
            .filter(|told| told.value.is_some() && search::has(&stage.space, &told.candidate))
            .collect();
        // One alone can't be better than another.
        if known.len() > 1 {
            told.insert(stage.name.clone(), known);
        }
    }
    if told.is_empty() {
        let measured: HashSet<&String> = run.recordings.iter().map(|recording| &recording.id).collect();
        let why = format!(
            "of its {} measured configurations fewer than two are this suite's: it tells nothing of the others",
            measured.len()
        );
        return Err(Problem::new(format!("--prior {}", folder.display()), why).into());
    }
    Ok(Prior { run: format!("{}, {}", run.path.display(), run.header.target.description), told })
}

/// What recordings say of a stage's candidates.
pub fn of_recordings(suite: &Suite, stage: &Stage, recordings: &[Recording]) -> Vec<Told> {
    let seen = analysis::observe(suite, stage, recordings);
    let value =
        |seen: &Observation| seen.score().filter(|score| score.misses.is_none()).map(|score| score.value);
    seen.into_iter().map(|seen| Told { value: value(&seen), candidate: seen.candidate }).collect()
}

/// The stage of another suite that is most like one: of the same name, or the first with the same task.
fn counterpart<'s>(stage: &Stage, suite: &'s Suite) -> Option<&'s Stage> {
    let mut stages = suite.stages.iter();
    let named = suite.stages.iter().find(|other| other.name == stage.name && other.task == stage.task);
    named.or_else(|| stages.find(|other| other.task == stage.task))
}
