//! A run, from what was asked for to its last trial: [`Order`] begins one, [`Job`] does it, `sweep` is the loop in which the
//! search says what, the runner tries it and the store keeps it, until the budget is spent.
//!
//! Knows the rooms that it joins; decides nothing that they decide.

mod budget;
mod checks;
mod confirm;
mod job;
mod order;
mod part;
mod predicted;
mod prior;
mod reference;
mod service;
mod sweep;

use crate::record::{Failure, Recording};
use crate::store::StoreError;

pub use job::Job;
pub use order::{Order, target_of};
pub use sweep::Tuning;

/// Told what happens, to show it or not.
pub trait Progress {
    /// A stage begins, or more of it is now known to come: so many of its trials are left.
    fn expect(&mut self, stage: &str, left: usize);
    /// A trial, or the reference of a stage, is being run.
    fn began(&mut self, what: &str);
    fn recorded(&mut self, recording: &Recording);
}

#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "this model loaded earlier in the run and no longer does: {}: {}. Fix the cause, then continue with --resume",
        .0.status.name(), .0.in_words()
    )]
    LoadBroke(Failure),
}

/// How a tuning ended that didn't fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Finished,
    Interrupted { signal: u8 },
}
