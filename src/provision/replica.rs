//! A replica: the folder of a model of the same architecture and size, with random weights and a tokenizer of its kind.
//!
//! It computes nonsense as fast as the real one computes sense, and agrees with itself across engines and precisions.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::tokenizer::{self, TokenizerKind};
use crate::model::arch::{self, Embedding};
use crate::model::graph::{Pooling, Weight};

/// What a replica is made of.
pub struct Plan<'a> {
    /// The `config.json`.
    pub config: &'a Value,
    pub tokenizer: TokenizerKind,
    /// For models whose answers are vectors.
    pub embedding: Option<Embedding>,
    /// After how many tokens sentence-transformers would cut a text.
    pub max_tokens: usize,
    pub tensors: &'a [Weight],
    pub seed: u64,
}

impl Plan<'_> {
    /// Twelve hexadecimal digits: another plan has others.
    pub fn digest(&self) -> String {
        let embedding = self.embedding.map(|embedding| format!("{embedding:?}"));
        let tensors: Vec<_> = self.tensors.iter().map(|weight| (&weight.name, &weight.shape)).collect();
        let all =
            json!([FORMAT, self.config, self.tokenizer, embedding, self.max_tokens, tensors, self.seed]);
        let digest = Sha256::digest(all.to_string());
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes the replica into an empty folder.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        self.write_outline(folder)?;
        self.write_weights(&folder.join("model.safetensors"))
    }

    /// The same without the weights: enough to count what running it would take.
    pub fn write_outline(&self, folder: &Path) -> io::Result<()> {
        write_json(&folder.join(arch::config_file(self.config)), self.config)?;
        let tokenizer = tokenizer::make(self.tokenizer, self.config).map_err(io::Error::other)?;
        write_json(&folder.join("tokenizer.json"), &tokenizer)?;
        if let Some(embedding) = self.embedding {
            self.write_modules(folder, embedding)?;
        }
        Ok(())
    }

    /// As sentence-transformers has them.
    fn write_modules(&self, folder: &Path, embedding: Embedding) -> io::Result<()> {
        let module = |place: usize, path: &str, kind: &str| {
            json!({ "idx": place, "name": place.to_string(), "path": path,
                    "type": format!("sentence_transformers.models.{kind}") })
        };
        let mut modules = vec![module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")];
        if embedding.normalise {
            modules.push(module(2, "2_Normalize", "Normalize"));
        }
        write_json(&folder.join("modules.json"), &modules.into())?;
        let limit = json!({ "max_seq_length": self.max_tokens, "do_lower_case": false });
        write_json(&folder.join("sentence_bert_config.json"), &limit)?;
        let is = |pooling: Pooling| embedding.pooling == pooling;
        let pooling = json!({
            "word_embedding_dimension": self.config["hidden_size"],
            "pooling_mode_cls_token": is(Pooling::First),
            "pooling_mode_mean_tokens": is(Pooling::Mean),
            "pooling_mode_lasttoken": is(Pooling::Last),
        });
        fs::create_dir(folder.join("1_Pooling"))?;
        write_json(&folder.join("1_Pooling/config.json"), &pooling)
    }

    fn write_weights(&self, path: &Path) -> io::Result<()> {
        let mut header = Map::new();
        header.insert(
            "__metadata__".into(),
            json!({ "format": "pt", "autotune": format!("replica, seed {}", self.seed) }),
        );
        let mut end = 0;
        for Weight { name, shape } in self.tensors {
            let start = end;
            end += shape.iter().product::<usize>() * size_of::<f32>();
            header.insert(
                name.clone(),
                json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] }),
            );
        }
        let mut header = serde_json::to_vec(&header)?;
        // The numbers start at a multiple of eight bytes.
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = File::create(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        self.tensors.iter().try_for_each(|weight| self.write_tensor(weight, &mut file))
    }

    fn write_tensor(&self, weight: &Weight, file: &mut File) -> io::Result<()> {
        // Each tensor draws from its own seed, so that it doesn't depend on those before it.
        let digest = Sha256::digest(format!("{}:{}", self.seed, weight.name));
        let seed = digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let mut random = Pcg64::seed_from_u64(seed);
        let deviation = deviation(weight);
        let mut number = || deviation.map_or(1.0, |deviation| deviation * nearly_normal(random.next_u64()));
        let mut left: usize = weight.shape.iter().product();
        let mut bytes = Vec::with_capacity(BLOCK * size_of::<f32>());
        while left > 0 {
            bytes.clear();
            (0..left.min(BLOCK)).for_each(|_| bytes.extend(number().to_le_bytes()));
            file.write_all(&bytes)?;
            left -= left.min(BLOCK);
        }
        Ok(())
    }
}

/// Numbers that are written at once: few calls, and still in the processor's cache.
const BLOCK: usize = 1 << 16;

/// To be raised when the same plan is to give another replica.
const FORMAT: u32 = 1;

/// The standard deviation of a tensor's numbers; none for those that are all one.
///
/// A product with as many terms as a row has numbers keeps the scale of its input if they are this small, so that nothing
/// fades or explodes however many layers there are. Positions say less than words, as in trained models.
fn deviation(Weight { name, shape }: &Weight) -> Option<f32> {
    match shape.as_slice() {
        [] | [_] if name.ends_with("weight") || name.ends_with("gamma") => None,
        [] | [_] => Some(0.02),
        _ if name.contains("position_embeddings") || name.contains("token_type_embeddings") => Some(0.02),
        _ if name.contains("embeddings") => Some(0.05),
        [_, row @ ..] => Some(1.0 / (row.iter().product::<usize>().max(1) as f32).sqrt()),
    }
}

/// One draw as a number of mean 0 and variance 1: the sum of its four quarters, scaled. Normal up to 3.4 deviations, and
/// many times as fast.
fn nearly_normal(draw: u64) -> f32 {
    let sum: u64 = (0..4).map(|quarter| draw >> (16 * quarter) & 0xFFFF).sum();
    // Each quarter is uniform below 65536: a mean of 32767.5, a variance of 65536² / 12.
    (sum as f32 - 131_070.0) / 37_837.227
}

fn write_json(path: &Path, value: &Value) -> io::Result<()> {
    fs::write(path, serde_json::to_vec(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::task::Task;

    fn config() -> Value {
        json!({ "model_type": "bert", "architectures": ["BertModel"], "vocab_size": 1200, "hidden_size": 32,
                "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
                "max_position_embeddings": 64, "type_vocab_size": 2, "pad_token_id": 0 })
    }

    fn plan<'a>(config: &'a Value, tensors: &'a [Weight], seed: u64) -> Plan<'a> {
        let embedding = Some(Embedding { pooling: Pooling::First, normalise: true });
        Plan { config, tokenizer: TokenizerKind::Wordpiece, embedding, max_tokens: 64, tensors, seed }
    }

    #[test]
    fn a_replica_opens_as_a_model_and_its_numbers_have_the_right_scale() {
        let folder = tempfile::tempdir().unwrap();
        let config = config();
        let tensors = crate::model::tensors(&config, Task::Embed).unwrap();
        plan(&config, &tensors, 1).write(folder.path()).unwrap();

        let model = Model::open(folder.path(), Task::Embed, None).unwrap();
        assert_eq!(model.graph.columns(model.graph.output()), 32);
        let bytes = fs::read(folder.path().join("model.safetensors")).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.len(), tensors.len());
        let numbers = |name: &str| {
            let floats = model.weights.floats(name).unwrap().into_owned();
            let mean = floats.iter().sum::<f32>() / floats.len() as f32;
            let square = floats.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / floats.len() as f32;
            (mean, square.sqrt())
        };
        assert_eq!(numbers("embeddings.LayerNorm.weight"), (1.0, 0.0));
        let (mean, deviation) = numbers("embeddings.word_embeddings.weight");
        assert!(mean.abs() < 0.001 && (deviation - 0.05).abs() < 0.001, "{mean} {deviation}");
        let (_, deviation) = numbers("encoder.layer.1.output.dense.weight");
        assert!((deviation - 0.125).abs() < 0.01, "{deviation}");
    }

    #[test]
    fn the_same_plan_gives_the_same_replica_and_another_seed_another() {
        let config = config();
        let tensors = [
            Weight { name: "a.weight".into(), shape: vec![3, 5] },
            Weight { name: "a.bias".into(), shape: vec![3] },
        ];
        let bytes = |seed: u64| {
            let folder = tempfile::tempdir().unwrap();
            let plan = plan(&config, &tensors, seed);
            plan.write(folder.path()).unwrap();
            (plan.digest(), fs::read(folder.path().join("model.safetensors")).unwrap())
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1).0, bytes(2).0);
        assert_ne!(bytes(1).1, bytes(2).1);
        assert_eq!(bytes(1).0.len(), 12);
    }
}
