//! BERT, and RoBERTa with its multilingual and French kin: the same body, other positions and heads.

use super::heads::{classifier_over_first, common_head, token_classifier};
use super::plan::{Body, Plan};
use crate::model::builder::{Builder, LayerShape, PostNormLayer};
use crate::model::error::ModelError;
use crate::model::graph::{Activation, Graph, Operation};
use crate::task::Task;

const WORDS: &str = "embeddings.word_embeddings.weight";

pub(super) fn bert(plan: &Plan) -> Result<Graph, ModelError> {
    let mut builder = Builder::new(plan.config, plan.checkpoint, &["", "bert."], WORDS);
    let body = body(&mut builder, 0)?;
    if common_head(&mut builder, plan, body.hidden, body.width)?.is_none() {
        match plan.task {
            Task::Entities => token_classifier(&mut builder, body.hidden, body.width)?,
            _ => {
                let dense = builder.body("pooler.dense.weight", &[body.width, body.width])?;
                let dense = (dense.name.trim_end_matches(".weight"), Activation::Tanh);
                classifier_over_first(&mut builder, body.hidden, body.width, dense, "classifier")?;
            }
        }
    }
    let name = builder.config.architecture()?.to_owned();
    Ok(builder.finish(&name, plan.task, body.most_tokens))
}

pub(super) fn roberta(plan: &Plan) -> Result<Graph, ModelError> {
    let mut builder = Builder::new(plan.config, plan.checkpoint, &["", "roberta.", "camembert."], WORDS);
    // Positions are counted from behind the padding's own.
    let first = builder.config.index("pad_token_id", 1)? + 1;
    let body = body(&mut builder, first)?;
    if common_head(&mut builder, plan, body.hidden, body.width)?.is_none() {
        match plan.task {
            Task::Entities => token_classifier(&mut builder, body.hidden, body.width)?,
            _ => {
                let dense = ("classifier.dense", Activation::Tanh);
                classifier_over_first(&mut builder, body.hidden, body.width, dense, "classifier.out_proj")?;
            }
        }
    }
    let name = builder.config.architecture()?.to_owned();
    Ok(builder.finish(&name, plan.task, body.most_tokens))
}

pub(super) fn body(builder: &mut Builder, first: usize) -> Result<Body, ModelError> {
    let config = &builder.config;
    let kind = config.word("position_embedding_type", "absolute");
    if kind != "absolute" {
        return Err(ModelError::Config(format!(
            "`position_embedding_type` is {kind:?}; supported: \"absolute\""
        )));
    }
    let width = config.count("hidden_size")?;
    let heads = config.heads("num_attention_heads", width)?;
    let shape = LayerShape::of(config, width, 1e-12)?;
    let layers = config.layers("num_hidden_layers")?;
    let types = config.optional_count("type_vocab_size")?;

    let (mut hidden, most_tokens) = builder.embedded(width, shape.epsilon, first, types)?;
    for layer in 0..layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let names = PostNormLayer {
            query: name("attention.self.query"),
            key: name("attention.self.key"),
            value: name("attention.self.value"),
            attention_output: name("attention.output.dense"),
            attention_norm: name("attention.output.LayerNorm"),
            intermediate: name("intermediate.dense"),
            output: name("output.dense"),
            output_norm: name("output.LayerNorm"),
        };
        hidden = builder.post_norm_layer(hidden, &names, &shape, |qkv| Operation::Attention {
            qkv,
            heads,
            window: None,
            rotary: None,
            distances: None,
        })?;
    }
    Ok(Body { hidden, width, most_tokens })
}
