//! GLiNER: a body that reads labels and text together, and a head that scores every span of words against every label. What is
//! here is its first form, which most checkpoints have: one encoder, spans by their ends (`markerV0`).

use std::path::Path;

use serde_json::Value as Json;

use super::plan::{Body, Plan};
use super::{bert, deberta};
use crate::model::builder::Builder;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::graph::{Activation, Direction, Graph, Marked, Operation, Stack, Value};
use crate::model::json::read_json;
use crate::model::prompting::Form;
use crate::model::weights::{View, Weights};
use crate::task::Task;

/// Its configuration has a file of its own, and no `model_type` that tells it from others.
pub const CONFIG: &str = "gliner_config.json";
pub const NAME: &str = "gliner";
pub const ENCODER: &str = "encoder_config";

const BODY: &str = "token_rep_layer.bert_layer.model.";
const PROJECTION: &str = "token_rep_layer.projection";
const SPANS: &str = "span_rep_layer.span_rep_layer";
const LABELS: &str = "prompt_rep_layer";
const INNER: &str = "span_rep_layer.span_rep_layer.out_project.0.weight";
const OUTER: &str = "span_rep_layer.span_rep_layer.out_project.3.weight";
const OUTER_BIAS: &str = "span_rep_layer.span_rep_layer.out_project.3.bias";

/// The configuration under a name by which it's found.
pub fn named(mut config: Json) -> Json {
    if let Json::Object(keys) = &mut config {
        keys.insert("model_type".into(), NAME.into());
    }
    config
}

pub fn is(config: &Json) -> bool {
    config["model_type"] == NAME
}

/// After how many tokens its own package cuts: it asks the tokenizer's configuration, where there is one.
pub fn most_tokens(folder: &Path) -> Result<usize, ModelError> {
    let path = folder.join("tokenizer_config.json");
    if !path.is_file() {
        return Ok(usize::MAX);
    }
    let config: Json = read_json(&path)?;
    // No limit is a number beyond all bounds.
    Ok(config["model_max_length"].as_u64().map_or(usize::MAX, |most| most as usize))
}

/// How it's asked.
pub fn form(config: &Json) -> Result<Form<'_>, ModelError> {
    let word = |key: &str, default: &'static str| config[key].as_str().unwrap_or(default);
    let given = Config(config);
    Ok(Form {
        label_token: word("ent_token", "<<ENT>>"),
        end_token: word("sep_token", "<<SEP>>"),
        token_stands_for_label: given.switch("embed_ent_token", true)?,
        most_words: given.optional_count("max_len")?.unwrap_or(384),
    })
}

/// The last product over a span's two ends is linear in both, and the product with a label comes right behind the one before: so
/// neither is worked out for each span. What is left for a span is a sum and a product as long as the one in between.
pub fn take_apart(weights: &mut Weights) {
    weights.view(INNER, &format!("{INNER}.start"), View::Columns(0, 2));
    weights.view(INNER, &format!("{INNER}.end"), View::Columns(1, 2));
    weights.view(OUTER, &format!("{OUTER}.turned"), View::Turned);
    weights.view(OUTER_BIAS, &format!("{OUTER_BIAS}.turned"), View::Row);
}

pub(super) fn build(plan: &Plan) -> Result<Graph, ModelError> {
    if !matches!(plan.task, Task::Entities | Task::Classify) {
        return Err(ModelError::Unfit("GLiNER finds entities, or classifies".into()));
    }
    let config = Config(plan.config);
    supported(&config)?;
    let encoder = encoder(&config)?;
    let mut builder = Builder::new(&encoder, plan.checkpoint, &[BODY], "embeddings.word_embeddings.weight");
    if plan.checkpoint.is_none() {
        builder = builder.under(BODY);
    }
    let Body { hidden, width, most_tokens } = match Config(&encoder).architecture()? {
        "deberta-v2" => deberta::body(&mut builder)?,
        "bert" => bert::body(&mut builder, 0)?,
        other => {
            return Err(ModelError::Config(format!(
                "`encoder_config` is a {other:?}; supported: deberta-v2, bert"
            )));
        }
    };
    // Distances have no end, so what is read is bounded by labels and words: so many tokens for all labels, and for each word.
    const TOKENS_OF_LABELS: usize = 1024;
    const TOKENS_OF_WORD: usize = 4;
    let most_tokens = match Config(&encoder).switch("position_biased_input", true)? {
        true => most_tokens,
        false => most_tokens.max(TOKENS_OF_LABELS + TOKENS_OF_WORD * form(plan.config)?.most_words),
    };
    let size = config.count("hidden_size")?;
    let longest = config.optional_count("max_width")?.unwrap_or(12);
    let hidden = match builder.has(&format!("{PROJECTION}.weight")) {
        true if size != width => builder.head_linear(hidden, PROJECTION, size, width, None)?,
        _ => hidden,
    };
    let words = builder.push(Operation::Pick { input: hidden, marked: Marked::Words });
    let words = recurrent(&mut builder, words, size, config.index("num_rnn_layers", 1)?)?;
    let starts = half(&mut builder, words, size, "start")?;
    let ends = half(&mut builder, words, size, "end")?;
    let labels = builder.push(Operation::Pick { input: hidden, marked: Marked::Labels });
    let labels = two_products(&mut builder, labels, LABELS, size, None)?;
    let outer = [
        builder.head(&format!("{OUTER}.turned"), &[4 * size, size])?,
        builder.head(&format!("{OUTER_BIAS}.turned"), &[1, size])?,
    ];
    let outer = Stack(outer.into());
    let labels =
        builder.push(Operation::Linear { input: labels, weight: outer, bias: None, activation: None });
    let count = plan.labels.max(1);
    builder.push(Operation::Spans { starts, ends, labels, width: longest, count });
    Ok(builder.finish(NAME, plan.task, most_tokens))
}

/// What a word brings to spans that begin or end with it.
fn half(builder: &mut Builder, words: Value, size: usize, which: &str) -> Result<Value, ModelError> {
    let name = format!("{SPANS}.project_{which}");
    let marked = two_products(builder, words, &name, size, Some(Activation::Relu))?;
    let weight = Stack(vec![builder.head(&format!("{INNER}.{which}"), &[4 * size, size])?]);
    // The bias is added once.
    let bias = builder.head(&format!("{SPANS}.out_project.0.bias"), &[4 * size])?;
    let bias = (which == "start").then(|| Stack(vec![bias]));
    Ok(builder.push(Operation::Linear { input: marked, weight, bias, activation: None }))
}

/// Wide, positive parts alone, and narrow again.
fn two_products(
    builder: &mut Builder,
    input: Value,
    name: &str,
    size: usize,
    activation: Option<Activation>,
) -> Result<Value, ModelError> {
    let wide = builder.head_linear(input, &format!("{name}.0"), 4 * size, size, Some(Activation::Relu))?;
    builder.head_linear(wide, &format!("{name}.3"), size, 4 * size, activation)
}

/// Words read in both directions, where there is such a layer.
fn recurrent(builder: &mut Builder, words: Value, size: usize, layers: usize) -> Result<Value, ModelError> {
    if layers == 0 {
        return Ok(words);
    }
    if !size.is_multiple_of(2) {
        return Err(ModelError::Config(format!("`hidden_size` is {size}, not a multiple of 2")));
    }
    let of_one = size / 2;
    let weight =
        |what: &str, of: &str, shape: &[usize]| builder.head(&format!("rnn.lstm.{what}_l0{of}"), shape);
    let both = |what: &str, shape: &[usize]| {
        Ok::<_, ModelError>([weight(what, "", shape)?, weight(what, "_reverse", shape)?])
    };
    let input = Stack(both("weight_ih", &[4 * of_one, size])?.into());
    let bias = Stack(both("bias_ih", &[4 * of_one])?.into());
    let [there, back] = both("weight_hh", &[4 * of_one, of_one])?;
    let [bias_there, bias_back] = both("bias_hh", &[4 * of_one])?;
    let directions = Box::new([
        Direction { weight: there, bias: bias_there },
        Direction { weight: back, bias: bias_back },
    ]);
    let gates = Operation::Linear { input: words, weight: input, bias: Some(bias), activation: None };
    let gates = builder.push(gates);
    Ok(builder.push(Operation::Recurrent { gates, directions }))
}

/// The body's configuration, with the words that GLiNER has added to it.
fn encoder(config: &Config) -> Result<Json, ModelError> {
    let mut encoder = config.0[ENCODER].clone();
    let Json::Object(keys) = &mut encoder else {
        let why =
            format!("{CONFIG} has no `{ENCODER}`: load the model with the package gliner and save it again");
        return Err(ModelError::Config(why));
    };
    if let Some(words) = config.0["vocab_size"].as_u64() {
        keys.insert("vocab_size".into(), words.into());
    }
    Ok(encoder)
}

/// What networks of this name may have besides.
fn supported(config: &Config) -> Result<(), ModelError> {
    let refused = |key: &str, wanted: &str| {
        Err(ModelError::Config(format!("`{key}` is {}; supported: {wanted}", config.0[key])))
    };
    let is = |key: &str, default: &str, wanted: &str| match config.word(key, default) == wanted {
        true => Ok(()),
        false => refused(key, &format!("{wanted:?}")),
    };
    is("span_mode", "markerV0", "markerV0")?;
    is("subtoken_pooling", "first", "first")?;
    is("words_splitter_type", "whitespace", "whitespace")?;
    is("post_fusion_schema", "", "")?;
    if config.switch("fuse_layers", false)? {
        return refused("fuse_layers", "false");
    }
    for other in ["labels_encoder", "labels_decoder", "relations_layer"] {
        if !config.0[other].is_null() {
            return refused(other, "none: one encoder for labels and text");
        }
    }
    if config.index("num_rnn_layers", 1)? > 1 {
        return refused("num_rnn_layers", "0, 1");
    }
    Ok(())
}
