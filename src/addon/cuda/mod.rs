//! The CUDA worker: candle linked with CUDA, as an executable of its own that runs in place of this program where candle
//! runs on NVIDIA's GPUs. It's built from sources that the program carries, for one revision of them, one toolkit and one
//! compute capability, and kept in the cache.

mod make;
pub mod toolkit;
mod worker;

pub use make::{NAME, REVISION};
pub use worker::CudaWorker;
