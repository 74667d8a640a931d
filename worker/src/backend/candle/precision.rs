//! What candle multiplies with.

use crate::backend::{BackendError, knobs};
use crate::knob::Candidate;

/// How the weights of products are held, and what they are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Float,
    Half,
    Brain,
    Eight,
}

impl Precision {
    /// What a candidate asks for, on whatever device.
    pub fn of(candidate: &Candidate) -> Result<Precision, BackendError> {
        let precision = match candidate.word(knobs::DTYPE).as_str() {
            "fp32" | "" => Precision::Float,
            "fp16" => Precision::Half,
            "bf16" => Precision::Brain,
            "int8" => Precision::Eight,
            other => return Err(BackendError::Refused(format!("candle has no dtype {other:?}"))),
        };
        if knobs::tf32_of(candidate) && precision != Precision::Float {
            return Err(BackendError::Refused(
                "`tf32` is for `dtype` fp32: the others have no use for it".into(),
            ));
        }
        Ok(precision)
    }
}
