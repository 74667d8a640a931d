//! What is known of a suite's candidates before any is measured: of a recorded run (`--prior RUN`), or by prediction.

use std::collections::HashSet;
use std::path::Path;

use indexmap::IndexMap;

use crate::analysis;
use crate::hardware::Card;
use crate::predict::Forecast;
use crate::record::{Prior, Recording, Told};
use crate::report;
use crate::search::{self, Observation};
use crate::store::Run;
use crate::suite::{Problem, SearchKind, Stage, Suite};

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
        let mut known = search::of_space(&stage.space, of_recordings(suite, stage, &recordings));
        // What has failed elsewhere may work here.
        known.retain(|told| told.value.is_some());
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

/// What is predicted of some of a stage's candidates.
pub fn of_forecast(suite: &Suite, stage: &Stage, forecast: &mut Forecast, card: &Card) -> Vec<Told> {
    /// The others are inferred from these.
    const PREDICTED: usize = 200;
    // Every beginning of a grid is spread evenly over the space.
    let spread = search::start(SearchKind::Grid, &stage.space, &[], 0).next(&[], PREDICTED);
    let predicted: Vec<Recording> =
        spread.iter().map(|choice| forecast.recording(stage, &choice.candidate, card)).collect();
    of_recordings(suite, stage, &predicted)
}

/// What recordings say of a stage's candidates.
fn of_recordings(suite: &Suite, stage: &Stage, recordings: &[Recording]) -> Vec<Told> {
    let told =
        |seen: Observation| Told { value: seen.may_win().then(|| seen.value()), candidate: seen.candidate };
    analysis::observe(suite, stage, recordings).into_iter().map(told).collect()
}

/// The stage of another suite that is most like one: of the same name, or the first with the same task.
fn counterpart<'s>(stage: &Stage, suite: &'s Suite) -> Option<&'s Stage> {
    let alike = || suite.stages.iter().filter(|other| other.task == stage.task);
    alike().find(|other| other.name == stage.name).or_else(|| alike().next())
}
