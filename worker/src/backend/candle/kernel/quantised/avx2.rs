//! Products on processors that have no instruction for bytes: numbers of 16 bits, two products each added up.
//!
//! The instruction that multiplies bytes there saturates at 16 bits, and needs one side without a sign. Wider numbers need
//! neither; weights are bytes in memory, and widened as they are read.

use std::arch::x86_64::*;

use super::block::BLOCK;
use super::panels::{Form, Tile};
use crate::backend::candle::kernel::Kernel;

pub struct Avx2;

/// Outputs of a panel: two registers.
const COLUMNS: usize = 16;

/// 32 inputs by 16 outputs.
#[repr(C, align(32))]
pub struct Block {
    /// Two inputs side by side, for each of eight outputs; then for the other eight; then the next two.
    weights: [[i8; 16]; 2 * BLOCK / 2],
    scales: [f32; COLUMNS],
}

// SAFETY: zeros are numbers of every kind that is in it.
unsafe impl bytemuck::Zeroable for Block {}

// SAFETY: `supported` asks for what `multiply` is compiled for.
unsafe impl Form for Avx2 {
    const KERNEL: Kernel = Kernel::EightAvx2;

    const COLUMNS: usize = COLUMNS;

    /// Eight registers of a block's sums, two of weights, two for the products and the activations: the sums of all blocks wait
    /// in memory meanwhile.
    const ROWS: usize = 4;

    type Block = Block;

    type Number = i16;

    fn supported() -> bool {
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
    }

    fn put_scale(block: &mut Block, column: usize, scale: f32) {
        block.scales[column] = scale;
    }

    fn put_number(block: &mut Block, column: usize, input: usize, number: i8) {
        block.weights[input / 2 * 2 + column / 8][column % 8 * 2 + input % 2] = number;
    }

    const ZERO: i16 = 0;

    fn put(shifted: &[u8], numbers: &mut [i16]) {
        for (number, shifted) in numbers.iter_mut().zip(shifted) {
            *number = i16::from(*shifted) - 128;
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn multiply<const COUNT: usize>(tile: Tile<Avx2>, output: *mut f32, stride: usize) {
        let deep = tile.blocks.len();
        let (numbers, scales) = (tile.numbers.as_ptr(), tile.scales.as_ptr());
        let mut sums = [[_mm256_setzero_ps(); 2]; COUNT];
        for (place, block) in tile.blocks.iter().enumerate() {
            let mut products = [[_mm256_setzero_si256(); 2]; COUNT];
            // SAFETY: there are `COUNT` rows of `deep` blocks, and a block is as long as it's read.
            unsafe {
                for pair in 0..BLOCK / 2 {
                    let left = _mm_load_si128(block.weights[2 * pair].as_ptr().cast());
                    let right = _mm_load_si128(block.weights[2 * pair + 1].as_ptr().cast());
                    let (left, right) = (_mm256_cvtepi8_epi16(left), _mm256_cvtepi8_epi16(right));
                    for (row, product) in products.iter_mut().enumerate() {
                        let two = numbers.add((row * deep + place) * BLOCK + 2 * pair).cast::<i32>();
                        let two = _mm256_set1_epi32(two.read_unaligned());
                        product[0] = _mm256_add_epi32(product[0], _mm256_madd_epi16(two, left));
                        product[1] = _mm256_add_epi32(product[1], _mm256_madd_epi16(two, right));
                    }
                }
                let weights = block.scales.as_ptr();
                let weights = [_mm256_load_ps(weights), _mm256_load_ps(weights.add(8))];
                for (row, (sum, product)) in sums.iter_mut().zip(&products).enumerate() {
                    let scale = _mm256_set1_ps(*scales.add(row * deep + place));
                    for side in 0..2 {
                        let both = _mm256_mul_ps(scale, weights[side]);
                        sum[side] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(product[side]), both, sum[side]);
                    }
                }
            }
        }
        for (row, sum) in sums.iter().enumerate() {
            let mut whole = [0.0f32; COLUMNS];
            // SAFETY: the array has room for both registers, and the output for the tile's columns of each row.
            unsafe {
                _mm256_storeu_ps(whole.as_mut_ptr(), sum[0]);
                _mm256_storeu_ps(whole.as_mut_ptr().add(8), sum[1]);
                std::ptr::copy_nonoverlapping(whole.as_ptr(), output.add(row * stride), tile.columns);
            }
        }
    }
}
