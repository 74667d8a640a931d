//! A real card, read through NVML.

use std::collections::HashMap;
use std::sync::Arc;

use nvml_wrapper::Nvml;
use nvml_wrapper::device::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;

use super::reason::Reason;
use super::sensor::{Card, Clocks, Load, Memory, Power, Process, Quantity, Reading, Sensor};
use super::trouble::{Effect, Trouble};
use crate::backend::gpu::places;
use crate::hardware::{Gpu, Machine};

struct NvmlSensor {
    nvml: Arc<Nvml>,
    address: Address,
    card: Card,
    /// Until when the work of processes was told, in the driver's microseconds.
    seen: u64,
    /// Names of the processes that were there at the last reading.
    names: HashMap<u32, Option<String>>,
}

/// A card as workers and NVML know it, which count by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As workers call it: `cuda:0`.
    pub device: String,
    uuid: Option<String>,
    bus: Option<String>,
    index: u32,
}

impl Address {
    /// Of NVIDIA's card that workers call `device`.
    pub fn of(machine: &Machine, device: &str) -> Option<Address> {
        let all = Address::all(machine);
        all.into_iter().find(|address| address.device == device)
    }

    /// Of every card that CUDA shows.
    pub fn all(machine: &Machine) -> Vec<Address> {
        let address = |(index, gpu): (usize, &Gpu)| Address {
            device: gpu.device(index),
            uuid: gpu.uuid.clone(),
            bus: gpu.pci_bus.clone(),
            index: index as u32,
        };
        machine.gpus.iter().enumerate().filter(|(_, gpu)| !gpu.is_apple()).map(address).collect()
    }
}

/// Whether cards can be watched at all. A driver that didn't answer before isn't asked again.
pub fn available(machine: &Machine) -> Result<(), Trouble> {
    match &machine.no_nvml {
        Some(why) if machine.driver_hangs => Err(Trouble::gone(why.clone())),
        _ => places::nvml().map(|_| ()).map_err(whole),
    }
}

/// Opens a card. An instance of MIG is found by its UUID alone: its bus is the whole card's.
pub fn open(address: &Address) -> Result<Box<dyn Sensor>, Trouble> {
    let nvml = Arc::new(places::nvml().map_err(whole)?);
    let driver = nvml.sys_driver_version().unwrap_or_default();
    let card = {
        let found = find(&nvml, address)?;
        Card {
            device: address.device.clone(),
            name: found.name().map_err(whole)?,
            uuid: found.uuid().unwrap_or_default(),
            driver,
            most_sm_mhz: found.max_clock_info(Clock::SM).ok(),
        }
    };
    Ok(Box::new(NvmlSensor { nvml, address: address.clone(), card, seen: 0, names: HashMap::new() }))
}

fn find<'n>(nvml: &'n Nvml, address: &Address) -> Result<Device<'n>, Trouble> {
    let by_uuid = address.uuid.as_ref().and_then(|uuid| nvml.device_by_uuid(uuid.as_str()).ok());
    if let Some(device) = by_uuid {
        return Ok(device);
    }
    match &address.bus {
        Some(bus) => nvml.device_by_pci_bus_id(bus.as_str()),
        None => nvml.device_by_index(address.index),
    }
    .map_err(whole)
}

/// Trouble with the card as a whole is never trouble with one quantity.
fn whole(error: NvmlError) -> Trouble {
    let trouble = Trouble::from(error);
    let effect = if trouble.effect == Effect::NotNow { Effect::NotNow } else { Effect::Gone };
    Trouble { effect, ..trouble }
}

impl Sensor for NvmlSensor {
    fn card(&self) -> &Card {
        &self.card
    }

    fn read(&mut self, wanted: &[Quantity]) -> Result<Reading, Trouble> {
        let nvml = Arc::clone(&self.nvml);
        let device = find(&nvml, &self.address)?;
        let wants = |quantity| wanted.contains(&quantity);
        Ok(Reading {
            memory: wants(Quantity::Memory).then(|| memory(&device)),
            load: wants(Quantity::Load).then(|| load(&device)),
            temperature: wants(Quantity::Temperature)
                .then(|| Ok(device.temperature(TemperatureSensor::Gpu)?)),
            clocks: wants(Quantity::Clocks).then(|| clocks(&device)),
            reasons: wants(Quantity::Reasons).then(|| Ok(Reason::of(device.current_throttle_reasons()?))),
            power: wants(Quantity::Power).then(|| power(&device)),
            energy: wants(Quantity::Energy).then(|| Ok(device.total_energy_consumption()? as f64 / 1e3)),
            processes: wants(Quantity::Processes).then(|| self.processes(&device)),
            busy: wants(Quantity::Busy).then(|| self.busy(&device)),
        })
    }
}

fn memory(device: &Device) -> Result<Memory, Trouble> {
    let memory = device.memory_info()?;
    Ok(Memory { used_bytes: memory.used, total_bytes: memory.total })
}

fn load(device: &Device) -> Result<Load, Trouble> {
    let load = device.utilization_rates()?;
    Ok(Load { gpu_percent: load.gpu, memory_percent: load.memory })
}

fn clocks(device: &Device) -> Result<Clocks, Trouble> {
    let sm_mhz = device.clock_info(Clock::SM)?;
    Ok(Clocks { sm_mhz, memory_mhz: device.clock_info(Clock::Memory).ok() })
}

fn power(device: &Device) -> Result<Power, Trouble> {
    // NVML counts in milliwatts.
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1e3;
    Ok(Power {
        watts: watts(device.power_usage()?),
        limit_watts: device.enforced_power_limit().ok().map(watts),
    })
}

impl NvmlSensor {
    fn processes(&mut self, device: &Device) -> Result<Vec<Process>, Trouble> {
        let listed: Vec<ProcessInfo> = device.running_compute_processes()?;
        self.names.retain(|pid, _| listed.iter().any(|process| process.pid == *pid));
        let process = |process: ProcessInfo| Process {
            pid: process.pid,
            bytes: match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            },
            name: self.names.entry(process.pid).or_insert_with(|| name(process.pid)).clone(),
        };
        Ok(listed.into_iter().map(process).collect())
    }

    fn busy(&mut self, device: &Device) -> Result<Vec<(u32, u32)>, Trouble> {
        let samples = match device.process_utilization_stats(self.seen) {
            // So NVML says that nobody worked, or that its next sample isn't ready yet.
            Err(NvmlError::NotFound | NvmlError::NoData) => return Ok(Vec::new()),
            other => other?,
        };
        let new = samples.into_iter().filter(|sample| sample.timestamp > self.seen).collect::<Vec<_>>();
        self.seen = new.iter().map(|sample| sample.timestamp).max().unwrap_or(self.seen);
        Ok(new.into_iter().map(|sample| (sample.pid, sample.sm_util)).collect())
    }
}

/// What the operating system calls a process, if it lets us see it.
fn name(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    // A process calls itself what it likes, and a terminal obeys some of it.
    let plain = |c: char| if c.is_control() { '?' } else { c };
    Some(name.trim().chars().map(plain).collect()).filter(|name: &String| !name.is_empty())
}
