//! A card as candle sees it, with its memory limited to the worker's share.

use std::rc::Rc;

use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Tensor};

use super::kernels::{Kernels, built_for};
use crate::backend::BackendError;
use crate::backend::gpu::nvidia::{Pool, Stream};
use crate::backend::gpu::{Nvidia, Share};

pub struct Card {
    /// The stream that candle computes on.
    pub queue: Stream,
    pub pool: Pool,
    pub share: Share,
    pub candle: candle_core::Device,
    /// Shared with the network that runs on it.
    pub kernels: Rc<Kernels>,
    pub driver: Nvidia,
}

impl Card {
    /// For a network of these numbers.
    pub fn open(
        number: u32,
        emulated: Option<u64>,
        fraction: f64,
        numbers: DType,
    ) -> Result<Card, BackendError> {
        let driver = Nvidia::open(number)?;
        check(driver.capability()?, built_for(), numbers)?;
        let candle = candle_core::Device::new_cuda_with_stream(number as usize).map_err(failed)?;
        let device = candle.as_cuda_device().map_err(failed)?.clone();
        // SAFETY: everything runs on one stream, but for copies, which `Lanes` orders by events of its own.
        unsafe { device.disable_event_tracking() };
        let kernels = Rc::new(Kernels::load(&candle, numbers).map_err(failed)?);
        warm_up(&candle, numbers).map_err(failed)?;
        let share = Share::new(driver.total_bytes(), emulated, fraction, driver.overhead_bytes()?)?;
        // From here on everything of this process comes out of it: weights, whatever becomes of a batch, and the batch.
        let pool = driver.pool(share.pool_bytes())?;
        // SAFETY: the device, which keeps its stream, is kept beside the queue.
        let queue = unsafe { driver.borrowed(stream_of(&device)) };
        Ok(Card { queue, pool, share, candle, kernels, driver })
    }
}

fn stream_of(device: &CudaDevice) -> *mut std::ffi::c_void {
    device.cuda_stream().cu_stream().cast()
}

/// What a card of some capability can't do, by name. Both are as 80 for 8.0.
fn check(capability: (u32, u32), built_for: u32, numbers: DType) -> Result<(), BackendError> {
    let (major, minor) = capability;
    if major * 10 + minor < built_for {
        return Err(BackendError::NotAvailable(format!(
            "this CUDA worker was built for compute capability {}.{} and later, but this card has {major}.{minor}: \
             run `autotune setup cuda --capability {major}.{minor}`, or correct AUTOTUNE_CUDA_WORKER",
            built_for / 10,
            built_for % 10
        )));
    }
    if numbers == DType::BF16 && major < 8 {
        return Err(BackendError::Refused(format!(
            "`dtype` bf16 needs a card of capability 8.0, and this one has {major}.{minor}"
        )));
    }
    Ok(())
}

/// Has the library of products take what it takes once, and load kernels for small products and large ones, so that they
/// are counted before the model comes.
fn warm_up(device: &candle_core::Device, numbers: DType) -> candle_core::Result<()> {
    for dtype in [DType::F32, numbers] {
        let weights = Tensor::zeros((512, 512), dtype, device)?;
        for rows in [16, 2048] {
            Tensor::zeros((rows, 512), dtype, device)?.matmul(&weights.t()?)?;
        }
    }
    device.synchronize()
}

/// candle's errors as ours. Those of memory are told by their words.
pub fn failed(error: candle_core::Error) -> BackendError {
    let message = error.to_string();
    let memory = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];
    if memory.iter().any(|words| message.contains(words)) {
        // The first line says it; the rest is where.
        BackendError::OutOfMemory(message.lines().next().unwrap_or_default().to_owned())
    } else {
        BackendError::Failed(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_too_old_is_told_what_to_build() {
        assert_eq!(check((9, 0), 80, DType::BF16), Ok(()));
        let error = check((7, 5), 80, DType::F32).unwrap_err();
        assert!(
            matches!(&error, BackendError::NotAvailable(why) if why.contains("--capability 7.5")),
            "{error}"
        );
        assert!(matches!(check((7, 5), 75, DType::BF16), Err(BackendError::Refused(_))));
        assert_eq!(check((7, 5), 75, DType::F16), Ok(()));
    }
}
