//! From a trial to a recording: spawn a worker, ask it, watch it, and end it.
//!
//! Whatever goes wrong in a worker becomes a [`Failure`] with its reason, never the end of the run. Knows workers and
//! suites; knows nothing of journals and searches.

mod failure;
mod footprint;
mod interrupt;
mod memory;
mod origin;
mod page_cache;
mod predicted;
mod process;
mod supplies;
mod trial;

pub use failure::{Failure, Status};
pub use footprint::{Course, Footprint, Levels, Round};
pub use interrupt::Interrupt;
pub use memory::sees_worker_memory;
pub use origin::Origin;
pub use predicted::{Between, Predicted, PredictedBytes};
pub use supplies::{Engine, Supplies, Worker};
pub use trial::{Place, Recording, References, Runner, SetAside, Stopped, Trial};
