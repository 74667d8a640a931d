//! What candle multiplies with.

use crate::backend::{BackendError, knobs};
use crate::knob::{Applies, Candidate, Knob};

/// How the weights of products are held, and what they are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Float,
    Half,
    Brain,
    Eight,
}

pub const DTYPE: Knob<Precision> = Knob::choice(
    knobs::DTYPE,
    Applies::Load,
    &[
        ("fp32", Precision::Float),
        ("fp16", Precision::Half),
        ("bf16", Precision::Brain),
        ("int8", Precision::Eight),
    ],
    "precision of weights and products; bf16 on GPUs only; int8 is candle's Q8_0 on the processor, and \
                 weights of 8 bits that are widened to fp16 on a GPU",
);

impl Precision {
    /// What a candidate asks for, on whatever device.
    pub fn of(candidate: &Candidate) -> Result<Precision, BackendError> {
        let precision = DTYPE.of(candidate).map_err(BackendError::Refused)?;
        if knobs::tf32_of(candidate) && precision != Precision::Float {
            return Err(BackendError::Refused(
                "`tf32` is for `dtype` fp32: it has no effect on the others".into(),
            ));
        }
        Ok(precision)
    }

    /// What a candidate asks for on the processor, or why that isn't done there.
    pub fn on_processor(candidate: &Candidate) -> Result<Precision, BackendError> {
        let precision = Precision::of(candidate)?;
        let refused = |why: &str| Err(BackendError::Refused(why.into()));
        if knobs::tf32_of(candidate) {
            return refused("`tf32` is for GPUs: the processor always uses full fp32");
        }
        if precision == Precision::Brain {
            return refused("`dtype` bf16 is for GPUs: the processor has no kernels for it");
        }
        Ok(precision)
    }
}
