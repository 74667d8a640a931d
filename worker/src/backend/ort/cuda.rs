//! What ONNX Runtime's CUDA provider is told, and what it tells of its memory and of the graph.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

use ort::AsPointer;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::sys::OrtCUDAProviderOptionsV2;

use super::call::{Options, checked, failed};
use super::choice::{Arena, Choice};
use super::placement::{self, Placed};
use crate::backend::BackendError;
use crate::units::Bytes;

/// ONNX Runtime's name for it.
const PROVIDER: &str = "CUDAExecutionProvider";

/// A card, as a session of ONNX Runtime has to know it.
#[derive(Debug, Clone, Copy)]
pub struct Card {
    pub number: u32,
    /// The stream that everything is put on. Whoever made it keeps it for longer than the session.
    pub stream: *mut c_void,
    /// What the allocator may hold; nothing where it may hold all there is.
    pub limit_bytes: Option<u64>,
}

impl Card {
    pub fn memory(&self) -> Result<MemoryInfo<'static>, BackendError> {
        let number = i32::try_from(self.number).unwrap_or(0);
        MemoryInfo::new(AllocationDevice::CUDA, number, AllocatorType::Device, MemoryType::Default)
            .map_err(failed)
    }

    /// Weights are taken past the arena's chunks (`BFCArena::Reserve`): counted, so that less is left for the rest, but
    /// never refused. More of them than the limit would even undo it, for what is left is counted without a sign.
    pub fn has_room_for(&self, weights: u64) -> Result<(), BackendError> {
        match self.limit_bytes {
            Some(limit) if weights > limit => Err(BackendError::OutOfMemory(format!(
                "the weights need {}, but {} of the GPU memory share are left",
                Bytes(weights),
                Bytes(limit)
            ))),
            _ => Ok(()),
        }
    }
}

/// What the provider is told, by its names. Left as they are: `do_copy_in_default_stream`, which nothing reads any more,
/// and `use_ep_level_unified_stream`, which a stream of ours turns on.
fn settings(choice: &Choice, card: &Card) -> Vec<(&'static str, String)> {
    let switch = |on: bool| if on { "1" } else { "0" }.to_owned();
    let strategy = match choice.arena {
        Arena::NextPowerOfTwo => "kNextPowerOfTwo",
        Arena::SameAsRequested => "kSameAsRequested",
    };
    let mut settings = vec![
        ("device_id", card.number.to_string()),
        ("arena_extend_strategy", strategy.to_owned()),
        ("use_tf32", switch(choice.tf32)),
        ("enable_cuda_graph", switch(choice.cuda_graph)),
        ("user_compute_stream", (card.stream as usize).to_string()),
    ];
    if let Some(limit) = card.limit_bytes {
        settings.push(("gpu_mem_limit", limit.to_string()));
    }
    settings
}

/// Adds the provider to a session to be.
pub fn append(builder: &mut SessionBuilder, choice: &Choice, card: &Card) -> ort::Result<()> {
    let options = Options::of(&settings(choice, card))?;
    let (keys, values) = options.pointers();
    let mut provider = ProviderOptions(null_mut());
    let api = ort::api();
    // SAFETY: the options' place is ours, and the strings live until the end of this function; the library copies them.
    unsafe {
        checked((api.CreateCUDAProviderOptions)(&mut provider.0))?;
        checked((api.UpdateCUDAProviderOptions)(provider.0, keys.as_ptr(), values.as_ptr(), keys.len()))?;
        checked((api.SessionOptionsAppendExecutionProvider_CUDA_V2)(builder.ptr_mut(), provider.0))
    }
}

struct ProviderOptions(*mut OrtCUDAProviderOptionsV2);

impl Drop for ProviderOptions {
    fn drop(&mut self) {
        // SAFETY: they were made by the library, or are nothing, which it takes as well.
        unsafe { (ort::api().ReleaseCUDAProviderOptions)(self.0) };
    }
}

/// Why a session doesn't run on the card as a whole, if it doesn't.
pub fn strays(session: &Session) -> Result<Option<String>, BackendError> {
    Ok(placement::strays(&placed(session).map_err(failed)?, PROVIDER))
}

/// Which provider each node was given to, as the session recorded it.
fn placed(session: &Session) -> ort::Result<Vec<Placed>> {
    let api = ort::api();
    let mut placed = Vec::new();
    let (mut graphs, mut count) = (null(), 0);
    // SAFETY: the session is alive and owns all that is shown here; the places of the pointers are ours.
    unsafe {
        checked((api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut graphs, &mut count))?;
        for &graph in listed(graphs, count) {
            let mut provider = null();
            checked((api.EpAssignedSubgraph_GetEpName)(graph, &mut provider))?;
            let (mut nodes, mut count) = (null(), 0);
            checked((api.EpAssignedSubgraph_GetNodes)(graph, &mut nodes, &mut count))?;
            for &node in listed(nodes, count) {
                let (mut name, mut kind) = (null(), null());
                checked((api.EpAssignedNode_GetName)(node, &mut name))?;
                checked((api.EpAssignedNode_GetOperatorType)(node, &mut kind))?;
                placed.push(Placed { provider: text(provider), name: text(name), kind: text(kind) });
            }
        }
    }
    Ok(placed)
}

/// # Safety
///
/// So many follow one another at `first`, for as long as the result is used.
unsafe fn listed<'a, T>(first: *const T, count: usize) -> &'a [T] {
    // SAFETY: as our caller promises; of none there may be no place.
    if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(first, count) } }
}

/// # Safety
///
/// It's a text of C's, or nothing.
pub unsafe fn text(text: *const c_char) -> String {
    // SAFETY: as our caller promises.
    if text.is_null() {
        String::new()
    } else {
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Device;
    use crate::knob::{Candidate, Value};

    #[test]
    fn the_provider_is_told_what_the_knobs_say() {
        let told = |knobs: &[(&str, Value)], limit_bytes| {
            let knobs = knobs.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
            let choice = Choice::of(&Candidate { backend: "ort".into(), knobs }, Device::Cuda(1)).unwrap();
            settings(&choice, &Card { number: 1, stream: 4096 as *mut c_void, limit_bytes })
        };
        let plain = told(&[], None);
        for (name, value) in [
            ("device_id", "1"),
            ("arena_extend_strategy", "kNextPowerOfTwo"),
            ("use_tf32", "0"),
            ("enable_cuda_graph", "0"),
            ("user_compute_stream", "4096"),
        ] {
            assert!(plain.contains(&(name, value.to_owned())), "{name}");
        }
        assert!(plain.iter().all(|(name, _)| *name != "gpu_mem_limit"));
        let arena = ("arena", Value::Text("same_as_requested".into()));
        let set =
            told(&[arena, ("tf32", Value::Switch(true)), ("cuda_graph", Value::Switch(true))], Some(5 << 30));
        for (name, value) in [
            ("arena_extend_strategy", "kSameAsRequested"),
            ("use_tf32", "1"),
            ("enable_cuda_graph", "1"),
            ("gpu_mem_limit", "5368709120"),
        ] {
            assert!(set.contains(&(name, value.to_owned())), "{name}");
        }
    }

    #[test]
    fn weights_beyond_the_share_are_out_of_memory() {
        let card = |limit_bytes| Card { number: 0, stream: null_mut(), limit_bytes };
        assert_eq!(card(None).has_room_for(1 << 40), Ok(()));
        assert_eq!(card(Some(100)).has_room_for(100), Ok(()));
        assert!(matches!(card(Some(100)).has_room_for(101), Err(BackendError::OutOfMemory(_))));
    }
}
