//! Knobs that several engines have, so that they mean the same in each.

use super::{BackendError, Transfers, host_memory};
use crate::knob::{Applies, Candidate, Changes, Knob};

/// Each engine has precisions of its own, the reference's first, and its own constant for them by this name.
pub const DTYPE: &str = "dtype";

pub const TF32: Knob<bool> = Knob::switch(
    "tf32",
    Applies::Load,
    "multiply fp32 on a GPU's tensor cores as TF32, with 10 bits of each fraction instead of 23; fp32 only",
);

pub const THREADS: Knob<Option<usize>> =
    Knob::limit("threads", Applies::Load, "threads that compute; \"none\" is one for each core")
        .changing(Changes::Speed);

pub const MEMORY_FRACTION: Knob<f64> = Knob::number(
    "memory_fraction",
    Applies::Load,
    (1e-6, 1.0),
    1.0,
    "share of the memory that the worker may use: on a GPU, of the GPU memory, everything included; on the \
     processor, of the machine's (or the container's) memory, as a limit on the process",
)
.changing(Changes::Speed);

/// It's stated by the pipeline, which prepares the batches.
pub const TRANSFERS: Knob<Transfers> = Knob::choice(
    "transfers",
    Applies::Run,
    &Transfers::NAMES,
    "how batches are copied to the device: from ordinary memory, from pinned memory, or from pinned memory while \
     the previous batch computes; on the processor nothing is copied, and non_blocking prepares the next batch ahead",
).changing(Changes::Speed);

// Whoever asks by these has had the candidate checked: what is no value can't come.

/// How a candidate's batches travel.
pub fn transfers_of(candidate: &Candidate) -> Transfers {
    TRANSFERS.of(candidate).unwrap_or_default()
}

pub fn threads_of(candidate: &Candidate) -> usize {
    let each_core = || std::thread::available_parallelism().map_or(1, usize::from);
    THREADS.of(candidate).ok().flatten().unwrap_or_else(each_core)
}

pub fn tf32_of(candidate: &Candidate) -> bool {
    TF32.of(candidate).unwrap_or(false)
}

pub fn memory_fraction_of(candidate: &Candidate) -> f64 {
    MEMORY_FRACTION.of(candidate).unwrap_or(1.0)
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

/// What a session on the processor makes of the knob `transfers`.
pub fn copies_nothing(candidate: &Candidate) -> Result<(), BackendError> {
    match TRANSFERS.of(candidate) {
        Ok(Transfers::Pinned) => Err(BackendError::Refused(format!(
            "`{}` pinned is for GPUs: on the processor nothing is copied",
            TRANSFERS.name
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
    limit(fraction).map_err(|why| BackendError::NotAvailable(format!("{}: {why}", MEMORY_FRACTION.name)))
}

/// What a process allocates for itself is limited; files that it maps can be dropped at any time and are no burden.
#[cfg(target_os = "linux")]
fn limit(fraction: f64) -> Result<(), String> {
    use nix::sys::resource::{Resource, setrlimit};
    let total = host_memory::total().ok_or("/proc/meminfo has no total")?;
    let bytes = (total as f64 * fraction) as u64;
    setrlimit(Resource::RLIMIT_DATA, bytes, bytes).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn limit(_: f64) -> Result<(), String> {
    Err("this system can't limit the memory of a process".to_owned())
}
