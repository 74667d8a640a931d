//! What a model takes of memory, as it was seen from outside, round after round.

use serde::Serialize;

use super::failure::Failure;
use crate::backend::DeviceMemory;
use crate::worker::protocol::Loaded;

/// What was seen of a worker that was taken through its rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Footprint {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Loaded>,
    /// Those that were finished.
    pub rounds: Vec<Round>,
    /// Why the first load found its files in the page cache, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_cold: Option<String>,
    /// Whether device memory is what the card's used memory has grown by since before the worker was started, because the
    /// driver doesn't tell the worker's own.
    pub device_derived: bool,
    /// Why the device's memory wasn't seen, where there is a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A load, a measurement and an unload.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Round {
    /// By the worker's own clock.
    pub load_seconds: f64,
    /// Tokens of a document as the network saw it, padding included; nothing where the worker doesn't tell.
    pub tokens: u64,
    /// Memory of the host: resident, and reserved in the address space, the peak of which is that since the worker began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss: Option<Levels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vms: Option<Levels>,
    /// Memory of the device, as the driver tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Levels>,
    /// The same as the worker tells it, at its peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_memory: Option<DeviceMemory>,
}

/// Memory over a round, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Levels {
    pub before: u64,
    pub loaded: u64,
    pub peak: u64,
    pub after: u64,
}
