//! Batches on their way to a device, and answers on their way back.
//!
//! A lane holds what one batch needs on both sides, and is used again: pinning memory costs more than copying a batch. With
//! two of them a batch is copied and worked out while the host prepares the next and reads the answers of the one before.

use std::any::Any;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::driver::{DeviceError, Driver};
use crate::backend::BackendError;

/// How batches travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfers {
    /// From and to ordinary memory, one thing after the other.
    #[default]
    Blocking,
    /// From and to pinned memory, one thing after the other.
    Pinned,
    /// From and to pinned memory, while the batch before computes.
    NonBlocking,
}

impl Transfers {
    pub const NAMES: [(&str, Transfers); 3] = [
        ("blocking", Transfers::Blocking),
        ("pinned", Transfers::Pinned),
        ("non_blocking", Transfers::NonBlocking),
    ];
}

/// Batches under way at once: one computes, and one is copied. A third would only wait, and hold memory.
pub const LANES: usize = 2;

/// Where a batch's answers lie on the device once the compute queue has come so far.
pub struct Computed {
    pub address: u64,
    pub bytes: usize,
    /// Whatever must not be let go of before they are copied.
    pub kept: Box<dyn Any>,
}

/// The answers of one batch, on the host.
pub struct Arrived<'a> {
    pub bytes: &'a [u8],
    /// What was kept for it.
    pub kept: &'a dyn Any,
    pub to_device: Duration,
    pub compute: Duration,
    pub from_device: Duration,
}

pub struct Lanes<D: Driver> {
    device: D,
    transfers: Transfers,
    inbound: D::Queue,
    outbound: D::Queue,
    lanes: Vec<Lane<D>>,
    free: Vec<usize>,
    /// The oldest first.
    under_way: VecDeque<usize>,
    /// Overwrites what a lane held when it becomes free, so that whoever reads too late reads nonsense.
    pub poisons: bool,
}

struct Lane<D: Driver> {
    input: Option<D::Memory>,
    input_bytes: usize,
    staging: Option<D::Pinned>,
    answers: Option<D::Pinned>,
    /// Answers where nothing is pinned, and those of the batch that arrived last.
    plain: Vec<u8>,
    copied: D::Event,
    computed: D::Event,
    arrived: D::Event,
    flight: Option<Flight>,
}

/// A batch under way.
struct Flight {
    computed: Computed,
    to_device: Duration,
}

/// Sizes that memory is taken in: batches of like size share what was taken before. 64 KiB hold 5,000 tokens.
pub const GRAIN: usize = 1 << 16;

/// What poisoned memory holds: no float is such a number, and no table has such a row.
const POISON: u8 = 0xFF;

impl<D: Driver> Lanes<D> {
    pub fn new(device: D, transfers: Transfers) -> Result<Self, DeviceError> {
        let lane = |_| {
            Ok(Lane {
                input: None,
                input_bytes: 0,
                staging: None,
                answers: None,
                plain: Vec::new(),
                copied: device.event()?,
                computed: device.event()?,
                arrived: device.event()?,
                flight: None,
            })
        };
        let lanes = (0..LANES).map(lane).collect::<Result<Vec<_>, DeviceError>>()?;
        let (inbound, outbound) = (device.queue()?, device.queue()?);
        let free = (0..LANES).rev().collect();
        let poisons = std::env::var_os("AUTOTUNE_POISON_TRANSFERS").is_some();
        Ok(Lanes { device, transfers, inbound, outbound, lanes, free, under_way: VecDeque::new(), poisons })
    }

    /// How batches travel from here on. Nothing may be under way.
    pub fn travel_by(&mut self, transfers: Transfers) {
        debug_assert!(self.under_way.is_empty());
        self.transfers = transfers;
    }

    /// Gives back the device's memory that batches travelled to. Nothing may be under way.
    pub fn let_go(&mut self) {
        debug_assert!(self.under_way.is_empty());
        self.lanes.iter_mut().for_each(|lane| lane.input = None);
    }

    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Sends a batch. `compute` is given the address of its bytes on the device, puts the work on `queue`, and says where
    /// the answers will lie.
    pub fn submit(
        &mut self,
        batch: &[u8],
        queue: &D::Queue,
        compute: impl FnOnce(u64) -> Result<Computed, BackendError>,
    ) -> Result<(), BackendError> {
        let start = Instant::now();
        let place = self.free.pop().ok_or_else(|| {
            BackendError::Failed(format!("{LANES} batches are under way, which is the maximum"))
        })?;
        let sent = self.send(place, batch, queue);
        let to_device = start.elapsed();
        let computed = sent.map_err(BackendError::from).and_then(compute);
        let fetched = computed.and_then(|computed| {
            self.fetch(place, &computed, queue)?;
            Ok(computed)
        });
        let computed = match fetched {
            Ok(computed) => computed,
            Err(error) => {
                self.give_up(place, queue);
                return Err(error);
            }
        };
        self.lanes[place].flight = Some(Flight { computed, to_device });
        self.under_way.push_back(place);
        Ok(())
    }

    /// Puts the copy to the device on its way. The compute queue waits for it.
    fn send(&mut self, place: usize, batch: &[u8], queue: &D::Queue) -> Result<u64, DeviceError> {
        let (device, transfers) = (&self.device, self.transfers);
        let lane = &mut self.lanes[place];
        if lane.input.is_none() || lane.input_bytes < batch.len() {
            // The smaller one goes first, so that they never share the memory.
            lane.input = None;
            lane.input_bytes = batch.len().max(1).next_multiple_of(GRAIN);
            lane.input = Some(device.memory(lane.input_bytes)?);
        }
        let to = lane.input.as_ref().map_or(0, |input| device.address(input));
        if transfers == Transfers::Blocking {
            // SAFETY: the lane was free, so nothing under way uses its memory.
            unsafe { device.copy_in_now(batch, to)? };
            return Ok(to);
        }
        let staging = room(device, &mut lane.staging, batch.len())?;
        staging[..batch.len()].copy_from_slice(batch);
        // SAFETY: the lane isn't free again before its batch has arrived, and until then nobody touches its memory.
        unsafe { device.copy_in(staging, batch.len(), to, &self.inbound)? };
        device.record(&lane.copied, &self.inbound)?;
        match transfers {
            Transfers::NonBlocking => device.wait(queue, &lane.copied)?,
            _ => device.synchronise(&lane.copied)?,
        }
        Ok(to)
    }

    /// Puts the copy back on its way, behind what computes the answers.
    fn fetch(&mut self, place: usize, computed: &Computed, queue: &D::Queue) -> Result<(), DeviceError> {
        let device = &self.device;
        let lane = &mut self.lanes[place];
        device.record(&lane.computed, queue)?;
        if self.transfers == Transfers::NonBlocking {
            let answers = room(device, &mut lane.answers, computed.bytes)?;
            device.wait(&self.outbound, &lane.computed)?;
            // SAFETY: the answers are kept, and nobody reads the lane's before they have arrived.
            unsafe { device.copy_out(computed.address, answers, computed.bytes, &self.outbound)? };
            device.record(&lane.arrived, &self.outbound)?;
        }
        Ok(())
    }

    /// Waits for the oldest batch under way, and shows its answers.
    pub fn collect<T>(&mut self, read: impl FnOnce(Arrived) -> T) -> Result<T, BackendError> {
        let nothing = || BackendError::Failed("no batch is under way".into());
        let place = self.under_way.pop_front().ok_or_else(nothing)?;
        let flight = self.lanes[place].flight.take().ok_or_else(nothing)?;
        let arrived = self.receive(place, &flight);
        let read = arrived.map(|(compute, from_device)| {
            let lane = &self.lanes[place];
            let bytes = match (&lane.answers, self.transfers) {
                (Some(answers), Transfers::Pinned | Transfers::NonBlocking) => &answers[..],
                _ => &lane.plain[..],
            };
            let bytes = &bytes[..flight.computed.bytes];
            let kept = &*flight.computed.kept;
            read(Arrived { bytes, kept, to_device: flight.to_device, compute, from_device })
        });
        if self.poisons {
            let lane = &mut self.lanes[place];
            let pinned = [&mut lane.staging, &mut lane.answers];
            pinned.into_iter().flatten().for_each(|pinned| pinned.fill(POISON));
            lane.plain.fill(POISON);
        }
        self.free.push(place);
        Ok(read?)
    }

    /// Waits until a batch's answers are on the host; and how long computing and copying took, as far as the host waited.
    fn receive(&mut self, place: usize, flight: &Flight) -> Result<(Duration, Duration), DeviceError> {
        let device = &self.device;
        let lane = &mut self.lanes[place];
        let bytes = flight.computed.bytes;
        let start = Instant::now();
        if self.transfers == Transfers::NonBlocking {
            device.synchronise(&lane.arrived)?;
            let waited = start.elapsed();
            let copied = device.milliseconds(&lane.computed, &lane.arrived)?;
            let copied = Duration::from_secs_f64(f64::from(copied.max(0.0)) / 1e3).min(waited);
            return Ok((waited - copied, copied));
        }
        device.synchronise(&lane.computed)?;
        let computed = start.elapsed();
        if self.transfers == Transfers::Pinned {
            let answers = room(device, &mut lane.answers, bytes)?;
            // SAFETY: what computes them is done, and the copy is waited for before anybody reads.
            unsafe { device.copy_out(flight.computed.address, answers, bytes, &self.outbound)? };
            device.record(&lane.arrived, &self.outbound)?;
            device.synchronise(&lane.arrived)?;
        } else {
            if lane.plain.len() < bytes {
                lane.plain.resize(bytes, 0);
            }
            // SAFETY: what computes them is done.
            unsafe { device.copy_out_now(flight.computed.address, &mut lane.plain[..bytes])? };
        }
        Ok((computed, start.elapsed() - computed))
    }

    /// Waits for what was sent, and for nothing else.
    #[cfg(test)]
    pub fn inbound_is_done(&self) {
        for lane in self.under_way.iter().map(|place| &self.lanes[*place]) {
            self.device.synchronise(&lane.copied).unwrap();
        }
    }

    /// Lets everything end that may use a lane, and takes back what it held for a batch that was too large, perhaps.
    fn give_up(&mut self, place: usize, queue: &D::Queue) {
        let lane = &mut self.lanes[place];
        for on in [&self.inbound, queue, &self.outbound] {
            // If even that fails there is no device left to use it.
            let _ =
                self.device.record(&lane.arrived, on).and_then(|()| self.device.synchronise(&lane.arrived));
        }
        lane.input = None;
        self.free.push(place);
    }
}

impl<D: Driver> Drop for Lanes<D> {
    fn drop(&mut self) {
        // Memory under way must not go before what reads and writes it is done.
        while let Some(place) = self.under_way.pop_front() {
            let lane = &self.lanes[place];
            let _ = self.device.synchronise(&lane.computed);
            if self.transfers == Transfers::NonBlocking {
                let _ = self.device.synchronise(&lane.arrived);
            }
        }
    }
}

/// Pinned memory with room for so much: what there is, or more.
fn room<'a, D: Driver>(
    device: &D,
    pinned: &'a mut Option<D::Pinned>,
    bytes: usize,
) -> Result<&'a mut D::Pinned, DeviceError> {
    pinned.take_if(|pinned| pinned.len() < bytes);
    match pinned {
        Some(pinned) => Ok(pinned),
        None => Ok(pinned.insert(device.pinned(bytes.max(1).next_multiple_of(GRAIN))?)),
    }
}
