//! The services that settings can be written for, and what each of them accepts.

use crate::backend::DTYPE;
use crate::knob::Candidate;
use crate::task::Task;

pub struct Dialect {
    pub name: &'static str,
    pub help: &'static str,
    /// What its service runs models with.
    pub engine: &'static str,
    /// The precisions that it accepts at a task; empty where any word is one.
    precisions: fn(Task) -> &'static [&'static str],
    pub template: &'static str,
}

/// The first one is used when a suite names none.
pub const DIALECTS: [Dialect; 5] = [
    Dialect {
        name: "retrieval-plugin",
        help: "EMBEDDING_* and RERANK_* of the retrieval plugin",
        engine: "PyTorch, by FlagEmbedding",
        // Its reranker has no setting for it.
        precisions: |task| if task == Task::Embed { &["fp32", "fp16"] } else { &["fp32"] },
        template: include_str!("dialects/retrieval-plugin.env"),
    },
    Dialect {
        name: "gliner-service",
        help: "GLINER_* of the GLiNER service",
        engine: "PyTorch",
        // It loads its model as it was saved.
        precisions: |_| &["fp32"],
        template: include_str!("dialects/gliner-service.env"),
    },
    Dialect {
        name: "tei",
        help: "Text Embeddings Inference",
        engine: "a build of its own",
        precisions: |_| &["fp32", "fp16"],
        template: include_str!("dialects/tei.env"),
    },
    Dialect {
        name: "infinity",
        help: "Infinity",
        engine: "PyTorch",
        precisions: |_| &["fp32", "fp16", "bf16", "int8"],
        template: include_str!("dialects/infinity.env"),
    },
    Dialect {
        name: "compose",
        help: "an override file for docker compose",
        engine: "the engine of its image",
        precisions: |_| &[],
        template: include_str!("dialects/compose.yaml"),
    },
];

impl Dialect {
    pub fn find(name: &str) -> anyhow::Result<&'static Dialect> {
        let found = DIALECTS.iter().find(|known| known.name == name);
        found.ok_or_else(|| anyhow::anyhow!("unknown dialect {name:?}"))
    }

    /// Whether its service accepts a configuration at a task. What only moves work about, such as an order, isn't asked for.
    pub fn accepts(&self, task: Task, candidate: &Candidate) -> bool {
        let (precision, accepted) = (candidate.word(DTYPE), (self.precisions)(task));
        precision.is_empty() || accepted.is_empty() || accepted.contains(&precision.as_str())
    }
}
