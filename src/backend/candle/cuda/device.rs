//! A card as candle sees it, with its memory limited to the worker's share.

use candle_core::cuda_backend::CudaDevice;

use crate::backend::BackendError;
use crate::backend::gpu::nvidia::{Pool, Stream};
use crate::backend::gpu::{Nvidia, Share};

pub struct Card {
    /// The stream that candle computes on.
    pub queue: Stream,
    pub pool: Pool,
    pub share: Share,
    pub candle: candle_core::Device,
    pub driver: Nvidia,
}

impl Card {
    pub fn open(number: u32, emulated: Option<u64>, fraction: f64) -> Result<Card, BackendError> {
        let driver = Nvidia::open(number)?;
        let candle = candle_core::Device::new_cuda_with_stream(number as usize).map_err(failed)?;
        let device = candle.as_cuda_device().map_err(failed)?.clone();
        // SAFETY: everything runs on one stream, but for copies, which `Lanes` orders by events of its own.
        unsafe { device.disable_event_tracking() };
        warm_up(&candle).map_err(failed)?;
        let share = Share::new(driver.total_bytes(), emulated, fraction, driver.overhead_bytes())?;
        // From here on everything of this process comes out of it: weights, whatever becomes of a batch, and the batch.
        let pool = driver.pool(share.pool_bytes())?;
        // SAFETY: the device, which keeps its stream, is kept beside the queue.
        let queue = unsafe { driver.borrowed(stream_of(&device)) };
        Ok(Card { queue, pool, share, candle, driver })
    }
}

fn stream_of(device: &CudaDevice) -> *mut std::ffi::c_void {
    device.cuda_stream().cu_stream().cast()
}

/// Has the library of products take what it takes once, so that it's counted before the model comes.
fn warm_up(device: &candle_core::Device) -> candle_core::Result<()> {
    let dtypes = [candle_core::DType::F32, candle_core::DType::F16, candle_core::DType::BF16];
    for dtype in dtypes {
        let matrix = candle_core::Tensor::zeros((64, 64), dtype, device)?;
        matrix.matmul(&matrix)?;
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
