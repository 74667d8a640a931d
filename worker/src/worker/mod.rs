//! The measured process: it reads requests, loads, checks, warms up, times, and reports.
//!
//! One JSON object a line, requests on stdin, events on stdout, chatter on stderr: docs/PROTOCOL.md. Knows nothing of
//! suites, searches and results.

mod heap;
pub mod protocol;
mod serve;
mod stdout;
mod steady;
mod timer;

pub use serve::serve;
pub use stdout::claim as claim_stdout;
pub use timer::MOST_WARMUP_PASSES;
