//! The architectures: each turns a `config.json` into a graph, checked against the checkpoint where there is one.

mod bert;
mod distilbert;
mod modernbert;
mod mpnet;

use super::builder::Builder;
use super::error::ModelError;
use super::graph::{Activation, Graph, Operation, Pooling, Value};
use super::weights::Shapes;
use crate::task::Task;

/// How a text's vector comes from its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding {
    pub pooling: Pooling,
    pub normalise: bool,
}

impl Default for Embedding {
    /// What sentence-transformers does with a model that says nothing.
    fn default() -> Self {
        Embedding { pooling: Pooling::Mean, normalise: false }
    }
}

/// What a network is made of.
pub struct Plan<'a> {
    pub config: &'a serde_json::Value,
    /// None when only the configuration is there.
    pub checkpoint: Option<&'a dyn Shapes>,
    pub task: Task,
    pub embedding: Embedding,
}

type Build = fn(&Plan) -> Result<Graph, ModelError>;

/// By the `model_type` of `config.json`.
const KNOWN: [(&str, Build); 7] = [
    ("bert", bert::bert),
    ("camembert", bert::roberta),
    ("distilbert", distilbert::build),
    ("modernbert", modernbert::build),
    ("mpnet", mpnet::build),
    ("roberta", bert::roberta),
    ("xlm-roberta", bert::roberta),
];

pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(name, _)| *name)
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

/// The heads that are the same whatever the body is. `None` where the architecture has its own.
fn common_head(
    builder: &mut Builder,
    plan: &Plan,
    hidden: Value,
    width: usize,
) -> Result<Option<()>, ModelError> {
    match plan.task {
        Task::Embed => {
            builder.pooled(hidden, plan.embedding.pooling, plan.embedding.normalise);
        }
        Task::Sparse => {
            builder.head_linear(hidden, "sparse_linear", 1, width, Some(Activation::Relu))?;
        }
        Task::MultiVector => {
            let vectors = builder.head_linear(hidden, "colbert_linear", width, width, None)?;
            builder.push(Operation::Normalise { input: vectors });
        }
        Task::Classify | Task::Rerank | Task::Entities => return Ok(None),
    }
    Ok(Some(()))
}

/// A dense layer over the first token, and the classifier over that.
fn classifier_over_first(
    builder: &mut Builder,
    hidden: Value,
    width: usize,
    dense: (&str, Activation),
    classifier: &str,
) -> Result<(), ModelError> {
    let first = builder.push(Operation::Pool { input: hidden, pooling: Pooling::First });
    let (dense, activation) = dense;
    let pooled = builder.head_linear(first, dense, width, width, Some(activation))?;
    let labels = builder.label_count(classifier)?;
    builder.head_linear(pooled, classifier, labels, width, None)?;
    Ok(())
}

/// Labels for each token.
fn token_classifier(builder: &mut Builder, hidden: Value, width: usize) -> Result<(), ModelError> {
    let labels = builder.label_count("classifier")?;
    builder.head_linear(hidden, "classifier", labels, width, None)?;
    Ok(())
}
