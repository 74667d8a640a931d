//! A checkpoint's weights on the card.

use candle_core::{DType, Device, Result, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use super::Choice;
use super::kernels::Kernels;
use crate::backend::candle::kernel::quantised::BLOCK;
use crate::model::graph::{Stack, Weight};
use crate::model::{ModelError, Weights};

fn wrap(error: ModelError) -> candle_core::Error {
    candle_core::Error::wrap(error)
}

/// Numbers on the card, of the kind asked for. Nothing of them stays on the host.
pub fn tensor(numbers: &[f32], shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    match dtype {
        DType::F16 => {
            let halves: Vec<f16> = numbers.par_iter().map(|number| f16::from_f32(*number)).collect();
            Tensor::from_slice(&halves, shape, device)
        }
        DType::BF16 => {
            let halves: Vec<bf16> = numbers.par_iter().map(|number| bf16::from_f32(*number)).collect();
            Tensor::from_slice(&halves, shape, device)
        }
        _ => Tensor::from_slice(numbers, shape, device),
    }
}

/// A table, or a vector.
pub fn one(weights: &Weights, weight: &Weight, dtype: DType, device: &Device) -> Result<Tensor> {
    let numbers = weights.floats(&weight.name).map_err(wrap)?;
    let tensor = tensor(&numbers, &weight.shape, dtype, device)?;
    drop(numbers);
    weights.release(&weight.name);
    Ok(tensor)
}

/// Weights one below the other, in fp32 on the host.
fn stacked(weights: &Weights, stack: &Stack) -> Result<Vec<f32>> {
    let mut numbers = Vec::with_capacity(stack.rows() * stack.columns());
    for part in &stack.0 {
        numbers.extend_from_slice(&weights.floats(&part.name).map_err(wrap)?);
        weights.release(&part.name);
    }
    Ok(numbers)
}

enum Form {
    /// Outputs by inputs, as checkpoints have them.
    Whole(Tensor),
    /// Numbers of 8 bits, and a scale for each block of a row.
    Eight { numbers: Tensor, scales: Tensor },
}

/// The weights of a product.
pub struct Product {
    form: Form,
    pub bias: Option<Tensor>,
    dtype: DType,
}

impl Product {
    pub fn new(
        weights: &Weights,
        stack: &Stack,
        bias: Option<&Stack>,
        choice: Choice,
        device: &Device,
    ) -> Result<Self> {
        let dtype = choice.numbers;
        let shape = [stack.rows(), stack.columns()];
        let numbers = stacked(weights, stack)?;
        let form = if choice.eight && stack.columns().is_multiple_of(BLOCK) {
            let (numbers, scales) = eight(&numbers);
            Form::Eight {
                numbers: Tensor::from_slice(&numbers, &shape, device)?,
                scales: Tensor::from_slice(&scales, scales.len(), device)?,
            }
        } else {
            Form::Whole(tensor(&numbers, &shape, dtype, device)?)
        };
        let bias =
            bias.map(|bias| tensor(&stacked(weights, bias)?, &[shape[0]], dtype, device)).transpose()?;
        Ok(Product { form, bias, dtype })
    }

    /// `input · weightsᵀ`, without the bias.
    pub fn run(&self, kernels: &Kernels, input: &Tensor) -> Result<Tensor> {
        match &self.form {
            Form::Whole(weights) => input.matmul(&weights.t()?),
            // Widened for each use: the memory of one product's weights is in use twice, and that of all others once.
            Form::Eight { numbers, scales } => {
                input.matmul(&kernels.widen_weights(numbers, scales, self.dtype)?.t()?)
            }
        }
    }
}

/// A scale for each block, such that its largest number becomes 127. The numbers' bits are what a card reads as signed.
fn eight(floats: &[f32]) -> (Vec<u8>, Vec<f16>) {
    let mut numbers = vec![0_u8; floats.len()];
    let mut scales = vec![f16::ZERO; floats.len() / BLOCK];
    numbers.par_chunks_mut(BLOCK).zip(scales.par_iter_mut()).zip(floats.par_chunks(BLOCK)).for_each(
        |((numbers, scale), floats)| {
            let largest = floats.iter().fold(0.0_f32, |largest, float| largest.max(float.abs()));
            *scale = f16::from_f32(largest / 127.0);
            // By the scale as it's kept, so that its own rounding costs nothing.
            let kept = scale.to_f32();
            for (number, float) in numbers.iter_mut().zip(floats) {
                let steps = if kept > 0.0 { (float / kept).round().clamp(-127.0, 127.0) } else { 0.0 };
                *number = steps as i8 as u8;
            }
        },
    );
    (numbers, scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_scaled_by_their_largest_number() {
        let mut floats = vec![0.0; 2 * BLOCK];
        (floats[0], floats[1], floats[BLOCK]) = (-1.27, 0.635, 0.0);
        let (numbers, scales) = eight(&floats);
        assert_eq!((scales[0], scales[1]), (f16::from_f32(0.01), f16::ZERO));
        assert!(numbers[0] as i8 == -127 && (numbers[1] as i8 - 64).abs() <= 1, "{numbers:?}");
        let back = f32::from(numbers[1] as i8) * scales[0].to_f32();
        assert!((back - 0.635).abs() < 0.005, "{back}");
    }
}
