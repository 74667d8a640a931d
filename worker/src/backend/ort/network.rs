//! Networks, made of a model's graph or of its own file.

use std::path::Path;

use ort::environment::Environment;

use super::choice::{Choice, Provider, Source};
use super::cuda::Card;
use super::engine::Engine;
use super::file;
use super::lower::{self, Dialect, Style};
use super::reading::{Network, Reading};
use crate::backend::BackendError;
use crate::model::Model;

/// Where a network comes from, and where it's to run.
#[derive(Clone, Copy)]
pub struct Recipe<'a> {
    pub folder: &'a Path,
    pub model: &'a Model,
    pub environment: &'a Environment,
    pub choice: &'a Choice,
    pub dialect: Dialect,
    pub card: Option<&'a Card>,
}

/// How graphs are lowered for a provider.
pub fn dialect(provider: Provider) -> Dialect {
    match provider {
        Provider::Cpu => Dialect::Fused,
        Provider::Cuda(_) => Dialect::Cuda,
        Provider::Openvino | Provider::Coreml => Dialect::Plain,
    }
}

impl Network {
    /// The network for one layout.
    ///
    /// # Safety
    ///
    /// It reads the weights of the model, which must outlive it.
    pub unsafe fn open(recipe: Recipe, packed: bool) -> Result<Network, BackendError> {
        let Recipe { folder, model, environment, choice, dialect, card } = recipe;
        if choice.source == Source::File {
            return file::open(folder, &model.graph, environment, choice, card);
        }
        let style = Style { precision: choice.precision(), dialect, packed };
        #[cfg_attr(not(test), expect(unused_mut))]
        let mut lowered = lower::lower(&model.graph, &model.weights, style)?;
        #[cfg(test)]
        if card.is_none() {
            super::unpacked::rewrite(&mut lowered.graph, style.activations());
        }
        let inputs = lowered.inputs.clone();
        let output = lowered.graph.outputs.first().map_or("", |port| port.name).to_owned();
        // SAFETY: as our caller promises.
        let engine = unsafe { Engine::lowered(environment, choice, card, lowered, &model.weights) }?;
        Ok(Network { engine, inputs, output, reading: Reading::lowered(&model.graph) })
    }
}

/// A model and its network for one layout at a time, since each holds the weights: for padded batches at first, and for
/// packed ones when the first of them comes, in a warm-up.
pub struct Networks {
    // Before the model, whose memory it reads.
    network: Option<Box<Network>>,
    is_packed: bool,
    pub model: Model,
    folder: std::path::PathBuf,
    environment: Environment,
    choice: Choice,
    dialect: Dialect,
    card: Option<Card>,
}

impl Networks {
    pub fn have_independent_rows(&self) -> bool {
        self.choice.has_independent_rows()
    }

    pub fn open(
        folder: &Path,
        model: Model,
        environment: Environment,
        choice: Choice,
        dialect: Dialect,
        card: Option<Card>,
    ) -> Result<Networks, BackendError> {
        let folder = folder.to_owned();
        let (network, is_packed) = (None, false);
        let mut networks = Networks { network, is_packed, model, folder, environment, choice, dialect, card };
        networks.of(false)?;
        Ok(networks)
    }

    /// The network for a layout.
    pub fn of(&mut self, packed: bool) -> Result<&mut Network, BackendError> {
        if packed && self.choice.source == Source::File {
            return Err(BackendError::Refused("`graph` file reads padded batches, not packed ones".into()));
        }
        // One graph for GPUs serves both.
        let packed = packed || self.dialect == Dialect::Cuda;
        // The other one goes first, so that they never share the memory.
        self.network.take_if(|_| self.is_packed != packed);
        self.is_packed = packed;
        let Networks { network, model, folder, environment, choice, dialect, card, .. } = self;
        match network {
            Some(network) => Ok(network),
            None => {
                let dialect = *dialect;
                let recipe = Recipe { folder, model, environment, choice, dialect, card: card.as_ref() };
                // SAFETY: the model is dropped after its networks.
                let made = unsafe { Network::open(recipe, packed) }?;
                Ok(network.insert(Box::new(made)))
            }
        }
    }

    /// The one that is loaded.
    pub fn loaded(&self) -> Option<&Network> {
        self.network.as_deref()
    }
}
