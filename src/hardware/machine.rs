//! What this machine is: the fingerprint beside every figure that was measured on it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::apple::Processor;
use super::driver::{Driver, OLDEST_CAPABILITY};
use super::gpu::Gpu;
use super::nvidia::{self, Found};
use super::probe;
use crate::backend::Missing;
use crate::units::Bytes;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory: Option<Bytes>,
    pub system: String,
    pub gpus: Vec<Gpu>,
    /// NVIDIA's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Why NVML couldn't be asked for GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_nvml: Option<String>,
    /// Why nothing can be computed on NVIDIA's GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_cuda: Option<Missing>,
    /// Whether NVIDIA's driver was asked, and never answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub driver_hangs: bool,
    /// GPUs that are here, and hidden from programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
}

impl Machine {
    /// This machine, whose driver another process of this program asks.
    pub fn here() -> Machine {
        Machine::detect(std::env::current_exe().ok().as_deref())
    }

    /// What there is here. NVIDIA's driver is asked by `program`, this program, in a process of its own; without one in
    /// this process, which waits as long as the driver does.
    pub fn detect(program: Option<&Path>) -> Machine {
        let apple = Processor::detect();
        let nvidia = match apple {
            // On a Mac nobody misses NVIDIA's library.
            Some(_) => Found::default(),
            None => nvidia::found(
                program.map_or_else(probe::here, probe::ask),
                std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref(),
            ),
        };
        let apple_gpu = apple.as_ref().and_then(Processor::gpu);
        let (cpu, bytes) = apple.map(|processor| (processor.name, processor.memory)).unzip();
        Machine {
            cpu: field("/proc/cpuinfo", "model name")
                .or(cpu)
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory().or(bytes.flatten()),
            system: system(),
            gpus: apple_gpu.map_or(nvidia.gpus, |gpu| vec![gpu]),
            driver: nvidia.driver,
            no_nvml: nvidia.no_nvml,
            no_cuda: nvidia.no_cuda,
            driver_hangs: nvidia.hangs,
            hidden: nvidia.hidden,
        }
    }

    /// The GPU that workers call `device`.
    pub fn gpu(&self, device: &str) -> Option<&Gpu> {
        let mut gpus = self.gpus.iter().enumerate();
        gpus.find(|(index, gpu)| gpu.device(*index) == device).map(|(_, gpu)| gpu)
    }

    /// Why no engine can run on one of NVIDIA's GPUs, if none can.
    pub fn obstacle(&self, device: &str) -> Option<Missing> {
        let gpu = self.gpu(device).filter(|gpu| !gpu.is_apple())?;
        let cpu = "or tune for the processor with --gpu cpu";
        if let Some(driver) = self.driver.as_ref().filter(|driver| !driver.can(12)) {
            return Some(Missing {
                why: format!("NVIDIA's {}, and the engines need CUDA 12 or later", driver.line()),
                remedy: format!(
                    "update NVIDIA's driver to 580 or later, for both engines (ONNX Runtime alone needs 525 or later), \
                     {cpu}"
                ),
            });
        }
        match gpu.capability() {
            Some(capability) if capability < OLDEST_CAPABILITY => Some(Missing {
                why: format!(
                    "{} has compute capability {}.{}, but the engines need 7.5 or later (RTX 20, T4)",
                    gpu.name, capability.0, capability.1
                ),
                remedy: format!("use a newer card, {cpu}"),
            }),
            _ => self.no_cuda.clone(),
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
        if self.gpus.is_empty() && self.driver_hangs {
            return "no GPU found: NVIDIA's driver doesn't answer".to_owned();
        }
        let shown = self.gpus.iter().map(|gpu| gpu.name.as_str()).collect::<Vec<_>>().join(", ");
        let shown = if shown.is_empty() { "no GPU".to_owned() } else { shown };
        match self.hidden.as_slice() {
            [] => shown,
            hidden => format!("{shown}; hidden from programs: {}", hidden.join(", ")),
        }
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
