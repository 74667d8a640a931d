//! What the GPU did while something ran on it: memory, load, heat, clocks, why it was slowed, energy, and who else was
//! there.
//!
//! [`Sensor`] is the seam: [`Nvml`](nvml) reads a real card, [`Scripted`] plays one. [`Reader`] decides what an error
//! means for the quantity that it struck, [`Watch`] is the thread that samples while a worker measures, [`Telemetry`] is
//! what a trial keeps of it, and [`Panel`] is a card as a person watches it. Knows no suite and no result.

mod nvml;
mod panel;
mod reader;
mod reason;
mod scripted;
mod sensor;
mod trace;
mod trouble;
mod watch;

pub use nvml::{Address, available, open};
pub use panel::{Keeper, Panel};
pub use reader::{Reader, Sample};
pub use reason::Reason;
pub use scripted::Scripted;
pub use sensor::{Card, Clocks, Load, Memory, Power, Process, Quantity, Reading, Sensor};
pub use trace::{DISTURBING_SHARE, Telemetry};
pub use trouble::{Effect, Trouble};
pub use watch::{INTERVAL, Watch};
