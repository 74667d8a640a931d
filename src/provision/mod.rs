//! What a machine must have, and how to get it: libraries and models, found, fetched or made, and `doctor`.
//!
//! What can't be had is [`Missing`], with the reason and what mends it; nothing else is put in its place. Knows nothing of
//! runs and of what is measured.

pub mod cache;
mod doctor;
mod hub;
pub mod models;
mod needs;
pub mod onnxruntime;
mod pip;
pub mod registry;
pub mod replica;
mod supplies;
pub mod tokenizer;
mod wheel;

pub use doctor::{Finding, examine};
pub use supplies::{outlines, settings, supplies};

/// Something that isn't here and can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {remedy}")]
pub struct Missing {
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}
