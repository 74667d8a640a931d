//! The services that settings can be written for, and what each of them can be told.

use crate::analysis::{Ranked, StageAnalysis};
use crate::backend::DTYPE;
use crate::knob::Candidate;

pub struct Dialect {
    pub name: &'static str,
    pub help: &'static str,
    /// What its service runs models with.
    pub engine: &'static str,
    /// The precisions that it can be told; empty where it takes any word for one.
    pub precisions: &'static [&'static str],
    pub template: &'static str,
}

/// The first one is used when a suite names none.
pub const DIALECTS: [Dialect; 5] = [
    Dialect {
        name: "retrieval-plugin",
        help: "EMBEDDING_* and RERANK_* of the retrieval plugin",
        engine: "PyTorch, by FlagEmbedding",
        precisions: &["fp32", "fp16"],
        template: include_str!("dialects/retrieval-plugin.env"),
    },
    Dialect {
        name: "gliner-service",
        help: "GLINER_* of the GLiNER service",
        engine: "PyTorch",
        // It loads its model as it was saved.
        precisions: &["fp32"],
        template: include_str!("dialects/gliner-service.env"),
    },
    Dialect {
        name: "tei",
        help: "Text Embeddings Inference",
        engine: "an engine of its own",
        precisions: &["fp32", "fp16"],
        template: include_str!("dialects/tei.env"),
    },
    Dialect {
        name: "infinity",
        help: "Infinity",
        engine: "PyTorch",
        precisions: &["fp32", "fp16", "bf16", "int8"],
        template: include_str!("dialects/infinity.env"),
    },
    Dialect {
        name: "compose",
        help: "an override file for docker compose",
        engine: "whatever its images have",
        precisions: &[],
        template: include_str!("dialects/compose.yaml"),
    },
];

impl Dialect {
    pub fn find(name: &str) -> anyhow::Result<&'static Dialect> {
        let found = DIALECTS.iter().find(|known| known.name == name);
        found.ok_or_else(|| anyhow::anyhow!("unknown dialect {name:?}"))
    }

    /// Whether its service can be told to run a configuration. What only moves work about, such as an order, it needn't be told.
    pub fn can_express(&self, candidate: &Candidate) -> bool {
        let precision = candidate.word(DTYPE);
        precision.is_empty() || self.precisions.is_empty() || self.precisions.contains(&precision.as_str())
    }

    /// The best of a stage that its service can be told.
    pub fn best<'a>(&self, stage: &'a StageAnalysis) -> Option<&'a Ranked> {
        let mut able = stage.candidates.iter().filter(|ranked| ranked.verdict.may_win());
        able.find(|ranked| self.can_express(&ranked.summary.candidate))
    }
}
