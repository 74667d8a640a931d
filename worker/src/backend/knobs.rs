//! Knobs that several engines have, so that they mean the same in each.

use super::{BackendError, Transfers, host_memory};
use crate::knob::{Applies, Candidate, Kind, KnobSpec, NO_LIMIT, Value};

pub const DTYPE: &str = "dtype";
const TF32: &str = "tf32";
const THREADS: &str = "threads";
const MEMORY_FRACTION: &str = "memory_fraction";
/// How batches reach the device. It's stated by the pipeline, which prepares them.
pub const TRANSFERS: &str = "transfers";

/// How a candidate's batches travel.
pub fn transfers_of(candidate: &Candidate) -> Transfers {
    Transfers::named(&candidate.word(TRANSFERS)).unwrap_or_default()
}

/// The precisions of an engine, the reference's first.
pub fn dtype(precisions: &[&str], help: &str) -> KnobSpec {
    let words = precisions.iter().map(|word| word.to_string()).collect();
    KnobSpec::new(DTYPE, Applies::Load, Kind::Choice(words), Value::Text("fp32".to_owned()), help)
}

pub fn threads() -> KnobSpec {
    let default = Value::Text(NO_LIMIT.to_owned());
    KnobSpec::new(
        THREADS,
        Applies::Load,
        Kind::Limit,
        default,
        "threads that compute; \"none\" is one for each core",
    )
}

pub fn threads_of(candidate: &Candidate) -> usize {
    match candidate.knobs.get(THREADS) {
        Some(Value::Integer(threads)) => usize::try_from(*threads).unwrap_or(1),
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

pub fn tf32() -> KnobSpec {
    let help = "let a GPU's tensor cores multiply fp32 with 10 bits of each fraction; fp32 only";
    KnobSpec::new(TF32, Applies::Load, Kind::Switch, Value::Switch(false), help)
}

pub fn tf32_of(candidate: &Candidate) -> bool {
    candidate.knobs.get(TF32) == Some(&Value::Switch(true))
}

/// How much a candidate's precision costs: 0 for what costs nothing, more for what costs more. Of precisions that nobody here
/// knows nothing is assumed.
pub fn coarseness(candidate: &Candidate) -> u32 {
    match candidate.word(DTYPE).as_str() {
        "fp32" if tf32_of(candidate) => 1,
        "fp32" | "" => 0,
        // 10 and 7 bits of a fraction.
        "fp16" => 2,
        "bf16" => 3,
        "int8-weights" => 4,
        "int8" => 5,
        _ => 6,
    }
}

pub fn memory_fraction() -> KnobSpec {
    let kind = Kind::Number { least: 1e-6, most: 1.0 };
    let help = "share of the memory that the worker may take: of the GPU's, everything included; or of the machine's \
                (or its container's), as a limit on its process";
    KnobSpec::new(MEMORY_FRACTION, Applies::Load, kind, Value::Number(1.0), help)
}

pub fn memory_fraction_of(candidate: &Candidate) -> f64 {
    candidate.knobs.get(MEMORY_FRACTION).and_then(Value::number).unwrap_or(1.0)
}

/// What a session on the processor makes of the knob `transfers`.
pub fn copies_nothing(candidate: &Candidate) -> Result<(), BackendError> {
    match Transfers::named(&candidate.word(TRANSFERS)) {
        Some(Transfers::Pinned) => Err(BackendError::Refused(format!(
            "`{TRANSFERS}` pinned is for GPUs: nothing is copied where the processor computes"
        ))),
        _ => Ok(()),
    }
}

/// Holds this process to the candidate's share of the machine's memory, from here on.
pub fn limit_memory(candidate: &Candidate) -> Result<(), BackendError> {
    let fraction = memory_fraction_of(candidate);
    if fraction >= 1.0 {
        return Ok(());
    }
    limit(fraction).map_err(|why| BackendError::NotAvailable(format!("{MEMORY_FRACTION}: {why}")))
}

/// What a process allocates for itself is limited; files that it maps can be dropped at any time and are no burden.
#[cfg(target_os = "linux")]
fn limit(fraction: f64) -> Result<(), String> {
    use nix::sys::resource::{Resource, setrlimit};
    let total = host_memory::total().ok_or("/proc/meminfo tells no total")?;
    let bytes = (total as f64 * fraction) as u64;
    setrlimit(Resource::RLIMIT_DATA, bytes, bytes).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn limit(_: f64) -> Result<(), String> {
    Err("this system has no limit on the memory of a process".to_owned())
}
