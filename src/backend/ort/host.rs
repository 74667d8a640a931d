//! The host's memory as a device, for tests: copies to it happen no sooner than somebody waits for them, and memory that
//! nobody wrote holds nonsense.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::backend::gpu::{DeviceError, Driver};

const POISON: u8 = 0xFF;

#[derive(Default)]
struct State {
    /// Copies that are put on each queue and not done.
    waiting: Vec<VecDeque<(usize, Copy)>>,
    /// How many have been put on each queue.
    put: Vec<usize>,
    events: Vec<(usize, usize)>,
}

struct Copy {
    from: *const u8,
    to: *mut u8,
    bytes: usize,
}

#[derive(Clone, Default)]
pub struct Host(Rc<RefCell<State>>);

pub struct Bytes(Box<[u8]>);

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Host {
    fn put(&self, queue: usize, copy: Copy) {
        let mut state = self.0.borrow_mut();
        state.put[queue] += 1;
        let number = state.put[queue];
        state.waiting[queue].push_back((number, copy));
    }

    /// Does what stands before an event.
    fn until(&self, event: usize) {
        let mut state = self.0.borrow_mut();
        let (queue, done) = state.events[event];
        while state.waiting[queue].front().is_some_and(|(number, _)| *number <= done) {
            let Some((_, copy)) = state.waiting[queue].pop_front() else { return };
            // SAFETY: lanes keep both sides until they have waited for the copy, as those who put it there promise.
            unsafe { copy.to.copy_from_nonoverlapping(copy.from, copy.bytes) };
        }
    }
}

impl Driver for Host {
    type Queue = usize;
    type Event = usize;
    type Pinned = Bytes;
    type Memory = Bytes;

    fn queue(&self) -> Result<usize, DeviceError> {
        let mut state = self.0.borrow_mut();
        state.waiting.push(VecDeque::new());
        state.put.push(0);
        Ok(state.put.len() - 1)
    }

    fn event(&self) -> Result<usize, DeviceError> {
        let mut state = self.0.borrow_mut();
        state.events.push((0, 0));
        Ok(state.events.len() - 1)
    }

    fn pinned(&self, bytes: usize) -> Result<Bytes, DeviceError> {
        Ok(Bytes(vec![POISON; bytes].into()))
    }

    fn memory(&self, bytes: usize) -> Result<Bytes, DeviceError> {
        self.pinned(bytes)
    }

    fn address(&self, memory: &Bytes) -> u64 {
        memory.as_ptr() as u64
    }

    unsafe fn copy_in_now(&self, from: &[u8], to: u64) -> Result<(), DeviceError> {
        // SAFETY: our caller promises room at `to`.
        unsafe { (to as *mut u8).copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        Ok(())
    }

    unsafe fn copy_out_now(&self, from: u64, to: &mut [u8]) -> Result<(), DeviceError> {
        // SAFETY: our caller promises so much at `from`.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from as *const u8, to.len()) };
        Ok(())
    }

    unsafe fn copy_in(&self, from: &Bytes, bytes: usize, to: u64, on: &usize) -> Result<(), DeviceError> {
        self.put(*on, Copy { from: from.as_ptr(), to: to as *mut u8, bytes });
        Ok(())
    }

    unsafe fn copy_out(
        &self,
        from: u64,
        to: &mut Bytes,
        bytes: usize,
        on: &usize,
    ) -> Result<(), DeviceError> {
        self.put(*on, Copy { from: from as *const u8, to: to.as_mut_ptr(), bytes });
        Ok(())
    }

    fn record(&self, event: &usize, on: &usize) -> Result<(), DeviceError> {
        let mut state = self.0.borrow_mut();
        state.events[*event] = (*on, state.put[*on]);
        Ok(())
    }

    /// Whoever computes on the host does so at once, so what it waits for happens now.
    fn wait(&self, _: &usize, event: &usize) -> Result<(), DeviceError> {
        self.until(*event);
        Ok(())
    }

    fn synchronise(&self, event: &usize) -> Result<(), DeviceError> {
        self.until(*event);
        Ok(())
    }

    fn milliseconds(&self, _: &usize, _: &usize) -> Result<f32, DeviceError> {
        Ok(0.0)
    }
}
