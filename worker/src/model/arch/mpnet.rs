//! MPNet: RoBERTa's positions, no types, and a bias by distance that all layers share.

use super::heads::{classifier_over_first, common_head, token_classifier};
use super::plan::Plan;
use crate::model::builder::{Builder, LayerShape, PostNormLayer};
use crate::model::error::ModelError;
use crate::model::graph::{Activation, Distances, Graph, Operation, RelativeBias};
use crate::task::Task;

const WORDS: &str = "embeddings.word_embeddings.weight";

/// The padding's own position is fixed, too.
const FIRST_POSITION: usize = 2;

/// Beyond it all distances share a bucket: fixed in MPNet, and not in its configuration.
const MOST_DISTANCE: usize = 128;

pub(super) fn build(plan: &Plan) -> Result<Graph, ModelError> {
    let mut builder = Builder::new(plan.config, plan.checkpoint, &["", "mpnet."], WORDS);
    let config = &builder.config;
    let width = config.count("hidden_size")?;
    let heads = config.heads("num_attention_heads", width)?;
    let shape = LayerShape::of(config, width, 1e-12)?;
    let layers = config.layers("num_hidden_layers")?;
    let buckets = config.optional_count("relative_attention_num_buckets")?.unwrap_or(32);
    // Half of them for each direction, half of those for near distances, and the far ones reach to the most distance.
    if !(4..4 * MOST_DISTANCE).contains(&buckets) {
        let why =
            format!("`relative_attention_num_buckets` is {buckets}, not from 4 to {}", 4 * MOST_DISTANCE - 1);
        return Err(ModelError::Config(why));
    }

    let bias = RelativeBias {
        table: builder.body("encoder.relative_attention_bias.weight", &[buckets, heads])?,
        most_distance: MOST_DISTANCE,
    };
    let (mut hidden, most_tokens) = builder.embedded(width, shape.epsilon, FIRST_POSITION, None)?;
    for layer in 0..layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let names = PostNormLayer {
            query: name("attention.attn.q"),
            key: name("attention.attn.k"),
            value: name("attention.attn.v"),
            attention_output: name("attention.attn.o"),
            attention_norm: name("attention.LayerNorm"),
            intermediate: name("intermediate.dense"),
            output: name("output.dense"),
            output_norm: name("output.LayerNorm"),
        };
        hidden = builder.post_norm_layer(hidden, &names, &shape, |qkv| Operation::Attention {
            qkv,
            heads,
            window: None,
            rotary: None,
            distances: Some(Distances::Bias(bias.clone())),
        })?;
    }
    if common_head(&mut builder, plan, hidden, width)?.is_none() {
        match plan.task {
            Task::Entities => token_classifier(&mut builder, hidden, width)?,
            _ => {
                let dense = ("classifier.dense", Activation::Tanh);
                classifier_over_first(&mut builder, hidden, width, dense, "classifier.out_proj")?;
            }
        }
    }
    Ok(builder.finish("mpnet", plan.task, most_tokens))
}
