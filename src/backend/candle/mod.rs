//! candle. For now its receipt only: the graphs that it will execute come with `model/`.

use super::{Backend, BackendError, LoadRequest, Session};
use crate::knob::KnobSpec;

pub struct Candle;

impl Backend for Candle {
    fn version(&self) -> Result<String, BackendError> {
        // candle states no version of its own; it's linked in, so the lock file knows.
        Ok(concat!("candle-core ", env!("CANDLE_VERSION")).to_owned())
    }

    fn knobs(&self) -> Vec<KnobSpec> {
        Vec::new()
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Session>, BackendError> {
        // Proves that the library works where it's linked, so that the refusal below has one meaning only.
        candle_core::Tensor::zeros((1, 1), candle_core::DType::F32, &candle_core::Device::Cpu)
            .map_err(|error| BackendError::NotAvailable(format!("candle: {error}")))?;
        Err(BackendError::NotAvailable(format!(
            "candle can't run {:?}: this version has no networks yet",
            request.model
        )))
    }
}
