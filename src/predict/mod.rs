//! What a network would take on a card that isn't here: memory and time, counted from its graph and from the card's data
//! sheet. Beside a measurement it says how much memory was to be expected.
//!
//! The graph is walked once (`cost.rs`), as candle's executor for cards does it; memory and time read what it finds. What
//! isn't known is an assumption with a name, a reason and an interval, and no figure leaves here without its interval.
//! Knows engines by what they do to numbers; knows no journal and no verdict.

mod assumption;
mod batches;
mod cost;
mod forecast;
mod memory;
mod method;
mod throughput;

pub use assumption::Overhead;
pub use batches::{Batches, Shape};
pub use cost::{Step, steps};
pub use forecast::Forecast;
pub use memory::{Memory, live_values, memory};
pub use method::{Engine, Method, Numbers};
pub use throughput::pass;
