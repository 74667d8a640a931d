//! Weights as whole numbers of 8 bits. Knows no operator.

use rayon::prelude::*;

/// Products with fewer outputs than this stay fp32: they take no time, and what they say is the answer.
pub const LEAST_OUTPUTS: usize = 16;

/// Inputs that share a scale in [`by_block`].
pub const BLOCK: usize = 128;

/// What 128 stands for in [`by_block`] is zero: what the operator takes where no zero point is given.
const ZERO: f32 = 128.0;

pub struct Quantised<T> {
    pub numbers: Vec<T>,
    pub scales: Vec<f32>,
}

/// The largest number that may stand for a weight.
pub fn widest() -> f32 {
    // Without VNNI two products are added up in 16 bits, and saturate there if weights have more than 7.
    #[cfg(target_arch = "x86_64")]
    if !std::is_x86_feature_detected!("avx512vnni") && !std::is_x86_feature_detected!("avxvnni") {
        return 63.0;
    }
    127.0
}

/// A scale for each row, and the numbers transposed: `[columns, rows]`.
pub fn by_row(floats: &[f32], columns: usize, widest: f32) -> Quantised<i8> {
    let rows = floats.len() / columns.max(1);
    let scales: Vec<f32> = floats.par_chunks(columns).map(|row| scale(row, widest)).collect();
    let mut numbers = vec![0_i8; floats.len()];
    numbers.par_chunks_mut(rows.max(1)).enumerate().for_each(|(column, numbers)| {
        for (row, number) in numbers.iter_mut().enumerate() {
            *number = (floats[row * columns + column] / scales[row]).round() as i8;
        }
    });
    Quantised { numbers, scales }
}

/// A scale for each block of a row; the last block of a row is filled up with zeros.
pub fn by_block(floats: &[f32], columns: usize) -> Quantised<u8> {
    let blocks = columns.div_ceil(BLOCK);
    let rows = floats.len() / columns.max(1);
    let mut numbers = vec![ZERO as u8; rows * blocks * BLOCK];
    let mut scales = vec![0.0; rows * blocks];
    numbers
        .par_chunks_mut(blocks * BLOCK)
        .zip(scales.par_chunks_mut(blocks))
        .zip(floats.par_chunks(columns))
        .for_each(|((numbers, scales), row)| {
            for ((numbers, block_scale), block) in
                numbers.chunks_mut(BLOCK).zip(scales).zip(row.chunks(BLOCK))
            {
                *block_scale = scale(block, 127.0);
                for (number, float) in numbers.iter_mut().zip(block) {
                    *number = (float / *block_scale + ZERO).round() as u8;
                }
            }
        });
    Quantised { numbers, scales }
}

/// Such that the largest of them becomes the widest number.
fn scale(floats: &[f32], widest: f32) -> f32 {
    let largest = floats.iter().fold(0.0_f32, |largest, float| largest.max(float.abs()));
    if largest > 0.0 { largest / widest } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_scaled_and_transposed() {
        let quantised = by_row(&[1.0, -2.0, 0.0, 0.0, 0.5, 0.25], 2, 127.0);
        assert_eq!(quantised.numbers, [64, 0, 127, -127, 0, 64]);
        assert_eq!(quantised.scales, [2.0 / 127.0, 1.0, 0.5 / 127.0]);
    }

    #[test]
    fn blocks_are_scaled_and_filled_up() {
        let mut row = vec![0.0; BLOCK + 1];
        (row[0], row[1], row[BLOCK]) = (-1.0, 0.5, 4.0);
        let quantised = by_block(&row, BLOCK + 1);
        assert_eq!(quantised.scales, [1.0 / 127.0, 4.0 / 127.0]);
        assert_eq!((quantised.numbers.len(), &quantised.numbers[..3]), (2 * BLOCK, &[1, 192, 128][..]));
        assert_eq!(quantised.numbers[BLOCK..BLOCK + 2], [255, 128]);
    }
}
