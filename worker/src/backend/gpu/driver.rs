//! The seam: what is asked of a device's driver.

use std::ops::DerefMut;

use crate::backend::BackendError;

/// A device's queues, events, memory on both of its sides, and the copies between them.
///
/// A queue works through what is put into it in order, and by itself: whatever is put on two of them runs in any order
/// and at once, but where an event says otherwise. Calls return before the work is done unless they say `now`.
pub trait Driver {
    type Queue;
    type Event;
    /// Memory of the host that the device copies from and to by itself.
    type Pinned: DerefMut<Target = [u8]>;
    /// Memory of the device.
    type Memory;

    fn queue(&self) -> Result<Self::Queue, DeviceError>;
    fn event(&self) -> Result<Self::Event, DeviceError>;
    fn pinned(&self, bytes: usize) -> Result<Self::Pinned, DeviceError>;
    /// Out of memory where that would be more than [`limit_memory`](Self::limit_memory) allows.
    fn memory(&self, bytes: usize) -> Result<Self::Memory, DeviceError>;
    /// Bytes that `memory` may have handed out at once from here on, over all that has it.
    fn limit_memory(&self, most_bytes: u64);
    /// Bytes of `memory` that are held.
    fn memory_held(&self) -> u64;
    /// Where it lies, as the device counts.
    fn address(&self, memory: &Self::Memory) -> u64;

    /// Copies any memory of the host to the device, and returns when it's there.
    ///
    /// # Safety
    ///
    /// `to` is an address of the device with room for so much, which nothing that is under way uses.
    unsafe fn copy_in_now(&self, from: &[u8], to: u64) -> Result<(), DeviceError>;
    /// Copies to any memory of the host, and returns when it's there.
    ///
    /// # Safety
    ///
    /// `from` is an address of the device with so much behind it, which nothing that is under way writes.
    unsafe fn copy_out_now(&self, from: u64, to: &mut [u8]) -> Result<(), DeviceError>;
    /// # Safety
    ///
    /// As [`copy_in_now`](Self::copy_in_now); and until the copy is done nobody writes to `from` or lets go of it.
    unsafe fn copy_in(
        &self,
        from: &Self::Pinned,
        bytes: usize,
        to: u64,
        on: &Self::Queue,
    ) -> Result<(), DeviceError>;
    /// # Safety
    ///
    /// As [`copy_out_now`](Self::copy_out_now); and until the copy is done nobody reads `to` or lets go of it.
    unsafe fn copy_out(
        &self,
        from: u64,
        to: &mut Self::Pinned,
        bytes: usize,
        on: &Self::Queue,
    ) -> Result<(), DeviceError>;

    /// The event has happened once all that was put on the queue so far is done.
    fn record(&self, event: &Self::Event, on: &Self::Queue) -> Result<(), DeviceError>;
    /// Nothing that is put on the queue from here on begins before the event.
    fn wait(&self, on: &Self::Queue, event: &Self::Event) -> Result<(), DeviceError>;
    /// Returns when the event has happened.
    fn synchronise(&self, event: &Self::Event) -> Result<(), DeviceError>;
    /// Milliseconds between two events that have happened.
    fn milliseconds(&self, from: &Self::Event, to: &Self::Event) -> Result<f32, DeviceError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("{0}")]
    OutOfMemory(String),
    /// No driver, or no such device.
    #[error("{0}")]
    NotThere(String),
    #[error("{0}")]
    Failed(String),
}

impl From<DeviceError> for BackendError {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::OutOfMemory(why) => BackendError::OutOfMemory(why),
            DeviceError::NotThere(why) => BackendError::NotAvailable(why),
            DeviceError::Failed(why) => BackendError::Failed(why),
        }
    }
}
