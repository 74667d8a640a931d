//! What runs one network: two small traits, and the registry of those that implement them.
//!
//! A batch is plain integers and an output plain floats: no tensor type crosses this line. A backend knows
//! neither files of documents nor batching (`pipeline/`), nor who asks (`worker/`), nor why (`suite/`).

pub mod candle;
mod clock;
pub mod declared;
mod disentangled;
pub mod exec;
pub mod fake;
pub mod gpu;
mod host_memory;
mod knobs;
#[cfg(feature = "ort")]
pub mod ort;
mod registry;

pub use clock::{Clock, Monotonic, VirtualClock};
pub use gpu::{DeviceMemory, Transfers};
pub use host_memory::total as host_memory;
pub use knobs::{DTYPE, MEMORY_FRACTION, TRANSFERS, coarseness, memory_fraction_of, tf32_of, transfers_of};
pub use registry::{BUILT_IN, open};

use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::knob::{Candidate, KnobSpec};
use crate::model::graph::{Marked, Rows};
use crate::model::{Encoding, Marks, Model, ModelError, Spanning, Tokenise};
use crate::task::{Prompt, Task};

/// An engine: where a model is loaded and a session comes from.
pub trait Backend {
    /// The version of the library that was really loaded. It's the receipt: no version, no measurement.
    fn version(&self) -> Result<String, BackendError>;
    /// Whether its figures come from a script and not from a machine.
    fn simulated(&self) -> bool {
        false
    }
    /// The clock that times its sessions: the machine's, unless time itself is simulated.
    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(Monotonic)
    }
    /// The knobs of the engine itself; those of the pipeline around it are in `pipeline/`.
    fn knobs(&self) -> Vec<KnobSpec>;
    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Session>, BackendError>;
}

/// A loaded model.
pub trait Session {
    /// What makes tokens of texts, cut after `limit` of them; and never more than the network reads.
    fn tokeniser(&mut self, limit: Option<usize>) -> Result<Arc<dyn Tokenise>, BackendError>;
    /// What the numbers of an output stand for.
    fn legend(&self) -> Legend;
    /// Whether a text's answer is the same, but for the last digits, whatever else is in its batch. Quality is then judged once
    /// for all sizes and orders of batches.
    fn has_independent_rows(&self) -> bool {
        false
    }
    /// Runs the network and returns **only when the results are on the host**.
    fn run(&mut self, batch: &Batch) -> Result<Output, BackendError>;
    /// Takes the values of the `Run` knobs that the engine itself understands.
    fn configure(&mut self, candidate: &Candidate, seed: u64) -> Result<(), BackendError>;
    /// Memory of the device, its peaks since the last [`configure`](Session::configure), where the engine can tell.
    fn device_memory(&self) -> Option<DeviceMemory>;
    /// The device in use, as services spell it: `cpu`, `cuda:0`.
    fn device(&self) -> String;
    /// The same session, where it can work on one batch while the next is prepared and copied.
    fn overlapped(&mut self) -> Option<&mut dyn Overlapped> {
        None
    }
}

/// A session with room for several batches at once.
pub trait Overlapped {
    fn is_full(&self) -> bool;
    /// Takes a batch on, and returns before it's worked out.
    fn submit(&mut self, batch: &Batch) -> Result<(), BackendError>;
    /// Waits for the output of the batch that was taken on first.
    fn collect(&mut self) -> Result<Output, BackendError>;
}

/// Where a network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    #[default]
    Processor,
    /// One of NVIDIA's cards, by its number.
    Cuda(u32),
    /// The GPU of an Apple processor.
    Apple,
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Processor => out.write_str("cpu"),
            Device::Cuda(number) => write!(out, "cuda:{number}"),
            Device::Apple => out.write_str("mps"),
        }
    }
}

impl FromStr for Device {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        match text {
            "cpu" => Ok(Device::Processor),
            "mps" => Ok(Device::Apple),
            "cuda" => Ok(Device::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| BackendError::Refused(format!("unknown device {other:?}"))),
        }
    }
}

/// What `load` is told.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    pub task: Task,
    /// What the model is asked for in words.
    pub prompt: Option<Prompt>,
    /// A name, or the folder of a model.
    pub model: String,
    pub candidate: Candidate,
    pub device: Device,
    /// What the device's memory is limited to, where it stands in for a smaller one.
    pub device_bytes: Option<u64>,
}

/// What answers are made of besides floats.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Legend {
    /// The names of the labels, in the order in which an output scores them.
    pub labels: Vec<String>,
    /// Ids of tokens that stand for no text.
    pub special: Vec<u32>,
    /// How spans come of scores, where it's spans that are scored.
    pub spanning: Option<Spanning>,
}

impl Legend {
    pub fn of(model: &Model) -> Legend {
        let (labels, special) = (model.labels.clone(), model.tokenizer.special());
        Legend { labels, special, spanning: model.spanning }
    }
}

/// How the rows of a batch lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Each row takes so many places, and those behind its tokens hold zeros.
    Padded(usize),
    /// One row behind the other, with nothing between.
    Packed,
}

/// Rows of token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub ids: Vec<u32>,
    /// Which of two texts a token belongs to, for each id.
    pub types: Vec<u32>,
    /// Tokens of each row without its padding.
    pub lengths: Vec<usize>,
    pub layout: Layout,
    /// Which tokens of each row stand for words and for labels, counted from the row's first.
    pub marks: Vec<Marks>,
}

impl Batch {
    /// Lays encodings out.
    pub fn new(encodings: &[Encoding], packed: bool) -> Batch {
        let longest = encodings.iter().map(|encoding| encoding.ids.len()).max().unwrap_or(0);
        let places = |length: usize| if packed { length } else { longest };
        let total = encodings.iter().map(|encoding| places(encoding.ids.len())).sum();
        let (mut ids, mut types) = (Vec::with_capacity(total), Vec::with_capacity(total));
        for encoding in encodings {
            let end = ids.len() + places(encoding.ids.len());
            ids.extend_from_slice(&encoding.ids);
            types.extend_from_slice(&encoding.types);
            ids.resize(end, 0);
            types.resize(end, 0);
        }
        let layout = if packed { Layout::Packed } else { Layout::Padded(longest) };
        let lengths = encodings.iter().map(|encoding| encoding.ids.len()).collect();
        let marks = encodings.iter().map(|encoding| encoding.marks.clone()).collect();
        Batch { ids, types, lengths, layout, marks }
    }

    /// How many rows a value has that stand for these.
    pub fn count(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.ids.len(),
            Rows::Sequences => self.lengths.len(),
            Rows::Words => self.marks.iter().map(|marks| marks.words.len()).sum(),
            Rows::Labels => self.marks.iter().map(|marks| marks.labels.len()).sum(),
        }
    }

    /// The rows of tokens that are picked, text after text; none for a word without a token, which stands for zeros.
    pub fn picked(&self, marked: Marked) -> impl Iterator<Item = Option<usize>> + '_ {
        self.rows().zip(&self.marks).flat_map(move |(row, marks)| {
            let (words, labels) = match marked {
                Marked::Words => (&marks.words[..], &[][..]),
                Marked::Labels => (&[][..], &marks.labels[..]),
            };
            let tokens = words.iter().map(|word| word.token).chain(labels.iter().copied().map(Some));
            tokens.map(move |token| Some(row.start + token? as usize))
        })
    }

    /// Which rows of a value are the answer of each text, padding left out.
    pub fn answers(&self, rows: Rows) -> Vec<Range<usize>> {
        let mut next = 0;
        let mut of = |count: usize| {
            next += count;
            next - count..next
        };
        match rows {
            Rows::Tokens => self.rows().collect(),
            Rows::Sequences => self.lengths.iter().map(|_| of(1)).collect(),
            Rows::Words => self.marks.iter().map(|marks| of(marks.words.len())).collect(),
            Rows::Labels => self.marks.iter().map(|marks| of(marks.labels.len())).collect(),
        }
    }

    /// The same rows in several batches, one after the other, each of at least so many places but for the last.
    pub fn shares(&self, places: usize) -> Vec<Batch> {
        let padded = |row: &Range<usize>| match self.layout {
            Layout::Padded(places) => row.start..row.start + places,
            Layout::Packed => row.clone(),
        };
        let mut shares: Vec<Batch> = Vec::new();
        for ((row, &length), marks) in self.rows().zip(&self.lengths).zip(&self.marks) {
            let row = padded(&row);
            if shares.last().is_none_or(|share| share.ids.len() >= places) {
                let (ids, types, lengths, marks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
                shares.push(Batch { ids, types, lengths, layout: self.layout, marks });
            }
            if let Some(share) = shares.last_mut() {
                share.ids.extend_from_slice(&self.ids[row.clone()]);
                share.types.extend_from_slice(&self.types[row]);
                share.lengths.push(length);
                share.marks.push(marks.clone());
            }
        }
        shares
    }

    /// Where the tokens of each row lie.
    pub fn rows(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut next = 0;
        self.lengths.iter().map(move |&length| {
            let start = next;
            next += match self.layout {
                Layout::Padded(places) => places,
                Layout::Packed => length,
            };
            start..start + length
        })
    }
}

/// A row of floats for each row of the batch, and where the engine says that the time went. For tasks that answer for
/// each token a row holds those of its tokens, one behind the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    pub rows: Vec<Vec<f32>>,
    pub to_device: Duration,
    pub compute: Duration,
    pub from_device: Duration,
}

/// Why a backend couldn't do what it was asked. Each is a row in the results, so each has a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    #[error("{0}")]
    OutOfMemory(String),
    /// The library, device or model isn't there.
    #[error("{0}")]
    NotAvailable(String),
    /// As above, and it's known what brings it.
    #[error("{0}")]
    Missing(Missing),
    /// It's there, and doesn't do this: a precision, an architecture, a value.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
    /// Only the fake says this: write these bytes where an event belongs.
    #[error("garbage")]
    Garbage(Vec<u8>),
}

/// Something that isn't here and can't be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}; {remedy}")]
pub struct Missing {
    pub why: String,
    /// What to do about it, as a command where there is one.
    pub remedy: String,
}

impl From<Missing> for BackendError {
    fn from(missing: Missing) -> Self {
        BackendError::Missing(missing)
    }
}

impl From<ModelError> for BackendError {
    /// It's there, and it's wrong or does something else.
    fn from(error: ModelError) -> Self {
        BackendError::Refused(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(ids: &[u32]) -> Encoding {
        let (types, offsets) = (vec![0; ids.len()], vec![(0, 0); ids.len()]);
        Encoding { ids: ids.to_vec(), types, offsets, ..Encoding::default() }
    }

    #[test]
    fn rows_are_padded_to_the_longest_or_packed() {
        let encodings = [encoding(&[1]), encoding(&[]), encoding(&[2, 3])];
        let batch = Batch::new(&encodings, false);
        assert_eq!((batch.ids.as_slice(), batch.layout), (&[1, 0, 0, 0, 2, 3][..], Layout::Padded(2)));
        assert_eq!(batch.rows().collect::<Vec<_>>(), [0..1, 2..2, 4..6]);
        let batch = Batch::new(&encodings, true);
        assert_eq!((batch.ids.as_slice(), batch.types.len()), (&[1, 2, 3][..], 3));
        assert_eq!(batch.rows().collect::<Vec<_>>(), [0..1, 1..1, 1..3]);
        assert_eq!(Batch::new(&[encoding(&[]), encoding(&[])], false).rows().count(), 2);
    }

    #[test]
    fn shares_hold_the_same_rows() {
        let encodings = [encoding(&[1]), encoding(&[]), encoding(&[2, 3]), encoding(&[4])];
        for packed in [false, true] {
            let batch = Batch::new(&encodings, packed);
            for places in [1, 2, 3, 100] {
                let shares = batch.shares(places);
                let rows = shares.iter().flat_map(|share| share.rows().map(|row| share.ids[row].to_vec()));
                assert!(rows.eq(batch.rows().map(|row| batch.ids[row].to_vec())), "{packed} {places}");
            }
        }
        assert!(Batch::new(&[], true).shares(1).is_empty());
    }
}
