//! A network's graph lowered to ONNX, at a precision, in a dialect, for padded or for packed batches.
//!
//! Weights that are fp32 in the checkpoint are handed on where they lie, in their own layout: nothing here copies them.
//! Knows no session and no file.

mod attention;
mod disentangled;
mod embedding;
#[cfg(test)]
mod kernels;
mod linear;
mod lowering;
mod pool;
pub mod quantise;
mod rows;
mod sheet;
mod spans;
mod style;

pub use lowering::{Lowered, lower};
pub use style::{Dialect, GRAIN, Input, Precision, Style};
