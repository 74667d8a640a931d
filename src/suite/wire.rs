//! The TOML shapes of a suite file, as people write them. `suites/README.md` is their reference.
//!
//! Nothing here is valid yet: `parse/` beside it turns these shapes into a [`Suite`](super::Suite).

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use crate::backend::declared::DeclaredKnob;
use crate::backend::exec::Exec;
use crate::backend::fake::{Rule, Script};

use crate::knob::{Condition, Value, Values};
use crate::task::{Metric, Task};

/// The sections of a suite file and the keys of each, as the reader knows them.
pub fn sections() -> Vec<(&'static str, Vec<String>)> {
    let mut top = keys::<WireSuite>();
    top.push("backends".to_owned());
    let with_kind = |mut keys: Vec<String>| {
        keys.insert(0, "kind".to_owned());
        keys
    };
    vec![
        ("suite", top),
        ("corpus", keys::<WireCorpus>()),
        ("corpus.judged", keys::<WireSlice>()),
        ("corpus.synthetic", keys::<WireSynthetic>()),
        ("measure", keys::<WireMeasure>()),
        ("timeouts", keys::<WireTimeouts>()),
        ("stages", keys::<WireStage>()),
        ("stages.exclude", keys::<WireExclusion>()),
        ("stages.quality", keys::<WireQuality>()),
        ("service", keys::<WireService>()),
        ("service.log", keys::<WireDrawn>()),
        ("promises", keys::<WirePromise>()),
        ("backends.NAME, an exec", with_kind(keys::<Exec>())),
        ("backends.NAME, a fake", with_kind(keys::<Script>())),
        ("backends.NAME.rules", keys::<Rule>()),
        ("backends.NAME.knobs.KNOB", keys::<DeclaredKnob>()),
    ]
}

/// The keys of a shape, out of its own mouth: its complaint about a key that no shape has names those that it has.
fn keys<Shape: DeserializeOwned>() -> Vec<String> {
    let complaint = toml::from_str::<Shape>("\"\" = 0").err().map(|error| error.message().to_owned());
    let complaint = complaint.unwrap_or_default();
    complaint.split('`').skip(1).step_by(2).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// Everything but the backends, whose shape depends on their kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireSuite {
    #[serde(default)]
    pub description: String,
    pub corpus: Spanned<WireCorpus>,
    pub objective: Option<Spanned<String>>,
    #[serde(default)]
    pub limits: Vec<Spanned<String>>,
    pub budget: Option<Spanned<String>>,
    pub search: Option<Spanned<String>>,
    pub seed: Option<u64>,
    pub rounds: Option<Spanned<u32>>,
    pub confirm: Option<bool>,
    #[serde(default)]
    pub measure: WireMeasure,
    #[serde(default)]
    pub timeouts: WireTimeouts,
    pub dialect: Option<Spanned<String>>,
    pub price_per_hour: Option<Spanned<f64>>,
    pub stages: Spanned<Vec<Spanned<WireStage>>>,
    pub service: Option<Spanned<WireService>>,
    #[serde(default)]
    pub promises: Vec<Spanned<WirePromise>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireService {
    pub embed: Option<Spanned<String>>,
    pub rerank: Option<Spanned<String>>,
    #[serde(default)]
    pub rerank_k: Vec<usize>,
    #[serde(default)]
    pub final_n: Vec<usize>,
    #[serde(default)]
    pub cache: Vec<usize>,
    pub log: Option<Spanned<WireLog>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum WireLog {
    File(String),
    Drawn(WireDrawn),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireDrawn {
    pub queries: usize,
    pub exponent: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WirePromise {
    pub says: String,
    pub stage: Option<Spanned<String>>,
    pub device: Option<String>,
    pub of: Option<Condition>,
    pub beside: Option<Condition>,
    pub times: Option<[f64; 2]>,
    pub loses: Option<[f64; 2]>,
    pub smaller: Option<[f64; 2]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireCorpus {
    pub file: Option<Spanned<String>>,
    pub synthetic: Option<Spanned<WireSynthetic>>,
    pub first: Option<Spanned<usize>>,
    pub repeat: Option<Spanned<u32>>,
    pub judged: Option<Spanned<WireSlice>>,
    pub text: Option<Spanned<OneOrMore>>,
    pub query: Option<String>,
    pub label: Option<String>,
    pub entities: Option<String>,
    #[serde(default)]
    pub only: IndexMap<String, String>,
    pub encoding: Option<String>,
    pub split: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireSlice {
    pub documents: usize,
    #[serde(default = "all")]
    pub queries: usize,
}

fn all() -> usize {
    usize::MAX
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireSynthetic {
    pub documents: usize,
    pub median_words: Option<f64>,
    pub spread: Option<f64>,
    pub most_words: Option<usize>,
    pub queries: Option<usize>,
    pub seed: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireMeasure {
    pub time: Option<Spanned<String>>,
    pub passes: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireTimeouts {
    pub load: Option<Spanned<String>>,
    pub answer: Option<Spanned<String>>,
    pub measure: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireStage {
    pub name: Option<Spanned<String>>,
    pub task: Task,
    pub model: Spanned<String>,
    /// What the model is asked for in words.
    pub labels: Option<Spanned<Vec<String>>>,
    pub threshold: Option<Spanned<f32>>,
    pub backends: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub knobs: IndexMap<Spanned<String>, Spanned<Values>>,
    pub baseline: Option<Spanned<IndexMap<Spanned<String>, Spanned<Value>>>>,
    pub reference: Option<Spanned<IndexMap<Spanned<String>, Spanned<Value>>>>,
    #[serde(default)]
    pub exclude: Vec<Spanned<WireExclusion>>,
    pub quality: Option<Spanned<WireQuality>>,
    #[serde(default)]
    pub limits: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireExclusion {
    pub when: Condition,
    pub because: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireQuality {
    pub metric: Option<Spanned<Metric>>,
    pub at_least: Option<Spanned<f64>>,
    /// What the model's labels stand for.
    #[serde(default)]
    pub labels: IndexMap<String, String>,
}
