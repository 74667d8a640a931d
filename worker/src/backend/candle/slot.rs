//! Values of a graph while it runs: candle tensors that are used again and again, batch after batch.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Tensor};

/// Memory for one value at a time.
pub struct Slot {
    tensor: Tensor,
}

impl Slot {
    pub fn new() -> Result<Self> {
        Ok(Slot { tensor: Tensor::zeros(0, DType::F32, &Device::Cpu)? })
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.tensor.elem_count()
    }

    /// Has room for so many numbers from here on.
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        if self.tensor.elem_count() < count {
            self.tensor = Tensor::zeros(count, DType::F32, &Device::Cpu)?;
        }
        Ok(())
    }

    /// Writes the first `count` numbers.
    pub fn fill(&self, count: usize, kernel: impl Fn(&mut [f32]) -> Result<()>) -> Result<()> {
        self.tensor.inplace_op1(&Kernel { count, kernel })
    }

    /// Writes the first `count` numbers out of another slot's.
    pub fn map(
        &self,
        count: usize,
        input: &Slot,
        kernel: impl Fn(&mut [f32], &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.tensor.inplace_op2(&input.tensor, &Kernel { count, kernel })
    }

    /// Writes the first `count` numbers out of two other slots'.
    pub fn combine(
        &self,
        count: usize,
        left: &Slot,
        right: &Slot,
        kernel: impl Fn(&mut [f32], &[f32], &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.tensor.inplace_op3(&left.tensor, &right.tensor, &Kernel { count, kernel })
    }

    /// The first numbers, for candle's own operations.
    pub fn tensor(&self, rows: usize, columns: usize) -> Result<Tensor> {
        self.tensor.narrow(0, 0, rows * columns)?.reshape((rows, columns))
    }

    pub fn read<T>(&self, count: usize, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
        let (storage, _) = self.tensor.storage_and_layout();
        match &*storage {
            candle_core::Storage::Cpu(storage) => Ok(read(&storage.as_slice::<f32>()?[..count])),
            _ => candle_core::bail!("a slot is not on the processor"),
        }
    }
}

/// Plain slices for a kernel out of candle's storages. Slots are whole tensors, so layouts have nothing to add.
struct Kernel<F> {
    count: usize,
    kernel: F,
}

impl<F: Fn(&mut [f32]) -> Result<()>> InplaceOp1 for Kernel<F> {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn cpu_fwd(&self, output: &mut CpuStorage, _: &Layout) -> Result<()> {
        (self.kernel)(first(output, self.count)?)
    }
}

impl<F: Fn(&mut [f32], &[f32]) -> Result<()>> InplaceOp2 for Kernel<F> {
    fn name(&self) -> &'static str {
        "map"
    }

    fn cpu_fwd(&self, output: &mut CpuStorage, _: &Layout, input: &CpuStorage, _: &Layout) -> Result<()> {
        (self.kernel)(first(output, self.count)?, input.as_slice()?)
    }
}

impl<F: Fn(&mut [f32], &[f32], &[f32]) -> Result<()>> InplaceOp3 for Kernel<F> {
    fn name(&self) -> &'static str {
        "combine"
    }

    fn cpu_fwd(
        &self,
        output: &mut CpuStorage,
        _: &Layout,
        left: &CpuStorage,
        _: &Layout,
        right: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        (self.kernel)(first(output, self.count)?, left.as_slice()?, right.as_slice()?)
    }
}

fn first(storage: &mut CpuStorage, count: usize) -> Result<&mut [f32]> {
    match storage {
        CpuStorage::F32(numbers) => Ok(&mut numbers[..count]),
        _ => candle_core::bail!("a slot holds fp32"),
    }
}
