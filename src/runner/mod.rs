//! From a trial to a recording: spawn a worker, ask it, watch it, and end it.
//!
//! Whatever goes wrong in a worker becomes a [`Failure`] with its reason, never the end of the run. Knows workers and
//! suites; knows nothing of journals and searches.

mod death;
mod footprint;
mod interrupt;
mod memory;
mod page_cache;
mod paths;
mod process;
mod processor;
mod supplies;
mod trial;
mod trouble;

pub use footprint::Course;
pub use interrupt::Interrupt;
pub use memory::sees_worker_memory;
pub use paths::Paths;
pub use process::shell_line;
pub use processor::{Disturbance, Moment};
pub use supplies::{Engine, Supplies, Worker};
pub use trial::{Documents, Place, RIGHT, Runner, TURN, Trial};
pub use trouble::Stopped;
