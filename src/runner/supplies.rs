//! What workers need from outside of the suite, found before the first trial.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::record::Failure;

#[derive(Debug, Clone, Default)]
pub struct Supplies {
    /// The program whose `worker` verb serves the built-in backends.
    pub program: PathBuf,
    /// Where the model of each stage lies, by the stage's name, or why it can't be had. Backends that find their models
    /// by themselves need none.
    pub folders: HashMap<String, Result<PathBuf, Failure>>,
    /// What built-in backends need on a device, by their names and that device. Whoever isn't in it needs nothing.
    pub engines: HashMap<(String, String), Engine>,
}

/// What one built-in backend needs on one device.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    /// The program that serves it in place of this one; or why there is none.
    pub program: Option<Result<Worker, Failure>>,
    /// What the suite doesn't say, such as where a library lies.
    pub settings: Option<serde_json::Value>,
    /// Why some of its candidates can't run, which their worker says by itself.
    pub lacks: Option<Failure>,
}

/// A program that serves a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub path: PathBuf,
    /// What it was built from and for: a worker that states something else isn't started twice.
    pub receipt: String,
}

impl Engine {
    /// Whether all of it is there.
    pub fn is_here(&self) -> bool {
        self.lacks.is_none() && !matches!(&self.program, Some(Err(_)))
    }
}

impl Supplies {
    pub fn engine(&self, backend: &str, device: Option<&str>) -> Option<&Engine> {
        self.engines.get(&(backend.to_owned(), device.unwrap_or_default().to_owned()))
    }
}
