//! What `autotune doctor` finds. Looks only: nothing is fetched.

use std::path::Path;

use serde::Serialize;

use super::{models, registry};
use crate::addon::cache::Cache;
use crate::addon::onnxruntime::{self, OnnxRuntime};
use crate::addon::pip::Pip;
use crate::addon::{self, AddOn};
use crate::backend;
use crate::hardware::{Machine, Target};
use crate::monitor;
use crate::runner;
use crate::telemetry::{self, Address, Keeper, Trouble};
use crate::units::Bytes;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub what: &'static str,
    /// Whether nothing is missing.
    pub ok: bool,
    pub state: String,
    /// What to do, if something is missing.
    pub remedy: Option<String>,
}

/// Looks at everything that a run may depend on.
pub fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![found("processor", machine.cpu_line()), found("system", machine.system.clone())];
    findings.extend(gpus(machine));
    findings.extend(driver(machine));
    findings.push(target(machine));
    findings.extend(telemetry(machine));
    findings.push(match version("candle", serde_json::Value::Null) {
        Ok(version) => found("candle", version),
        Err(why) => missing("candle", "not available".to_owned(), why),
    });
    findings.extend(addons(machine));
    findings.push(match Pip::find() {
        Some(pip) => found("pip", format!("{}, called as `{}`", pip.version, pip.name())),
        None => missing(
            "pip",
            "not found, so libraries and models can't be downloaded as wheels".to_owned(),
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

/// NVIDIA's driver: which CUDA it can, and what keeps the engines from each card.
fn driver(machine: &Machine) -> Vec<Finding> {
    let driver = machine.driver.iter().map(|driver| found("driver", driver.line()));
    let in_the_way = machine.gpus.iter().enumerate().filter_map(|(index, gpu)| {
        let device = gpu.device(index);
        let obstacle = machine.obstacle(&device)?;
        Some(missing("engines", format!("none runs on {device}: {}", obstacle.why), obstacle.remedy))
    });
    driver.chain(in_the_way).collect()
}

/// What `--gpu auto` takes, and why.
fn target(machine: &Machine) -> Finding {
    let target = Target::resolve("auto", machine).map(|target| target.choice(machine));
    found("target", target.unwrap_or_else(|error| error.to_string()))
}

/// Add-ons as they are for the target that is taken unless another is named.
fn addons(machine: &Machine) -> Vec<Finding> {
    let Ok(target) = Target::resolve("auto", machine) else { return Vec::new() };
    let on_nvidia = target.device.as_deref().is_some_and(|device| device.starts_with("cuda"));
    let finding = |addon: Box<dyn AddOn>| {
        let what = addon.name();
        match addon.here() {
            // A process loads only one ONNX Runtime, so that of the plain processor alone is asked for its version.
            Ok(receipt) if what == onnxruntime::PROVIDERS[0].name => {
                let place = format!("{} ({})", receipt.path.display(), receipt.origin);
                match version(
                    "ort",
                    onnxruntime::settings(|name| OnnxRuntime::of(name, machine, &target).here()),
                ) {
                    Ok(version) => found(what, format!("{version}, {place}")),
                    Err(why) => missing(what, format!("{place} can't be loaded"), why),
                }
            }
            Ok(receipt) => {
                found(what, format!("{}, {} ({})", receipt.version, receipt.path.display(), receipt.origin))
            }
            Err(_) if !on_nvidia && !machine.driver_hangs && addon::is_for_nvidia(what) => {
                found(what, "not needed here (no NVIDIA GPU)".to_owned())
            }
            Err(why) => {
                let why = addon.obstacle().or_else(|| addon.lacks()).unwrap_or(why);
                missing(what, format!("{}: {}", addon.title(), why.why), why.remedy)
            }
        }
    };
    addon::all(machine, &target).into_iter().map(finding).collect()
}

/// Every GPU, and what keeps others from being seen.
fn gpus(machine: &Machine) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        machine.gpus.iter().enumerate().map(|(index, gpu)| found("GPU", gpu.details(index))).collect();
    if !machine.hidden.is_empty() {
        let state = format!("{} in the machine, hidden from programs", machine.hidden.join(", "));
        let divided = machine.hidden.iter().any(|name| name.contains(" MIG "));
        let remedy = match divided {
            true => {
                "CUDA shows one MIG instance to a program: for another, set CUDA_VISIBLE_DEVICES to its UUID"
            }
            false => "unset CUDA_VISIBLE_DEVICES, or add them to it",
        };
        findings.push(missing("GPU", state, remedy));
    }
    if let Some(missing) = machine.no_cuda.as_ref().filter(|_| machine.gpus.is_empty()) {
        findings.push(self::missing("GPU", missing.why.clone(), missing.remedy.clone()));
    }
    let nothing = findings.is_empty();
    findings.extend(match &machine.no_nvml {
        None if nothing => Some(found("GPU", "NVIDIA's driver is installed, but finds no GPU".to_owned())),
        None => None,
        // It's on the list already.
        Some(_) if machine.driver_hangs => None,
        Some(why) if nothing => Some(missing(
            "GPU",
            format!("none found: {why}"),
            "install NVIDIA's driver, or tune for the processor with --gpu cpu",
        )),
        Some(why) => Some(missing(
            "NVML",
            format!("not available, so the list of GPUs comes from other sources: {why}"),
            "install the driver's library libnvidia-ml.so.1; in a container, allow the driver capability `utility`",
        )),
    });
    findings
}

/// What each card tells while a worker measures.
fn telemetry(machine: &Machine) -> Vec<Finding> {
    let remedy =
        "without it, autotune can't watch a card's clocks, heat and other processes; runs report this";
    let unseen = |device: &str, trouble: Trouble| {
        missing("telemetry", format!("{device}{}", trouble.why), trouble.remedy.unwrap_or(remedy))
    };
    let card = |address: Address| {
        let device = address.device.clone();
        let panel = match Keeper::open(move || telemetry::open(&address)) {
            Ok(keeper) => monitor::once(vec![keeper]).remove(0),
            Err(trouble) => return unseen(&format!("{device}: "), trouble),
        };
        match panel.problem {
            Some(why) => unseen(&format!("{device}: "), Trouble::gone(why)),
            None if panel.absent.is_empty() => found("telemetry", format!("{device} reports all quantities")),
            None => found(
                "telemetry",
                format!("{device} reports all quantities except {}", panel.absent.join(", ")),
            ),
        }
    };
    match telemetry::available(machine) {
        Ok(()) => Address::all(machine).into_iter().map(card).collect(),
        Err(trouble) => vec![unseen("no GPU can be watched: ", trouble)],
    }
}

fn version(engine: &str, settings: serde_json::Value) -> Result<String, String> {
    let backend = backend::open(engine, settings).map_err(|error| error.to_string())?;
    backend.version().map_err(|error| error.to_string())
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
                    "set AUTOTUNE_CACHE to a writable folder",
                ),
            }
        }
    };
    let known = registry::models().len();
    let here: Vec<String> =
        models::at_hand().into_iter().map(|(name, home)| format!("{name} ({})", home.origin)).collect();
    let state = match here.as_slice() {
        [] => format!("none of the {known} known models is on this machine yet"),
        _ => format!("{} of the {known} known models are on this machine: {}", here.len(), here.join(", ")),
    };
    vec![cache, found("models", state)]
}

fn found(what: &'static str, state: String) -> Finding {
    Finding { what, ok: true, state, remedy: None }
}

fn missing(what: &'static str, state: String, remedy: impl Into<String>) -> Finding {
    Finding { what, ok: false, state, remedy: Some(remedy.into()) }
}

/// Whether a folder could be made here and written. Leaves nothing behind that wasn't there.
fn try_to_write(folder: &Path) -> std::io::Result<()> {
    // Of a path that is relative the last of them is empty, and means here.
    let here = |folder: &&Path| !folder.as_os_str().is_empty() && folder.exists();
    let existing = folder.ancestors().find(here).unwrap_or(Path::new("."));
    if !existing.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    let probe = existing.join(format!(".autotune-doctor-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}
