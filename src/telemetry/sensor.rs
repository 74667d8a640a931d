//! The seam between a card and whoever watches it.
//!
//! A sensor reads; what an error means for the quantity that it struck stands in `trouble.rs`.

use serde::{Deserialize, Serialize};

use super::reason::Reason;
use super::trouble::Trouble;

/// Reads one card.
pub trait Sensor: Send {
    /// What doesn't change while the card is watched.
    fn card(&self) -> &Card;

    /// Reads the quantities in `wanted`, and leaves the others `None`. An error is one of the card as a whole.
    fn read(&mut self, wanted: &[Quantity]) -> Result<Reading, Trouble>;
}

/// Who a card is.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Card {
    /// As services spell it: `cuda:0`.
    pub device: String,
    pub name: String,
    pub uuid: String,
    pub driver: String,
    /// The highest clock of its multiprocessors, in MHz.
    pub most_sm_mhz: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    Memory,
    Load,
    Temperature,
    Clocks,
    Reasons,
    Power,
    Energy,
    Processes,
    Busy,
}

impl Quantity {
    pub const ALL: [Quantity; 9] = [
        Quantity::Memory,
        Quantity::Load,
        Quantity::Temperature,
        Quantity::Clocks,
        Quantity::Reasons,
        Quantity::Power,
        Quantity::Energy,
        Quantity::Processes,
        Quantity::Busy,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Quantity::Memory => "memory",
            Quantity::Load => "utilisation",
            Quantity::Temperature => "temperature",
            Quantity::Clocks => "clocks",
            Quantity::Reasons => "throttle reasons",
            Quantity::Power => "power",
            Quantity::Energy => "energy counter",
            Quantity::Processes => "processes",
            Quantity::Busy => "utilisation of processes",
        }
    }
}

/// What a card said, quantity by quantity; `None` is what it wasn't asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    pub memory: Option<Result<Memory, Trouble>>,
    pub load: Option<Result<Load, Trouble>>,
    /// In degrees Celsius.
    pub temperature: Option<Result<u32, Trouble>>,
    pub clocks: Option<Result<Clocks, Trouble>>,
    pub reasons: Option<Result<Vec<Reason>, Trouble>>,
    pub power: Option<Result<Power, Trouble>>,
    /// Joule since the driver was loaded.
    pub energy: Option<Result<f64, Trouble>>,
    /// Processes that compute on the card.
    pub processes: Option<Result<Vec<Process>, Trouble>>,
    /// Processes that worked since the reading before, with their share of the multiprocessors' time in percent. Empty
    /// where the card has no news.
    pub busy: Option<Result<Vec<(u32, u32)>, Trouble>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub used_bytes: u64,
    pub total_bytes: u64,
}

/// Shares of the time in percent, which NVML itself averages over a sixth of a second to a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Load {
    /// In which a kernel ran.
    pub gpu_percent: u32,
    /// In which device memory was read or written.
    pub memory_percent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Clocks {
    pub sm_mhz: u32,
    pub memory_mhz: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Power {
    pub watts: f64,
    /// What the card may draw.
    pub limit_watts: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// Device memory; the driver may not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
