//! The models that are known by name: `suites/models.toml`, inside the program.

use std::sync::LazyLock;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use super::tokenizer::TokenizerKind;
use crate::addon::wheel::Wheel;
use crate::model::arch::Embedding;
use crate::model::graph;
use crate::task::Task;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    #[serde(default)]
    aliases: Vec<String>,
    hub: Option<String>,
    #[serde(default = "main")]
    pub revision: String,
    pub wheel: Option<Wheel>,
    pub task: Task,
    pooling: Option<Pooling>,
    normalise: Option<bool>,
    pub max_tokens: usize,
    pub tokenizer: TokenizerKind,
    /// Its `config.json`.
    pub config: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    Mean,
    Cls,
    Last,
}

fn main() -> String {
    "main".to_owned()
}

// A test reads the table, so it can't be wrong in a program that passed its tests.
static MODELS: LazyLock<IndexMap<String, Model>> =
    LazyLock::new(|| toml::from_str(include_str!("../../suites/models.toml")).unwrap_or_default());

/// Every known model, by its name.
pub fn models() -> &'static IndexMap<String, Model> {
    &MODELS
}

/// The model that a name or an alias means.
pub fn find(name: &str) -> Option<(&'static str, &'static Model)> {
    let mut models = MODELS.iter();
    let means = |known: &str| known.eq_ignore_ascii_case(name);
    models.find(|(known, model)| names(known, model).any(means)).map(|(known, model)| (known.as_str(), model))
}

/// Everything that a model is called.
pub fn names<'a>(name: &'a str, model: &'a Model) -> impl Iterator<Item = &'a str> {
    let short = name.rsplit('/').next().filter(|short| *short != name);
    std::iter::once(name)
        .chain(short)
        .chain(model.hub.as_deref())
        .chain(model.aliases.iter().map(String::as_str))
}

impl Model {
    /// The repository of the model that is called `name`.
    pub fn repository<'a>(&'a self, name: &'a str) -> &'a str {
        self.hub.as_deref().unwrap_or(name)
    }

    /// How a text's vector comes from the network, for models that are for that.
    pub fn embedding(&self) -> Option<Embedding> {
        let pooling = match self.pooling? {
            Pooling::Mean => graph::Pooling::Mean,
            Pooling::Cls => graph::Pooling::First,
            Pooling::Last => graph::Pooling::Last,
        };
        Some(Embedding { pooling, normalise: self.normalise? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch;

    #[test]
    fn the_table_reads_and_every_entry_is_complete() {
        let table: IndexMap<String, Model> =
            toml::from_str(include_str!("../../suites/models.toml")).unwrap();
        assert_eq!(table.len(), 21);
        for (name, model) in &table {
            let all = &model.config;
            let config = arch::body_config(all).0;
            let has =
                |keys: &[&str]| keys.iter().any(|key| config[key].as_u64().is_some_and(|number| number > 0));
            for keys in [
                &["vocab_size"][..],
                &["hidden_size", "dim"],
                &["num_hidden_layers", "n_layers"],
                &["num_attention_heads", "n_heads"],
                &["intermediate_size", "hidden_dim"],
                &["max_position_embeddings"],
            ] {
                assert!(has(keys), "{name}: {keys:?}");
            }
            assert!(config["model_type"].is_string(), "{name}");
            assert!(config["pad_token_id"].is_u64(), "{name}");
            let labels = config["id2label"].as_object().map_or(0, serde_json::Map::len);
            match model.task {
                Task::Embed => assert!(model.embedding().is_some(), "{name}"),
                Task::Rerank => assert_eq!(labels, 1, "{name}"),
                // It has no labels until it's asked for some.
                _ if arch::gliner::is(all) => assert_eq!(labels, 0, "{name}"),
                _ => assert!(labels > 1, "{name}"),
            }
            let longest = config["max_position_embeddings"].as_u64().unwrap() as usize;
            assert!(model.max_tokens <= longest, "{name}");
            // The network of every entry can be built.
            let tensors =
                crate::model::tensors(all, model.task).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(tensors.len() > 50, "{name}");
        }
    }

    #[test]
    fn a_model_is_found_by_all_its_names_and_no_two_share_one() {
        let name = |name: &str| find(name).map(|(name, _)| name);
        assert_eq!(name("baai/BGE-M3"), Some("BAAI/bge-m3"));
        assert_eq!(name("minilm"), name("all-MiniLM-L6-v2"));
        assert_eq!(name("e5"), None);
        let mut all: Vec<String> =
            models().iter().flat_map(|(name, model)| names(name, model)).map(str::to_lowercase).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
