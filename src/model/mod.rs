//! A model's folder as a network: `config.json` turned into a graph, its weights, its tokenizer, its labels.
//!
//! A network is described once, in `arch/`, and read by every engine. Knows no engine, and nothing of batches.

pub mod arch;
mod builder;
mod config;
mod error;
pub mod graph;
mod sentence;
mod tokenizer;
pub mod weights;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use error::ModelError;
pub use graph::Graph;
pub use tokenizer::{Cutter, Encoding, Tokenise, Tokenizer};
pub use weights::Weights;

use crate::task::Task;
use arch::Plan;
use graph::Operation;

/// A model that can be run at a task.
pub struct Model {
    pub graph: Graph,
    pub weights: Weights,
    pub tokenizer: Cutter,
    /// The names of its labels, for tasks that answer with them.
    pub labels: Vec<String>,
    /// What `config.json` calls the token that fills rows up.
    pub padding: u32,
}

impl Model {
    /// Opens a folder as Hugging Face's libraries write it.
    pub fn open(folder: &Path, task: Task) -> Result<Model, ModelError> {
        if !folder.is_dir() {
            return Err(ModelError::file(folder, "no such folder"));
        }
        let config: serde_json::Value = read_json(&folder.join("config.json"))?;
        let weights = Weights::open(folder)?;
        let embedding = sentence::read(folder)?;
        let graph = arch::build(&Plan { config: &config, checkpoint: Some(&weights), task, embedding })?;
        let labels = labels(&config, &graph)?;
        let tokenizer = Tokenizer::open(folder, vocabulary(&graph), graph.most_tokens)?;
        let tokenizer = Cutter::new(tokenizer, graph.most_tokens);
        let padding = config::Config(&config).index("pad_token_id", 0)? as u32;
        Ok(Model { graph, weights, tokenizer, labels, padding })
    }
}

/// Rows of the word table.
fn vocabulary(graph: &Graph) -> usize {
    let words = graph.operations.iter().find_map(|operation| match operation {
        Operation::Embedding { words, .. } => Some(words.shape[0]),
        _ => None,
    });
    words.unwrap_or(0)
}

/// The names of the labels, made up as transformers does where there are none.
fn labels(config: &serde_json::Value, graph: &Graph) -> Result<Vec<String>, ModelError> {
    if !matches!(graph.task, Task::Classify | Task::Entities) {
        return Ok(Vec::new());
    }
    let named = config::Config(config).labels()?;
    let count = graph.columns(graph.output());
    if named.len() == count {
        return Ok(named);
    }
    Ok((0..count).map(|label| format!("LABEL_{label}")).collect())
}

/// The weights that a network of this configuration has, for a replica of it.
pub fn tensors(config: &serde_json::Value, task: Task) -> Result<Vec<graph::Weight>, ModelError> {
    let plan = Plan { config, checkpoint: None, task, embedding: arch::Embedding::default() };
    let graph = arch::build(&plan)?;
    let mut weights: Vec<graph::Weight> = Vec::new();
    for weight in graph.weights() {
        // MPNet's bias is read by every layer.
        if weights.iter().all(|known| known.name != weight.name) {
            weights.push(weight.clone());
        }
    }
    Ok(weights)
}

/// How many tokens the network of a folder reads at once, by its configuration alone.
pub fn most_tokens(folder: &Path, task: Task) -> Result<usize, ModelError> {
    let config: serde_json::Value = read_json(&folder.join("config.json"))?;
    let plan = Plan { config: &config, checkpoint: None, task, embedding: arch::Embedding::default() };
    Ok(arch::build(&plan)?.most_tokens)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let bytes = std::fs::read(path).map_err(|error| ModelError::file(path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::file(path, error))
}
