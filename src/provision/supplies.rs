//! What a suite's workers need from this machine, found or provided before the first trial.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::models::{self, Home, Replica};
use super::{Missing, registry};
use crate::addon::cuda::CudaWorker;
use crate::addon::onnxruntime::{self, OnnxRuntime};
use crate::addon::{self, AddOn, Setup};
use crate::backend::{Device, candle, ort};
use crate::hardware::{Machine, Target};
use crate::knob::Candidate;
use crate::record::Failure;
use crate::runner::{Engine, Supplies, Worker};
use crate::suite::{ChosenBackend, Stage, Suite};

/// Finds or provides the engines and the models of a suite. What can't be had becomes the reason of each trial that needs it.
/// Engines are those for the target: what doesn't run there is refused by the worker, and not provided.
pub fn supplies(suite: &Suite, machine: &Machine, target: &Target, setup: Setup) -> Supplies {
    let references: Vec<Candidate> = suite.stages.iter().flat_map(|stage| suite.references(stage)).collect();
    let loads: Vec<Candidate> = suite.stages.iter().flat_map(|stage| stage.space.loads()).collect();
    let all: Vec<&Candidate> = loads.iter().chain(&references).collect();
    let mut engines = engines(&all, machine, target, setup);
    let on_card = target.device.as_deref().is_some_and(|device| device.starts_with("cuda"));
    if on_card && !can_run(suite, &engines) {
        // Without an engine a model is of no use, and nor are right answers.
        return Supplies { engines, ..Supplies::default() };
    }
    if on_card {
        // Right answers may come from the processor. candle is here for that; what isn't is provided only if nobody else has
        // them.
        let is_here = |candidate: &Candidate| candidate.backend == candle::NAME;
        let lacking = !references.iter().any(is_here);
        let references: Vec<&Candidate> = references.iter().collect();
        let setup = Setup { allowed: setup.allowed && lacking, ..setup };
        engines.extend(self::engines(&references, machine, &Target::processor(), setup));
    }
    let folders = folders(suite, &|what| setup.tell.say(what));
    Supplies { folders, engines, ..Supplies::default() }
}

/// Whether there is anybody who may run: an engine that is here, or a program of the suite's own.
fn can_run(suite: &Suite, engines: &HashMap<(String, String), Engine>) -> bool {
    let is_own = |backend: &ChosenBackend| !backend.reads_models();
    engines.values().any(Engine::is_here) || suite.backends.iter().any(is_own)
}

/// What the built-in backends of candidates need on a device, by their names and that device.
pub fn engines(
    candidates: &[&Candidate],
    machine: &Machine,
    target: &Target,
    setup: Setup,
) -> HashMap<(String, String), Engine> {
    let mut engines = HashMap::new();
    let device = target.device.as_deref();
    let name = device.unwrap_or_default();
    let of = |kind: &str| candidates.iter().filter(|candidate| candidate.backend == kind).copied().collect();
    let parsed = name.parse().unwrap_or_default();
    // candle's first: the toolkit that builds its worker has what ONNX Runtime needs.
    let of_candle: Vec<&Candidate> = of(candle::NAME);
    if let (false, Device::Cuda(_)) = (of_candle.is_empty(), parsed) {
        let worker = addon::ensure(&CudaWorker::of(machine, target), setup);
        let program = worker.map(|receipt| Worker { path: receipt.path, receipt: receipt.version });
        let engine = Engine { program: Some(program.map_err(Failure::from)), ..Engine::default() };
        engines.insert((candle::NAME.to_owned(), name.to_owned()), engine);
    }
    let of_ort: Vec<&Candidate> = of(ort::NAME);
    if !of_ort.is_empty() {
        let providers: BTreeSet<&str> =
            of_ort.iter().filter_map(|candidate| ort::library_for(candidate, parsed)).collect();
        let lacks = RefCell::new(None);
        let settings = onnxruntime::settings(|provider| {
            let library = OnnxRuntime::of(provider, machine, target);
            // One that no candidate asks for isn't provided.
            if !providers.contains(provider) {
                return library.here();
            }
            let found = addon::ensure(&library, setup);
            if let Err(missing) = &found {
                lacks.borrow_mut().get_or_insert_with(|| missing.clone());
            }
            found
        });
        let engine =
            Engine { settings: Some(settings), lacks: lacks.into_inner().map(Failure::from), program: None };
        engines.insert((ort::NAME.to_owned(), name.to_owned()), engine);
    }
    engines
}

/// Finds as much of a suite's models as a prediction reads, by the names of the stages.
pub fn outlines(suite: &Suite, tell: impl Fn(&str)) -> HashMap<String, Result<PathBuf, Failure>> {
    found(suite, models::outline, &tell)
}

/// Finds or fetches a suite's models, by the names of the stages.
pub fn folders(suite: &Suite, tell: &dyn Fn(&str)) -> HashMap<String, Result<PathBuf, Failure>> {
    found(suite, models::resolve, tell)
}

fn found(
    suite: &Suite,
    resolve: fn(&str, Replica) -> Result<Home, Missing>,
    tell: &dyn Fn(&str),
) -> HashMap<String, Result<PathBuf, Failure>> {
    let mut folders = HashMap::new();
    for stage in suite.stages.iter().filter(|stage| reads_models(suite, stage)) {
        if !is_here(&stage.model) {
            tell(&format!("{}: getting the model {}", stage.name, stage.model));
        }
        let replica = if stage.replica { Replica::For(stage.task) } else { Replica::Never };
        let folder = resolve(&stage.model, replica).map(|home| home.folder).map_err(Failure::from);
        folders.insert(stage.name.clone(), folder);
    }
    folders
}

fn is_here(model: &str) -> bool {
    let known = registry::find(model).map(|(name, _)| name);
    Path::new(model).is_dir() || models::at_hand().iter().any(|(name, _)| Some(*name) == known)
}

fn reads_models(suite: &Suite, stage: &Stage) -> bool {
    let backends = stage.space.backends().into_iter().chain([stage.reference.backend.as_str()]);
    backends.into_iter().any(|name| suite.backend(name).is_some_and(|backend| backend.reads_models()))
}
