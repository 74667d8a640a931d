//! ONNX Runtime: a model's graph lowered to ONNX, or the user's own file, run by its CPU code or by OpenVINO.
//!
//! The library is loaded when it's needed, and only one by a process. Knows neither batching nor who asks.

mod choice;
mod engine;
mod export;
mod feed;
mod file;
mod library;
mod lower;
mod onnx;
mod protobuf;
mod session;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::{Backend, BackendError, LoadRequest, Session, knobs};
use crate::knob::KnobSpec;
use crate::model::Model;
use choice::{Choice, Provider};
use library::Libraries;

pub use export::export;

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

impl Backend for Ort {
    /// That of the library which this process has loaded; and before it has, of the one that stock users have.
    fn version(&self) -> Result<String, BackendError> {
        if library::receipt().is_none() {
            library::load(self.libraries.of(Provider::Cpu)?)?;
        }
        library::receipt().ok_or_else(|| BackendError::Failed("ONNX Runtime isn't loaded".into()))
    }

    fn knobs(&self) -> Vec<KnobSpec> {
        choice::knobs()
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Session>, BackendError> {
        let choice = Choice::of(&request.candidate)?;
        knobs::limit_memory(&request.candidate)?;
        let environment = library::load(self.libraries.of(choice.provider)?)?;
        let folder = Path::new(&request.model);
        let model = Model::open(folder, request.task)?;
        Ok(Box::new(session::OrtSession::open(folder, model, environment, choice)?))
    }
}
