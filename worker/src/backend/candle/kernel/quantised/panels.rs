//! Blocks laid out for a processor's instructions, and the product by them.

use std::ops::Range;

use bytemuck::Zeroable;

use super::block::{BLOCK, BLOCK_BYTES};
use crate::backend::candle::kernel::called::{Kernel, called};
use crate::backend::candle::kernel::own::Own;
use crate::backend::candle::kernel::product::{Finish, Task, tasks};
use crate::backend::candle::kernel::{Crew, Shared, stretches};

/// Rows that a tile has at most.
pub const MOST_ROWS: usize = 6;

/// How a processor's instructions want it.
///
/// # Safety
/// `supported` must say no where the processor lacks what `multiply` is compiled for.
pub unsafe trait Form {
    /// The product's name.
    const KERNEL: Kernel;

    /// Outputs of a panel.
    const COLUMNS: usize;

    /// Rows that are multiplied at once, [`MOST_ROWS`] at most.
    const ROWS: usize;

    /// A block's inputs by a panel's outputs.
    type Block: Zeroable + Send + Sync;

    /// An activation.
    type Number: Copy + Send + Sync;

    /// Whether this processor has the instructions.
    fn supported() -> bool;

    fn put_scale(block: &mut Self::Block, column: usize, scale: f32);

    fn put_number(block: &mut Self::Block, column: usize, input: usize, number: i8);

    /// Zero as an activation.
    const ZERO: Self::Number;

    /// Activations as this form has them, of numbers of which 128 stands for zero.
    fn put(shifted: &[u8], numbers: &mut [Self::Number]);

    /// # Safety
    /// The processor must have the instructions. There must be `COUNT` rows of activations, each of as many blocks as the tile has,
    /// and room for `COUNT` rows of the output, `stride` apart, with the tile's columns.
    unsafe fn multiply<const COUNT: usize>(tile: Tile<Self>, output: *mut f32, stride: usize)
    where
        Self: Sized;
}

/// What is multiplied at once.
pub struct Tile<'a, F: Form> {
    pub blocks: &'a [F::Block],
    /// Row after row.
    pub numbers: &'a [F::Number],
    /// A scale for each block of each row.
    pub scales: &'a [f32],
    pub columns: usize,
}

pub struct Panels<F: Form> {
    blocks: Own<F::Block>,
    outputs: usize,
    depth: usize,
}

/// Activations of some rows, and the scale of each block.
struct Activations<N> {
    numbers: Vec<N>,
    scales: Vec<f32>,
}

impl<F: Form> Panels<F> {
    /// Lays out the blocks that candle made of each row; nothing where the processor lacks the instructions.
    pub fn new(bytes: &[u8], outputs: usize, depth: usize) -> Option<Self> {
        if !F::supported() {
            return None;
        }
        let deep = depth.div_ceil(BLOCK);
        let mut blocks = Own::<F::Block>::zeroed(Self::blocks(outputs, depth));
        for (place, given) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
            let (output, block) = (place / deep, place % deep);
            let (panel, column) = (output / F::COLUMNS, output % F::COLUMNS);
            let block = &mut blocks[panel * deep + block];
            let (scale, numbers) = given.split_at(2);
            F::put_scale(block, column, half::f16::from_le_bytes([scale[0], scale[1]]).to_f32());
            for (input, number) in numbers.iter().enumerate() {
                F::put_number(block, column, input, *number as i8);
            }
        }
        Some(Panels { blocks, outputs, depth })
    }

    fn blocks(outputs: usize, depth: usize) -> usize {
        outputs.div_ceil(F::COLUMNS) * depth.div_ceil(BLOCK)
    }

    /// Bytes that so many weights take.
    pub fn bytes(outputs: usize, depth: usize) -> u64 {
        (Self::blocks(outputs, depth) * size_of::<F::Block>()) as u64
    }

    pub fn multiply(&self, input: &[f32], rows: usize, finish: Finish, output: &mut [f32], crew: Crew) {
        assert!(input.len() >= rows * self.depth && output.len() >= rows * self.outputs);
        if rows == 0 {
            return;
        }
        called(Kernel::Quantisation);
        let activations = self.quantise(&input[..rows * self.depth], rows, crew);
        called(F::KERNEL);
        let shared = Shared::of(output);
        let panels = self.outputs.div_ceil(F::COLUMNS);
        crew.each(tasks(rows, panels, crew.threads()), |task| {
            // SAFETY: tasks don't overlap.
            unsafe { self.run(&activations, &task, finish, shared) }
        });
    }

    fn quantise(&self, input: &[f32], rows: usize, crew: Crew) -> Activations<F::Number> {
        const ROWS: usize = 16;
        let (depth, deep) = (self.depth, self.depth.div_ceil(BLOCK));
        let mut numbers = vec![F::ZERO; rows * deep * BLOCK];
        let mut scales = vec![0f32; rows * deep];
        let into = numbers.chunks_mut(ROWS * deep * BLOCK).zip(scales.chunks_mut(ROWS * deep));
        crew.each(input.chunks(ROWS * depth).zip(into), |(input, (numbers, scales))| {
            let mut shifted = vec![128u8; numbers.len()];
            quantise_rows(input, depth, &mut shifted, scales);
            F::put(&shifted, numbers);
        });
        Activations { numbers, scales }
    }

    /// # Safety
    /// Nobody else may use the task's part of the output meanwhile.
    unsafe fn run(&self, activations: &Activations<F::Number>, task: &Task, finish: Finish, output: Shared) {
        for panel in task.panels.clone() {
            let first = panel * F::COLUMNS;
            let columns = F::COLUMNS.min(self.outputs - first);
            for rows in stretches(task.rows.len(), F::ROWS) {
                let rows = task.rows.start + rows.start..task.rows.start + rows.end;
                // SAFETY: the output's size was checked, and these rows and columns are this task's alone.
                unsafe { self.tile(activations, panel, rows, columns, output) }
            }
            for row in task.rows.clone() {
                // SAFETY: as above.
                let numbers =
                    unsafe { std::slice::from_raw_parts_mut(output.at(row * self.outputs + first), columns) };
                finish.apply(first, numbers);
            }
        }
    }

    /// # Safety
    /// The rows and columns must lie in the output, and be nobody else's meanwhile.
    unsafe fn tile(
        &self,
        activations: &Activations<F::Number>,
        panel: usize,
        rows: Range<usize>,
        columns: usize,
        output: Shared,
    ) {
        const { assert!(F::ROWS <= MOST_ROWS) };
        let deep = self.depth.div_ceil(BLOCK);
        let tile = Tile {
            blocks: &self.blocks[panel * deep..(panel + 1) * deep],
            numbers: &activations.numbers[rows.start * deep * BLOCK..rows.end * deep * BLOCK],
            scales: &activations.scales[rows.start * deep..rows.end * deep],
            columns,
        };
        // SAFETY: there are panels only where the processor has the instructions; the rest is promised by the caller.
        unsafe {
            let place = output.at(rows.start * self.outputs + panel * F::COLUMNS);
            match rows.len() {
                0 => {}
                1 => F::multiply::<1>(tile, place, self.outputs),
                2 => F::multiply::<2>(tile, place, self.outputs),
                3 => F::multiply::<3>(tile, place, self.outputs),
                4 => F::multiply::<4>(tile, place, self.outputs),
                5 => F::multiply::<5>(tile, place, self.outputs),
                _ => F::multiply::<MOST_ROWS>(tile, place, self.outputs),
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
