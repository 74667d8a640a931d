//! The innermost loop of every product: a few rows times a panel of 32 columns.

/// Columns of a panel: two registers of AVX-512.
pub const COLUMNS: usize = 32;

/// Rows that are worked on at once. Twelve rows of two registers, with the panel's two and one broadcast, fill the 32
/// registers of AVX-512 without spilling.
pub const ROWS: usize = 12;

/// `output[r][c] (+)= Σ input[r][d] × panel[d][c]`, in strides counted in numbers.
#[derive(Clone, Copy)]
pub struct Tile {
    pub rows: usize,
    pub depth: usize,
    /// At most [`COLUMNS`].
    pub columns: usize,
    pub input: *const f32,
    pub input_stride: usize,
    pub panel: *const f32,
    pub panel_stride: usize,
    pub output: *mut f32,
    pub output_stride: usize,
    /// Whether to add to what is there.
    pub accumulate: bool,
}

impl Tile {
    /// Works it out.
    ///
    /// # Safety
    /// The pointers must be valid for the rows, the depth and the columns at their strides, and nobody else may use the
    /// output meanwhile.
    pub unsafe fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            for rows in super::stretches(self.rows, ROWS) {
                // SAFETY: a part of what the caller promised; the processor has the instructions.
                unsafe {
                    let part = Tile {
                        rows: rows.len(),
                        input: self.input.add(rows.start * self.input_stride),
                        output: self.output.add(rows.start * self.output_stride),
                        ..self
                    };
                    avx512::run(part);
                }
            }
            return;
        }
        // SAFETY: as promised by the caller.
        unsafe { self.portable() }
    }

    /// The same on other processors, by the crate that candle multiplies with.
    unsafe fn portable(self) {
        // SAFETY: as promised by the caller of `run`.
        unsafe {
            gemm::gemm(
                self.rows,
                self.columns,
                self.depth,
                self.output,
                1,
                self.output_stride as isize,
                self.accumulate,
                self.input,
                1,
                self.input_stride as isize,
                self.panel,
                1,
                self.panel_stride as isize,
                if self.accumulate { 1.0 } else { 0.0 },
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::Tile;

    /// Calls the loop that is compiled for the tile's number of rows.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn run(tile: Tile) {
        // SAFETY: as promised by the caller of `Tile::run`.
        unsafe {
            match tile.rows {
                0 => {}
                1 => rows::<1>(tile),
                2 => rows::<2>(tile),
                3 => rows::<3>(tile),
                4 => rows::<4>(tile),
                5 => rows::<5>(tile),
                6 => rows::<6>(tile),
                7 => rows::<7>(tile),
                8 => rows::<8>(tile),
                9 => rows::<9>(tile),
                10 => rows::<10>(tile),
                11 => rows::<11>(tile),
                _ => rows::<12>(tile),
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn rows<const ROWS: usize>(tile: Tile) {
        let mask = |columns: usize| if columns >= 16 { !0 } else { (1u16 << columns) - 1 };
        let low = mask(tile.columns);
        let high = mask(tile.columns.saturating_sub(16));
        // SAFETY: masked loads and stores touch the tile's columns only; the rest is promised by the caller of `run`.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            if tile.accumulate {
                for (row, sum) in sums.iter_mut().enumerate() {
                    let output = tile.output.add(row * tile.output_stride);
                    *sum = [
                        _mm512_maskz_loadu_ps(low, output),
                        _mm512_maskz_loadu_ps(high, output.wrapping_add(16)),
                    ];
                }
            }
            for depth in 0..tile.depth {
                let panel = tile.panel.add(depth * tile.panel_stride);
                let left = _mm512_maskz_loadu_ps(low, panel);
                let right = _mm512_maskz_loadu_ps(high, panel.wrapping_add(16));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let number = _mm512_set1_ps(*tile.input.add(row * tile.input_stride + depth));
                    sum[0] = _mm512_fmadd_ps(number, left, sum[0]);
                    sum[1] = _mm512_fmadd_ps(number, right, sum[1]);
                }
            }
            for (row, sum) in sums.iter().enumerate() {
                let output = tile.output.add(row * tile.output_stride);
                _mm512_mask_storeu_ps(output, low, sum[0]);
                _mm512_mask_storeu_ps(output.wrapping_add(16), high, sum[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_every_size_are_right_on_every_processor() {
        for (rows, depth, columns) in [(1, 1, 1), (3, 5, 32), (12, 7, 17), (29, 40, 16), (5, 0, 8)] {
            let (input_stride, panel_stride, output_stride) = (depth + 3, columns + 1, columns + 2);
            let numbers = |count: usize, step: usize| -> Vec<f32> {
                (0..count).map(|place| ((place * step) % 13) as f32 - 6.0).collect()
            };
            let input = numbers(rows * input_stride, 7);
            let panel = numbers(depth.max(1) * panel_stride, 5);
            let before = numbers(rows * output_stride, 3);
            for accumulate in [false, true] {
                let mut outputs = [before.clone(), before.clone()];
                for (portable, output) in outputs.iter_mut().enumerate() {
                    let tile = Tile {
                        rows,
                        depth,
                        columns,
                        input: input.as_ptr(),
                        input_stride,
                        panel: panel.as_ptr(),
                        panel_stride,
                        output: output.as_mut_ptr(),
                        output_stride,
                        accumulate,
                    };
                    // SAFETY: the slices hold what the strides reach.
                    unsafe { if portable == 1 { tile.portable() } else { tile.run() } }
                }
                for row in 0..rows {
                    for column in 0..output_stride {
                        let place = row * output_stride + column;
                        let sum: f32 = (0..depth)
                            .filter(|_| column < columns)
                            .map(|depth| {
                                input[row * input_stride + depth] * panel[depth * panel_stride + column]
                            })
                            .sum();
                        // What lies between the rows stays as it was.
                        let kept = if accumulate || column >= columns { before[place] } else { 0.0 };
                        assert_eq!([outputs[0][place], outputs[1][place]], [sum + kept; 2]);
                    }
                }
            }
        }
    }
}
