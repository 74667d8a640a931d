//! Add-ons: what the program provides at first use instead of bringing it along. ONNX Runtime's libraries, and the worker
//! for candle on NVIDIA's GPUs.
//!
//! Each has a name, a receipt once it's here, and a remedy as long as it isn't. [`ensure`] is the one way to have it: it
//! looks, states what providing takes, and provides, without a question. `setup`, `doctor` and the rows of a run use the same
//! words. Knows nothing of runs and of what is measured.

pub mod cache;
pub mod cuda;
mod needs;
pub mod onnxruntime;
pub mod pip;
mod process;
mod providing;
mod version;
pub mod wheel;

pub use crate::backend::Missing;
use crate::hardware::{Machine, Target};
pub use providing::{AddOn, Receipt, Setup, Tell, command, ensure};

use cuda::CudaWorker;
use onnxruntime::{OnnxRuntime, PROVIDERS};

/// Whether an add-on has a use only where there is one of NVIDIA's GPUs.
pub fn is_for_nvidia(name: &str) -> bool {
    name == cuda::NAME || PROVIDERS.iter().any(|provider| provider.name == name && provider.word == "cuda")
}

/// Every add-on, as it would be for a target on this machine.
pub fn all(machine: &Machine, target: &Target) -> Vec<Box<dyn AddOn>> {
    let worker: Box<dyn AddOn> = Box::new(CudaWorker::of(machine, target));
    let libraries = PROVIDERS
        .iter()
        .map(|provider| -> Box<dyn AddOn> { Box::new(OnnxRuntime::of(provider.word, machine, target)) });
    std::iter::once(worker).chain(libraries).collect()
}
