//! What `autotune doctor` finds. Looks only: nothing is fetched.

use std::path::Path;

use serde::Serialize;

use super::cache::Cache;
use super::pip::Pip;
use super::{models, onnxruntime, registry};
use crate::backend;
use crate::monitor;
use crate::runner;
use crate::target::Machine;
use crate::telemetry::{self, Keeper, Trouble};
use crate::units::Bytes;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub what: &'static str,
    pub state: String,
    /// What to do, if something is missing.
    pub remedy: Option<String>,
}

/// Looks at everything that a run may depend on.
pub fn examine() -> Vec<Finding> {
    let machine = Machine::detect();
    let mut findings = vec![found("processor", machine.cpu_line()), found("system", machine.system.clone())];
    findings.extend(gpus(&machine));
    findings.extend(telemetry());
    findings.push(match version("candle", serde_json::Value::Null) {
        Ok(version) => found("candle", version),
        Err(why) => missing("candle", "not available".to_owned(), why),
    });
    let has_nvidia = machine.gpus.iter().any(|gpu| !gpu.is_apple());
    findings.extend(onnxruntime::PROVIDERS.map(|(provider, _)| library(provider, has_nvidia)));
    findings.push(match Pip::find() {
        Some(pip) => found("pip", format!("{}, called as `{}`", pip.version, pip.name())),
        None => missing(
            "pip",
            "not found, so no library and no wheel can be fetched".to_owned(),
            "install pip (python3-pip on Debian and Ubuntu)",
        ),
    });
    findings.extend(cached());
    findings.push(if runner::sees_worker_memory() {
        found("memory", "peak memory of workers can be read".to_owned())
    } else {
        missing(
            "memory",
            "peak memory of workers can't be read".to_owned(),
            "mount /proc; without it RSS is not reported",
        )
    });
    findings.push(match try_to_write(Path::new("results/runs")) {
        Ok(()) => found("results", "results/runs can be written here".to_owned()),
        Err(error) => {
            missing("results", format!("results/runs can't be written here: {error}"), "use --out DIR")
        }
    });
    findings
}

/// Every GPU, and what keeps others from being seen.
fn gpus(machine: &Machine) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        machine.gpus.iter().enumerate().map(|(index, gpu)| found("GPU", gpu.details(index))).collect();
    findings.extend(match &machine.no_nvml {
        None if findings.is_empty() => {
            let state = "NVIDIA's driver is here, and no GPU that CUDA_VISIBLE_DEVICES would let us see";
            Some(found("GPU", state.to_owned()))
        }
        None => None,
        Some(why) if findings.is_empty() => Some(missing(
            "GPU",
            format!("none to be seen: {why}"),
            "install NVIDIA's driver, or tune for the processor with --gpu cpu",
        )),
        Some(why) => Some(missing(
            "NVML",
            format!("can't be asked, so the GPUs are as others tell of them: {why}"),
            "install the driver's library libnvidia-ml.so.1, or in a container allow the driver's `utility` part",
        )),
    });
    findings
}

/// What each card tells while a worker measures.
fn telemetry() -> Vec<Finding> {
    let remedy = "without it clocks, heat and neighbours of a card go unseen, and runs say so";
    let unseen = |device: &str, trouble: Trouble| {
        missing("telemetry", format!("{device}{}", trouble.why), trouble.remedy.unwrap_or(remedy))
    };
    let card = |index: u32| {
        let device = format!("cuda:{index}");
        let panel = match Keeper::open({
            let device = device.clone();
            move || telemetry::open(&device)
        }) {
            Ok(keeper) => monitor::once(vec![keeper]).remove(0),
            Err(trouble) => return unseen(&format!("{device}: "), trouble),
        };
        match panel.problem {
            Some(why) => unseen(&format!("{device}: "), Trouble::gone(why)),
            None if panel.absent.is_empty() => {
                found("telemetry", format!("{device} tells all that is asked"))
            }
            None => found(
                "telemetry",
                format!("{device} tells all that is asked but {}", panel.absent.join(", ")),
            ),
        }
    };
    match telemetry::count() {
        Ok(0) => Vec::new(),
        Ok(count) => (0..count).map(card).collect(),
        Err(trouble) => vec![unseen("no GPU can be watched: ", trouble)],
    }
}

fn version(engine: &str, settings: serde_json::Value) -> Result<String, String> {
    let backend = backend::open(engine, settings).map_err(|error| error.to_string())?;
    backend.version().map_err(|error| error.to_string())
}

/// The ONNX Runtime library for a provider: where it is, or how it comes here.
fn library(provider: &str, has_nvidia: bool) -> Finding {
    // A process loads only one of them, so only that of the plain processor is asked for its version.
    let (what, plain) = match provider {
        "cpu" => ("ort", true),
        "cuda" => ("ort cuda", false),
        _ => ("ort openvino", false),
    };
    let library = match onnxruntime::here(provider) {
        Ok(library) => library,
        Err(_) if provider == "cuda" && !has_nvidia => {
            return found(what, "not needed here (no NVIDIA GPU)".to_owned());
        }
        Err(why) => return missing(what, why.why, why.remedy),
    };
    let place = format!("{} ({})", library.path.display(), library.origin);
    match plain.then(|| version("ort", onnxruntime::settings(onnxruntime::here))) {
        Some(Ok(version)) => found(what, format!("{version}, {place}")),
        Some(Err(why)) => missing(what, format!("{place} can't be loaded"), why),
        None => found(what, place),
    }
}

/// The cache, and the models on this machine.
fn cached() -> Vec<Finding> {
    let cache = match Cache::of_user() {
        Err(why) => missing("cache", why.why, why.remedy),
        Ok(cache) => {
            let place = format!("{}, {}", cache.root().display(), Bytes(cache.bytes()));
            match try_to_write(cache.root()) {
                Ok(()) => found("cache", place),
                Err(error) => missing(
                    "cache",
                    format!("{place}, can't be written: {error}"),
                    "set AUTOTUNE_CACHE to a folder that can",
                ),
            }
        }
    };
    let known = registry::models().len();
    let here: Vec<String> =
        models::at_hand().into_iter().map(|(name, home)| format!("{name} ({})", home.origin)).collect();
    let state = match here.as_slice() {
        [] => format!("none of the {known} that are known by name is here yet"),
        _ => format!("{} of the {known} that are known by name: {}", here.len(), here.join(", ")),
    };
    vec![cache, found("models", state)]
}

fn found(what: &'static str, state: String) -> Finding {
    Finding { what, state, remedy: None }
}

fn missing(what: &'static str, state: String, remedy: impl Into<String>) -> Finding {
    Finding { what, state, remedy: Some(remedy.into()) }
}

/// Whether a folder could be made here and written. Leaves nothing behind that wasn't there.
fn try_to_write(folder: &Path) -> std::io::Result<()> {
    let existing = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let probe = existing.join(format!(".autotune-doctor-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}
