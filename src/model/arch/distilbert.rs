//! DistilBERT: BERT with half of the layers, without types, and with names of its own.

use super::{Plan, classifier_over_first, common_head, token_classifier};
use crate::model::builder::{Builder, LayerShape, PostNormLayer};
use crate::model::error::ModelError;
use crate::model::graph::{Activation, Graph, Operation, Positions};
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
    let most_tokens = config.count("max_position_embeddings")?;
    let words = config.count("vocab_size")?;

    let table = builder.body("embeddings.position_embeddings.weight", &[most_tokens, width])?;
    let embedding = Operation::Embedding {
        words: builder.body(WORDS, &[words, width])?,
        positions: Some(Positions { table, first: 0 }),
        types: None,
    };
    let embedded = builder.push(embedding);
    let mut hidden = builder.layer_norm(embedded, None, "embeddings.LayerNorm", width, shape.epsilon)?;
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
            bias: None,
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
