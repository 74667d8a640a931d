//! A checkpoint's weights in the forms that the kernels want.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::kernel::Crew;
use super::kernel::called::{Kernel, called};
use super::kernel::product::{Finish, Panels, multiply};
use super::kernel::quantised::{Quantised, Way};
use super::precision::Precision;
use super::slot::Slot;
use crate::model::graph::{Activation, Stack, Weight};
use crate::model::{ModelError, Weights};

/// Rows that are looked up and not multiplied: they stay where they are mapped, and only those used are ever read.
pub struct Table {
    weights: Arc<Weights>,
    name: String,
    width: usize,
    /// Where the file holds another precision.
    converted: Option<Vec<f32>>,
}

impl Table {
    pub fn new(weights: &Arc<Weights>, weight: &Weight) -> std::result::Result<Self, ModelError> {
        let converted = match weights.floats(&weight.name)? {
            std::borrow::Cow::Borrowed(_) => None,
            std::borrow::Cow::Owned(numbers) => Some(numbers),
        };
        let width = weight.shape.get(1).copied().unwrap_or(1);
        Ok(Table { weights: Arc::clone(weights), name: weight.name.clone(), width, converted })
    }

    /// All rows, for whoever looks up several.
    pub fn rows(&self) -> std::result::Result<Rows<'_>, ModelError> {
        let numbers = match &self.converted {
            Some(numbers) => std::borrow::Cow::Borrowed(numbers.as_slice()),
            None => self.weights.floats(&self.name)?,
        };
        Ok(Rows { numbers, width: self.width })
    }
}

pub struct Rows<'a> {
    numbers: std::borrow::Cow<'a, [f32]>,
    width: usize,
}

impl Rows<'_> {
    /// A row, or nothing for a row that isn't there.
    pub fn get(&self, row: usize) -> Option<&[f32]> {
        self.numbers.get(row * self.width..(row + 1) * self.width)
    }
}

/// A vector, or several one behind the other.
pub fn vector(weights: &Weights, stack: &[Weight]) -> std::result::Result<Vec<f32>, ModelError> {
    let mut numbers = Vec::new();
    for part in stack {
        numbers.extend_from_slice(&weights.floats(&part.name)?);
    }
    Ok(numbers)
}

enum Form {
    Float(Panels),
    /// Inputs by outputs, for candle's own product.
    Half(Tensor),
    Eight(Quantised),
}

/// What is called for a product. With candle's tensors a bias and an activation are part of the copy back.
pub fn kernels_of_product(precision: Precision) -> Vec<Kernel> {
    match precision {
        Precision::Float => vec![Kernel::Product],
        Precision::Half | Precision::Brain => {
            vec![Kernel::Halving, Kernel::HalfProduct, Kernel::Widening, Kernel::CopyOut, Kernel::CopyIn]
        }
        Precision::Eight => Way::here().kernels().into(),
    }
}

/// What the weights of a product are held as, and the bytes that they take.
pub fn product_bytes(precision: Precision, outputs: usize, depth: usize) -> (&'static str, u64) {
    match precision {
        Precision::Float => ("fp32", Panels::bytes(outputs, depth)),
        Precision::Half | Precision::Brain => ("fp16", (outputs * depth * size_of::<half::f16>()) as u64),
        Precision::Eight => ("int8", Way::here().bytes(outputs, depth)),
    }
}

/// A product with weights, ready to be worked out.
pub struct Product {
    form: Form,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
    depth: usize,
    outputs: usize,
}

impl Product {
    pub fn new(
        weights: &Weights,
        stack: &Stack,
        bias: Option<&Stack>,
        activation: Option<Activation>,
        precision: Precision,
    ) -> std::result::Result<Self, String> {
        let (outputs, depth) = (stack.rows(), stack.columns());
        let said = |error: ModelError| error.to_string();
        let bias = bias.map(|bias| vector(weights, &bias.0)).transpose().map_err(said)?;
        let form = match precision {
            Precision::Float => {
                let mut panels = Panels::new(outputs, depth);
                let mut first = 0;
                for part in &stack.0 {
                    panels.fill(first, &weights.floats(&part.name).map_err(said)?);
                    first += part.shape[0];
                }
                Form::Float(panels)
            }
            // Only a GPU multiplies bf16, and is asked before.
            Precision::Half | Precision::Brain => {
                let rows = vector(weights, &stack.0).map_err(said)?;
                let half = || {
                    let tensor = Tensor::from_vec(rows, (outputs, depth), &Device::Cpu)?;
                    tensor.to_dtype(DType::F16)?.t()?.contiguous()
                };
                Form::Half(half().map_err(|error: candle_core::Error| error.to_string())?)
            }
            Precision::Eight => {
                let rows = vector(weights, &stack.0).map_err(said)?;
                Form::Eight(Quantised::new(&rows, outputs, depth).map_err(|error| error.to_string())?)
            }
        };
        // They are held in our own layout from here on.
        stack.0.iter().for_each(|part| weights.release(&part.name));
        Ok(Product { form, bias, activation, depth, outputs })
    }

    pub fn run(&self, rows: usize, input: &Slot, output: &Slot, crew: Crew) -> Result<()> {
        let finish = Finish { bias: self.bias.as_deref(), activation: self.activation };
        let count = rows * self.outputs;
        match &self.form {
            Form::Float(panels) => output.map(count, input, |output, input| {
                called(Kernel::Product);
                multiply(panels, input, rows, finish, output, crew);
                Ok(())
            }),
            Form::Eight(quantised) => output.map(count, input, |output, input| {
                quantised.multiply(input, rows, self.depth, finish, output, crew)
            }),
            Form::Half(weights) => {
                called(Kernel::Halving);
                let halves = input.tensor(rows, self.depth)?.to_dtype(DType::F16)?;
                called(Kernel::HalfProduct);
                let product = halves.matmul(weights)?;
                called(Kernel::Widening);
                let product = product.to_dtype(DType::F32)?;
                called(Kernel::CopyOut);
                let product = product.flatten_all()?.to_vec1::<f32>()?;
                output.fill(count, |output| {
                    called(Kernel::CopyIn);
                    output.copy_from_slice(&product);
                    output.chunks_exact_mut(self.outputs).for_each(|row| finish.apply(0, row));
                    Ok(())
                })
            }
        }
    }
}
