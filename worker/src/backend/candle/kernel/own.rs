//! Memory for weights, in huge pages where the system has them: it goes back to the system when they go.
//!
//! A network reads all of its weights for each batch. In small pages a core forgets where they lie faster than it reads them, and how
//! long finding them takes depends on where they happen to lie: one process is slower by some percent than the next. A matrix may be
//! smaller than a huge page, so that they share what is mapped.

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytemuck::Zeroable;
use memmap2::{MmapMut, MmapRaw};

/// The smallest page that can be given back by itself: kernels for others than x86 may have them of 64 KiB.
const PAGE: usize = if cfg!(any(target_arch = "x86", target_arch = "x86_64")) { 4 << 10 } else { 64 << 10 };
/// A huge page, which begins at a multiple of its size.
const HUGE: usize = 2 << 20;
/// So much is mapped at once. Of what nobody writes to, only the rest of a huge page takes memory.
const CHUNK: usize = 32 << 20;
/// What is larger has a mapping of its own: it shares no page worth speaking of.
const LARGE: usize = CHUNK / 4;

/// What is mapped and shared.
struct Chunk {
    map: MmapRaw,
    /// Where the first huge page begins, and the last one ends.
    start: usize,
    end: usize,
}

/// The chunk that has room, and where that begins. Who holds a part of it keeps it mapped.
static LATEST: Mutex<(Weak<Chunk>, usize)> = Mutex::new((Weak::new(), 0));

impl Chunk {
    /// Of whole huge pages.
    fn of(bytes: usize) -> std::io::Result<Chunk> {
        let size = bytes.next_multiple_of(HUGE);
        let map = MmapRaw::from(MmapMut::map_anon(size + HUGE)?);
        let start = map.as_ptr().align_offset(HUGE);
        // Where the system has none, small ones do.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, size);
        Ok(Chunk { map, start, end: start + size })
    }
}

/// Room in a chunk, for whoever asks first.
fn room(bytes: usize) -> std::io::Result<(Arc<Chunk>, usize)> {
    if bytes > LARGE {
        let own = Chunk::of(bytes)?;
        let place = own.start;
        return Ok((Arc::new(own), place));
    }
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut chunk, mut place) = (latest.0.upgrade(), latest.1);
    if chunk.as_ref().is_none_or(|chunk| chunk.end < place + bytes) {
        let fresh = Chunk::of(CHUNK)?;
        place = fresh.start;
        chunk = Some(Arc::new(fresh));
    }
    let chunk = chunk.ok_or(std::io::ErrorKind::OutOfMemory)?;
    *latest = (Arc::downgrade(&chunk), place + bytes);
    Ok((chunk, place))
}

/// So many values, zeroed at first.
pub struct Own<T> {
    chunk: Arc<Chunk>,
    place: usize,
    count: usize,
    values: PhantomData<T>,
}

impl<T: Zeroable> Own<T> {
    pub fn zeroed(count: usize) -> Self {
        const { assert!(align_of::<T>() <= PAGE, "a place begins with a page") };
        // Where there is no memory it ends like any other allocation: the harness knows the words.
        let (chunk, place) = room(bytes::<T>(count))
            .unwrap_or_else(|_| handle_alloc_error(Layout::array::<T>(count).unwrap_or(Layout::new::<T>())));
        Own { chunk, place, count, values: PhantomData }
    }
}

/// Whole pages that have room for so many.
fn bytes<T>(count: usize) -> usize {
    (count * size_of::<T>()).next_multiple_of(PAGE)
}

impl<T> Own<T> {
    fn start(&self) -> *mut T {
        self.chunk.map.as_mut_ptr().wrapping_add(self.place).cast()
    }
}

impl<T> Deref for Own<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the place is in the mapping, has room for so many, begins with a page, and zeros or what was written are values of T.
        unsafe { std::slice::from_raw_parts(self.start(), self.count) }
    }
}

impl<T> DerefMut for Own<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and no place is handed out twice: it's ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.count) }
    }
}

impl<T> Drop for Own<T> {
    /// Others may keep the chunk, so the memory is given back without it.
    fn drop(&mut self) {
        #[cfg(unix)]
        {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: these pages are whole, ours alone, and nobody reads them again.
            let _ =
                unsafe { self.chunk.map.unchecked_advise_range(advice, self.place, bytes::<T>(self.count)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_zeroed_and_kept() {
        let mut own = Own::<[u16; 3]>::zeroed(5000);
        assert!(own.iter().all(|value| *value == [0; 3]));
        own[4999] = [1, 2, 3];
        assert_eq!((own.len(), own[4999]), (5000, [1, 2, 3]));
        assert!(Own::<f32>::zeroed(0).is_empty());
    }

    #[test]
    fn neighbours_are_apart_and_the_largest_has_a_chunk_of_its_own() {
        let of = |value: u8, count: usize| {
            let mut own = Own::<u8>::zeroed(count);
            own.fill(value);
            own
        };
        let sizes = [1, PAGE, PAGE + 1, 3 << 20, CHUNK + 1, 5, LARGE, 7];
        let mut owns: Vec<(u8, Own<u8>)> =
            (1..).zip(sizes).map(|(value, count)| (value, of(value, count))).collect();
        // What is freed in the middle leaves the others as they are.
        for gone in [5, 2, 0] {
            owns.remove(gone);
            assert!(owns.iter().all(|(value, own)| own.iter().all(|one| one == value)));
        }
        let fresh: Vec<Own<u8>> = (0..5).map(|_| Own::zeroed(LARGE)).collect();
        assert!(fresh.iter().flat_map(|own| own.iter()).all(|value| *value == 0));
    }
}
