//! Functions of the driver's library, found at run time.

use std::ffi::c_int;

/// What each of them returns; 0 stands for success.
pub type Status = c_int;

/// Declares the functions that are taken from the library as a type of their own, by the names that it has them under.
macro_rules! functions {
    ($name:ident; $($field:ident = $symbol:literal ($($argument:ty),*);)*) => {
        struct $name {
            $($field: unsafe extern "C" fn($($argument),*) -> $crate::backend::gpu::functions::Status,)*
            // Last, so that nothing of it is called once it's gone.
            _library: libloading::Library,
        }

        impl $name {
            fn load(library: libloading::Library) -> Result<$name, libloading::Error> {
                $(
                    // SAFETY: the type is that of the function in cuda.h, which doesn't change under one name.
                    let $field = *unsafe { library.get($symbol) }?;
                )*
                Ok($name { $($field,)* _library: library })
            }
        }
    };
}
pub(super) use functions;
