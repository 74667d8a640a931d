//! Memory with a mapping of its own, for weights: it goes back to the system when they go.
//!
//! Weights are laid out by a thread of the pool, whose arena the allocator may keep whole after they are freed, for nobody.

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Zeroable;
use memmap2::MmapMut;

/// So many values, zeroed at first.
pub struct Own<T> {
    map: MmapMut,
    count: usize,
    values: PhantomData<T>,
}

impl<T: Zeroable> Own<T> {
    pub fn zeroed(count: usize) -> Self {
        const { assert!(align_of::<T>() <= 4096, "a mapping begins with a page") };
        let bytes = count * size_of::<T>();
        // Where there is no memory it ends like any other allocation: the harness knows the words.
        let map = MmapMut::map_anon(bytes.max(1))
            .unwrap_or_else(|_| handle_alloc_error(Layout::array::<T>(count).unwrap_or(Layout::new::<T>())));
        Own { map, count, values: PhantomData }
    }
}

impl<T> Deref for Own<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping has room for so many, begins with a page, and zeros or what was written are values of T.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.count) }
    }
}

impl<T> DerefMut for Own<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and it's ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.count) }
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
}
