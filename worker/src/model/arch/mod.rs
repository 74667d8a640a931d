//! The architectures: each turns a `config.json` into a graph, checked against the checkpoint where there is one.

mod bert;
mod deberta;
mod distilbert;
pub mod gliner;
mod heads;
mod modernbert;
mod mpnet;
mod plan;

use super::error::ModelError;
use super::graph::Graph;
use crate::task::Task;

pub use plan::{Embedding, Plan};

/// What most networks keep their configuration in.
pub const CONFIG: &str = "config.json";

type Build = fn(&Plan) -> Result<Graph, ModelError>;

/// By the `model_type` of `config.json`.
const KNOWN: [(&str, Build); 9] = [
    ("bert", bert::bert),
    ("camembert", bert::roberta),
    ("deberta-v2", deberta::build),
    ("distilbert", distilbert::build),
    (gliner::NAME, gliner::build),
    ("modernbert", modernbert::build),
    ("mpnet", mpnet::build),
    ("roberta", bert::roberta),
    ("xlm-roberta", bert::roberta),
];

pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(name, _)| *name)
}

/// The file that a configuration is kept in.
pub fn config_file(config: &serde_json::Value) -> &'static str {
    if gliner::is(config) { gliner::CONFIG } else { CONFIG }
}

/// The configuration of the body: a network around it has one of its own.
pub fn body_config(config: &serde_json::Value) -> super::config::Config<'_> {
    super::config::Config(if gliner::is(config) { &config[gliner::ENCODER] } else { config })
}

pub fn build(plan: &Plan) -> Result<Graph, ModelError> {
    let config = super::config::Config(plan.config);
    let name = config.architecture()?;
    let unknown =
        || ModelError::Architecture { name: name.to_owned(), known: names().collect::<Vec<_>>().join(", ") };
    let (_, build) = KNOWN.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
    let graph = build(plan)?;
    let scores = graph.columns(graph.output());
    if plan.task == Task::Rerank && scores != 1 {
        return Err(ModelError::Unfit(format!(
            "a reranker gives one score, and this model has {scores} labels"
        )));
    }
    Ok(graph)
}
