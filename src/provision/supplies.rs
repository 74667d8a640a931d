//! What a suite's workers need from this machine, found or fetched before the first trial.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::models::{self, Home, Replica};
use super::{Missing, onnxruntime, registry};
use crate::backend::ort;
use crate::knob::Candidate;
use crate::runner::{Failure, Status, Supplies};
use crate::suite::{Stage, Suite};

/// Finds the models and libraries of a suite. What can't be had becomes the reason of each trial that needs it.
/// `tell` hears what is about to be fetched, which may take a while.
/// Libraries are those for `device`: what doesn't run there is refused by the worker, and not fetched.
pub fn supplies(suite: &Suite, device: Option<&str>, tell: impl Fn(&str)) -> Supplies {
    let folders = folders(suite, models::resolve, &tell);
    let settings = settings(suite.stages.iter().flat_map(candidates), device, tell);
    Supplies { folders, settings, ..Supplies::default() }
}

/// What the built-in backends of candidates need to be told, by their names: where the libraries lie that they ask for.
pub fn settings<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    device: Option<&str>,
    tell: impl Fn(&str),
) -> HashMap<String, serde_json::Value> {
    let device = device.and_then(|device| device.parse().ok()).unwrap_or_default();
    let of_ort: Vec<&Candidate> = candidates.filter(|candidate| candidate.backend == ort::NAME).collect();
    if of_ort.is_empty() {
        return HashMap::new();
    }
    let providers: BTreeSet<&str> =
        of_ort.into_iter().filter_map(|candidate| ort::library_for(candidate, device)).collect();
    let settings = onnxruntime::settings(|provider| {
        // One that no candidate asks for isn't fetched.
        let here = onnxruntime::here(provider);
        if here.is_ok() || !providers.contains(provider) {
            return here;
        }
        tell(&format!("getting ONNX Runtime for the provider {provider}"));
        onnxruntime::library(provider)
    });
    HashMap::from([(ort::NAME.to_owned(), settings)])
}

/// Finds as much of a suite's models as a prediction reads, by the names of the stages.
pub fn outlines(suite: &Suite, tell: impl Fn(&str)) -> HashMap<String, Result<PathBuf, Failure>> {
    folders(suite, models::outline, &tell)
}

fn folders(
    suite: &Suite,
    resolve: fn(&str, Replica) -> Result<Home, Missing>,
    tell: &impl Fn(&str),
) -> HashMap<String, Result<PathBuf, Failure>> {
    let mut folders = HashMap::new();
    for stage in suite.stages.iter().filter(|stage| reads_models(suite, stage)) {
        if !is_here(&stage.model) {
            tell(&format!("{}: getting the model {}", stage.name, stage.model));
        }
        let replica = if stage.replica { Replica::For(stage.task) } else { Replica::Never };
        let folder = resolve(&stage.model, replica).map(|home| home.folder).map_err(not_available);
        folders.insert(stage.name.clone(), folder);
    }
    folders
}

fn is_here(model: &str) -> bool {
    let known = registry::find(model).map(|(name, _)| name);
    Path::new(model).is_dir() || models::at_hand().iter().any(|(name, _)| Some(*name) == known)
}

fn candidates(stage: &Stage) -> impl Iterator<Item = &Candidate> {
    stage.candidates.iter().chain([&stage.reference])
}

fn reads_models(suite: &Suite, stage: &Stage) -> bool {
    candidates(stage)
        .any(|candidate| suite.backend(&candidate.backend).is_some_and(|backend| backend.reads_models()))
}

fn not_available(missing: Missing) -> Failure {
    Failure::new(Status::NotAvailable, missing.to_string())
}
