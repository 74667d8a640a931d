//! The run's folder: the journal, which is the only truth, and what is written beside it.
//!
//! Knows recordings; knows nothing of searches, verdicts and charts.

mod check;
mod confirmed;
mod folder;
mod journal;

pub use folder::{Run, RunFolder, StoreError, corpus_lines, digests, fresh_digest, lay_out};
#[cfg(test)]
pub use journal::test_header;
pub use journal::{Damage, Entry, Journal, RunHeader, Stamped, Torn, seal};
