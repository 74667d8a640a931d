//! Memory that was taken and freed: the allocator keeps it. After a load it would be counted as the model's, and after an
//! unload nobody else could have it.

/// Gives it back to the system, where the allocator can be told to.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: glibc's; it may be called at any time, from any thread.
    unsafe { malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn trim() {}
