//! The knobs of the pipeline, and their values for one run.

use crate::backend::{BackendError, TRANSFERS, Transfers};
use crate::knob::{Applies, Candidate, Changes, Knob, KnobSpec, Value};

// 32 is what sentence-transformers does that is told nothing.
pub const BATCH_SIZE: Knob<usize> =
    Knob::integer("batch_size", Applies::Run, (1, 65_536), 32, "documents in a batch")
        .changing(Changes::Batches);

pub const BATCH_TOKENS: Knob<Option<usize>> = Knob::limit(
    "batch_tokens",
    Applies::Run,
    "maximum tokens in a batch, padding included; a longer text is a batch by itself",
)
.changing(Changes::Batches);

pub const MAX_TOKENS: Knob<Option<usize>> =
    Knob::limit("max_tokens", Applies::Run, "tokens after which a text is cut");

pub const MAX_CHARS: Knob<Option<usize>> =
    Knob::limit("max_chars", Applies::Run, "characters after which a text is cut");

pub const ORDER: Knob<Order> = Knob::choice(
    "order",
    Applies::Run,
    &[("arrival", Order::Arrival), ("buckets", Order::Buckets), ("length", Order::Length)],
    "which documents share a batch: in order of arrival, similar lengths in order of arrival, or sorted by length",
).changing(Changes::Batches);

/// Whether the texts of a batch are packed.
pub const PADDING: Knob<bool> = Knob::choice(
    "padding",
    Applies::Run,
    &[("padded", false), ("packed", true)],
    "layout of the texts in a batch: padded to the longest, or packed one after the other",
)
.changing(Changes::Batches);

pub const NUM_WORKERS: Knob<usize> =
    Knob::integer("num_workers", Applies::Run, (1, 64), 1, "threads that tokenise a batch")
        .changing(Changes::Speed);

/// The knobs of the pipeline, which every built-in backend has besides its own.
pub fn knobs() -> Vec<KnobSpec> {
    vec![
        BATCH_SIZE.spec().with_reference(Value::Integer(8)),
        BATCH_TOKENS.spec(),
        MAX_TOKENS.spec(),
        MAX_CHARS.spec(),
        ORDER.spec(),
        PADDING.spec(),
    ]
}

/// Knobs of backends that compute while threads of ours prepare. A simulated clock has no two things at once.
pub fn overlap_knobs() -> Vec<KnobSpec> {
    vec![TRANSFERS.spec(), NUM_WORKERS.spec()]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Arrival,
    Buckets,
    Length,
}

/// The values of the pipeline's knobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub batch_size: usize,
    pub batch_tokens: Option<usize>,
    pub max_tokens: Option<usize>,
    pub max_chars: Option<usize>,
    pub order: Order,
    pub packed: bool,
    pub transfers: Transfers,
    pub num_workers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            batch_size: 32,
            batch_tokens: None,
            max_tokens: None,
            max_chars: None,
            order: Order::Arrival,
            packed: false,
            transfers: Transfers::Blocking,
            num_workers: 1,
        }
    }
}

impl Settings {
    /// Reads the knobs that [`knobs`] and [`overlap_knobs`] state. Values were checked against their kinds when the
    /// suite was read, and again here, because a worker must not trust who talks to it.
    pub fn of(candidate: &Candidate) -> Result<Settings, BackendError> {
        let read = || {
            Ok(Settings {
                batch_size: BATCH_SIZE.of(candidate)?,
                batch_tokens: BATCH_TOKENS.of(candidate)?,
                max_tokens: MAX_TOKENS.of(candidate)?,
                max_chars: MAX_CHARS.of(candidate)?,
                order: ORDER.of(candidate)?,
                packed: PADDING.of(candidate)?,
                transfers: TRANSFERS.of(candidate)?,
                num_workers: NUM_WORKERS.of(candidate)?,
            })
        };
        read().map_err(BackendError::Refused)
    }
}
