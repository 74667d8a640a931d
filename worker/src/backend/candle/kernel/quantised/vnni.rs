//! Products by the instruction that multiplies 64 bytes at once, and adds four products each.

use std::arch::x86_64::*;

use super::block::BLOCK;
use super::panels::{Form, Tile};
use crate::backend::candle::kernel::Kernel;

pub struct Vnni;

/// Outputs of a panel: two registers.
const COLUMNS: usize = 32;

/// 32 inputs by 32 outputs.
#[repr(C, align(64))]
pub struct Block {
    /// Four inputs side by side, for each of sixteen outputs; then for the other sixteen; then the next four.
    weights: [[i8; 64]; 2 * BLOCK / 4],
    scales: [f32; COLUMNS],
    /// What the activations' shift to numbers without a sign adds to each sum, negated.
    shifts: [i32; COLUMNS],
}

// SAFETY: zeros are numbers of every kind that is in it.
unsafe impl bytemuck::Zeroable for Block {}

// SAFETY: `supported` asks for what `multiply` is compiled for.
unsafe impl Form for Vnni {
    const KERNEL: Kernel = Kernel::EightVnni;

    const COLUMNS: usize = COLUMNS;

    /// Twelve registers of sums, twelve of a block's, two of weights, and room for scales.
    const ROWS: usize = 6;

    type Block = Block;

    /// Without a sign: 128 stands for zero.
    type Number = u8;

    fn supported() -> bool {
        std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vnni")
    }

    fn put_scale(block: &mut Block, column: usize, scale: f32) {
        block.scales[column] = scale;
    }

    fn put_number(block: &mut Block, column: usize, input: usize, number: i8) {
        block.weights[input / 4 * 2 + column / 16][column % 16 * 4 + input % 4] = number;
        block.shifts[column] -= 128 * i32::from(number);
    }

    const ZERO: u8 = 128;

    fn put(shifted: &[u8], numbers: &mut [u8]) {
        numbers.copy_from_slice(shifted);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn multiply<const COUNT: usize>(tile: Tile<Vnni>, output: *mut f32, stride: usize) {
        let deep = tile.blocks.len();
        let (numbers, scales) = (tile.numbers.as_ptr(), tile.scales.as_ptr());
        let mut sums = [[_mm512_setzero_ps(); 2]; COUNT];
        for (place, block) in tile.blocks.iter().enumerate() {
            // SAFETY: there are `COUNT` rows of `deep` blocks, and a block is as long as it's read.
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
            // SAFETY: masked to the tile's columns.
            unsafe {
                let output = output.add(row * stride);
                _mm512_mask_storeu_ps(output, mask(tile.columns), sum[0]);
                let high = mask(tile.columns.saturating_sub(16));
                _mm512_mask_storeu_ps(output.wrapping_add(16), high, sum[1]);
            }
        }
    }
}
