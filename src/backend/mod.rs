//! What runs one network: two small traits, and the registry of those that implement them.
//!
//! A batch is plain integers and an output plain floats: no tensor type crosses this line. A backend knows
//! neither files of documents nor batching (`pipeline/`), nor who asks (`worker/`), nor why (`suite/`).

mod candle;
mod clock;
pub mod declared;
pub mod exec;
pub mod fake;
mod ort;

pub use clock::{Clock, Monotonic, VirtualClock};

use std::rc::Rc;
use std::time::Duration;

use crate::knob::{Candidate, KnobSpec};
use crate::task::Task;

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
    /// The tokens of a text, at most `limit` of them.
    fn encode(&mut self, text: &str, limit: Option<usize>) -> Encoding;
    /// Runs the network and returns **only when the results are on the host**.
    fn run(&mut self, batch: &Batch) -> Result<Output, BackendError>;
    /// Takes the values of the `Run` knobs that the engine itself understands.
    fn configure(&mut self, candidate: &Candidate, seed: u64) -> Result<(), BackendError>;
    /// Peak device memory since the last [`configure`](Session::configure), where the engine can tell.
    fn peak_device_bytes(&self) -> Option<u64>;
    /// The device in use, as services spell it: `cpu`, `cuda:0`.
    fn device(&self) -> String;
}

/// What `load` is told.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    pub task: Task,
    pub model: String,
    pub candidate: Candidate,
}

/// A text as tokens, each with the bytes of the text that it stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    pub ids: Vec<u32>,
    pub offsets: Vec<(usize, usize)>,
}

/// Rows of token ids, padded with zeros to one length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub ids: Vec<u32>,
    /// Tokens of each row without its padding.
    pub lengths: Vec<usize>,
    /// Tokens of each row with its padding.
    pub padded: usize,
}

impl Batch {
    /// The ids of each row, without padding.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        // A batch of empty texts has rows of no tokens; `chunks` wants at least one.
        self.lengths.iter().enumerate().map(|(row, &length)| {
            let start = row * self.padded;
            &self.ids[start..start + length]
        })
    }
}

/// A row of floats for each row of the batch, and where the engine says that the time went.
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
    /// It's there, and doesn't do this: a precision, an architecture, a value.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
    /// Only the fake says this: write these bytes where an event belongs.
    #[error("garbage")]
    Garbage(Vec<u8>),
}

/// The kinds of backend that run inside our own worker, in the order in which people see them.
pub const BUILT_IN: [&str; 3] = ["candle", "ort", fake::NAME];

/// Opens a built-in backend. `settings` is its table in the suite, already checked there.
pub fn open(kind: &str, settings: serde_json::Value) -> Result<Box<dyn Backend>, BackendError> {
    match kind {
        "candle" => Ok(Box::new(candle::Candle)),
        "ort" => Ok(Box::new(ort::Ort)),
        fake::NAME => {
            let script = serde_json::from_value(settings)
                .map_err(|error| BackendError::Refused(format!("the fake's script: {error}")))?;
            Ok(Box::new(fake::Fake::new(script)))
        }
        other => Err(BackendError::NotAvailable(format!(
            "no built-in backend is called {other:?}; there are {}",
            BUILT_IN.join(", ")
        ))),
    }
}
