//! What the workers of a suite need from this machine: models, found, fetched or made; engines, as add-ons have them; and
//! `doctor`.
//!
//! What can't be had is [`Missing`], with the reason and the remedy; nothing else is put in its place. Knows nothing of runs
//! and of what is measured.

mod doctor;
mod hub;
pub mod models;
pub mod registry;
pub mod replica;
mod supplies;
pub mod tokenizer;

pub use crate::addon::Missing;
pub use doctor::{Finding, examine};
pub use supplies::{engines, folders, outlines, supplies};
