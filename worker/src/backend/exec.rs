//! Any program that speaks the worker protocol (docs/PROTOCOL.md): the service that people run today, or a peer.
//!
//! It isn't a [`Backend`](super::Backend), because nothing of it runs in our worker: it *is* the worker.

use serde::{Deserialize, Serialize};

use super::declared::DeclaredKnobs;

pub const NAME: &str = "exec";

/// The table of an `exec` backend in a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments, started in the suite's folder, without a shell.
    pub command: Vec<String>,
    #[serde(default)]
    pub knobs: DeclaredKnobs,
    /// Handed to the worker as it is.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}
