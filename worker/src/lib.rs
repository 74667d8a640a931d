//! The measured process: what a worker is made of, from bytes in print to the loop that serves requests.
//!
//! A crate of its own because it's built twice. `autotune` has it built in and is its own worker; on NVIDIA's GPUs candle
//! links CUDA, so there the same code with the feature `cuda` is an executable of its own (`main.rs`), which `autotune`
//! carries as sources and builds where there is a card.
//!
//! The rooms are listed from the one that knows nobody to the one that knows all; a room uses only rooms above it.
//! `tests/behaviour/layers.rs` checks that.

#[cfg(not(unix))]
compile_error!(
    "autotune doesn't work on Windows: its workers need process groups, signals and /proc. Build it in WSL 2, where \
     NVIDIA's GPUs are found as on Linux."
);

pub mod units;

pub mod knob;

pub mod item;

pub mod answer;

pub mod task;

pub mod model;

pub mod backend;

pub mod pipeline;

pub mod worker;
