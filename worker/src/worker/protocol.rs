//! The words that harness and worker exchange. docs/PROTOCOL.md is written for people; a test holds it against this.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::backend::DeviceMemory;
use crate::knob::Value;
use crate::pipeline::{Pass, Stretch};
use crate::task::{Prompt, Task};

/// Raised when a worker written for the older one would misunderstand. A request states the oldest version that it needs.
pub const VERSION: u32 = 5;

/// Knows one model, and no slot.
pub const ONE_MODEL: u32 = 1;
const SLOTS: u32 = 2;
/// Answers another corpus than the one that it measures on, and into a file.
pub const FILES: u32 = 3;
/// Measures a stretch of the corpus.
pub const STRETCHES: u32 = 4;
/// Asks a model for labels in words.
pub const PROMPTS: u32 = 5;

/// A line from the harness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Repeated in the event that answers it.
    pub id: u64,
    #[serde(flatten)]
    pub ask: Ask,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Ask {
    Load(Box<Load>),
    Answer(Asked),
    Measure(Measure),
    Unload {
        #[serde(default, skip_serializing_if = "Slot::is_unnamed")]
        slot: Slot,
    },
}

/// Where a worker holds a model, beside those in other slots. The one without a name is all that version 1 knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub String);

impl Slot {
    pub fn is_unnamed(&self) -> bool {
        self.0.is_empty()
    }

    /// The oldest version of the protocol that knows it.
    pub fn version(&self) -> u32 {
        if self.is_unnamed() { ONE_MODEL } else { SLOTS }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The oldest version that knows all that is asked for.
    pub protocol: u32,
    #[serde(default, skip_serializing_if = "Slot::is_unnamed")]
    pub slot: Slot,
    /// The name of the backend in the suite, and its kind.
    pub backend: String,
    pub kind: String,
    pub task: Task,
    /// What the model is asked for in words. Versions before 5 don't know this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    pub model: String,
    /// Where the model lies on this machine, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Where it's to run. A worker that can't run there must refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// How many bytes of the device's memory it may use: what there are, or fewer where a smaller card is emulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_memory: Option<u64>,
    /// Every knob of the backend. Those that apply at a run may change with each later request.
    pub knobs: IndexMap<String, Value>,
    /// The backend's settings, as the suite gives them.
    pub settings: serde_json::Value,
    /// Path of the corpus: one JSON object a line with `text`, and `query` where there is one.
    pub corpus: String,
}

/// Answers for every document of a corpus, in its order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    #[serde(default, skip_serializing_if = "Slot::is_unnamed")]
    pub slot: Slot,
    pub knobs: IndexMap<String, Value>,
    /// Path of another corpus than the one of the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
    /// Path of a file to write the answers to, without the ending that tells its form. A worker that doesn't know this one, or
    /// has few answers, has them in its event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
}

/// Answers, or the file that they are in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// SHA-256 of the file, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    #[serde(default, skip_serializing_if = "Slot::is_unnamed")]
    pub slot: Slot,
    pub knobs: IndexMap<String, Value>,
    /// Passes go on until so much time was measured…
    pub seconds: f64,
    /// …and at least so many passes were…
    pub passes: u32,
    /// …and so many batches, where a percentile of their times is wanted. Version 1 doesn't know this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub batches: u64,
    /// For whatever the worker draws at random.
    pub seed: u64,
    /// Only these batches of each pass.
    #[serde(default, skip_serializing_if = "Stretch::is_whole")]
    pub stretch: Stretch,
}

/// A line from the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum What {
    Loaded(Loaded),
    Answered(Answered),
    Measured(Measured),
    Unloaded,
    Failed {
        kind: FailureKind,
        message: String,
        /// What to do about it, where the worker knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remedy: Option<String>,
    },
}

impl What {
    pub fn name(&self) -> &'static str {
        match self {
            What::Loaded(_) => "loaded",
            What::Answered(_) => "answered",
            What::Measured(_) => "measured",
            What::Unloaded => "unloaded",
            What::Failed { .. } => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    pub protocol: u32,
    /// What was really loaded, with its version. An empty one is refused.
    pub version: String,
    /// `cpu`, `cuda:0`: as services spell it.
    pub device: String,
    pub seconds: f64,
    /// Whether the figures to come are from a script and not from a machine.
    #[serde(default)]
    pub simulated: bool,
    /// Whether a text's answer doesn't depend on the other texts in its batch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub independent_rows: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub passes: Vec<Pass>,
    /// Passes that were run first and not counted.
    #[serde(default)]
    pub warmup_passes: u32,
    /// From the beginning of the first pass that counts to the end of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timed_seconds: Option<f64>,
    /// Whether the passes are all of one level; nothing where the worker doesn't look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<bool>,
    /// Time that the worker spent on this request, warm-up included.
    #[serde(default)]
    pub busy_seconds: f64,
    /// Peak device memory during this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_vram_bytes: Option<u64>,
    /// The same in its parts, where the worker can tell them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_memory: Option<DeviceMemory>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Measured {
    /// Batches whose times are told.
    pub fn batches(&self) -> u64 {
        self.passes.iter().map(|pass| pass.batch_seconds.len() as u64).sum()
    }

    /// Why these figures can't be, if they can't: a worker that sends them is broken, and must not win by it.
    pub fn implausible(&self) -> Option<String> {
        if self.passes.is_empty() {
            return Some("a measurement without a single pass".to_owned());
        }
        self.passes.iter().find_map(implausible)
    }
}

/// Why a pass can't be, if it can't.
pub fn implausible(pass: &Pass) -> Option<String> {
    // Below a nanosecond nothing is timed, beyond ten days nothing is waited for.
    const POSSIBLE: std::ops::RangeInclusive<f64> = 1e-9..=1e6;
    // More than all text there is; sums of such counts don't overflow.
    const MOST_TOKENS: u64 = 1 << 48;
    let parts = pass.batch_seconds.iter().copied().chain(pass.split.parts());
    // A percent for whoever rounds.
    let within = |part: f64| part <= pass.seconds * 1.01;
    if pass.documents == 0 || pass.tokens.max(pass.padded_tokens) > MOST_TOKENS {
        Some(format!("a pass over {} documents and {} tokens", pass.documents, pass.tokens))
    } else if !POSSIBLE.contains(&pass.seconds) {
        Some(format!("a pass that took {} s", pass.seconds))
    } else if let Some(part) = parts.into_iter().find(|part| !(0.0..=1e6).contains(part)) {
        Some(format!("a part of a pass that took {part} s"))
    } else if !within(pass.split.parts().iter().sum())
        || !pass.batch_seconds.iter().all(|batch| within(*batch))
    {
        Some(format!("parts or batches that took longer than their pass of {} s", pass.seconds))
    } else if pass.padded_tokens > 0 && pass.padded_tokens < pass.tokens {
        Some(format!("{} tokens with padding and {} without", pass.padded_tokens, pass.tokens))
    } else {
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    OutOfMemory,
    NotAvailable,
    Refused,
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_events_are_lines_as_documented() {
        let request = Request { id: 4, ask: Ask::Unload { slot: Slot::default() } };
        assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"id":4,"do":"unload"}"#);
        let line = r#"{"id":2,"event":"failed","kind":"out-of-memory","message":"no room"}"#;
        let what = What::Failed { kind: FailureKind::OutOfMemory, message: "no room".into(), remedy: None };
        let event = Event { id: 2, what };
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
        let line = r#"{"id":3,"event":"measured","passes":[{"seconds":0.5,"documents":10}]}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        let What::Measured(measured) = event.what else { panic!("{line}") };
        assert_eq!(measured.passes[0].documents, 10);
    }
}
