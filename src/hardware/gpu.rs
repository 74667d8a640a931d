//! A GPU in this machine.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::card::{self, Card};
use crate::units::Bytes;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gpu {
    /// As the driver calls it.
    pub name: String,
    /// What networks may use of it: a card's own memory, or a share of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Whether nobody told the memory, and it's what a card of this name is sold with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub memory_from_table: bool,
    /// The driver's version; empty where nobody told it.
    #[serde(default)]
    pub driver: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// NVIDIA's, such as `8.6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_bus: Option<String>,
    #[serde(default)]
    pub found_by: FoundBy,
}

/// Who told of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundBy {
    /// NVIDIA's library for its driver; all that older runs asked.
    #[default]
    Nvml,
    NvidiaSmi,
    /// The files that NVIDIA's driver has in /proc.
    Proc,
    /// CUDA alone: in containers that have neither NVML nor /proc.
    Cuda,
    /// macOS, of its own processor.
    Sysctl,
}

impl fmt::Display for FoundBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            FoundBy::Nvml => "NVML",
            FoundBy::NvidiaSmi => "nvidia-smi",
            FoundBy::Proc => "/proc/driver/nvidia",
            FoundBy::Cuda => "CUDA",
            FoundBy::Sysctl => "sysctl",
        })
    }
}

impl Gpu {
    /// The card that it is, if the table has it.
    pub fn card(&self) -> Option<&'static Card> {
        card::of_driver(&self.name, self.memory)
    }

    /// Short, for file names.
    pub fn short_name(&self) -> String {
        self.card().map_or_else(|| card::plain(&self.name), |card| card.name.clone())
    }

    /// NVIDIA's compute capability, major and minor.
    pub fn capability(&self) -> Option<(u32, u32)> {
        let (major, minor) = self.compute_capability.as_deref()?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// What people call it.
    pub fn title(&self) -> &str {
        self.card().map_or(&self.name, |card| &card.title)
    }

    /// As workers call it, where it's the `index`th of the machine.
    pub fn device(&self, index: usize) -> String {
        if self.is_apple() { "mps".to_owned() } else { format!("cuda:{index}") }
    }

    pub fn is_apple(&self) -> bool {
        self.found_by == FoundBy::Sysctl
    }

    /// Name and memory.
    pub fn line(&self) -> String {
        let from = if self.memory_from_table { " as sold" } else { "" };
        let memory = self.memory.map_or_else(|| "unknown memory".to_owned(), |memory| memory.to_string());
        format!("{} with {memory}{from}", self.name)
    }

    /// Everything that is known of it.
    pub fn details(&self, index: usize) -> String {
        let driver = Some(&self.driver).filter(|driver| !driver.is_empty());
        let parts = [
            self.compute_capability.as_ref().map(|capability| format!("compute capability {capability}")),
            driver.map(|driver| format!("driver {driver}")),
            self.pci_bus.as_ref().map(|bus| format!("bus {bus}")),
            self.uuid.clone(),
            Some(format!("reported by {}", self.found_by)),
            Some(match self.card() {
                Some(card) => format!("{} in the table of GPUs", card.name),
                None => "not in the table of GPUs".to_owned(),
            }),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("{}: {}, {}", self.device(index), self.line(), parts.join(", "))
    }
}
