//! The run's folder: the journal, which is the only truth, and what is written beside it.
//!
//! Knows recordings; knows nothing of searches, verdicts and charts.

mod folder;
mod journal;

pub use folder::{Run, RunFolder, StoreError, corpus_lines, digests, lay_out};
#[cfg(test)]
pub use journal::test_header;
pub use journal::{Damage, Entry, Journal, RunHeader, Stamped, Torn, seal};
