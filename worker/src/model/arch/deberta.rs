//! DeBERTa's third version, mDeBERTa and mxbai-rerank included: BERT whose tokens attend by distance as well as by content. Its
//! second version is configured in the same words, and has a convolution that nobody here computes.

use super::heads::{classifier_over_first, common_head, token_classifier};
use super::plan::{Body, Plan};
use crate::model::builder::{Builder, LayerShape, PostNormLayer};
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::graph::{Disentangled, Distances, Graph, Norm, Operation, Positions, Projection, Value};
use crate::task::Task;

const WORDS: &str = "embeddings.word_embeddings.weight";

pub(super) fn build(plan: &Plan) -> Result<Graph, ModelError> {
    let mut builder = Builder::new(plan.config, plan.checkpoint, &["", "deberta."], WORDS);
    let Body { hidden, width, most_tokens } = body(&mut builder)?;
    if common_head(&mut builder, plan, hidden, width)?.is_none() {
        match plan.task {
            Task::Entities => token_classifier(&mut builder, hidden, width)?,
            _ => {
                let dense = ("pooler.dense", builder.config.activation("pooler_hidden_act", "gelu")?);
                classifier_over_first(&mut builder, hidden, width, dense, "classifier")?;
            }
        }
    }
    Ok(builder.finish("deberta-v2", plan.task, most_tokens))
}

pub(super) fn body(builder: &mut Builder) -> Result<Body, ModelError> {
    let config = &builder.config;
    supported(config)?;
    let width = config.count("hidden_size")?;
    let heads = config.heads("num_attention_heads", width)?;
    let shape = LayerShape::of(config, width, 1e-7)?;
    let layers = config.layers("num_hidden_layers")?;
    let most_tokens = config.positions_without_table("max_position_embeddings")?;
    let reach = Reach::of(config, most_tokens)?;

    let embedded = embedded(builder, width, most_tokens)?;
    let mut hidden = builder.layer_norm(embedded, None, "embeddings.LayerNorm", width, shape.epsilon)?;
    let table = builder.body("encoder.rel_embeddings.weight", &[2 * reach.span, width])?;
    let norm = match builder.config.word("norm_rel_ebd", "none") {
        "none" => None,
        _ => Some(Norm {
            weight: builder.body("encoder.LayerNorm.weight", &[width])?,
            bias: Some(builder.body("encoder.LayerNorm.bias", &[width])?),
            epsilon: shape.epsilon,
        }),
    };
    for layer in 0..layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let names = PostNormLayer {
            query: name("attention.self.query_proj"),
            key: name("attention.self.key_proj"),
            value: name("attention.self.value_proj"),
            attention_output: name("attention.output.dense"),
            attention_norm: name("attention.output.LayerNorm"),
            intermediate: name("intermediate.dense"),
            output: name("output.dense"),
            output_norm: name("output.LayerNorm"),
        };
        let disentangled = Box::new(Disentangled {
            table: table.clone(),
            norm: norm.clone(),
            query: projection(builder, &names.query, width)?,
            key: projection(builder, &names.key, width)?,
            most_distance: reach.most_distance,
        });
        hidden = builder.post_norm_layer(hidden, &names, &shape, |qkv| Operation::Attention {
            qkv,
            heads,
            window: None,
            rotary: None,
            distances: Some(Distances::Disentangled(disentangled)),
        })?;
    }
    Ok(Body { hidden, width, most_tokens })
}

fn projection(builder: &Builder, name: &str, width: usize) -> Result<Projection, ModelError> {
    let weight = builder.body(&format!("{name}.weight"), &[width, width])?;
    let bias = builder.body(&format!("{name}.bias"), &[width])?;
    Ok(Projection { weight, bias })
}

fn embedded(builder: &mut Builder, width: usize, most_tokens: usize) -> Result<Value, ModelError> {
    let config = &builder.config;
    let words = config.count("vocab_size")?;
    let positions = config.switch("position_biased_input", true)?;
    let types = config.index("type_vocab_size", 0)?;
    let words = builder.body(WORDS, &[words, width])?;
    let table =
        |what: &str, rows| builder.body(&format!("embeddings.{what}_embeddings.weight"), &[rows, width]);
    let positions = positions.then(|| table("position", most_tokens)).transpose()?;
    let positions = positions.map(|table| Positions { table, first: 0 });
    let types = (types > 0).then(|| table("token_type", types)).transpose()?;
    Ok(builder.push(Operation::Embedding { words, positions, types }))
}

/// How far the table of distances goes.
struct Reach {
    /// Rows for one direction.
    span: usize,
    most_distance: Option<usize>,
}

impl Reach {
    fn of(config: &Config, most_tokens: usize) -> Result<Reach, ModelError> {
        // What is below one isn't given.
        let given = |key: &str| match config.0[key].as_i64() {
            Some(number) if number < 1 => Ok(None),
            _ => config.optional_count(key),
        };
        let most_distance = given("max_relative_positions")?.unwrap_or(most_tokens);
        let Some(buckets) = given("position_buckets")? else {
            return Ok(Reach { span: most_distance, most_distance: None });
        };
        // Half of them are for near distances, and the far ones reach beyond these.
        if buckets < 4 || most_distance <= buckets / 2 + 1 {
            return Err(ModelError::Config(format!(
                "`position_buckets` is {buckets}, not from 4 to twice the {most_distance} positions"
            )));
        }
        Ok(Reach { span: buckets, most_distance: Some(most_distance) })
    }
}

/// What networks of this name may have besides.
fn supported(config: &Config) -> Result<(), ModelError> {
    let refused = |key: &str, wanted: &str| {
        Err(ModelError::Config(format!("`{key}` is {}; supported: {wanted}", config.0[key])))
    };
    for (key, default) in [("relative_attention", false), ("share_att_key", false)] {
        if !config.switch(key, default)? {
            return refused(key, "true");
        }
    }
    let ways = match &config.0["pos_att_type"] {
        serde_json::Value::String(ways) => ways.split('|').map(str::trim).collect(),
        serde_json::Value::Array(ways) => ways.iter().filter_map(serde_json::Value::as_str).collect(),
        _ => vec![],
    };
    if ways.len() != 2 || !["c2p", "p2c"].iter().all(|way| ways.contains(way)) {
        return refused("pos_att_type", "both \"c2p\" and \"p2c\"");
    }
    if !matches!(config.word("norm_rel_ebd", "none"), "none" | "layer_norm") {
        return refused("norm_rel_ebd", "\"none\", \"layer_norm\"");
    }
    if config.index("conv_kernel_size", 0)? > 0 {
        return refused("conv_kernel_size", "0");
    }
    let width = config.count("hidden_size")?;
    if config.optional_count("embedding_size")?.is_some_and(|size| size != width) {
        return refused("embedding_size", "the same as `hidden_size`");
    }
    Ok(())
}
