//! Layer norms, sums, and rows of length one.

use super::Crew;

/// Rows that one thread takes at a time: enough to be worth the hand-over.
const ROWS: usize = 32;

pub struct LayerNorm<'a> {
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub epsilon: f32,
}

/// `output = norm(input + residual)`, row by row.
pub fn layer_norm(norm: &LayerNorm, input: &[f32], residual: Option<&[f32]>, output: &mut [f32], crew: Crew) {
    let block = ROWS * norm.weight.len();
    crew.each(output.chunks_mut(block).enumerate(), |(place, output)| {
        let part = place * block..place * block + output.len();
        rows(norm, &input[part.clone()], residual.map(|residual| &residual[part]), output);
    });
}

vectorised! {
    fn rows(norm: &LayerNorm, input: &[f32], residual: Option<&[f32]>, output: &mut [f32]) {
        match residual {
            Some(residual) => {
                for ((sum, left), right) in output.iter_mut().zip(input).zip(residual) {
                    *sum = left + right;
                }
            }
            None => output.copy_from_slice(input),
        }
        for row in output.chunks_exact_mut(norm.weight.len()) {
            normalise(norm, row);
        }
    }
}

#[inline(always)]
fn normalise(norm: &LayerNorm, row: &mut [f32]) {
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let scale = 1.0 / (variance + norm.epsilon).sqrt();
    match norm.bias {
        Some(bias) => {
            for ((x, weight), bias) in row.iter_mut().zip(norm.weight).zip(bias) {
                *x = ((*x - mean) * scale).mul_add(*weight, *bias);
            }
        }
        None => {
            for (x, weight) in row.iter_mut().zip(norm.weight) {
                *x = (*x - mean) * scale * weight;
            }
        }
    }
}

/// A sum in 32 strands: as fast as memory, and more exact than one strand.
#[inline(always)]
pub fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    const STRANDS: usize = 32;
    let mut strands = [0f32; STRANDS];
    let chunks = row.chunks_exact(STRANDS);
    let rest: f32 = chunks.remainder().iter().map(|x| of(*x)).sum();
    for chunk in chunks {
        for (strand, x) in strands.iter_mut().zip(chunk) {
            *strand += of(*x);
        }
    }
    strands.iter().sum::<f32>() + rest
}

#[inline(always)]
fn add_to(row: &mut [f32], other: &[f32]) {
    row.iter_mut().zip(other).for_each(|(x, other)| *x += other);
}

/// `output = left + right`.
pub fn add(left: &[f32], right: &[f32], output: &mut [f32]) {
    output.copy_from_slice(left);
    add_to(output, right);
}

vectorised! {
    /// Makes each row of `width` numbers one of length 1. A row of zeros stays one.
    pub fn unit_rows(rows: &mut [f32], width: usize) {
        for row in rows.chunks_exact_mut(width) {
            let norm = sum(row, |x| x * x).sqrt().max(1e-12);
            row.iter_mut().for_each(|x| *x /= norm);
        }
    }
}

vectorised! {
    /// The mean of the rows of `width` numbers in `rows`.
    pub fn mean_row(rows: &[f32], width: usize, output: &mut [f32]) {
        output.fill(0.0);
        rows.chunks_exact(width).for_each(|row| add_to(output, row));
        let count = (rows.len() / width).max(1) as f32;
        output.iter_mut().for_each(|x| *x /= count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_normalised_after_the_residual_is_added() {
        let width = 70;
        let input: Vec<f32> = (0..3 * width).map(|place| (place % 11) as f32).collect();
        let residual: Vec<f32> = (0..3 * width).map(|place| (place % 7) as f32 * 0.5).collect();
        let (weight, bias) = (vec![2.0; width], vec![1.0; width]);
        let mut output = vec![0.0; 3 * width];
        let norm = LayerNorm { weight: &weight, bias: Some(&bias), epsilon: 1e-5 };
        layer_norm(&norm, &input, Some(&residual), &mut output, Crew::All);
        for row in output.chunks(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
            assert!((mean - 1.0).abs() < 1e-5 && (variance - 4.0).abs() < 1e-3, "{mean} {variance}");
        }
    }

    #[test]
    fn means_and_unit_rows() {
        let mut output = [0.0; 2];
        mean_row(&[1.0, 2.0, 3.0, 6.0], 2, &mut output);
        assert_eq!(output, [2.0, 4.0]);
        mean_row(&[], 2, &mut output);
        assert_eq!(output, [0.0, 0.0]);
        let mut rows = [3.0, 4.0, 0.0, 0.0];
        unit_rows(&mut rows, 2);
        assert_eq!(rows, [0.6, 0.8, 0.0, 0.0]);
    }
}
