//! What a machine must have, and how to get it.
//!
//! For now it looks and advises; fetching libraries and models comes with the engines that need them.

use serde::Serialize;

use crate::backend;
use crate::runner;
use crate::target::Machine;

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
    findings.push(match &machine.no_nvml {
        None if machine.gpus.is_empty() => found("GPU", "NVIDIA's driver is here, and no GPU".to_owned()),
        None => {
            let lines =
                machine.gpus.iter().map(|gpu| format!("{}, {}, driver {}", gpu.name, gpu.memory, gpu.driver));
            found("GPU", lines.collect::<Vec<_>>().join("; "))
        }
        Some(why) => missing(
            "GPU",
            format!("none to be seen: {why}"),
            "install NVIDIA's driver, or tune for the processor with --gpu cpu",
        ),
    });
    for engine in ["candle", "ort"] {
        let version = backend::open(engine, serde_json::Value::Null).and_then(|backend| backend.version());
        findings.push(match version {
            Ok(version) => found(engine, version),
            Err(why) => missing(engine, "not available".to_owned(), why.to_string()),
        });
    }
    findings.push(if runner::sees_worker_memory() {
        found("memory", "peak memory of workers can be read".to_owned())
    } else {
        missing(
            "memory",
            "peak memory of workers can't be read".to_owned(),
            "mount /proc; without it RSS is not reported",
        )
    });
    findings.push(match tempfile_in_results() {
        Ok(()) => found("results", "results/runs can be written here".to_owned()),
        Err(error) => {
            missing("results", format!("results/runs can't be written here: {error}"), "use --out DIR")
        }
    });
    findings
}

fn found(what: &'static str, state: String) -> Finding {
    Finding { what, state, remedy: None }
}

fn missing(what: &'static str, state: String, remedy: impl Into<String>) -> Finding {
    Finding { what, state, remedy: Some(remedy.into()) }
}

/// Whether a run's folder could be made here. Leaves nothing behind that wasn't there.
fn tempfile_in_results() -> std::io::Result<()> {
    let folder = std::path::Path::new("results/runs");
    let existing = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(std::path::Path::new("."));
    let probe = existing.join(format!(".autotune-doctor-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}
