//! What workers need from outside of the suite, found before the first trial.

use std::collections::HashMap;
use std::path::PathBuf;

use super::failure::Failure;

#[derive(Debug, Default)]
pub struct Supplies {
    /// The program whose `worker` verb serves the built-in backends.
    pub program: PathBuf,
    /// Where the model of each stage lies, by the stage's name, or why it can't be had. Backends that find their models
    /// by themselves need none.
    pub folders: HashMap<String, Result<PathBuf, Failure>>,
    /// Settings of built-in backends, by their names: what the suite doesn't say, such as where a library lies.
    pub settings: HashMap<String, serde_json::Value>,
}
