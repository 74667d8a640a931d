//! The driver of NVIDIA's cards, found at run time: a program that was built without CUDA can use it, and starts where
//! there is none. Everything unsafe of transfers is here.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ops::{Deref, DerefMut};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;

use super::driver::{DeviceError, Driver};
use super::functions::{Status, functions};
use super::places;
use crate::units::Bytes;

/// Handles of the driver, which it calls pointers.
type Handle = *mut c_void;

const SUCCESS: Status = 0;
const OUT_OF_MEMORY: Status = 2;
const NO_DEVICE: Status = 100;
const INVALID_DEVICE: Status = 101;

functions! {
    Functions;
    init = b"cuInit" (c_uint);
    error_string = b"cuGetErrorString" (Status, *mut *const c_char);
    device = b"cuDeviceGet" (*mut c_int, c_int);
    attribute = b"cuDeviceGetAttribute" (*mut c_int, c_int, c_int);
    total_memory = b"cuDeviceTotalMem_v2" (*mut usize, c_int);
    bus = b"cuDeviceGetPCIBusId" (*mut c_char, c_int, c_int);
    retain_context = b"cuDevicePrimaryCtxRetain" (*mut Handle, c_int);
    release_context = b"cuDevicePrimaryCtxRelease_v2" (c_int);
    set_context = b"cuCtxSetCurrent" (Handle);
    synchronise_context = b"cuCtxSynchronize" ();
    memory_info = b"cuMemGetInfo_v2" (*mut usize, *mut usize);
    allocate = b"cuMemAllocAsync" (*mut u64, usize, Handle);
    free = b"cuMemFreeAsync" (u64, Handle);
    create_pool = b"cuMemPoolCreate" (*mut Handle, *const PoolProperties);
    destroy_pool = b"cuMemPoolDestroy" (Handle);
    set_pool_attribute = b"cuMemPoolSetAttribute" (Handle, c_int, *mut c_void);
    pool_attribute = b"cuMemPoolGetAttribute" (Handle, c_int, *mut c_void);
    trim_pool = b"cuMemPoolTrimTo" (Handle, usize);
    set_pool = b"cuDeviceSetMemPool" (c_int, Handle);
    default_pool = b"cuDeviceGetDefaultMemPool" (*mut Handle, c_int);
    allocate_host = b"cuMemHostAlloc" (*mut *mut c_void, usize, c_uint);
    free_host = b"cuMemFreeHost" (*mut c_void);
    create_stream = b"cuStreamCreate" (*mut Handle, c_uint);
    destroy_stream = b"cuStreamDestroy_v2" (Handle);
    synchronise_stream = b"cuStreamSynchronize" (Handle);
    wait_event = b"cuStreamWaitEvent" (Handle, Handle, c_uint);
    create_event = b"cuEventCreate" (*mut Handle, c_uint);
    destroy_event = b"cuEventDestroy_v2" (Handle);
    record_event = b"cuEventRecord" (Handle, Handle);
    synchronise_event = b"cuEventSynchronize" (Handle);
    elapsed_time = b"cuEventElapsedTime" (*mut f32, Handle, Handle);
    copy_in = b"cuMemcpyHtoD_v2" (u64, *const c_void, usize);
    copy_out = b"cuMemcpyDtoH_v2" (*mut c_void, u64, usize);
    copy_in_async = b"cuMemcpyHtoDAsync_v2" (u64, *const c_void, usize, Handle);
    copy_out_async = b"cuMemcpyDtoHAsync_v2" (*mut c_void, u64, usize, Handle);
}

/// `CUmemPoolProps`.
#[repr(C)]
struct PoolProperties {
    allocation: c_int,
    handles: c_int,
    location: c_int,
    device: c_int,
    security: *mut c_void,
    most_bytes: usize,
    usage: u16,
    reserved: [u8; 54],
}

/// Numbers of cuda.h.
const PINNED_ALLOCATION: c_int = 1;
const ON_DEVICE: c_int = 1;
const RELEASE_THRESHOLD: c_int = 4;
const RESERVED_NOW: c_int = 5;
const RESERVED_PEAK: c_int = 6;
const USED_NOW: c_int = 7;
const USED_PEAK: c_int = 8;
const NON_BLOCKING_STREAM: c_uint = 1;
const MEMORY_POOLS: c_int = 115;
const CAPABILITY: [c_int; 2] = [75, 76];

/// A card, in use by this process.
#[derive(Clone)]
pub struct Nvidia(Arc<Card>);

struct Card {
    functions: Functions,
    device: c_int,
    context: Handle,
    total: u64,
    /// Bytes of the card that were taken before this process had a context on it, where anybody can tell.
    taken_before: Option<u64>,
    bus: String,
    /// Bytes of [`Memory`] that are held, and may be.
    held: AtomicU64,
    most: AtomicU64,
}

// SAFETY: the driver's functions may be called from any thread; each call here first makes the context current.
unsafe impl Send for Card {}
// SAFETY: as above.
unsafe impl Sync for Card {}

impl Nvidia {
    /// Opens a card by its number, in the context that every library in a process shares.
    pub fn open(number: u32) -> Result<Nvidia, DeviceError> {
        let not_there = |why: String| DeviceError::NotThere(why);
        let library = places::cuda()
            .map_err(|error| not_there(format!("NVIDIA's driver is not available: {error}")))?;
        let functions = Functions::load(library).map_err(|error| {
            not_there(format!("NVIDIA's driver is too old for memory pools (470 or later has them): {error}"))
        })?;
        let mut card = Card {
            functions,
            device: 0,
            context: null_mut(),
            total: 0,
            taken_before: None,
            bus: String::new(),
            held: AtomicU64::new(0),
            most: AtomicU64::new(u64::MAX),
        };
        let (mut device, mut pools, mut total, mut context) = (0, 0, 0, null_mut());
        let mut bus = [0 as c_char; 32];
        let functions = &card.functions;
        // SAFETY: the pointers are to places of the right types, here and in all calls below.
        unsafe {
            card.said("initialising the driver", (functions.init)(0))?;
            let opening = format!("opening cuda:{number}");
            card.said(&opening, (functions.device)(&mut device, number as c_int))?;
            card.said("reading an attribute", (functions.attribute)(&mut pools, MEMORY_POOLS, device))?;
            card.said("reading the total memory", (functions.total_memory)(&mut total, device))?;
            let read = (functions.bus)(bus.as_mut_ptr(), bus.len() as c_int, device);
            card.said("reading the PCI bus id", read)?;
        }
        if pools == 0 {
            return Err(not_there(format!(
                "cuda:{number} has no memory pools, which are needed to limit its memory"
            )));
        }
        // SAFETY: the driver ends the text with a zero.
        let bus = unsafe { CStr::from_ptr(bus.as_ptr()) }.to_string_lossy().into_owned();
        let taken_before = places::nvml().ok().and_then(|nvml| taken_bytes(&nvml, &bus));
        // SAFETY: as above.
        unsafe { card.said("opening a context", (functions.retain_context)(&mut context, device))? };
        (card.device, card.context, card.total) = (device, context, total as u64);
        (card.taken_before, card.bus) = (taken_before, bus);
        Ok(Nvidia(Arc::new(card)))
    }

    pub fn total_bytes(&self) -> u64 {
        self.0.total
    }

    /// What this process has taken so far, its context and the libraries' own included. NVML knows it of each process; or,
    /// in a container, where it may not, by how much the card's memory in use has grown. Without NVML everything that isn't
    /// free is taken for ours: a share is kept rather than used up.
    pub fn overhead_bytes(&self) -> Result<u64, DeviceError> {
        let told = places::nvml().ok().and_then(|nvml| {
            let grown = || Some(taken_bytes(&nvml, &self.0.bus)?.saturating_sub(self.0.taken_before?));
            own_bytes(&nvml, &self.0.bus).or_else(grown)
        });
        match told {
            Some(bytes) => Ok(bytes),
            None => Ok(self.0.total.saturating_sub(self.free_bytes()?)),
        }
    }

    /// Major and minor: 8 and 6 of an RTX 3090.
    pub fn capability(&self) -> Result<(u32, u32), DeviceError> {
        let of = |attribute| {
            let mut value = 0;
            self.call("reading an attribute", |card| {
                // SAFETY: the pointer is to a place of the right type.
                unsafe { (card.functions.attribute)(&mut value, attribute, card.device) }
            })?;
            Ok(value as u32)
        };
        Ok((of(CAPABILITY[0])?, of(CAPABILITY[1])?))
    }

    /// Bytes that nobody has taken.
    pub fn free_bytes(&self) -> Result<u64, DeviceError> {
        let (mut free, mut total) = (0, 0);
        self.call("reading the free memory", |card| {
            // SAFETY: the pointers are to places of the right types.
            unsafe { (card.functions.memory_info)(&mut free, &mut total) }
        })?;
        Ok(free as u64)
    }

    /// Waits for everything that was put on any queue of the card.
    pub fn synchronise_all(&self) -> Result<(), DeviceError> {
        // SAFETY: it has no arguments.
        self.call("synchronising the GPU", |card| unsafe { (card.functions.synchronise_context)() })
    }

    /// Makes a pool the one that everything of this process is allocated from; it holds `most_bytes`, or all there is.
    pub fn pool(&self, most_bytes: Option<u64>) -> Result<Pool, DeviceError> {
        let properties = PoolProperties {
            allocation: PINNED_ALLOCATION,
            handles: 0,
            location: ON_DEVICE,
            device: self.0.device,
            security: null_mut(),
            // Zero stands for as much as there is.
            most_bytes: most_bytes.map_or(0, |bytes| bytes.max(1) as usize),
            usage: 0,
            reserved: [0; 54],
        };
        let mut handle = null_mut();
        self.call("creating a memory pool", |card| {
            // SAFETY: the properties are whole, and the handle's place is ours.
            unsafe { (card.functions.create_pool)(&mut handle, &properties) }
        })?;
        let pool = Pool { card: Arc::clone(&self.0), handle };
        // What is given back is kept for the next batch, as far as it may be held at all.
        pool.set(RELEASE_THRESHOLD, u64::MAX)?;
        self.call("selecting a memory pool", |card| {
            // SAFETY: the pool has just been made on this device.
            unsafe { (card.functions.set_pool)(card.device, handle) }
        })?;
        Ok(pool)
    }

    /// Calls the driver in the card's context.
    fn call(&self, what: &str, function: impl FnOnce(&Card) -> Status) -> Result<(), DeviceError> {
        self.0.call(what, function)
    }
}

/// Bytes of a card that anybody has taken.
fn taken_bytes(nvml: &Nvml, bus: &str) -> Option<u64> {
    Some(nvml.device_by_pci_bus_id(bus).ok()?.memory_info().ok()?.used)
}

/// Bytes of a card that this process has taken, where NVML tells.
fn own_bytes(nvml: &Nvml, bus: &str) -> Option<u64> {
    let processes = nvml.device_by_pci_bus_id(bus).ok()?.running_compute_processes().ok()?;
    let own = processes.into_iter().find(|process| process.pid == std::process::id())?;
    match own.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    }
}

impl Card {
    fn call(&self, what: &str, function: impl FnOnce(&Card) -> Status) -> Result<(), DeviceError> {
        // SAFETY: the context lives as long as the card.
        self.said(what, unsafe { (self.functions.set_context)(self.context) })?;
        self.said(what, function(self))
    }

    /// A status as an error, in the driver's own words.
    fn said(&self, what: &str, status: Status) -> Result<(), DeviceError> {
        if status == SUCCESS {
            return Ok(());
        }
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: the driver gives a text that lives for ever, or leaves the pointer alone.
        let text = unsafe {
            (self.functions.error_string)(status, &mut text);
            if text.is_null() { "unknown".into() } else { CStr::from_ptr(text).to_string_lossy() }
        };
        let message = format!("CUDA: {what} failed: {text} (CUDA error {status})");
        Err(match status {
            OUT_OF_MEMORY => DeviceError::OutOfMemory(message),
            NO_DEVICE | INVALID_DEVICE => DeviceError::NotThere(message),
            _ => DeviceError::Failed(message),
        })
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if !self.context.is_null() {
            // SAFETY: it was retained once by us.
            unsafe { (self.functions.release_context)(self.device) };
        }
    }
}

/// Memory that allocations come from, and no more of it than was said.
pub struct Pool {
    card: Arc<Card>,
    handle: Handle,
}

impl Pool {
    fn set(&self, attribute: c_int, mut value: u64) -> Result<(), DeviceError> {
        self.card.call("configuring a memory pool", |card| {
            // SAFETY: the attributes that are used here hold 64 bits.
            unsafe { (card.functions.set_pool_attribute)(self.handle, attribute, (&raw mut value).cast()) }
        })
    }

    fn get(&self, attribute: c_int) -> Result<u64, DeviceError> {
        let mut value = 0_u64;
        self.card.call("reading a memory pool", |card| {
            // SAFETY: as above.
            unsafe { (card.functions.pool_attribute)(self.handle, attribute, (&raw mut value).cast()) }
        })?;
        Ok(value)
    }

    /// Starts the count of peaks anew.
    pub fn forget_peaks(&self) -> Result<(), DeviceError> {
        self.set(RESERVED_PEAK, 0)?;
        self.set(USED_PEAK, 0)
    }

    pub fn reserved_peak(&self) -> Result<u64, DeviceError> {
        // A peak that was reset may say nothing of what was there already.
        Ok(self.get(RESERVED_PEAK)?.max(self.get(RESERVED_NOW)?))
    }

    pub fn used_peak(&self) -> Result<u64, DeviceError> {
        Ok(self.get(USED_PEAK)?.max(self.get(USED_NOW)?))
    }

    /// Gives back to the card what nobody uses, and tells what is held after that.
    pub fn trim(&self) -> Result<u64, DeviceError> {
        // SAFETY: the pool is alive.
        self.card
            .call("trimming a memory pool", |card| unsafe { (card.functions.trim_pool)(self.handle, 0) })?;
        self.get(RESERVED_NOW)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // What was allocated from it keeps it alive. Later allocations come from the card's own pool again.
        let _ = self.card.call("freeing a memory pool", |card| {
            let mut default = null_mut();
            // SAFETY: the handles are of this device, and ours is destroyed once.
            unsafe {
                let status = (card.functions.default_pool)(&mut default, card.device);
                if status == SUCCESS {
                    (card.functions.set_pool)(card.device, default);
                }
                (card.functions.destroy_pool)(self.handle)
            }
        });
    }
}

/// A stream: one of ours, or the engine's.
pub struct Stream {
    card: Arc<Card>,
    handle: Handle,
    own: bool,
}

impl Stream {
    /// The handle, as other libraries take it.
    pub fn handle(&self) -> *mut c_void {
        self.handle
    }
}

impl Nvidia {
    /// A stream that an engine has made of the same context.
    ///
    /// # Safety
    ///
    /// The engine must keep it for as long as the result is used.
    pub unsafe fn borrowed(&self, handle: *mut c_void) -> Stream {
        Stream { card: Arc::clone(&self.0), handle, own: false }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.own {
            // SAFETY: it was made by us. What is on it is finished first.
            let _ = self.card.call("freeing a stream", |card| unsafe {
                (card.functions.synchronise_stream)(self.handle);
                (card.functions.destroy_stream)(self.handle)
            });
        }
    }
}

pub struct Event {
    card: Arc<Card>,
    handle: Handle,
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it was made by us; the driver lets a recorded one happen first.
        let _ =
            self.card.call("freeing an event", |card| unsafe { (card.functions.destroy_event)(self.handle) });
    }
}

/// Memory of the host that stays where it is.
pub struct Pinned {
    card: Arc<Card>,
    start: *mut u8,
    bytes: usize,
}

impl Deref for Pinned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so much was allocated, and set to zeros.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and it's ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: it was allocated by us.
        let _ = self
            .card
            .call("freeing pinned memory", |card| unsafe { (card.functions.free_host)(self.start.cast()) });
    }
}

/// Memory of the device.
pub struct Memory {
    card: Arc<Card>,
    address: u64,
    bytes: u64,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.card.held.fetch_sub(self.bytes, Ordering::Relaxed);
        // SAFETY: it was allocated by us. Whoever used it has waited for what did.
        let _ = self
            .card
            .call("freeing GPU memory", |card| unsafe { (card.functions.free)(self.address, null_mut()) });
    }
}

impl Driver for Nvidia {
    type Queue = Stream;
    type Event = Event;
    type Pinned = Pinned;
    type Memory = Memory;

    fn queue(&self) -> Result<Stream, DeviceError> {
        let mut handle = null_mut();
        self.call("creating a stream", |card| {
            // SAFETY: the handle's place is ours, as in the functions below.
            unsafe { (card.functions.create_stream)(&mut handle, NON_BLOCKING_STREAM) }
        })?;
        Ok(Stream { card: Arc::clone(&self.0), handle, own: true })
    }

    fn event(&self) -> Result<Event, DeviceError> {
        let mut handle = null_mut();
        // SAFETY: as above.
        self.call("creating an event", |card| unsafe { (card.functions.create_event)(&mut handle, 0) })?;
        Ok(Event { card: Arc::clone(&self.0), handle })
    }

    fn pinned(&self, bytes: usize) -> Result<Pinned, DeviceError> {
        let mut start = null_mut();
        self.call("allocating pinned memory", |card| {
            // SAFETY: as above.
            unsafe { (card.functions.allocate_host)(&mut start, bytes, 0) }
        })?;
        let mut pinned = Pinned { card: Arc::clone(&self.0), start: start.cast(), bytes };
        // SAFETY: so much was allocated; nothing reads it before this.
        unsafe { pinned.start.write_bytes(0, bytes) };
        pinned.bytes = bytes;
        Ok(pinned)
    }

    fn memory(&self, bytes: usize) -> Result<Memory, DeviceError> {
        let (held, most) = (self.memory_held(), self.0.most.load(Ordering::Relaxed));
        if held + bytes as u64 > most {
            return Err(DeviceError::OutOfMemory(format!(
                "batches and answers use {} and need {} more, but {} of the GPU memory share are left for them",
                Bytes(held),
                Bytes(bytes as u64),
                Bytes(most)
            )));
        }
        let mut address = 0;
        self.call("allocating memory for a batch", |card| {
            // SAFETY: as above. On the default stream, which is waited for: it's there for every queue from here on.
            unsafe {
                match (card.functions.allocate)(&mut address, bytes, null_mut()) {
                    SUCCESS => (card.functions.synchronise_stream)(null_mut()),
                    status => status,
                }
            }
        })?;
        self.0.held.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(Memory { card: Arc::clone(&self.0), address, bytes: bytes as u64 })
    }

    fn limit_memory(&self, most_bytes: u64) {
        self.0.most.store(most_bytes, Ordering::Relaxed);
    }

    fn memory_held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    fn address(&self, memory: &Memory) -> u64 {
        memory.address
    }

    unsafe fn copy_in_now(&self, from: &[u8], to: u64) -> Result<(), DeviceError> {
        self.call("copying a batch to the GPU", |card| {
            // SAFETY: our caller promises room at `to`. The copy returns when the source was read, which from ordinary
            // memory may be before all has arrived; and no stream of ours waits for the default one by itself.
            unsafe {
                match (card.functions.copy_in)(to, from.as_ptr().cast(), from.len()) {
                    SUCCESS => (card.functions.synchronise_stream)(null_mut()),
                    status => status,
                }
            }
        })
    }

    unsafe fn copy_out_now(&self, from: u64, to: &mut [u8]) -> Result<(), DeviceError> {
        self.call("copying answers from the GPU", |card| {
            // SAFETY: our caller promises so much at `from`; the call returns when all is here.
            unsafe { (card.functions.copy_out)(to.as_mut_ptr().cast(), from, to.len()) }
        })
    }

    unsafe fn copy_in(&self, from: &Pinned, bytes: usize, to: u64, on: &Stream) -> Result<(), DeviceError> {
        debug_assert!(bytes <= from.len());
        self.call("copying a batch to the GPU", |card| {
            // SAFETY: our caller leaves both sides alone until the copy is done.
            unsafe { (card.functions.copy_in_async)(to, from.as_ptr().cast(), bytes, on.handle) }
        })
    }

    unsafe fn copy_out(
        &self,
        from: u64,
        to: &mut Pinned,
        bytes: usize,
        on: &Stream,
    ) -> Result<(), DeviceError> {
        debug_assert!(bytes <= to.len());
        self.call("copying answers from the GPU", |card| {
            // SAFETY: as above.
            unsafe { (card.functions.copy_out_async)(to.as_mut_ptr().cast(), from, bytes, on.handle) }
        })
    }

    fn record(&self, event: &Event, on: &Stream) -> Result<(), DeviceError> {
        // SAFETY: both are alive, as in the functions below.
        self.call("recording an event", |card| unsafe {
            (card.functions.record_event)(event.handle, on.handle)
        })
    }

    fn wait(&self, on: &Stream, event: &Event) -> Result<(), DeviceError> {
        // SAFETY: as above.
        self.call("waiting for an event", |card| unsafe {
            (card.functions.wait_event)(on.handle, event.handle, 0)
        })
    }

    fn synchronise(&self, event: &Event) -> Result<(), DeviceError> {
        // SAFETY: as above.
        self.call("synchronising an event", |card| unsafe {
            (card.functions.synchronise_event)(event.handle)
        })
    }

    fn milliseconds(&self, from: &Event, to: &Event) -> Result<f32, DeviceError> {
        let mut milliseconds = 0.0;
        self.call("reading the elapsed time", |card| {
            // SAFETY: as above.
            unsafe { (card.functions.elapsed_time)(&mut milliseconds, from.handle, to.handle) }
        })?;
        Ok(milliseconds)
    }
}
