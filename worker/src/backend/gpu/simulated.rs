//! A device of the mind, for tests: what is put on its queues runs as late as it may, or in any order that events allow, so
//! that whoever forgot to wait reads nonsense. Memory that nobody wrote is poisoned. It lies in the host's, at addresses
//! that an engine on the host can compute at.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::driver::{DeviceError, Driver};

pub const POISON: u8 = 0xFF;

/// When an operation runs.
#[derive(Clone)]
pub enum Schedule {
    /// When somebody waits for it, and not before.
    Late,
    /// At some moment between that and now.
    Drawn(Pcg64),
    /// When somebody waits for it, and a queue that waits is somebody: its work is done by the host, and at once.
    Hosted,
}

impl Schedule {
    pub fn drawn(seed: u64) -> Schedule {
        Schedule::Drawn(Pcg64::seed_from_u64(seed))
    }
}

type Address = u64;

enum Operation {
    CopyIn { from: *const u8, bytes: usize, to: Address },
    CopyOut { from: Address, bytes: usize, to: *mut u8 },
    Work { name: &'static str, run: Box<dyn FnOnce(&mut Bank)> },
    Record,
    Wait { queue: usize, done: usize },
}

/// The device's memory.
#[derive(Default)]
pub struct Bank {
    regions: BTreeMap<Address, Vec<u8>>,
}

impl Bank {
    pub fn at(&mut self, address: Address, bytes: usize) -> &mut [u8] {
        let (start, region) =
            self.regions.range_mut(..=address).next_back().expect("an address of the device");
        let offset = (address - start) as usize;
        &mut region[offset..offset + bytes]
    }
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Operation>,
    done: usize,
    put: usize,
}

pub struct State {
    bank: Bank,
    lines: Vec<Line>,
    /// For each event the queue that it was last recorded on, and how much is done there once it has happened.
    events: Vec<(usize, usize)>,
    schedule: Schedule,
    /// Bytes that may be allocated.
    capacity: usize,
    /// What may be taken of it, where that was limited.
    most: usize,
    /// What ran, in its order.
    pub trace: Vec<String>,
}

#[derive(Clone)]
pub struct Simulated(Rc<RefCell<State>>);

pub struct Queue(usize);
pub struct Event(usize);

pub struct Pinned {
    bytes: Box<[u8]>,
    device: Simulated,
}

pub struct Memory {
    address: Address,
    device: Simulated,
}

impl Simulated {
    pub fn new(schedule: Schedule, capacity: usize) -> Simulated {
        let (bank, lines, events, trace) = (Bank::default(), Vec::new(), Vec::new(), Vec::new());
        Simulated(Rc::new(RefCell::new(State {
            bank,
            lines,
            events,
            schedule,
            capacity,
            most: usize::MAX,
            trace,
        })))
    }

    /// Puts arithmetic on a queue.
    pub fn work(&self, name: &'static str, on: &Queue, run: impl FnOnce(&mut Bank) + 'static) {
        self.put(on, Operation::Work { name, run: Box::new(run) });
    }

    pub fn trace(&self) -> Vec<String> {
        self.0.borrow().trace.clone()
    }

    pub fn allocated(&self) -> usize {
        self.0.borrow().bank.regions.values().map(Vec::len).sum()
    }

    fn put(&self, on: &Queue, operation: Operation) {
        let mut state = self.0.borrow_mut();
        state.lines[on.0].waiting.push_back(operation);
        state.lines[on.0].put += 1;
        state.run_some();
    }

    /// Whether something that waits will use this memory of the host.
    fn uses(&self, bytes: &[u8]) -> bool {
        let within = |place: *const u8| bytes.as_ptr_range().contains(&place);
        self.0.borrow().lines.iter().flat_map(|line| &line.waiting).any(|operation| match operation {
            Operation::CopyIn { from, .. } => within(*from),
            Operation::CopyOut { to, .. } => within(*to),
            _ => false,
        })
    }
}

impl State {
    /// Runs a queue until so much of it is done, and before that whatever it has to wait for.
    fn run_until(&mut self, queue: usize, done: usize) {
        while self.lines[queue].done < done {
            self.step(queue);
        }
    }

    fn step(&mut self, queue: usize) {
        let Some(operation) = self.lines[queue].waiting.pop_front() else { return };
        match operation {
            Operation::CopyIn { from, bytes, to } => {
                self.trace.push(format!("queue {queue}: copy in {bytes}"));
                // SAFETY: pinned memory that is still to be read is alive: dropping it panics.
                let from = unsafe { std::slice::from_raw_parts(from, bytes) };
                self.bank.at(to, bytes).copy_from_slice(from);
            }
            Operation::CopyOut { from, bytes, to } => {
                self.trace.push(format!("queue {queue}: copy out {bytes}"));
                // SAFETY: as above.
                let to = unsafe { std::slice::from_raw_parts_mut(to, bytes) };
                to.copy_from_slice(self.bank.at(from, bytes));
            }
            Operation::Work { name, run } => {
                self.trace.push(format!("queue {queue}: {name}"));
                run(&mut self.bank);
            }
            Operation::Record => {}
            Operation::Wait { queue, done } => self.run_until(queue, done),
        }
        self.lines[queue].done += 1;
    }

    /// Where the schedule allows it, some of what could run does.
    fn run_some(&mut self) {
        loop {
            let ready = |line: &Line| match line.waiting.front() {
                None => false,
                Some(Operation::Wait { queue, done }) => self.lines[*queue].done >= *done,
                Some(_) => true,
            };
            let ready: Vec<usize> =
                (0..self.lines.len()).filter(|&queue| ready(&self.lines[queue])).collect();
            let Schedule::Drawn(random) = &mut self.schedule else { return };
            let Some(&queue) = ready.choose(random).filter(|_| random_half(random)) else { return };
            self.step(queue);
        }
    }
}

fn random_half(random: &mut Pcg64) -> bool {
    random.random_bool(0.5)
}

impl Deref for Pinned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        assert!(!self.device.uses(&self.bytes), "pinned memory went while a copy was under way");
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.device.0.borrow_mut().bank.regions.remove(&self.address);
    }
}

impl Driver for Simulated {
    type Queue = Queue;
    type Event = Event;
    type Pinned = Pinned;
    type Memory = Memory;

    fn queue(&self) -> Result<Queue, DeviceError> {
        let mut state = self.0.borrow_mut();
        state.lines.push(Line::default());
        Ok(Queue(state.lines.len() - 1))
    }

    fn event(&self) -> Result<Event, DeviceError> {
        let mut state = self.0.borrow_mut();
        state.events.push((0, 0));
        Ok(Event(state.events.len() - 1))
    }

    fn pinned(&self, bytes: usize) -> Result<Pinned, DeviceError> {
        Ok(Pinned { bytes: vec![POISON; bytes].into(), device: self.clone() })
    }

    fn memory(&self, bytes: usize) -> Result<Memory, DeviceError> {
        let taken = self.allocated();
        let mut state = self.0.borrow_mut();
        let most = state.capacity.min(state.most);
        if taken + bytes > most {
            return Err(DeviceError::OutOfMemory(format!("{bytes} more than {taken} of {most}")));
        }
        // Of at least a byte: without any there would be no address.
        let mut region = vec![POISON; bytes.max(1)];
        let address = region.as_mut_ptr() as Address;
        state.bank.regions.insert(address, region);
        Ok(Memory { address, device: self.clone() })
    }

    fn limit_memory(&self, most_bytes: u64) {
        self.0.borrow_mut().most = usize::try_from(most_bytes).unwrap_or(usize::MAX);
    }

    fn memory_held(&self) -> u64 {
        self.allocated() as u64
    }

    fn address(&self, memory: &Memory) -> u64 {
        memory.address
    }

    unsafe fn copy_in_now(&self, from: &[u8], to: u64) -> Result<(), DeviceError> {
        self.0.borrow_mut().trace.push(format!("copy in now {}", from.len()));
        self.0.borrow_mut().bank.at(to, from.len()).copy_from_slice(from);
        Ok(())
    }

    unsafe fn copy_out_now(&self, from: u64, to: &mut [u8]) -> Result<(), DeviceError> {
        self.0.borrow_mut().trace.push(format!("copy out now {}", to.len()));
        to.copy_from_slice(self.0.borrow_mut().bank.at(from, to.len()));
        Ok(())
    }

    unsafe fn copy_in(&self, from: &Pinned, bytes: usize, to: u64, on: &Queue) -> Result<(), DeviceError> {
        self.put(on, Operation::CopyIn { from: from.as_ptr(), bytes, to });
        Ok(())
    }

    unsafe fn copy_out(
        &self,
        from: u64,
        to: &mut Pinned,
        bytes: usize,
        on: &Queue,
    ) -> Result<(), DeviceError> {
        self.put(on, Operation::CopyOut { from, bytes, to: to.as_mut_ptr() });
        Ok(())
    }

    fn record(&self, event: &Event, on: &Queue) -> Result<(), DeviceError> {
        self.put(on, Operation::Record);
        let mut state = self.0.borrow_mut();
        state.events[event.0] = (on.0, state.lines[on.0].put);
        Ok(())
    }

    fn wait(&self, on: &Queue, event: &Event) -> Result<(), DeviceError> {
        let (queue, done) = self.0.borrow().events[event.0];
        if matches!(self.0.borrow().schedule, Schedule::Hosted) {
            self.synchronise(event)?;
        }
        self.put(on, Operation::Wait { queue, done });
        Ok(())
    }

    fn synchronise(&self, event: &Event) -> Result<(), DeviceError> {
        let mut state = self.0.borrow_mut();
        let (queue, done) = state.events[event.0];
        state.run_until(queue, done);
        Ok(())
    }

    fn milliseconds(&self, _: &Event, _: &Event) -> Result<f32, DeviceError> {
        Ok(0.0)
    }
}
