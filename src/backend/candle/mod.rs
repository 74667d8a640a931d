//! candle: executes the graph with candle's tensors and its quantised and half-precision products, and with kernels of
//! our own where the processor has to be worth measuring.

pub mod kernel;
mod network;
mod slot;
mod weight;

use std::path::Path;
use std::sync::Arc;

use super::{Backend, BackendError, Batch, DeviceMemory, Legend, LoadRequest, Output, Session, knobs};
use crate::knob::{Candidate, KnobSpec};
use crate::model::{Cutter, Model, Tokenise};
use network::Network;

pub struct Candle;

/// How the weights of products are held, and what they are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Float,
    Half,
    Eight,
}

impl Backend for Candle {
    fn version(&self) -> Result<String, BackendError> {
        // candle states no version of its own; it's linked in, so the lock file knows.
        Ok(concat!("candle-core ", env!("CANDLE_VERSION")).to_owned())
    }

    fn knobs(&self) -> Vec<KnobSpec> {
        vec![
            knobs::dtype(
                &["fp32", "fp16", "int8"],
                "precision of weights and products; int8 is candle's Q8_0",
            ),
            knobs::threads(),
            knobs::memory_fraction(),
        ]
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Session>, BackendError> {
        let candidate = &request.candidate;
        let precision = match candidate.word(knobs::DTYPE).as_str() {
            "fp32" | "" => Precision::Float,
            "fp16" => Precision::Half,
            "int8" => Precision::Eight,
            other => return Err(BackendError::Refused(format!("candle has no dtype {other:?}"))),
        };
        knobs::limit_memory(candidate)?;
        let model = Model::open(Path::new(&request.model), request.task)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(knobs::threads_of(candidate))
            .build()
            // The system has no other reason to refuse a thread than the memory of its stack.
            .map_err(|error| BackendError::OutOfMemory(format!("no room for the threads: {error}")))?;
        let network = pool.install(|| Network::new(&model, precision)).map_err(BackendError::Failed)?;
        let legend = Legend { labels: model.labels, special: model.tokenizer.special() };
        Ok(Box::new(CandleSession { network, pool, tokenizer: model.tokenizer, legend }))
    }
}

struct CandleSession {
    network: Network,
    pool: rayon::ThreadPool,
    tokenizer: Cutter,
    legend: Legend,
}

impl Session for CandleSession {
    fn tokeniser(&mut self, limit: Option<usize>) -> Result<Arc<dyn Tokenise>, BackendError> {
        self.tokenizer.cut(limit).map_err(BackendError::Refused)
    }

    fn legend(&self) -> Legend {
        self.legend.clone()
    }

    fn run(&mut self, batch: &Batch) -> Result<Output, BackendError> {
        let rows = self.pool.install(|| self.network.run(batch));
        let rows = rows.map_err(|error| BackendError::Failed(error.to_string()))?;
        Ok(Output { rows, ..Output::default() })
    }

    fn configure(&mut self, candidate: &Candidate, _: u64) -> Result<(), BackendError> {
        knobs::copies_nothing(candidate)
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }

    fn device(&self) -> String {
        "cpu".to_owned()
    }
}
