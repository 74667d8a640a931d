//! Where NVIDIA's driver has its libraries: where the system's loader looks, or in one of a few known folders.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

/// Of WSL 2, of NVIDIA's containers, and of NixOS.
pub const DRIVER_FOLDERS: [&str; 4] =
    ["/usr/lib/wsl/lib", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/run/opengl-driver/lib"];

/// The driver's library for programs.
pub const CUDA: &str = "libcuda.so.1";
/// The driver's library for those who watch.
const NVML: &str = "libnvidia-ml.so.1";

/// Names to try, the loader's own way first.
fn candidates(name: &'static str) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned())
        .chain(DRIVER_FOLDERS.iter().map(move |folder| format!("{folder}/{name}")))
}

/// The first of them that loads, or why the loader's own way failed.
fn first<T, E>(name: &'static str, open: impl Fn(&str) -> Result<T, E>) -> Result<T, E> {
    let mut places = candidates(name);
    let loaders = places.next().unwrap_or_default();
    open(&loaders).or_else(|error| places.find_map(|place| open(&place).ok()).ok_or(error))
}

/// Loads the driver's library.
pub fn cuda() -> Result<libloading::Library, libloading::Error> {
    // SAFETY: the driver's library runs no code of ours when it's loaded.
    first(CUDA, |place| unsafe { libloading::Library::new(place) })
}

/// Starts NVML.
pub fn nvml() -> Result<Nvml, NvmlError> {
    let started = first(NVML, |place| match Nvml::builder().lib_path(place.as_ref()).init() {
        Err(error @ (NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound)) => Err(error),
        // One that is there and fails says more than those that aren't.
        answered => Ok(answered),
    });
    started.unwrap_or_else(Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_way_comes_first_and_its_error_is_the_one_that_counts() {
        let tried = std::cell::RefCell::new(Vec::new());
        let opened = first(CUDA, |place| {
            tried.borrow_mut().push(place.to_owned());
            if place.starts_with("/usr/lib/wsl") { Ok(place.to_owned()) } else { Err(place.to_owned()) }
        });
        assert_eq!(opened.unwrap(), "/usr/lib/wsl/lib/libcuda.so.1");
        assert_eq!(*tried.borrow(), ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"]);
        assert_eq!(first(CUDA, |place| Err::<(), _>(place.to_owned())), Err(CUDA.to_owned()));
    }
}
