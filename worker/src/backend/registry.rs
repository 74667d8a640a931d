//! The engines that are built in.

#[cfg(feature = "ort")]
use super::ort;
use super::{Backend, BackendError, candle, fake};

/// The kinds of backend that run inside our own worker, in the order in which people see them.
pub const BUILT_IN: [&str; 3] = [candle::NAME, "ort", fake::NAME];

/// Opens a built-in backend. `settings` is its table in the suite, already checked there.
pub fn open(kind: &str, settings: serde_json::Value) -> Result<Box<dyn Backend>, BackendError> {
    match kind {
        candle::NAME => Ok(Box::new(candle::Candle)),
        #[cfg(feature = "ort")]
        ort::NAME => Ok(Box::new(ort::Ort::new(settings)?)),
        fake::NAME => {
            let script = serde_json::from_value(settings)
                .map_err(|error| BackendError::Refused(format!("the fake's script: {error}")))?;
            Ok(Box::new(fake::Fake::new(script)))
        }
        other => Err(BackendError::NotAvailable(format!(
            "unknown built-in backend {other:?}; available: {}",
            BUILT_IN.join(", ")
        ))),
    }
}
