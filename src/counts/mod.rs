//! What a suite's configurations do, in exact counts: of the model's graph, of what the engines make of it, and of the corpus in
//! batches. No weight is read, nothing is run and nothing is timed, so that two counts of one revision are equal anywhere.

mod groups;
mod stored;

use std::path::PathBuf;

use crate::analysis::counts::{Counts, Entry, FORMAT};
use crate::backend::candle::Way;
use crate::backend::{candle, ort};
use crate::emit::env;
use crate::knob::Candidate;
use crate::pipeline::Settings;
use crate::predict::Forecast;
use crate::provision;
use crate::record::{Failure, Status};
use crate::report;
use crate::store::{Run, digests};
use crate::suite::{self, ChosenBackend, Stage, Suite};

use groups::Groups;
pub use stored::{parse, read};

/// What is to be counted.
#[derive(Debug, Clone)]
pub struct Order {
    pub suite: Option<String>,
    /// A run whose winners are the configurations; else they are the suite's baselines.
    pub config: Option<PathBuf>,
    /// Whether weights and tokenizers are made up, so that no model is needed.
    pub replica: bool,
}

impl Order {
    /// Counts every stage on its configuration's engine, and on the other built-in ones that the stage lists.
    pub fn count(&self, tell: impl Fn(&str)) -> anyhow::Result<Counts> {
        let run = self.config.as_deref().map(Run::read).transpose()?;
        let (source, mut overrides) = report::source_of(self.suite.as_deref(), run.as_ref())?;
        overrides.replica |= self.replica;
        let mut suite = suite::parse(&source, &overrides, &env::names())?;
        suite.confirm = false;
        let material = suite.material(&source.folder)?;
        let candidates = match &run {
            None => suite.stages.iter().map(|stage| stage.baseline.clone()).collect(),
            Some(run) => report::winners(&suite, run, "--config")?,
        };
        let folders = provision::outlines(&suite, tell);
        let mut forecast = Forecast::new(&suite, &material.documents, folders);
        let mut entries = Vec::new();
        for (stage, candidate) in suite.stages.iter().zip(&candidates) {
            for of_engine in of_engines(&suite, stage, candidate) {
                entries.push(entry(&suite, stage, of_engine, &mut forecast));
            }
        }
        Ok(Counts {
            format: FORMAT,
            suite: suite.name.clone(),
            corpus_digest: digests(&material).0,
            processor: Way::here().name().to_owned(),
            entries,
        })
    }
}

/// The configuration, and its like on the stage's other engines that read models.
fn of_engines(suite: &Suite, stage: &Stage, candidate: &Candidate) -> Vec<Result<Candidate, Refused>> {
    let others = stage.space.backends().into_iter().filter(|name| *name != candidate.backend);
    let others = others.filter_map(|name| suite.backend(name)).filter(|backend| backend.reads_models());
    std::iter::once(Ok(candidate.clone())).chain(others.map(|backend| like(candidate, backend))).collect()
}

/// A configuration that an engine doesn't take, and why.
struct Refused {
    candidate: Candidate,
    why: String,
}

/// The same configuration on another engine. A knob that it doesn't have is none of its business; a value that it doesn't have is
/// refused.
fn like(candidate: &Candidate, backend: &ChosenBackend) -> Result<Candidate, Refused> {
    let mut own = backend.default_candidate();
    let mut refused = None;
    for spec in &backend.knobs {
        let Some(value) = candidate.knobs.get(&spec.name) else { continue };
        if let Err(why) = spec.kind.accept(value) {
            let why = format!("{} doesn't support {}={value}: {why}", backend.name, spec.name);
            refused.get_or_insert(why);
        }
        own.knobs.insert(spec.name.clone(), value.clone());
    }
    match refused {
        Some(why) => Err(Refused { candidate: own, why }),
        None => Ok(own),
    }
}

fn entry(
    suite: &Suite,
    stage: &Stage,
    candidate: Result<Candidate, Refused>,
    forecast: &mut Forecast,
) -> Entry {
    let (configuration, found) = match candidate {
        Ok(candidate) => {
            let found = found(suite, stage, &candidate, forecast);
            (candidate, found.map_err(|failure| failure.in_words()))
        }
        Err(Refused { candidate, why }) => (candidate, Err(why)),
    };
    let (groups, missing) = match found {
        Ok(groups) => (groups, None),
        Err(why) => (Groups::default(), Some(why)),
    };
    Entry {
        stage: stage.name.clone(),
        task: stage.task.name().to_owned(),
        model: stage.model.clone(),
        replica: stage.replica,
        configuration,
        by_processor: groups.by_processor,
        missing,
        groups: groups.counted,
        left_out: groups.left_out,
    }
}

fn found(
    suite: &Suite,
    stage: &Stage,
    candidate: &Candidate,
    forecast: &mut Forecast,
) -> Result<Groups, Failure> {
    let backend = suite.backend(&candidate.backend).filter(|backend| backend.reads_models());
    let Some(backend) = backend else {
        let why = format!("only candle and ort are counted, and {} is neither", candidate.backend);
        return Err(Failure::new(Status::NotAvailable, why));
    };
    let settings =
        Settings::of(candidate).map_err(|error| Failure::new(Status::Refused, error.to_string()))?;
    let (outline, batches) = forecast.prepared(stage, &settings)?;
    let graph = &outline.graph;
    let mut groups = Groups::default();
    groups.add_operations(graph);
    match backend.kind.as_str() {
        candle::NAME => groups.add_candle(graph, backend, candidate, &batches),
        ort::NAME => groups.add_ort(graph, candidate, settings.packed, &batches),
        _ => {}
    }
    groups.add_batches(graph, &batches);
    Ok(groups)
}
