//! DistilBERT: BERT with half of the layers, without types, and with names of its own.

use super::heads::{classifier_over_first, common_head, token_classifier};
use super::plan::Plan;
use crate::model::builder::{Builder, LayerShape, PostNormLayer};
use crate::model::error::ModelError;
use crate::model::graph::{Activation, Graph, Operation};
use crate::task::Task;

const WORDS: &str = "embeddings.word_embeddings.weight";

pub(super) fn build(plan: &Plan) -> Result<Graph, ModelError> {
    let mut builder = Builder::new(plan.config, plan.checkpoint, &["", "distilbert."], WORDS);
    let config = &builder.config;
    let width = config.count("dim")?;
    let heads = config.heads("n_heads", width)?;
    let shape = LayerShape {
        width,
        intermediate: config.count("hidden_dim")?,
        activation: config.activation("activation", "gelu")?,
        epsilon: 1e-12,
    };
    let layers = config.layers("n_layers")?;

    let (mut hidden, most_tokens) = builder.embedded(width, shape.epsilon, 0, None)?;
    for layer in 0..layers {
        let name = |part: &str| format!("transformer.layer.{layer}.{part}");
        let names = PostNormLayer {
            query: name("attention.q_lin"),
            key: name("attention.k_lin"),
            value: name("attention.v_lin"),
            attention_output: name("attention.out_lin"),
            attention_norm: name("sa_layer_norm"),
            intermediate: name("ffn.lin1"),
            output: name("ffn.lin2"),
            output_norm: name("output_layer_norm"),
        };
        hidden = builder.post_norm_layer(hidden, &names, &shape, |qkv| Operation::Attention {
            qkv,
            heads,
            window: None,
            rotary: None,
            distances: None,
        })?;
    }
    if common_head(&mut builder, plan, hidden, width)?.is_none() {
        match plan.task {
            Task::Entities => token_classifier(&mut builder, hidden, width)?,
            _ => {
                let dense = ("pre_classifier", Activation::Relu);
                classifier_over_first(&mut builder, hidden, width, dense, "classifier")?;
            }
        }
    }
    Ok(builder.finish("distilbert", plan.task, most_tokens))
}
