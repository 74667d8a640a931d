//! ModernBERT: norms in front, rotary positions, gated products, and attention that sees near tokens only in most layers.

use super::heads::common_head;
use super::plan::Plan;
use crate::model::builder::Builder;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::graph::{Graph, Operation, Pooling, Stack, Value};
use crate::task::Task;

const WORDS: &str = "embeddings.tok_embeddings.weight";

pub(super) fn build(plan: &Plan) -> Result<Graph, ModelError> {
    let mut network = Network::new(plan)?;
    let hidden = network.body()?;
    let width = network.width;
    let mut builder = network.builder;
    if common_head(&mut builder, plan, hidden, width)?.is_none() {
        let input = match plan.task {
            Task::Entities => hidden,
            _ => {
                let pooling = match builder.config.word("classifier_pooling", "cls") {
                    "cls" => Pooling::First,
                    "mean" => Pooling::Mean,
                    other => {
                        return Err(ModelError::Config(format!(
                            "`classifier_pooling` is {other:?}; supported: cls, mean"
                        )));
                    }
                };
                builder.push(Operation::Pool { input: hidden, pooling })
            }
        };
        let activation = builder.config.activation("classifier_activation", "gelu")?;
        let dense = builder.head_linear(input, "head.dense", width, width, Some(activation))?;
        let epsilon = builder.config.number("norm_eps", 1e-5)? as f32;
        let norm = norm(&builder, dense, "head.norm", width, epsilon, true)?;
        let normed = builder.push(norm);
        let labels = builder.label_count("classifier")?;
        builder.head_linear(normed, "classifier", labels, width, None)?;
    }
    let most_tokens = builder.config.positions_without_table("max_position_embeddings")?;
    Ok(builder.finish("modernbert", plan.task, most_tokens))
}

struct Network<'a> {
    builder: Builder<'a>,
    width: usize,
    epsilon: f32,
}

impl<'a> Network<'a> {
    fn new(plan: &Plan<'a>) -> Result<Self, ModelError> {
        let builder = Builder::new(plan.config, plan.checkpoint, &["", "model."], WORDS);
        let config = &builder.config;
        for bias in ["attention_bias", "mlp_bias"] {
            if config.switch(bias, false)? {
                return Err(ModelError::Config(format!("`{bias}` is true, which is not supported")));
            }
        }
        let width = config.count("hidden_size")?;
        let epsilon = config.number("norm_eps", 1e-5)? as f32;
        Ok(Network { builder, width, epsilon })
    }

    fn norm(&mut self, input: Value, name: &str) -> Result<Value, ModelError> {
        let name = self.builder.body(&format!("{name}.weight"), &[self.width])?.name;
        let name = name.trim_end_matches(".weight");
        let norm_bias = self.builder.config.switch("norm_bias", false)?;
        let operation = norm(&self.builder, input, name, self.width, self.epsilon, norm_bias)?;
        Ok(self.builder.push(operation))
    }

    /// A product without a bias.
    fn product(
        &mut self,
        input: Value,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Value, ModelError> {
        let weight = Stack(vec![self.builder.body(&format!("{name}.weight"), &[rows, columns])?]);
        Ok(self.builder.push(Operation::Linear { input, weight, bias: None, activation: None }))
    }

    fn body(&mut self) -> Result<Value, ModelError> {
        let config = &self.builder.config;
        let width = self.width;
        let heads = config.heads("num_attention_heads", width)?;
        if !(width / heads).is_multiple_of(2) {
            return Err(ModelError::Config(format!(
                "rotary positions need heads of even width, not {}",
                width / heads
            )));
        }
        let layers = config.layers("num_hidden_layers")?;
        let intermediate = config.count("intermediate_size")?;
        let words = config.count("vocab_size")?;
        let is_global = global_layers(config, layers)?;
        let window = config.optional_count("local_attention")?.unwrap_or(128) / 2;
        let activation = config.activation("hidden_activation", "gelu")?;
        let (global, local) = rotary_bases(config)?;

        let words = self.builder.body(WORDS, &[words, width])?;
        let embedded = self.builder.push(Operation::Embedding { words, positions: None, types: None });
        let mut hidden = self.norm(embedded, "embeddings.norm")?;
        for layer in 0..layers {
            let name = |part: &str| format!("layers.{layer}.{part}");
            let is_global = is_global[layer];
            // The first layer's norm would follow that of the embedding.
            let normed = if layer == 0 { hidden } else { self.norm(hidden, &name("attn_norm"))? };
            let qkv = self.product(normed, &name("attn.Wqkv"), 3 * width, width)?;
            let context = self.builder.push(Operation::Attention {
                qkv,
                heads,
                window: (!is_global).then_some(window),
                rotary: Some(if is_global { global } else { local }),
                distances: None,
            });
            let attended = self.product(context, &name("attn.Wo"), width, width)?;
            let middle = self.builder.push(Operation::Add { left: hidden, right: attended });
            let normed = self.norm(middle, &name("mlp_norm"))?;
            let wide = self.product(normed, &name("mlp.Wi"), 2 * intermediate, width)?;
            let gated = self.builder.push(Operation::Gate { input: wide, activation });
            let outer = self.product(gated, &name("mlp.Wo"), width, intermediate)?;
            hidden = self.builder.push(Operation::Add { left: middle, right: outer });
        }
        self.norm(hidden, "final_norm")
    }
}

/// A norm by the full name of its weights; the bias is there if the configuration says so and the checkpoint has it.
fn norm(
    builder: &Builder,
    input: Value,
    name: &str,
    width: usize,
    epsilon: f32,
    may_have_bias: bool,
) -> Result<Operation, ModelError> {
    let bias = format!("{name}.bias");
    let bias = (may_have_bias && builder.has(&bias)).then(|| builder.head(&bias, &[width])).transpose()?;
    let weight = builder.head(&format!("{name}.weight"), &[width])?;
    Ok(Operation::LayerNorm { input, residual: None, weight, bias, epsilon })
}

/// Which layers see everything. Newer configurations list the kind of each, older ones say how far apart they are.
fn global_layers(config: &Config, layers: usize) -> Result<Vec<bool>, ModelError> {
    let Some(kinds) = config.0["layer_types"].as_array() else {
        let every = config.optional_count("global_attn_every_n_layers")?.unwrap_or(3);
        return Ok((0..layers).map(|layer| layer.is_multiple_of(every)).collect());
    };
    let is_global = |kind: &serde_json::Value| match kind.as_str() {
        Some("full_attention") => Ok(true),
        Some("sliding_attention") => Ok(false),
        _ => Err(ModelError::Config(format!(
            "`layer_types` has {kind}; supported: full_attention, sliding_attention"
        ))),
    };
    if kinds.len() != layers {
        return Err(ModelError::Config(format!(
            "`layer_types` has {} kinds for {layers} layers",
            kinds.len()
        )));
    }
    kinds.iter().map(is_global).collect()
}

/// Of layers that see everything, and of those that see what is near. Newer configurations keep them by kind of layer.
fn rotary_bases(config: &Config) -> Result<(f32, f32), ModelError> {
    let by_kind = |kind: &str, key: &str, default: f64| {
        let parameters = &config.0["rope_parameters"][kind];
        let scaling = Config(parameters).word("rope_type", "default").to_owned();
        if scaling != "default" {
            return Err(ModelError::Config(format!("`rope_type` is {scaling:?}; supported: \"default\"")));
        }
        let older = config.number(key, default)?;
        Ok(Config(parameters).number("rope_theta", older)? as f32)
    };
    Ok((
        by_kind("full_attention", "global_rope_theta", 160_000.0)?,
        by_kind("sliding_attention", "local_rope_theta", 10_000.0)?,
    ))
}
