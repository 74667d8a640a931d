//! Products with weights in candle's Q8_0: blocks of 32 eight-bit numbers that share a scale. Activations are quantised
//! the same way, row by row, as the product goes.
//!
//! candle's own product reads the blocks row by row and has a fast way for some shapes only. Here they are laid out in
//! `panels.rs` for what the processor has: `vnni.rs` multiplies and adds 64 bytes at once, `avx2.rs` sixteen numbers of 16 bits.
//! Elsewhere candle's own product is taken.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod block;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(target_arch = "x86_64")]
mod vnni;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Result, Tensor};

pub use block::BLOCK;

use super::Crew;
use super::called::{Kernel, called};
use super::product::Finish;
#[cfg(target_arch = "x86_64")]
use {avx2::Avx2, panels::Form, panels::Panels, vnni::Vnni};

/// How this processor multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Rows,
}

impl Way {
    /// The fastest that this processor has the instructions for.
    pub fn here() -> Way {
        #[cfg(target_arch = "x86_64")]
        if Vnni::supported() {
            return Way::Vnni;
        } else if Avx2::supported() {
            return Way::Avx2;
        }
        Way::Rows
    }

    /// What it's called where it tells processors apart.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Way::Vnni => "VNNI",
            #[cfg(target_arch = "x86_64")]
            Way::Avx2 => "AVX2",
            Way::Rows => "neither VNNI nor AVX2",
        }
    }

    /// What is called for a product.
    pub fn kernels(self) -> [Kernel; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Way::Vnni => [Kernel::Quantisation, Vnni::KERNEL],
            #[cfg(target_arch = "x86_64")]
            Way::Avx2 => [Kernel::Quantisation, Avx2::KERNEL],
            Way::Rows => [Kernel::PaddedCopy, Kernel::EightRows],
        }
    }

    /// Bytes that so many weights take, their scales counted.
    pub fn bytes(self, outputs: usize, depth: usize) -> u64 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Way::Vnni => Panels::<Vnni>::bytes(outputs, depth),
            #[cfg(target_arch = "x86_64")]
            Way::Avx2 => Panels::<Avx2>::bytes(outputs, depth),
            Way::Rows => (outputs * depth.div_ceil(BLOCK) * block::BLOCK_BYTES) as u64,
        }
    }
}

pub enum Quantised {
    #[cfg(target_arch = "x86_64")]
    Vnni(Panels<Vnni>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Panels<Avx2>),
    Rows(QMatMul),
}

impl Quantised {
    /// Quantises `outputs` rows of `depth` numbers.
    pub fn new(rows: &[f32], outputs: usize, depth: usize) -> Result<Self> {
        let padded = depth.next_multiple_of(BLOCK);
        let mut numbers = vec![0.0; outputs * padded];
        for (row, weights) in numbers.chunks_exact_mut(padded).zip(rows.chunks_exact(depth)) {
            row[..depth].copy_from_slice(weights);
        }
        let tensor = Tensor::from_vec(numbers, (outputs, padded), &Device::Cpu)?;
        let quantised = QTensor::quantize(&tensor, GgmlDType::Q8_0)?;
        let panels = match Way::here() {
            #[cfg(target_arch = "x86_64")]
            Way::Vnni => Panels::new(&quantised.data()?, outputs, depth).map(Quantised::Vnni),
            #[cfg(target_arch = "x86_64")]
            Way::Avx2 => Panels::new(&quantised.data()?, outputs, depth).map(Quantised::Avx2),
            Way::Rows => None,
        };
        match panels {
            Some(panels) => Ok(panels),
            None => Ok(Quantised::Rows(QMatMul::from_qtensor(quantised)?)),
        }
    }

    /// `output = finish(input · weightsᵀ)`, for `rows` rows of `depth` numbers.
    pub fn multiply(
        &self,
        input: &[f32],
        rows: usize,
        depth: usize,
        finish: Finish,
        output: &mut [f32],
        crew: Crew,
    ) -> Result<()> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Quantised::Vnni(panels) => panels.multiply(input, rows, finish, output, crew),
            #[cfg(target_arch = "x86_64")]
            Quantised::Avx2(panels) => panels.multiply(input, rows, finish, output, crew),
            Quantised::Rows(product) => {
                return by_rows(product, &input[..rows * depth], depth, finish, output);
            }
        }
        Ok(())
    }
}

/// By candle's own product, whose rows are padded to whole blocks.
fn by_rows(product: &QMatMul, input: &[f32], depth: usize, finish: Finish, output: &mut [f32]) -> Result<()> {
    called(Kernel::PaddedCopy);
    let padded = depth.next_multiple_of(BLOCK);
    let mut numbers = vec![0.0; input.len() / depth * padded];
    for (row, given) in numbers.chunks_exact_mut(padded).zip(input.chunks_exact(depth)) {
        row[..depth].copy_from_slice(given);
    }
    let rows = numbers.len() / padded;
    called(Kernel::EightRows);
    let product = product.forward(&Tensor::from_vec(numbers, (rows, padded), &Device::Cpu)?)?;
    let outputs = product.dim(1)?;
    for (row, given) in product.to_vec2::<f32>()?.iter().enumerate() {
        let row = &mut output[row * outputs..(row + 1) * outputs];
        row.copy_from_slice(given);
        finish.apply(0, row);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way in which this processor can multiply, with its name.
    fn every_way(weights: &[f32], outputs: usize, depth: usize) -> Vec<(&'static str, Quantised)> {
        let padded = depth.next_multiple_of(BLOCK);
        let tensor = Tensor::from_vec(weights.to_vec(), (outputs, depth), &Device::Cpu).unwrap();
        let tensor = tensor.pad_with_zeros(1, 0, padded - depth).unwrap();
        let rows = QTensor::quantize(&tensor, GgmlDType::Q8_0).unwrap();
        let mut ways = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let bytes = rows.data().unwrap();
            ways.extend(Panels::new(&bytes, outputs, depth).map(|panels| ("vnni", Quantised::Vnni(panels))));
            ways.extend(Panels::new(&bytes, outputs, depth).map(|panels| ("avx2", Quantised::Avx2(panels))));
        }
        ways.push(("candle", Quantised::Rows(QMatMul::from_qtensor(rows).unwrap())));
        ways
    }

    #[test]
    fn products_are_right_to_eight_bits_in_every_way() {
        for (rows, depth, outputs) in [(1, 32, 32), (2, 96, 17), (13, 100, 70), (64, 384, 33)] {
            let numbers = |count: usize, step: usize| -> Vec<f32> {
                (0..count).map(|place| ((place * step) % 101) as f32 / 50.0 - 1.0).collect()
            };
            let (input, weights) = (numbers(rows * depth, 37), numbers(outputs * depth, 53));
            let bias = numbers(outputs, 7);
            let finish = Finish { bias: Some(&bias), activation: None };
            let ways = every_way(&weights, outputs, depth);
            let answer = |quantised: &Quantised| {
                let mut output = vec![0.0; rows * outputs];
                quantised.multiply(&input, rows, depth, finish, &mut output, Crew::All).unwrap();
                output
            };
            let answers: Vec<(&str, Vec<f32>)> =
                ways.iter().map(|(name, way)| (*name, answer(way))).collect();
            for row in 0..rows {
                for column in 0..outputs {
                    let pairs = (0..depth).map(|d| input[row * depth + d] * weights[column * depth + d]);
                    let wanted = pairs.sum::<f32>() + bias[column];
                    // Each number is off by half a step of 1/127 at most, in random directions.
                    let room = 0.01 * (depth as f32).sqrt();
                    for (name, output) in &answers {
                        let given = output[row * outputs + column];
                        assert!(
                            (given - wanted).abs() < room,
                            "{name} {rows} {depth} {outputs}: {given} {wanted}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_numbers_overflow_nothing_and_what_is_no_number_is_seen() {
        let (rows, depth, outputs) = (7, 64, 40);
        for (name, way) in every_way(&vec![-3.0; outputs * depth], outputs, depth) {
            let mut input = vec![2.0; rows * depth];
            let mut output = vec![0.0; rows * outputs];
            let finish = Finish { bias: None, activation: None };
            way.multiply(&input, rows, depth, finish, &mut output, Crew::Alone).unwrap();
            assert!(output.iter().all(|x| (x + 384.0).abs() < 0.5), "{name}: {output:?}");
            if name == "candle" {
                continue;
            }
            input[3 * depth + 5] = f32::NAN;
            way.multiply(&input, rows, depth, finish, &mut output, Crew::Alone).unwrap();
            let is_nan = |row: usize| output[row * outputs..][..outputs].iter().all(|x| x.is_nan());
            assert!(is_nan(3) && !is_nan(2) && !is_nan(4), "{name}");
        }
    }
}
