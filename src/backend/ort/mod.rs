//! ONNX Runtime. For now its receipt only: the graphs that it will run come with `model/`.

use super::{Backend, BackendError, LoadRequest, Session};
use crate::knob::KnobSpec;

/// Where `ort` itself looks for the library, and so the one place where we do.
const LIBRARY_PATH: &str = "ORT_DYLIB_PATH";

pub struct Ort;

impl Ort {
    pub fn new(_settings: serde_json::Value) -> Result<Self, BackendError> {
        Ok(Ort)
    }
}

impl Backend for Ort {
    /// What the library that was really loaded says of itself.
    fn version(&self) -> Result<String, BackendError> {
        let path = std::env::var_os(LIBRARY_PATH).ok_or_else(|| {
            BackendError::NotAvailable(format!(
                "{LIBRARY_PATH} is not set; `pip download --no-deps onnxruntime`, unpack the wheel, and set it \
                 to the path of libonnxruntime.so in there"
            ))
        })?;
        let not_available = |why: String| {
            BackendError::NotAvailable(format!("{LIBRARY_PATH}={}: {why}", path.to_string_lossy()))
        };
        ort::init_from(&path).map_err(|error| not_available(error.to_string()))?;
        Ok(format!("ONNX Runtime, {}", ort::info()))
    }

    fn knobs(&self) -> Vec<KnobSpec> {
        Vec::new()
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Session>, BackendError> {
        self.version()?;
        Err(BackendError::NotAvailable(format!(
            "ort can't run {:?}: this version has no networks yet",
            request.model
        )))
    }
}
