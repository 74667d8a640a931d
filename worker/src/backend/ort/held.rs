//! What a session holds of a device's memory.

use std::ffi::CStr;
use std::ptr::null_mut;

use ort::AsPointer;
use ort::memory::MemoryInfo;

use super::call::{checked, failed};
use super::cuda::text;
use super::engine::Engine;
use crate::backend::BackendError;

/// What the allocator of a session says of its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What it holds of the card's. It gives nothing back by itself, so that's also the most that it has held since it
    /// was last made to (`memory.enable_memory_arena_shrinkage`).
    pub reserved_bytes: u64,
    /// The most that was in use at once since it was made; nothing sets this back.
    pub used_peak_bytes: u64,
}

impl Engine {
    /// Of the arena in that memory.
    pub fn held(&self, memory: &MemoryInfo) -> Result<Held, BackendError> {
        let api = ort::api();
        let read = || -> ort::Result<Held> {
            let (mut allocator, mut pairs) = (null_mut(), null_mut());
            // SAFETY: session and memory are alive; what the library makes is given back to it, and read before that.
            unsafe {
                checked((api.CreateAllocator)(self.session.ptr(), memory.ptr(), &mut allocator))?;
                let told = checked((api.AllocatorGetStats)(allocator, &mut pairs));
                let number = |key: &CStr| text((api.GetKeyValue)(pairs, key.as_ptr())).parse().unwrap_or(0);
                let held = told.map(|()| Held {
                    reserved_bytes: number(c"TotalAllocated"),
                    used_peak_bytes: number(c"MaxInUse"),
                });
                (api.ReleaseKeyValuePairs)(pairs);
                (api.ReleaseAllocator)(allocator);
                held
            }
        };
        read().map_err(failed)
    }
}
