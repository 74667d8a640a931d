//! The run's folder: the journal, which is the only truth, and what is written beside it.
//!
//! Knows recordings; knows nothing of searches, verdicts and charts.

mod folder;
mod journal;
mod table;

/// The columns of `trials.csv` before and after those of the knobs.
pub const COLUMNS: (&[&str], &[&str]) = (&table::BEFORE, &table::AFTER);

pub use folder::{Run, RunFolder, StoreError, corpus_lines};
#[cfg(test)]
pub use journal::test_header;
pub use journal::{Damage, Entry, Journal, RunHeader, Stamped, Torn, seal};
