//! A graph run over tensors that lie where somebody else has put them, on whatever device.

use std::ffi::CString;
use std::ptr::null_mut;

use ort::AsPointer;
use ort::memory::MemoryInfo;
use ort::session::{NoSelectedOutputs, RunOptions};
use ort::sys::{OrtIoBinding, OrtValue};

use super::call::{checked, element, failed};
use super::engine::Engine;
use super::onnx::Element;
use crate::backend::BackendError;

/// A tensor by its address on the device.
#[derive(Debug, Clone)]
pub struct Laid {
    pub name: CString,
    pub element: Element,
    pub shape: Vec<i64>,
    pub address: u64,
    pub bytes: usize,
}

impl Engine {
    /// Runs the graph over `inputs`, so that it writes to `output`. With options that don't wait it returns when the work
    /// is on its way.
    ///
    /// # Safety
    ///
    /// The addresses are of `memory`'s device, have as many bytes behind them as is said, and stay good until the work is
    /// done; until then nobody else writes to the inputs or touches the output.
    pub unsafe fn run_at(
        &mut self,
        memory: &MemoryInfo,
        inputs: &[Laid],
        output: &Laid,
        options: &RunOptions<NoSelectedOutputs>,
    ) -> Result<(), BackendError> {
        let session = self.session.ptr().cast_mut();
        let run = || -> ort::Result<()> {
            let mut binding = Binding(null_mut());
            let api = ort::api();
            // SAFETY: the session is alive, and the binding's place is ours. The library counts references of its own to
            // the values that are bound.
            unsafe {
                checked((api.CreateIoBinding)(session, &mut binding.0))?;
                for input in inputs {
                    let value = Shown::at(memory, input)?;
                    checked((api.BindInput)(binding.0, input.name.as_ptr(), value.0))?;
                }
                let value = Shown::at(memory, output)?;
                checked((api.BindOutput)(binding.0, output.name.as_ptr(), value.0))?;
                checked((api.RunWithBinding)(session, options.ptr(), binding.0))
            }
        };
        run().map_err(failed)
    }
}

struct Binding(*mut OrtIoBinding);

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: it was made by the library, or is nothing, which the library takes as well.
        unsafe { (ort::api().ReleaseIoBinding)(self.0) };
    }
}

/// The library's own view of a tensor. It doesn't own the memory.
struct Shown(*mut OrtValue);

impl Shown {
    /// # Safety
    ///
    /// As [`Engine::run_at`].
    unsafe fn at(memory: &MemoryInfo, laid: &Laid) -> ort::Result<Shown> {
        let mut value = null_mut();
        // SAFETY: as our caller promises; the library copies the shape.
        let status = unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                laid.address as *mut _,
                laid.bytes,
                laid.shape.as_ptr(),
                laid.shape.len(),
                element(laid.element).into(),
                &mut value,
            )
        };
        // SAFETY: the status has just come from the library.
        unsafe { checked(status)? };
        Ok(Shown(value))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // SAFETY: it was made by the library, and whoever uses it counts for itself.
        unsafe { (ort::api().ReleaseValue)(self.0) };
    }
}
