//! Products with weights, in fp32: laid out once, so that no call packs them again.

use super::own::Own;
use super::tile::{COLUMNS, Tile};
use super::{Crew, Shared, activation, stretches};
use crate::model::graph::Activation;

/// Rows of one task: with 1536 numbers each they stay in a cache of the second level.
const TASK_ROWS: usize = 96;

/// Depth that is worked off at once: a panel of it stays in the second level, too.
const DEPTH: usize = 1024;

/// Sixteen numbers that begin where a register's load is cheapest.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; 16]);

// SAFETY: zeros are sixteen numbers.
unsafe impl bytemuck::Zeroable for Line {}

/// A matrix of weights as panels of 32 outputs: for each input its 32 weights lie side by side.
pub struct Panels {
    lines: Own<Line>,
    outputs: usize,
    depth: usize,
}

impl Panels {
    /// Makes room for `outputs` rows of `depth` numbers.
    pub fn new(outputs: usize, depth: usize) -> Self {
        Panels { lines: Own::zeroed(Panels::lines(outputs, depth)), outputs, depth }
    }

    fn lines(outputs: usize, depth: usize) -> usize {
        outputs.div_ceil(COLUMNS) * depth * (COLUMNS / 16)
    }

    /// Bytes that so many weights take.
    pub fn bytes(outputs: usize, depth: usize) -> u64 {
        (Panels::lines(outputs, depth) * size_of::<Line>()) as u64
    }

    /// Puts rows of weights in their places, the first of them as output `first`.
    pub fn fill(&mut self, first: usize, rows: &[f32]) {
        let depth = self.depth;
        for (row, weights) in rows.chunks_exact(depth).enumerate() {
            let output = first + row;
            let (panel, column) = (output / COLUMNS, output % COLUMNS);
            for (place, weight) in weights.iter().enumerate() {
                let line = (panel * depth + place) * (COLUMNS / 16) + column / 16;
                self.lines[line].0[column % 16] = *weight;
            }
        }
    }

    fn panel(&self, panel: usize, depth: usize) -> *const f32 {
        self.lines[(panel * self.depth + depth) * (COLUMNS / 16)..].as_ptr().cast()
    }
}

/// What happens to a product before it leaves the cache.
#[derive(Clone, Copy, Default)]
pub struct Finish<'a> {
    pub bias: Option<&'a [f32]>,
    pub activation: Option<Activation>,
}

impl Finish<'_> {
    /// Finishes the numbers of a row that belong to the outputs from `first` on.
    pub fn apply(&self, first: usize, numbers: &mut [f32]) {
        if let Some(bias) = self.bias {
            let bias = &bias[first..first + numbers.len()];
            numbers.iter_mut().zip(bias).for_each(|(number, bias)| *number += bias);
        }
        if let Some(activation) = self.activation {
            activation::apply(activation, numbers);
        }
    }
}

/// A part of a product that one thread works out: some rows, some panels.
pub struct Task {
    pub rows: std::ops::Range<usize>,
    pub panels: std::ops::Range<usize>,
}

/// Shares a product out among threads: by rows, or by outputs where there are too few rows.
pub fn tasks(rows: usize, panels: usize, threads: usize) -> impl Iterator<Item = Task> {
    // Fewer rows than this in a task would read the weights from memory more often than the arithmetic pays for.
    const FEWEST_ROWS: usize = 24;
    // More than one for each thread, so that one that is held up doesn't hold up all.
    let wanted = if threads == 1 { 1 } else { 2 * threads };
    let most_rows = TASK_ROWS.min(rows.div_ceil(wanted)).max(FEWEST_ROWS);
    let by_rows: Vec<_> = stretches(rows, most_rows).collect();
    let most_panels = panels.div_ceil(wanted.div_ceil(by_rows.len()));
    by_rows.into_iter().flat_map(move |rows| {
        stretches(panels, most_panels).map(move |panels| Task { rows: rows.clone(), panels })
    })
}

/// `output = finish(input · weightsᵀ)`, for `rows` rows.
pub fn multiply(
    weights: &Panels,
    input: &[f32],
    rows: usize,
    finish: Finish,
    output: &mut [f32],
    crew: Crew,
) {
    assert!(input.len() >= rows * weights.depth && output.len() >= rows * weights.outputs);
    if rows == 0 {
        return;
    }
    let shared = Shared::of(output);
    let panels = weights.outputs.div_ceil(COLUMNS);
    crew.each(tasks(rows, panels, crew.threads()), |task| {
        // SAFETY: tasks don't overlap.
        unsafe { run(weights, input, &task, finish, shared) }
    });
}

/// # Safety
/// Nobody else may use the task's part of the output meanwhile.
unsafe fn run(weights: &Panels, input: &[f32], task: &Task, finish: Finish, output: Shared) {
    let Panels { outputs, depth, .. } = *weights;
    for panel in task.panels.clone() {
        let first = panel * COLUMNS;
        let columns = COLUMNS.min(outputs - first);
        for depths in stretches(depth, DEPTH) {
            // SAFETY: the sizes of the slices were checked, and the output's part is this task's alone.
            unsafe {
                Tile {
                    rows: task.rows.len(),
                    depth: depths.len(),
                    columns,
                    input: input.as_ptr().add(task.rows.start * depth + depths.start),
                    input_stride: depth,
                    panel: weights.panel(panel, depths.start),
                    panel_stride: COLUMNS,
                    output: output.at(task.rows.start * outputs + first),
                    output_stride: outputs,
                    accumulate: depths.start > 0,
                }
                .run();
            }
        }
        for row in task.rows.clone() {
            // SAFETY: as above.
            let numbers =
                unsafe { std::slice::from_raw_parts_mut(output.at(row * outputs + first), columns) };
            finish.apply(first, numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_every_shape_are_right() {
        for (rows, depth, outputs) in [(1, 3, 1), (5, 2100, 33), (61, 40, 70), (200, 16, 32)] {
            let numbers = |count: usize, step: usize| -> Vec<f32> {
                (0..count).map(|place| ((place * step) % 17) as f32 - 8.0).collect()
            };
            let (input, rows_of_weights) = (numbers(rows * depth, 5), numbers(outputs * depth, 3));
            let bias = numbers(outputs, 11);
            let mut weights = Panels::new(outputs, depth);
            let half = outputs / 2 * depth;
            weights.fill(0, &rows_of_weights[..half]);
            weights.fill(outputs / 2, &rows_of_weights[half..]);
            let mut output = vec![f32::NAN; rows * outputs];
            let finish = Finish { bias: Some(&bias), activation: Some(Activation::Relu) };
            multiply(&weights, &input, rows, finish, &mut output, Crew::All);
            for row in 0..rows {
                for column in 0..outputs {
                    let pairs =
                        (0..depth).map(|d| input[row * depth + d] * rows_of_weights[column * depth + d]);
                    let wanted = (pairs.sum::<f32>() + bias[column]).max(0.0);
                    assert_eq!(output[row * outputs + column], wanted, "{rows} {depth} {outputs}");
                }
            }
        }
    }
}
