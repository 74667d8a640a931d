//! Products with weights in candle's Q8_0: blocks of 32 eight-bit numbers that share a scale. Activations are quantised
//! the same way, row by row, as the product goes.
//!
//! candle's own product reads the blocks row by row and has a fast way for some shapes only. Here they are laid out for
//! the instruction that multiplies and adds 64 bytes at once; without it candle's own is taken.

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Result, Tensor};

use super::Crew;
use super::product::Finish;

/// Numbers of 8 bits that share a scale.
pub const BLOCK: usize = 32;

/// Bytes of a block as candle keeps it: a scale in half precision, then the numbers.
const BLOCK_BYTES: usize = 2 + BLOCK;

pub enum Quantised {
    #[cfg(target_arch = "x86_64")]
    Panels(panels::Panels),
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
        #[cfg(target_arch = "x86_64")]
        if panels::supported() {
            return Ok(Quantised::Panels(panels::Panels::new(&quantised.data()?, outputs, depth)));
        }
        Ok(Quantised::Rows(QMatMul::from_qtensor(quantised)?))
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
            Quantised::Panels(panels) => {
                panels.multiply(input, rows, finish, output, crew);
                Ok(())
            }
            Quantised::Rows(product) => by_rows(product, &input[..rows * depth], depth, finish, output),
        }
    }
}

/// By candle's own product, whose rows are padded to whole blocks.
fn by_rows(product: &QMatMul, input: &[f32], depth: usize, finish: Finish, output: &mut [f32]) -> Result<()> {
    let padded = depth.next_multiple_of(BLOCK);
    let mut numbers = vec![0.0; input.len() / depth * padded];
    for (row, given) in numbers.chunks_exact_mut(padded).zip(input.chunks_exact(depth)) {
        row[..depth].copy_from_slice(given);
    }
    let rows = numbers.len() / padded;
    let product = product.forward(&Tensor::from_vec(numbers, (rows, padded), &Device::Cpu)?)?;
    let outputs = product.dim(1)?;
    for (row, given) in product.to_vec2::<f32>()?.iter().enumerate() {
        let row = &mut output[row * outputs..(row + 1) * outputs];
        row.copy_from_slice(given);
        finish.apply(0, row);
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
mod panels {
    use std::arch::x86_64::*;
    use std::ops::Range;

    use super::{BLOCK, BLOCK_BYTES};
    use crate::backend::candle::kernel::own::Own;
    use crate::backend::candle::kernel::product::{Finish, Task, tasks};
    use crate::backend::candle::kernel::{Crew, Shared, stretches};

    /// Outputs of a panel: two registers.
    const COLUMNS: usize = 32;

    /// Rows at once: twelve registers of sums, twelve of a block's, two of weights, and room for scales.
    const ROWS: usize = 6;

    pub fn supported() -> bool {
        std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vnni")
    }

    /// 32 inputs by 32 outputs.
    #[repr(C, align(64))]
    struct Block {
        /// Four inputs side by side, for each of sixteen outputs; then for the other sixteen; then the next four.
        weights: [[i8; 64]; 2 * BLOCK / 4],
        scales: [f32; COLUMNS],
        /// What the activations' shift to numbers without a sign adds to each sum, negated.
        shifts: [i32; COLUMNS],
    }

    // SAFETY: zeros are numbers of every kind that is in it.
    unsafe impl bytemuck::Zeroable for Block {}

    pub struct Panels {
        blocks: Own<Block>,
        outputs: usize,
        depth: usize,
    }

    /// Activations of some rows: numbers without a sign, 128 standing for zero, and the scale of each block.
    struct Activations {
        numbers: Vec<u8>,
        scales: Vec<f32>,
    }

    impl Panels {
        /// Lays out the blocks that candle made of each row.
        pub fn new(bytes: &[u8], outputs: usize, depth: usize) -> Self {
            let deep = depth.div_ceil(BLOCK);
            let mut blocks = Own::<Block>::zeroed(outputs.div_ceil(COLUMNS) * deep);
            for (place, given) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
                let (output, block) = (place / deep, place % deep);
                let (panel, column) = (output / COLUMNS, output % COLUMNS);
                let block = &mut blocks[panel * deep + block];
                let (scale, numbers) = given.split_at(2);
                block.scales[column] = half::f16::from_le_bytes([scale[0], scale[1]]).to_f32();
                for (input, number) in numbers.iter().enumerate() {
                    let number = *number as i8;
                    block.weights[input / 4 * 2 + column / 16][column % 16 * 4 + input % 4] = number;
                    block.shifts[column] -= 128 * i32::from(number);
                }
            }
            Panels { blocks, outputs, depth }
        }

        pub fn multiply(&self, input: &[f32], rows: usize, finish: Finish, output: &mut [f32], crew: Crew) {
            assert!(input.len() >= rows * self.depth && output.len() >= rows * self.outputs);
            if rows == 0 {
                return;
            }
            let activations = self.quantise(&input[..rows * self.depth], rows, crew);
            let shared = Shared::of(output);
            let panels = self.outputs.div_ceil(COLUMNS);
            crew.each(tasks(rows, panels, crew.threads()), |task| {
                // SAFETY: `supported` was true when the panels were made, and tasks don't overlap.
                unsafe { self.run(&activations, &task, finish, shared) }
            });
        }

        fn quantise(&self, input: &[f32], rows: usize, crew: Crew) -> Activations {
            const ROWS: usize = 16;
            let (depth, deep) = (self.depth, self.depth.div_ceil(BLOCK));
            let mut numbers = vec![128u8; rows * deep * BLOCK];
            let mut scales = vec![0f32; rows * deep];
            let into = numbers.chunks_mut(ROWS * deep * BLOCK).zip(scales.chunks_mut(ROWS * deep));
            crew.each(input.chunks(ROWS * depth).zip(into), |(input, (numbers, scales))| {
                quantise_rows(input, depth, numbers, scales);
            });
            Activations { numbers, scales }
        }

        /// # Safety
        /// The processor must have the instructions, and nobody else may use the task's part of the output meanwhile.
        #[target_feature(enable = "avx512f,avx512vnni")]
        unsafe fn run(&self, activations: &Activations, task: &Task, finish: Finish, output: Shared) {
            let deep = self.depth.div_ceil(BLOCK);
            for panel in task.panels.clone() {
                let blocks = &self.blocks[panel * deep..(panel + 1) * deep];
                let first = panel * COLUMNS;
                let columns = COLUMNS.min(self.outputs - first);
                for rows in stretches(task.rows.len(), ROWS) {
                    let rows = task.rows.start + rows.start..task.rows.start + rows.end;
                    let tile = Tile { blocks, activations, rows: rows.clone(), columns };
                    // SAFETY: the output's size was checked, and these rows and columns are this task's alone.
                    unsafe {
                        let place = output.at(rows.start * self.outputs + first);
                        match rows.len() {
                            0 => {}
                            1 => tile.run::<1>(place, self.outputs),
                            2 => tile.run::<2>(place, self.outputs),
                            3 => tile.run::<3>(place, self.outputs),
                            4 => tile.run::<4>(place, self.outputs),
                            5 => tile.run::<5>(place, self.outputs),
                            _ => tile.run::<6>(place, self.outputs),
                        }
                    }
                }
                for row in task.rows.clone() {
                    // SAFETY: as above.
                    let numbers = unsafe {
                        std::slice::from_raw_parts_mut(output.at(row * self.outputs + first), columns)
                    };
                    finish.apply(first, numbers);
                }
            }
        }
    }

    vectorised! {
        /// For rows of `depth` numbers a scale for each block, and the numbers as multiples of it.
        fn quantise_rows(input: &[f32], depth: usize, numbers: &mut [u8], scales: &mut [f32]) {
            let deep = depth.div_ceil(BLOCK);
            let into = numbers.chunks_exact_mut(deep * BLOCK).zip(scales.chunks_exact_mut(deep));
            for (row, (numbers, scales)) in input.chunks_exact(depth).zip(into) {
                for ((given, numbers), scale) in row.chunks(BLOCK).zip(numbers.chunks_exact_mut(BLOCK)).zip(scales) {
                    match <&[f32; BLOCK]>::try_from(given) {
                        Ok(given) => *scale = quantise_block(given, numbers),
                        Err(_) => {
                            let mut whole = [0.0; BLOCK];
                            whole[..given.len()].copy_from_slice(given);
                            *scale = quantise_block(&whole, numbers);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn quantise_block(given: &[f32; BLOCK], numbers: &mut [u8]) -> f32 {
        let mut highest = [0f32; 16];
        for half in given.chunks_exact(16) {
            for (highest, x) in highest.iter_mut().zip(half) {
                *highest = if x.abs() > *highest { x.abs() } else { *highest };
            }
        }
        let highest = highest.iter().fold(0f32, |most, x| if *x > most { *x } else { most });
        // What isn't a number has no eight bits, and must be seen in the answer.
        if given.iter().any(|x| x.is_nan()) {
            return f32::NAN;
        }
        let inverse = if highest > 0.0 { 127.0 / highest } else { 0.0 };
        for (number, x) in numbers.iter_mut().zip(given) {
            // Adding 1.5 × 2²³ rounds, and leaves a whole number in the low bits.
            *number = x.mul_add(inverse, 12_582_912.0 + 128.0).to_bits() as u8;
        }
        highest / 127.0
    }

    struct Tile<'a> {
        blocks: &'a [Block],
        activations: &'a Activations,
        rows: Range<usize>,
        columns: usize,
    }

    impl Tile<'_> {
        #[target_feature(enable = "avx512f,avx512vnni")]
        unsafe fn run<const COUNT: usize>(&self, output: *mut f32, stride: usize) {
            let deep = self.blocks.len();
            let numbers =
                self.activations.numbers[self.rows.start * deep * BLOCK..][..COUNT * deep * BLOCK].as_ptr();
            let scales = self.activations.scales[self.rows.start * deep..][..COUNT * deep].as_ptr();
            let mut sums = [[_mm512_setzero_ps(); 2]; COUNT];
            for (place, block) in self.blocks.iter().enumerate() {
                // SAFETY: the slices above hold `COUNT` rows of `deep` blocks, and a block is as long as it's read.
                unsafe {
                    let shifts = block.shifts.as_ptr();
                    let shifts = [_mm512_load_si512(shifts.cast()), _mm512_load_si512(shifts.add(16).cast())];
                    let mut products = [shifts; COUNT];
                    for group in 0..BLOCK / 4 {
                        let left = _mm512_load_si512(block.weights[2 * group].as_ptr().cast());
                        let right = _mm512_load_si512(block.weights[2 * group + 1].as_ptr().cast());
                        for (row, product) in products.iter_mut().enumerate() {
                            let four = numbers.add((row * deep + place) * BLOCK + 4 * group).cast::<i32>();
                            let four = _mm512_set1_epi32(four.read_unaligned());
                            product[0] = _mm512_dpbusd_epi32(product[0], four, left);
                            product[1] = _mm512_dpbusd_epi32(product[1], four, right);
                        }
                    }
                    let weights = block.scales.as_ptr();
                    let weights = [_mm512_load_ps(weights), _mm512_load_ps(weights.add(16))];
                    for (row, (sum, product)) in sums.iter_mut().zip(&products).enumerate() {
                        let scale = _mm512_set1_ps(*scales.add(row * deep + place));
                        for side in 0..2 {
                            let both = _mm512_mul_ps(scale, weights[side]);
                            sum[side] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product[side]), both, sum[side]);
                        }
                    }
                }
            }
            let mask = |columns: usize| if columns >= 16 { !0 } else { (1u16 << columns) - 1 };
            for (row, sum) in sums.iter().enumerate() {
                // SAFETY: masked to the columns that the caller of `Panels::run` promised.
                unsafe {
                    let output = output.add(row * stride);
                    _mm512_mask_storeu_ps(output, mask(self.columns), sum[0]);
                    let high = mask(self.columns.saturating_sub(16));
                    _mm512_mask_storeu_ps(output.wrapping_add(16), high, sum[1]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_right_to_eight_bits_in_both_ways() {
        for (rows, depth, outputs) in [(1, 32, 32), (13, 100, 70), (64, 384, 33)] {
            let numbers = |count: usize, step: usize| -> Vec<f32> {
                (0..count).map(|place| ((place * step) % 101) as f32 / 50.0 - 1.0).collect()
            };
            let (input, weights) = (numbers(rows * depth, 37), numbers(outputs * depth, 53));
            let bias = numbers(outputs, 7);
            let finish = Finish { bias: Some(&bias), activation: None };
            let quantised = Quantised::new(&weights, outputs, depth).unwrap();
            let mut output = vec![0.0; rows * outputs];
            quantised.multiply(&input, rows, depth, finish, &mut output, Crew::All).unwrap();
            let mut by_candle = vec![0.0; rows * outputs];
            let padded = depth.next_multiple_of(BLOCK);
            let tensor = Tensor::from_vec(weights.clone(), (outputs, depth), &Device::Cpu).unwrap();
            let tensor = tensor.pad_with_zeros(1, 0, padded - depth).unwrap();
            let rows_of =
                QMatMul::from_qtensor(QTensor::quantize(&tensor, GgmlDType::Q8_0).unwrap()).unwrap();
            by_rows(&rows_of, &input, depth, finish, &mut by_candle).unwrap();
            for row in 0..rows {
                for column in 0..outputs {
                    let pairs = (0..depth).map(|d| input[row * depth + d] * weights[column * depth + d]);
                    let wanted = pairs.sum::<f32>() + bias[column];
                    // Each number is off by half a step of 1/127 at most, in random directions.
                    let room = 0.01 * (depth as f32).sqrt();
                    for given in [output[row * outputs + column], by_candle[row * outputs + column]] {
                        assert!((given - wanted).abs() < room, "{rows} {depth} {outputs}: {given} {wanted}");
                    }
                }
            }
        }
    }
}
