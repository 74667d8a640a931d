//! The knobs of the pipeline, and their values for one run.

use crate::backend::{BackendError, TRANSFERS, Transfers};
use crate::knob::{Applies, Candidate, Kind, KnobSpec, NO_LIMIT, Value};

/// The knobs of the pipeline, which every built-in backend has besides its own.
pub fn knobs() -> Vec<KnobSpec> {
    vec![
        // 32 is what sentence-transformers does that is told nothing.
        run(
            "batch_size",
            Kind::Integer { least: 1, most: 65_536 },
            Value::Integer(32),
            "documents in a batch",
        )
        .with_reference(Value::Integer(8)),
        run(
            "batch_tokens",
            Kind::Limit,
            word(NO_LIMIT),
            "tokens in a batch, padding included, beyond which it's closed",
        ),
        run("max_tokens", Kind::Limit, word(NO_LIMIT), "tokens after which a text is cut"),
        run("max_chars", Kind::Limit, word(NO_LIMIT), "characters after which a text is cut"),
        run(
            "order",
            choice(&["arrival", "buckets", "length"]),
            word("arrival"),
            "which documents share a batch: as they come, of a like length as they come, or sorted by length",
        ),
        run(
            "padding",
            choice(&["padded", "packed"]),
            word("padded"),
            "how the texts of a batch lie: filled up to the longest, or one behind the other",
        ),
    ]
}

/// Knobs of backends that compute while threads of ours prepare. A simulated clock has no two things at once.
pub fn overlap_knobs() -> Vec<KnobSpec> {
    vec![
        run(
            TRANSFERS,
            choice(&Transfers::NAMES.map(|(name, _)| name)),
            word("blocking"),
            "how batches reach the device: from ordinary memory, from pinned memory, or from pinned memory while the \
             batch before computes; on the processor, where nothing is copied, the last of them prepares ahead",
        ),
        run(
            "num_workers",
            Kind::Integer { least: 1, most: 64 },
            Value::Integer(1),
            "threads that tokenise a batch",
        ),
    ]
}

/// A knob that applies at a run, and costs no quality at its default.
fn run(name: &str, kind: Kind, default: Value, help: &str) -> KnobSpec {
    KnobSpec::new(name, Applies::Run, kind, default, help)
}

fn word(word: &str) -> Value {
    Value::Text(word.to_owned())
}

fn choice(words: &[&str]) -> Kind {
    Kind::Choice(words.iter().map(|word| word.to_string()).collect())
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
        let mut settings = Settings::default();
        for spec in knobs().into_iter().chain(overlap_knobs()) {
            let given = candidate.knobs.get(&spec.name).unwrap_or(&spec.default);
            let value = spec
                .kind
                .accept(given)
                .map_err(|why| BackendError::Refused(format!("{}: {why}", spec.name)))?;
            settings.set(&spec.name, &value);
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &Value) {
        let count = match value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        let is = |word: &str| *value == Value::Text(word.to_owned());
        match name {
            "batch_size" => self.batch_size = count.unwrap_or(1),
            "batch_tokens" => self.batch_tokens = count,
            "max_tokens" => self.max_tokens = count,
            "max_chars" => self.max_chars = count,
            "order" if is("length") => self.order = Order::Length,
            "order" if is("buckets") => self.order = Order::Buckets,
            "padding" => self.packed = is("packed"),
            TRANSFERS => self.transfers = Transfers::named(&value.to_string()).unwrap_or_default(),
            "num_workers" => self.num_workers = count.unwrap_or(1),
            _ => {}
        }
    }
}
