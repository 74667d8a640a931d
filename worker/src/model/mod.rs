//! A model's folder as a network: `config.json` turned into a graph, its weights, its tokenizer, its labels.
//!
//! A network is described once, in `arch/`, and read by every engine. Knows no engine, and nothing of batches.

pub mod arch;
mod builder;
mod config;
mod error;
pub mod graph;
mod json;
mod sentence;
mod tokenizer;
pub mod weights;

use std::path::Path;

pub use error::ModelError;
pub use graph::Graph;
pub use tokenizer::{Cutter, Encoding, Tokenise, Tokenizer};
pub use weights::Weights;

use crate::task::Task;
use arch::Plan;
use graph::Operation;
use json::read_json;

/// What is known of a model without its weights: enough to count what running it would take.
pub struct Outline {
    pub graph: Graph,
    pub tokenizer: Cutter,
}

impl Outline {
    /// Reads a folder in which the weights may be missing; where they are there they aren't looked at.
    pub fn open(folder: &Path, task: Task) -> Result<Outline, ModelError> {
        let (_, graph) = described(folder, task, None)?;
        let tokenizer = tokenizer(folder, &graph)?;
        Ok(Outline { graph, tokenizer })
    }
}

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
        // What isn't there at all is said before the weights are looked for.
        config_of(folder)?;
        let weights = Weights::open(folder)?;
        let (config, graph) = described(folder, task, Some(&weights))?;
        let labels = labels(&config, &graph)?;
        let tokenizer = tokenizer(folder, &graph)?;
        let padding = config::Config(&config).index("pad_token_id", 0)? as u32;
        Ok(Model { graph, weights, tokenizer, labels, padding })
    }
}

fn config_of(folder: &Path) -> Result<serde_json::Value, ModelError> {
    if !folder.is_dir() {
        return Err(ModelError::file(folder, "no such folder"));
    }
    read_json(&folder.join("config.json"))
}

/// The configuration in a folder, and the network that it describes, checked against the checkpoint where there is one.
fn described(
    folder: &Path,
    task: Task,
    checkpoint: Option<&dyn weights::Shapes>,
) -> Result<(serde_json::Value, Graph), ModelError> {
    let config = config_of(folder)?;
    let embedding = sentence::read(folder)?;
    let graph = arch::build(&Plan { config: &config, checkpoint, task, embedding })?;
    Ok((config, graph))
}

fn tokenizer(folder: &Path, graph: &Graph) -> Result<Cutter, ModelError> {
    let tokenizer = Tokenizer::open(folder, vocabulary(graph), graph.most_tokens)?;
    Ok(Cutter::new(tokenizer, graph.most_tokens))
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
        // Every layer reads MPNet's bias, and DeBERTa's table; and each of DeBERTa's its queries and keys twice.
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
