//! autotune: finds the fastest way to run a pipeline on one GPU, and proves it by measuring.
//!
//! ```text
//! suites/*.toml ─▶ suite ─▶ search ─▶ runner ─▶ worker process ─▶ backend (candle | ort | fake), or any program (exec)
//!    what to         space    which      spawn,      load, check,
//!    measure                  next       watch       warm, time
//!                               ▲           │
//!                               │           ▼
//!                          observations ◀─ store (journal) ─▶ analysis ─▶ emit: .env.optimized, plots, report
//! ```
//!
//! Data flows one way. The only arrow back is a list of plain values handed to the search.
//!
//! The rooms are listed below from the one that knows nobody to the one that knows all; a room uses only rooms above
//! it. `tests/behaviour/layers.rs` checks that. The first nine are the package `worker/`, the measured process.

pub use autotune_worker::{answer, backend, item, knob, model, pipeline, task, units, worker};

pub mod suite;

pub mod hardware;

pub mod addon;

pub mod telemetry;

pub mod record;

pub mod quality;

pub mod runner;

pub mod store;

pub mod search;

pub mod analysis;

pub mod predict;

pub mod replay;

pub mod emit;

pub mod report;

pub mod monitor;

pub mod provision;

pub mod export;

pub mod memory;

pub mod tune;

pub mod counts;

pub mod gate;

pub mod cli;
