//! A model's folder as a network: `config.json` turned into a graph, its weights, its tokenizer, its labels.
//!
//! A network is described once, in `arch/`, and read by every engine. Knows no engine, and nothing of batches.

pub mod arch;
mod builder;
mod config;
mod encoding;
mod error;
pub mod graph;
mod json;
mod prompting;
mod sentence;
mod tokenizer;
pub mod weights;

use std::path::Path;

pub use encoding::{Encoding, Marks, Word};
pub use error::ModelError;
pub use graph::Graph;
pub use tokenizer::{Cutter, Tokenise, Tokenizer};
pub use weights::Weights;

use crate::task::{Prompt, Task};
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
    pub fn open(folder: &Path, task: Task, prompt: Option<&Prompt>) -> Result<Outline, ModelError> {
        let asked = Asked { task, prompt };
        let (config, graph) = described(folder, asked, None)?;
        let tokenizer = tokenizer(folder, &config, &graph, asked)?;
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
    /// How spans come out of its scores, where it scores spans.
    pub spanning: Option<Spanning>,
}

/// How answers come of the scores of spans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spanning {
    /// Words of the longest span.
    pub width: usize,
    /// A span is an answer if it's more likely than this.
    pub threshold: f32,
}

/// What a model is to do.
#[derive(Clone, Copy)]
struct Asked<'a> {
    task: Task,
    prompt: Option<&'a Prompt>,
}

impl Model {
    /// Opens a folder as Hugging Face's libraries write it.
    pub fn open(folder: &Path, task: Task, prompt: Option<&Prompt>) -> Result<Model, ModelError> {
        // What isn't there at all is said before the weights are looked for.
        config_of(folder)?;
        let asked = Asked { task, prompt };
        let mut weights = Weights::open(folder)?;
        arch::gliner::take_apart(&mut weights);
        let (config, graph) = described(folder, asked, Some(&weights))?;
        let spanning = prompt.and_then(|prompt| spanning(&graph, prompt));
        let labels = match prompt {
            Some(prompt) if spanning.is_some() => prompt.labels.clone(),
            _ => labels(&config, &graph)?,
        };
        let tokenizer = tokenizer(folder, &config, &graph, asked)?;
        let padding = arch::body_config(&config).index("pad_token_id", 0)? as u32;
        Ok(Model { graph, weights, tokenizer, labels, padding, spanning })
    }
}

/// Whether a folder has a file that says what network it is.
pub fn is_model(folder: &Path) -> bool {
    [arch::CONFIG, arch::gliner::CONFIG].iter().any(|name| folder.join(name).is_file())
}

fn config_of(folder: &Path) -> Result<serde_json::Value, ModelError> {
    if !folder.is_dir() {
        return Err(ModelError::file(folder, "no such folder"));
    }
    let gliner = folder.join(arch::gliner::CONFIG);
    if gliner.is_file() {
        return Ok(arch::gliner::named(read_json(&gliner)?));
    }
    read_json(&folder.join(arch::CONFIG))
}

fn spanning(graph: &Graph, prompt: &Prompt) -> Option<Spanning> {
    match graph.operation(graph.output()) {
        Operation::Spans { width, .. } => Some(Spanning { width: *width, threshold: prompt.threshold }),
        _ => None,
    }
}

/// The configuration in a folder, and the network that it describes, checked against the checkpoint where there is one.
fn described(
    folder: &Path,
    asked: Asked,
    checkpoint: Option<&dyn weights::Shapes>,
) -> Result<(serde_json::Value, Graph), ModelError> {
    let config = config_of(folder)?;
    let embedding = sentence::read(folder)?;
    let labels = asked.prompt.map_or(0, |prompt| prompt.labels.len());
    let graph = arch::build(&Plan { config: &config, checkpoint, task: asked.task, embedding, labels })?;
    if asked.prompt.is_some() && !arch::gliner::is(&config) {
        return Err(ModelError::Unfit(format!(
            "{} has labels of its own and can't be asked for others: leave out the stage's `labels`",
            graph.architecture
        )));
    }
    Ok((config, graph))
}

fn tokenizer(
    folder: &Path,
    config: &serde_json::Value,
    graph: &Graph,
    asked: Asked,
) -> Result<Cutter, ModelError> {
    let mut most_tokens = graph.most_tokens;
    if arch::gliner::is(config) {
        most_tokens = most_tokens.min(arch::gliner::most_tokens(folder)?);
    }
    let mut tokenizer = Tokenizer::open(folder, vocabulary(graph), most_tokens)?;
    if arch::gliner::is(config) {
        let labels = asked.prompt.map_or(&[][..], |prompt| &prompt.labels);
        tokenizer = tokenizer.prompted(prompting::Prompting::new(&arch::gliner::form(config)?, labels)?);
    }
    Ok(Cutter::new(tokenizer, most_tokens))
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
    let graph = arch::build(&bare(config, task))?;
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
    let config = config_of(folder)?;
    Ok(arch::build(&bare(&config, task))?.most_tokens)
}

/// The plan of a network that is known by its configuration alone.
fn bare(config: &serde_json::Value, task: Task) -> Plan<'_> {
    // How many labels are asked for changes none of its weights.
    Plan { config, checkpoint: None, task, embedding: arch::Embedding::default(), labels: 1 }
}
