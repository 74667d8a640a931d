//! A loaded model: batches in, rows of floats out.

use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;

use super::choice::{Choice, Provider, Source};
use super::engine::Engine;
use super::feed::Feed;
use super::file::FileNetwork;
use super::lower::{self, Dialect, Input, Style};
use crate::backend::{BackendError, Batch, DeviceMemory, Layout, Legend, Output, Session, knobs};
use crate::knob::Candidate;
use crate::model::graph::{Graph, Rows};
use crate::model::{Model, Tokenise};

pub struct OrtSession {
    // Before the model, whose memory they read.
    networks: Networks,
    model: Model,
    environment: Environment,
    choice: Choice,
    feed: Feed,
}

/// The network for one layout.
struct Network {
    engine: Engine,
    inputs: Vec<Input>,
    output: String,
}

enum Networks {
    /// For one layout at a time, since each holds the weights: for padded batches at first, and for packed ones when the
    /// first of them comes, in a warm-up.
    Lowered {
        network: Option<Box<Network>>,
        layout_is_packed: bool,
    },
    File(Box<FileNetwork>),
}

impl OrtSession {
    pub fn open(
        folder: &Path,
        model: Model,
        environment: Environment,
        choice: Choice,
    ) -> Result<Self, BackendError> {
        let networks = match choice.source {
            Source::Lowered => {
                let network = Network::lower(&model, &environment, &choice, false)?;
                Networks::Lowered { network: Some(Box::new(network)), layout_is_packed: false }
            }
            Source::File => {
                Networks::File(Box::new(FileNetwork::open(folder, &model.graph, &environment, &choice)?))
            }
        };
        Ok(OrtSession { networks, model, environment, choice, feed: Feed::default() })
    }
}

impl Network {
    fn lower(
        model: &Model,
        environment: &Environment,
        choice: &Choice,
        packed: bool,
    ) -> Result<Network, BackendError> {
        let dialect = match choice.provider {
            Provider::Cpu => Dialect::Fused,
            Provider::Openvino => Dialect::Plain,
        };
        let style = Style { precision: choice.precision(), dialect, packed };
        let lowered = lower::lower(&model.graph, &model.weights, style)?;
        let inputs = lowered.inputs.clone();
        let output = lowered.graph.outputs.first().map_or("", |port| port.name).to_owned();
        // SAFETY: the session keeps the model, and drops it after its networks.
        let engine = unsafe { Engine::lowered(environment, choice, lowered, &model.weights) }?;
        Ok(Network { engine, inputs, output })
    }

    fn run(&mut self, feed: &Feed, batch: &Batch, graph: &Graph) -> Result<Vec<Vec<f32>>, BackendError> {
        let given: Vec<_> = self.inputs.iter().map(|input| feed.given(*input)).collect();
        let columns = graph.columns(graph.output());
        let by_token = graph.rows(graph.output()) == Rows::Tokens;
        let packed = batch.layout == Layout::Packed;
        let rows = self.engine.run(&given, &self.output, |_, floats| {
            let mut next = 0;
            let row = |length: &usize| {
                let (taken, passed) = match (by_token, packed) {
                    (false, _) => (1, 1),
                    (true, false) => (*length, feed.longest),
                    (true, true) => (*length, *length),
                };
                let row = floats.get(next * columns..(next + taken) * columns).map(<[f32]>::to_vec);
                next += passed;
                row
            };
            batch.lengths.iter().map(row).collect::<Option<Vec<_>>>()
        })?;
        rows.ok_or_else(|| BackendError::Failed("the graph gave fewer rows than it was given".into()))
    }
}

impl Session for OrtSession {
    fn tokeniser(&mut self, limit: Option<usize>) -> Result<Arc<dyn Tokenise>, BackendError> {
        self.model.tokenizer.cut(limit).map_err(BackendError::Refused)
    }

    fn legend(&self) -> Legend {
        Legend { labels: self.model.labels.clone(), special: self.model.tokenizer.special() }
    }

    fn run(&mut self, batch: &Batch) -> Result<Output, BackendError> {
        if batch.lengths.is_empty() {
            return Ok(Output::default());
        }
        let rows = match &mut self.networks {
            Networks::File(network) => {
                if batch.layout == Layout::Packed {
                    return Err(BackendError::Refused(
                        "`graph` file reads padded batches, not packed ones".into(),
                    ));
                }
                self.feed.fill(batch, self.model.padding);
                network.run(&self.feed, batch)?
            }
            Networks::Lowered { network, layout_is_packed } => {
                let packed = batch.layout == Layout::Packed;
                // The other one goes first, so that they never share the memory.
                network.take_if(|_| *layout_is_packed != packed);
                *layout_is_packed = packed;
                let network = match network {
                    Some(network) => network,
                    None => network.insert(Box::new(Network::lower(
                        &self.model,
                        &self.environment,
                        &self.choice,
                        packed,
                    )?)),
                };
                self.feed.fill(batch, self.model.padding);
                network.run(&self.feed, batch, &self.model.graph)?
            }
        };
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
