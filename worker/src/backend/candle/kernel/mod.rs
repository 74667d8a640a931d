//! The arithmetic of the processor: plain slices in, plain slices out. Knows no graph and no tensor.
//!
//! candle's own operations take two to ten times as long where it matters most on a processor: its product packs the
//! weights anew for each call, its error function isn't vectorised, and each operation is a pass over memory of its own.

use rayon::prelude::*;

/// A function that is compiled for the processor's wide registers, too, and chosen when it's called.
///
/// Its body must inline everything that it calls: a function that isn't inlined is compiled for narrow registers only.
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $visibility fn $name($($argument: $kind),*) {
            #[inline(always)]
            fn plain($($argument: $kind),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn widest($($argument: $kind),*) {
                    plain($($argument),*)
                }

                #[target_feature(enable = "avx2,fma")]
                fn wide($($argument: $kind),*) {
                    plain($($argument),*)
                }

                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has what the function is compiled for.
                    return unsafe { widest($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { wide($($argument),*) };
                }
            }
            plain($($argument),*)
        }
    };
}

pub mod activation;
pub mod attention;
pub mod called;
pub mod disentangled;
mod exp;
pub mod norm;
mod own;
pub mod product;
pub mod quantised;
pub mod recurrent;
pub mod spans;
mod tile;

pub use called::Kernel;

/// Who does the work of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crew {
    /// The calling thread: the others have texts of their own.
    Alone,
    /// Every thread of the pool.
    All,
}

impl Crew {
    pub fn threads(self) -> usize {
        match self {
            Crew::Alone => 1,
            Crew::All => rayon::current_num_threads(),
        }
    }

    /// Does every task, each once.
    pub fn each<T: Send>(self, tasks: impl Iterator<Item = T>, work: impl Fn(T) + Send + Sync) {
        match self {
            Crew::Alone => tasks.for_each(work),
            Crew::All => tasks.collect::<Vec<T>>().into_par_iter().for_each(work),
        }
    }
}

/// Splits `count` things into stretches of at most `most`, as even as can be.
pub fn stretches(count: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let parts = count.div_ceil(most.max(1)).max(1);
    (0..parts).map(move |part| part * count / parts..(part + 1) * count / parts)
}

/// Memory that several threads write to, each to places of its own.
#[derive(Clone, Copy)]
pub struct Shared(*mut f32);

// SAFETY: whoever calls `at` promises that no two threads touch the same places.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    pub fn of(slice: &mut [f32]) -> Self {
        Shared(slice.as_mut_ptr())
    }

    /// # Safety
    /// The place must lie inside of the slice, and no other thread may use what is written there meanwhile.
    pub unsafe fn at(self, place: usize) -> *mut f32 {
        // SAFETY: promised by the caller.
        unsafe { self.0.add(place) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn stretches_are_even_and_cover_everything() {
        let stretches = |count, most| super::stretches(count, most).collect::<Vec<_>>();
        assert_eq!(stretches(10, 4), [0..3, 3..6, 6..10]);
        assert_eq!(stretches(3, 8), std::slice::from_ref(&(0..3)));
        assert_eq!(stretches(0, 8), std::slice::from_ref(&(0..0)));
    }
}
