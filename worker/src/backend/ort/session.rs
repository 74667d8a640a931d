//! A loaded model that computes in the memory of the host: batches in, rows of floats out.

use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;

use super::choice::{Choice, Provider};
use super::feed::Feed;
use super::network::{self, Networks};
use crate::backend::{BackendError, Batch, Device, DeviceMemory, Layout, Legend, Output, Session, knobs};
use crate::knob::Candidate;
use crate::model::{Model, Tokenise};

pub struct OrtSession {
    networks: Networks,
    device: Device,
    feed: Feed,
}

impl OrtSession {
    pub fn open(
        folder: &Path,
        model: Model,
        environment: Environment,
        choice: Choice,
    ) -> Result<Self, BackendError> {
        let dialect = network::dialect(choice.provider);
        let device = if choice.provider == Provider::Coreml { Device::Apple } else { Device::Processor };
        let networks = Networks::open(folder, model, environment, choice, dialect, None)?;
        Ok(OrtSession { networks, device, feed: Feed::default() })
    }
}

impl Session for OrtSession {
    fn tokeniser(&mut self, limit: Option<usize>) -> Result<Arc<dyn Tokenise>, BackendError> {
        self.networks.model.tokenizer.cut(limit).map_err(BackendError::Refused)
    }

    fn legend(&self) -> Legend {
        Legend::of(&self.networks.model)
    }

    fn has_independent_rows(&self) -> bool {
        self.networks.have_independent_rows()
    }

    fn run(&mut self, batch: &Batch) -> Result<Output, BackendError> {
        if batch.lengths.is_empty() {
            return Ok(Output::default());
        }
        let padding = self.networks.model.padding;
        let network = self.networks.of(batch.layout == Layout::Packed)?;
        self.feed.fill(batch, padding);
        self.feed.spread(&network.inputs);
        let given: Vec<_> = network.inputs.iter().map(|input| self.feed.given(*input)).collect();
        let (reading, sizes) = (&network.reading, self.feed.sizes());
        let lengths = reading.lengths(batch);
        let read = |floats: &[f32]| reading.rows(floats, &lengths, sizes);
        let rows = network.engine.run(&given, &network.output, read)??;
        Ok(Output { rows, ..Output::default() })
    }

    fn configure(&mut self, candidate: &Candidate, _: u64) -> Result<(), BackendError> {
        knobs::copies_nothing(candidate)
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }

    fn device(&self) -> String {
        self.device.to_string()
    }
}
