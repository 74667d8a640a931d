//! How an engine works a network out on a card, as far as its cost depends on it.

use crate::backend::candle::{self, Precision};
use crate::backend::ort::{self, Dtype, Wanted};
use crate::backend::tf32_of;
use crate::hardware::Card;
use crate::knob::Candidate;
use crate::record::{Failure, Status};
use crate::suite::ChosenBackend;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Candle,
    Ort,
}

/// What numbers are, on the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    Float32,
    Float16,
    Bfloat16,
}

impl Numbers {
    pub fn bytes(self) -> u64 {
        match self {
            Numbers::Float32 => 4,
            Numbers::Float16 | Numbers::Bfloat16 => 2,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    pub engine: Engine,
    /// What tokens are made of between operations, and products are taken in.
    pub numbers: Numbers,
    /// Whether weights of products are held in 8 bits, and widened when they are used.
    pub eight: bool,
    /// Whether tensor cores multiply fp32.
    pub tf32: bool,
}

impl Method {
    /// What a candidate asks for, or why nothing can be said of it.
    pub fn of(backend: &ChosenBackend, candidate: &Candidate) -> Result<Method, Failure> {
        if !backend.reads_models() {
            let why = format!("can't be predicted: autotune has no cost model of {}", backend.name);
            return Err(Failure::new(Status::NotAvailable, why));
        }
        let tf32 = tf32_of(candidate);
        if backend.kind == ort::NAME {
            let (numbers, eight) = of_ort(candidate)?;
            return Ok(Method { engine: Engine::Ort, numbers, eight, tf32 });
        }
        let precision =
            Precision::of(candidate).map_err(|error| Failure::new(Status::Refused, error.to_string()))?;
        let (numbers, eight) = match precision {
            Precision::Float => (Numbers::Float32, false),
            Precision::Half => (Numbers::Float16, false),
            Precision::Brain => (Numbers::Bfloat16, false),
            Precision::Eight => (Numbers::Float16, true),
        };
        Ok(Method { engine: Engine::Candle, numbers, eight, tf32 })
    }

    /// Why a card doesn't do it, if it doesn't.
    pub fn missing_on(&self, card: &Card) -> Option<Failure> {
        let not_available = |why: String| Some(Failure::new(Status::NotAvailable, why));
        if card.capability().is_none() {
            // Apple's: ort's CoreML may leave parts of a graph to the processor, so nothing can be counted.
            return not_available(match self.engine {
                Engine::Candle => candle::NO_METAL.to_owned(),
                Engine::Ort => "can't be predicted: autotune has no cost model of CoreML".into(),
            });
        }
        match self.numbers {
            Numbers::Bfloat16 if card.bf16_tflops.is_none() => {
                not_available(format!("{} has no bf16", card.title))
            }
            _ => None,
        }
    }
}

/// As ONNX Runtime's CUDA code takes them: int8 of activations has no kernels there, and weights of 8 bits meet fp16.
fn of_ort(candidate: &Candidate) -> Result<(Numbers, bool), Failure> {
    let refused = |why: String| Err(Failure::new(Status::Refused, why));
    match ort::PROVIDER.of(candidate) {
        Ok(Wanted::WhateverIsThere | Wanted::Cuda) => {}
        Ok(other) => {
            return refused(format!("`provider` {} doesn't run on NVIDIA GPUs", ort::PROVIDER.word(other)));
        }
        Err(why) => return refused(why),
    }
    match ort::DTYPE.of(candidate) {
        Ok(Dtype::Of(ort::Precision::Float32)) => Ok((Numbers::Float32, false)),
        Ok(Dtype::Of(ort::Precision::Float16)) => Ok((Numbers::Float16, false)),
        Ok(Dtype::Bf16) => Ok((Numbers::Bfloat16, false)),
        Ok(Dtype::Of(ort::Precision::Int8Weights)) => Ok((Numbers::Float16, true)),
        Ok(other) => {
            refused(format!("ONNX Runtime's CUDA code doesn't support `dtype` {}", ort::DTYPE.word(other)))
        }
        Err(why) => refused(why),
    }
}
