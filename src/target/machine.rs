//! What this machine is: the fingerprint beside every figure that was measured on it.

use std::fs;

use serde::{Deserialize, Serialize};

use super::apple::Processor;
use super::gpu::Gpu;
use super::nvidia;
use crate::units::Bytes;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory: Option<Bytes>,
    pub system: String,
    pub gpus: Vec<Gpu>,
    /// Why NVML couldn't be asked for GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_nvml: Option<String>,
}

impl Machine {
    pub fn detect() -> Machine {
        let apple = Processor::detect();
        let apple_gpu = apple.as_ref().and_then(Processor::gpu);
        // On a Mac nobody misses NVIDIA's library.
        let (gpus, no_nvml) = apple_gpu.map_or_else(nvidia::detect, |gpu| (vec![gpu], None));
        let (cpu, bytes) = apple.map(|processor| (processor.name, processor.memory)).unzip();
        Machine {
            cpu: field("/proc/cpuinfo", "model name")
                .or(cpu)
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory().or(bytes.flatten()),
            system: system(),
            gpus,
            no_nvml,
        }
    }

    /// What makes this machine another one than `other`, if anything that figures depend on does.
    pub fn differs_from(&self, other: &Machine) -> Option<String> {
        let gpus = |machine: &Machine| machine.gpus.iter().map(|gpu| gpu.name.clone()).collect::<Vec<_>>();
        if (&self.cpu, self.cores) != (&other.cpu, other.cores) {
            Some(format!("{} then, {} now", self.cpu_line(), other.cpu_line()))
        } else if gpus(self) != gpus(other) {
            Some(format!("{} then, {} now", self.gpu_line(), other.gpu_line()))
        } else {
            None
        }
    }

    pub fn cpu_line(&self) -> String {
        let memory = self.memory.map_or_else(String::new, |memory| format!(", {memory}"));
        format!("{}, {} cores{memory}", self.cpu, self.cores)
    }

    pub fn gpu_line(&self) -> String {
        if self.gpus.is_empty() {
            return "no GPU".to_owned();
        }
        self.gpus.iter().map(|gpu| gpu.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn memory() -> Option<Bytes> {
    let kibibytes = field("/proc/meminfo", "MemTotal")?;
    let kibibytes: u64 = kibibytes.trim_end_matches("kB").trim().parse().ok()?;
    Some(Bytes(kibibytes * 1024))
}

fn system() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, release.trim()).trim().to_owned()
}

/// The value after `name:` in a file of the kernel's.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
