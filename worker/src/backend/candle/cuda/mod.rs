//! candle on NVIDIA's cards: its device, its memory and its products, with kernels of our own for everything between
//! them. A batch is one row of words on the way there, and one row of floats on the way back.

mod device;
mod kernels;
mod network;
#[cfg(test)]
mod tests;
mod weight;
mod words;

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::Precision;
use crate::backend::gpu::lanes::Computed;
use crate::backend::gpu::{Lanes, Nvidia};
use crate::backend::{
    BackendError, Batch, Device, DeviceMemory, Legend, LoadRequest, Output, Overlapped, Session, knobs,
};
use crate::knob::Candidate;
use crate::model::{Cutter, Model, Tokenise};
use device::Card;
use network::Network;
use words::Words;

pub use kernels::built_for;

/// How the network is worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What tokens are made of between operations.
    pub numbers: DType,
    /// Whether weights of products are held in 8 bits, and widened when they are used.
    pub eight: bool,
}

impl Choice {
    pub fn of(precision: Precision) -> Choice {
        match precision {
            Precision::Float => Choice { numbers: DType::F32, eight: false },
            Precision::Half => Choice { numbers: DType::F16, eight: false },
            Precision::Brain => Choice { numbers: DType::BF16, eight: false },
            Precision::Eight => Choice { numbers: DType::F16, eight: true },
        }
    }
}

pub fn load(
    request: &LoadRequest,
    number: u32,
    precision: Precision,
    model: Model,
) -> Result<Box<dyn Session>, BackendError> {
    let fraction = knobs::memory_fraction_of(&request.candidate);
    let choice = Choice::of(precision);
    let card = Card::open(number, request.device_bytes, fraction, choice.numbers)?;
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(knobs::tf32_of(&request.candidate));
    let network = Network::new(&model, &card, choice)?;
    // Nothing of the weights is left on the way when the first batch comes.
    card.driver.synchronise_all()?;
    let legend = Legend::of(&model);
    let lanes = Lanes::new(card.driver.clone(), knobs::transfers_of(&request.candidate))?;
    let tables = words::Tables::of(&model.graph);
    let words = Words::default();
    Ok(Box::new(CudaSession {
        lanes,
        words,
        tables,
        network,
        tokenizer: model.tokenizer,
        legend,
        number,
        card,
    }))
}

struct CudaSession {
    // In this order: what is under way, the weights, and the card that holds them.
    lanes: Lanes<Nvidia>,
    words: Words,
    tables: words::Tables,
    network: Network,
    tokenizer: Cutter,
    legend: Legend,
    number: u32,
    card: Card,
}

impl Session for CudaSession {
    fn tokeniser(&mut self, limit: Option<usize>) -> Result<Arc<dyn Tokenise>, BackendError> {
        self.tokenizer.cut(limit).map_err(BackendError::Refused)
    }

    fn legend(&self) -> Legend {
        self.legend.clone()
    }

    fn has_independent_rows(&self) -> bool {
        true
    }

    fn run(&mut self, batch: &Batch) -> Result<Output, BackendError> {
        self.submit(batch)?;
        self.collect()
    }

    fn configure(&mut self, candidate: &Candidate, _: u64) -> Result<(), BackendError> {
        // Lanes of the candidate before go, and with them what the pool held for it: its peak is not this one's.
        self.lanes = Lanes::new(self.card.driver.clone(), knobs::transfers_of(candidate))?;
        self.card.driver.synchronise_all()?;
        self.card.pool.trim()?;
        Ok(self.card.pool.forget_peaks()?)
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        let reserved = self.card.pool.reserved_peak().ok()?;
        Some(self.card.share.taken(reserved, self.card.pool.used_peak().ok()))
    }

    fn device(&self) -> String {
        Device::Cuda(self.number).to_string()
    }

    fn overlapped(&mut self) -> Option<&mut dyn Overlapped> {
        Some(self)
    }
}

impl Overlapped for CudaSession {
    fn is_full(&self) -> bool {
        self.lanes.is_full()
    }

    fn submit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        let layout = self.words.fill(batch, &self.tables)?;
        let network = &self.network;
        self.lanes.submit(self.words.bytes(), &self.card.queue, |address| {
            let output = network.run(&layout, address).map_err(device::failed)?;
            Ok(Computed {
                address: kernels::address(&output).map_err(device::failed)?,
                bytes: output.elem_count() * size_of::<f32>(),
                kept: Box::new((output, layout)),
            })
        })
    }

    fn collect(&mut self) -> Result<Output, BackendError> {
        let network = &self.network;
        self.lanes.collect(|arrived| {
            let rows = match arrived.kept.downcast_ref::<(Tensor, words::Layout)>() {
                Some((_, layout)) => network.rows(layout, bytemuck::cast_slice(arrived.bytes)),
                None => Vec::new(),
            };
            let (to_device, compute) = (arrived.to_device, arrived.compute);
            Output { rows, to_device, compute, from_device: arrived.from_device }
        })
    }
}
