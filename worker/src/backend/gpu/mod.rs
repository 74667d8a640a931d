//! What both engines need of a GPU besides arithmetic: how much of its memory they may take, and how batches get there
//! and answers back. Knows no network and no engine.
//!
//! Everything behind [`Driver`] is the same for a real card and for the device of the mind that tests use.

pub mod devices;
pub mod driver;
mod functions;
pub mod lanes;
#[cfg(test)]
mod lanes_tests;
pub mod memory;
pub mod nvidia;
pub mod places;
#[cfg(test)]
pub mod simulated;

pub use driver::{DeviceError, Driver};
pub use lanes::{Lanes, Transfers};
pub use memory::{DeviceMemory, Share};
pub use nvidia::Nvidia;
