//! What several architectures end with.

use super::plan::Plan;
use crate::model::builder::Builder;
use crate::model::error::ModelError;
use crate::model::graph::{Activation, Operation, Pooling, Value};
use crate::task::Task;

/// The heads that are the same whatever the body is. `None` where the architecture has its own.
pub fn common_head(
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
pub fn classifier_over_first(
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
pub fn token_classifier(builder: &mut Builder, hidden: Value, width: usize) -> Result<(), ModelError> {
    let labels = builder.label_count("classifier")?;
    builder.head_linear(hidden, "classifier", labels, width, None)?;
    Ok(())
}
