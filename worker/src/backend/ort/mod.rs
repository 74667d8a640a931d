//! ONNX Runtime: a model's graph lowered to ONNX, or the user's own file, run by its code for processors or for NVIDIA's
//! GPUs, by OpenVINO, or by CoreML.
//!
//! The library is loaded when it's needed, and only one by a process. Knows neither batching nor who asks.

mod bound;
mod call;
mod choice;
mod counted;
mod cuda;
mod device;
mod engine;
mod export;
mod feed;
mod file;
mod flat;
mod held;
mod library;
mod lower;
mod network;
mod onnx;
mod placement;
mod protobuf;
mod reading;
mod session;
mod sizes;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unpacked;

use std::path::Path;

use super::{Backend, BackendError, Device, LoadRequest, Session, knobs};
use crate::knob::{Candidate, KnobSpec};
use crate::model::Model;
use choice::{Choice, Provider};
use device::DeviceSession;
use library::Libraries;
use session::OrtSession;

pub use choice::{DTYPE, Dtype, GRAPH, PROVIDER, Source, Wanted};
pub use counted::{Counted, count};
pub use export::export;
pub use library::{CUDA_12_NEEDS, CUDA_NEEDS};
pub use lower::{GRAIN, Precision};

pub const NAME: &str = "ort";

pub struct Ort {
    libraries: Libraries,
}

impl Ort {
    /// `settings` say where the libraries are; without them the environment does.
    pub fn new(settings: serde_json::Value) -> Result<Self, BackendError> {
        Ok(Ort { libraries: Libraries::read(settings)? })
    }
}

/// The library that a candidate needs on a device, by the name that provisioning knows it under; none if it's refused.
pub fn library_for(candidate: &Candidate, device: Device) -> Option<&'static str> {
    choice::provider(candidate, device).ok().map(Provider::library)
}

impl Backend for Ort {
    /// That of the library which this process has loaded; and before it has, of the one that stock users have.
    fn version(&self) -> Result<String, BackendError> {
        if library::receipt().is_none() {
            self.libraries.load(Provider::Cpu)?;
        }
        library::receipt().ok_or_else(|| BackendError::Failed("ONNX Runtime isn't loaded".into()))
    }

    fn knobs(&self) -> Vec<KnobSpec> {
        choice::knobs()
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Session>, BackendError> {
        let choice = Choice::of(&request.candidate, request.device)?;
        if !matches!(choice.provider, Provider::Cuda(_)) {
            // A GPU's share is kept by the allocator of its memory.
            knobs::limit_memory(&request.candidate)?;
        }
        let environment = self.libraries.load(choice.provider)?;
        let folder = Path::new(&request.model);
        let model = Model::open(folder, request.task, request.prompt.as_ref())?;
        Ok(match choice.provider {
            Provider::Cuda(number) => {
                Box::new(DeviceSession::on_card(model, environment, choice, number, request)?)
            }
            _ => Box::new(OrtSession::open(folder, model, environment, choice)?),
        })
    }
}
