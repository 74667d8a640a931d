//! candle_transformers' BERT on the processor, fp32, as it comes: a worker after docs/PROTOCOL.md.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use serde_json::{Value, json};
use tokenizers::{Tokenizer, TruncationParams};

/// A pass still belongs to the warm-up when the one after it is faster by more than this share…
const SETTLED: f64 = 0.05;
/// …but after so many passes an engine drifts: the two rules that the tuner itself had first; docs/BIAS.md tells what it has besides.
const MOST_WARMUP_PASSES: usize = 6;

/// An engine is cold for so many batches after a load, as the tuner has it of its own (worker/src/worker/serve.rs)…
const COLD_BATCHES: usize = 64;
/// …and for no longer than so many times what is measured.
const MOST_TIMES: f64 = 10.0;

/// A failure with a kind of the protocol; any other error is `failed`.
#[derive(Debug)]
struct Failure(&'static str, String);

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.1)
    }
}

fn refused(message: String) -> anyhow::Error {
    Failure("refused", message).into()
}

/// The knobs, each of which applies at a run.
#[derive(Clone, Copy)]
struct Knobs {
    batch_size: usize,
    /// Nothing: as many as the model has positions.
    max_tokens: Option<usize>,
    by_length: bool,
}

impl Knobs {
    /// These, with what a request sets.
    fn with(mut self, request: &Value) -> Result<Knobs> {
        for (name, value) in request["knobs"].as_object().into_iter().flatten() {
            let whole = value.as_u64().filter(|&number| number >= 1).map(|number| number as usize);
            match (name.as_str(), whole, value.as_str()) {
                ("batch_size", Some(size), _) => self.batch_size = size,
                ("max_tokens", Some(most), _) => self.max_tokens = Some(most),
                ("max_tokens", _, Some("none")) => self.max_tokens = None,
                ("order", _, Some(order @ ("arrival" | "length"))) => self.by_length = order == "length",
                _ => return Err(refused(format!("{name}={value}: no such knob, or not a value of it"))),
            }
        }
        Ok(self)
    }
}

struct Model {
    network: BertModel,
    config: Config,
    tokenizer: Tokenizer,
    texts: Vec<String>,
    knobs: Knobs,
    /// Since the load.
    batches: usize,
}

impl Model {
    fn load(request: &Value) -> Result<Model> {
        let only = [("protocol", json!(1)), ("task", json!("embed")), ("settings", json!({}))];
        for (field, mine) in only {
            let given = &request[field];
            if *given != mine {
                return Err(refused(format!("{field} is {given}, and this worker has only {mine}")));
            }
        }
        if !matches!(request["device"].as_str(), None | Some("cpu")) {
            return Err(refused(format!("this worker runs on the processor, not on {}", request["device"])));
        }
        let knobs = Knobs { batch_size: 32, max_tokens: None, by_length: false }.with(request)?;
        let folder = Path::new(request["folder"].as_str().or(request["model"].as_str()).context("no model")?);
        if !folder.join("config.json").is_file() {
            return Err(Failure("not-available", format!("no model in {}", folder.display())).into());
        }
        let json = |file: &str| -> Result<Value> { read(&folder.join(file)) };
        let mean = json("1_Pooling/config.json")?["pooling_mode_mean_tokens"] == true;
        let kinds = json("modules.json")?;
        let kinds = kinds.as_array().into_iter().flatten().filter_map(|module| module["type"].as_str());
        let kinds: Vec<&str> = kinds.filter_map(|kind| kind.rsplit('.').next()).collect();
        if json("config.json")?["model_type"] != "bert"
            || !mean
            || kinds != ["Transformer", "Pooling", "Normalize"]
        {
            return Err(refused("this worker has BERT with mean pooling and normalisation only".into()));
        }
        let config: Config = serde_json::from_value(json("config.json")?)?;
        // Mapped, and not to be changed while we run, as in candle's own examples.
        let weights = [folder.join("model.safetensors")];
        let weights = unsafe { VarBuilder::from_mmaped_safetensors(&weights, DType::F32, &Device::Cpu)? };
        let mut tokenizer =
            Tokenizer::from_file(folder.join("tokenizer.json")).map_err(anyhow::Error::msg)?;
        tokenizer.with_padding(None);
        let corpus = std::fs::File::open(request["corpus"].as_str().context("no corpus")?)?;
        let texts = BufReader::new(corpus).lines().map(|line| {
            let document: Value = serde_json::from_str(&line?)?;
            Ok(document["text"].as_str().context("a document without text")?.to_owned())
        });
        let texts = texts.collect::<Result<_>>()?;
        Ok(Model { network: BertModel::load(weights, &config)?, config, tokenizer, texts, knobs, batches: 0 })
    }

    /// One pass over the corpus: its vectors and its figures.
    fn pass(&mut self, knobs: Knobs) -> Result<(Vec<Vec<f32>>, f64, Value)> {
        let positions = self.config.max_position_embeddings;
        let max_length = knobs.max_tokens.map_or(positions, |most| most.min(positions));
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        self.tokenizer.with_truncation(Some(truncation)).map_err(anyhow::Error::msg)?;
        let start = Instant::now();
        let mut order: Vec<usize> = (0..self.texts.len()).collect();
        if knobs.by_length {
            order.sort_by_key(|&index| std::cmp::Reverse(self.texts[index].len()));
        }
        let mut vectors = vec![Vec::new(); self.texts.len()];
        let (mut tokens, mut padded, mut batch_seconds, mut split) = (0, 0, Vec::new(), [0.0; 4]);
        for members in order.chunks(knobs.batch_size) {
            let begin = Instant::now();
            let texts: Vec<&str> = members.iter().map(|&index| self.texts[index].as_str()).collect();
            let encodings = self.tokenizer.encode_batch_fast(texts, true).map_err(anyhow::Error::msg)?;
            let tokenised = Instant::now();
            let longest = encodings.iter().map(|encoding| encoding.len()).max().unwrap_or(0);
            let (mut ids, mut mask) = (Vec::new(), Vec::new());
            for (row, encoding) in (1..).zip(&encodings) {
                ids.extend_from_slice(encoding.get_ids());
                ids.resize(row * longest, self.config.pad_token_id as u32);
                mask.resize(mask.len() + encoding.len(), 1f32);
                mask.resize(row * longest, 0f32);
                tokens += encoding.len();
            }
            padded += ids.len();
            let shape = (members.len(), longest);
            let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
            let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
            let laid = Instant::now();
            let hidden = self.network.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
            let computed = Instant::now();
            // No need to divide by the number of tokens: the vectors are made of length one.
            let sums = hidden.broadcast_mul(&mask.unsqueeze(D::Minus1)?)?.sum(1)?;
            let rows = sums.broadcast_div(&sums.sqr()?.sum_keepdim(1)?.sqrt()?)?.to_vec2::<f32>()?;
            for (&index, row) in members.iter().zip(rows) {
                vectors[index] = row;
            }
            let end = Instant::now();
            for (part, pair) in split.iter_mut().zip([begin, tokenised, laid, computed, end].windows(2)) {
                *part += (pair[1] - pair[0]).as_secs_f64();
            }
            batch_seconds.push((end - begin).as_secs_f64());
        }
        self.batches += batch_seconds.len();
        let seconds = start.elapsed().as_secs_f64();
        let [tokenise, pad, compute, finish] = split;
        let figures = json!({"seconds": seconds, "documents": vectors.len(), "tokens": tokens,
            "padded_tokens": padded, "batch_seconds": batch_seconds,
            "split": {"tokenise": tokenise, "pad": pad, "compute": compute, "finish": finish}});
        Ok((vectors, seconds, figures))
    }

    /// Runs the shortest text until as many batches were run since the load as engines are cold for.
    fn heat(&mut self, knobs: Knobs, most: f64) -> Result<()> {
        let Some(shortest) = self.texts.iter().min_by_key(|text| text.len()).cloned() else { return Ok(()) };
        let (start, texts) = (Instant::now(), std::mem::replace(&mut self.texts, vec![shortest]));
        while self.batches < COLD_BATCHES && start.elapsed().as_secs_f64() < most {
            self.pass(knobs)?;
        }
        self.texts = texts;
        Ok(())
    }

    fn measure(&mut self, request: &Value) -> Result<Value> {
        let (start, knobs) = (Instant::now(), self.knobs.with(request)?);
        let (least, count) = (request["seconds"].as_f64(), request["passes"].as_u64());
        let (least, count) = (least.context("no seconds")?, count.context("no passes")?.max(1));
        self.heat(knobs, MOST_TIMES * least)?;
        let mut before = self.pass(knobs)?.1;
        let (_, mut sum, figures) = self.pass(knobs)?;
        let (mut passes, mut warmup_passes) = (vec![figures], 1);
        while sum < before * (1.0 - SETTLED) && warmup_passes < MOST_WARMUP_PASSES {
            before = sum;
            (_, sum, passes[0]) = self.pass(knobs)?;
            warmup_passes += 1;
        }
        while (passes.len() as u64) < count || sum < least {
            let (_, seconds, figures) = self.pass(knobs)?;
            sum += seconds;
            passes.push(figures);
        }
        Ok(json!({"event": "measured", "passes": passes, "warmup_passes": warmup_passes,
            "busy_seconds": start.elapsed().as_secs_f64()}))
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn event(request: &Value, model: &mut Option<Model>) -> Result<Value> {
    let start = Instant::now();
    match request["do"].as_str() {
        Some("load") => {
            *model = None; // If this load fails, nothing may answer in its name.
            *model = Some(Model::load(request)?);
            let threads = candle_core::utils::get_num_threads();
            let version = format!(
                "candle-transformers 0.11.1, gemm of candle-core 0.11.1 as it comes, {threads} threads"
            );
            Ok(json!({"event": "loaded", "protocol": 1, "version": version, "device": "cpu",
                "seconds": start.elapsed().as_secs_f64()}))
        }
        Some("unload") => {
            *model = None;
            Ok(json!({"event": "unloaded"}))
        }
        Some(other) => {
            ensure!(matches!(other, "answer" | "measure"), "no {other:?} here");
            let model = model.as_mut().context("nothing is loaded")?;
            if other == "measure" {
                return model.measure(request);
            }
            let vectors = model.pass(model.knobs.with(request)?)?.0;
            let answers: Vec<Value> = vectors.into_iter().map(|vector| json!({"vector": vector})).collect();
            Ok(json!({"event": "answered", "answers": answers}))
        }
        None => bail!("a request without `do`"),
    }
}

fn main() -> Result<()> {
    let mut model = None;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let id = request["id"].as_u64().context("a request without an id")?;
        let mut event = event(&request, &mut model).unwrap_or_else(|error| {
            let kind = error.downcast_ref::<Failure>().map_or("failed", |failure| failure.0);
            json!({"event": "failed", "kind": kind, "message": format!("{error:#}")})
        });
        event["id"] = id.into();
        let mut out = std::io::stdout().lock();
        writeln!(out, "{event}")?;
        out.flush()?;
    }
    Ok(())
}
