//! candle: executes the graph with candle's tensors and its quantised and half-precision products, and with kernels of
//! our own where the processor has to be worth measuring.

#[cfg(feature = "cuda")]
mod cuda;
pub mod kernel;
mod network;
mod plan;
mod precision;
mod receipt;
mod slot;
mod weight;

use std::path::Path;
use std::sync::Arc;

use super::{
    Backend, BackendError, Batch, Device, DeviceMemory, Legend, LoadRequest, Output, Session, knobs,
};
use crate::knob::{Candidate, KnobSpec};
use crate::model::{Cutter, Model, Tokenise};
use network::Network;

pub use kernel::quantised::Way;
pub use plan::Plan;
pub use precision::Precision;
pub use receipt::Receipt;

pub const NAME: &str = "candle";

pub struct Candle;

impl Backend for Candle {
    fn version(&self) -> Result<String, BackendError> {
        // candle states no version of its own; it's linked in, so the lock file has it.
        #[cfg(not(feature = "cuda"))]
        return Ok(concat!("candle-core ", env!("CANDLE_VERSION")).to_owned());
        #[cfg(feature = "cuda")]
        return Ok(format!("candle-core {}, {}", env!("CANDLE_VERSION"), Receipt::own()));
    }

    fn knobs(&self) -> Vec<KnobSpec> {
        vec![
            precision::DTYPE.spec(),
            knobs::TF32.spec(),
            knobs::THREADS.spec(),
            knobs::MEMORY_FRACTION.spec(),
        ]
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Session>, BackendError> {
        let candidate = &request.candidate;
        match request.device {
            Device::Processor => {}
            Device::Cuda(number) => return on_cuda(request, number, Precision::of(candidate)?),
            Device::Apple => return Err(BackendError::Refused(NO_METAL.into())),
        }
        let precision = Precision::on_processor(candidate)?;
        knobs::limit_memory(candidate)?;
        let model = Model::open(Path::new(&request.model), request.task, request.prompt.as_ref())?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(knobs::threads_of(candidate))
            .build()
            // The system has no other reason to refuse a thread than the memory of its stack.
            .map_err(|error| {
                BackendError::OutOfMemory(format!("not enough memory for the threads: {error}"))
            })?;
        let network = pool.install(|| Network::new(&model, precision)).map_err(BackendError::Failed)?;
        let legend = Legend::of(&model);
        Ok(Box::new(CandleSession { network, pool, tokenizer: model.tokenizer, legend }))
    }
}

/// Metal's side of candle is compiled with the feature `metal`, and has no executor of ours yet.
pub const NO_METAL: &str = "candle on Apple GPUs is not implemented yet; ort has CoreML (feature `coreml`)";

#[cfg(feature = "cuda")]
fn on_cuda(
    request: &LoadRequest,
    number: u32,
    precision: Precision,
) -> Result<Box<dyn Session>, BackendError> {
    let model = Model::open(Path::new(&request.model), request.task, request.prompt.as_ref())?;
    model.graph.fits_cards()?;
    cuda::load(request, number, precision, model)
}

#[cfg(not(feature = "cuda"))]
fn on_cuda(_: &LoadRequest, _: u32, _: Precision) -> Result<Box<dyn Session>, BackendError> {
    Err(BackendError::NotAvailable(
        "this program isn't linked with CUDA; autotune starts its CUDA worker for candle on a GPU (`autotune setup cuda`)"
            .into(),
    ))
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

    fn has_independent_rows(&self) -> bool {
        // Its int8 has a scale for each 32 numbers of a row.
        true
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
