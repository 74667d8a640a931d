//! Attention: fused into one operator, or spelt out. It's the one place where a batch has to be padded.

use super::disentangled::Tokens;
use super::lowering::{Lowering, Seen, Shown};
use super::sheet::{float, integer, integers};
use super::style::{Dialect, GRAIN, Input};
use crate::backend::ort::onnx::{Element, Tensor};
use crate::model::ModelError;
use crate::model::graph::{Distances, RelativeBias, Value, score_scale};

/// What stands against a token that isn't seen: enough to be zero behind the softmax, and a number in fp16 and bf16.
const UNSEEN: f32 = -10_000.0;

/// Sines and cosines of rotary positions.
struct Rotary {
    cosines: String,
    sines: String,
}

impl<'w> Lowering<'w> {
    pub(super) fn attention(
        &mut self,
        qkv: Value,
        heads: usize,
        rotary: Option<f32>,
        seen: &Seen<'w>,
    ) -> Result<Shown<'w>, ModelError> {
        let width = self.graph.columns(qkv) / 3;
        let rotary = rotary.map(|base| self.rotary(base, width / heads)).transpose()?;
        if self.style.dialect == Dialect::Cuda {
            return self.cuda_attention(qkv, width, heads, rotary.as_ref(), seen);
        }
        let parts = self.queries_keys_values(qkv)?;
        let context = if self.may_fuse() {
            self.fused_attention(&parts, width, heads, rotary.as_ref(), seen)?
        } else {
            self.spelt_attention(&parts, width, heads, rotary.as_ref(), seen)?
        };
        Ok(Shown::One(self.tokens(&context, width)))
    }

    fn queries_keys_values(&mut self, qkv: Value) -> Result<Vec<String>, ModelError> {
        let parts = self.parts(qkv)?;
        if parts.len() == 3 {
            return Ok(parts);
        }
        let qkv = self.one(qkv)?;
        Ok(self.sheet.node("", "Split", &[&qkv], 3, vec![integer("axis", -1)]))
    }

    /// Over rows that lie one behind the other, in runs that attend to themselves: flash attention in fp16 from Ampere on,
    /// and else CUTLASS's. `MultiHeadAttention` takes the former only without a mask, misreads ranges where it doesn't take
    /// the latter (`mask_start` in attention_impl.cu), and doesn't run without cuDNN at all (1.31).
    fn cuda_attention(
        &mut self,
        qkv: Value,
        width: usize,
        heads: usize,
        rotary: Option<&Rotary>,
        seen: &Seen<'w>,
    ) -> Result<Shown<'w>, ModelError> {
        let element = self.style.activations();
        // What comes before attention comes after the bias.
        let wants_whole = rotary.is_some() || matches!(seen.distances, Some(Distances::Disentangled(_)));
        let (mut parts, bias) = match self.values[qkv.0].clone() {
            Shown::Biased(parts, bias) if parts.len() == 3 && !wants_whole => {
                (parts, self.stack_as(bias, 0..bias.rows(), element)?)
            }
            _ => (self.queries_keys_values(qkv)?, String::new()),
        };
        if let Some(rotary) = rotary {
            for part in &mut parts[..2] {
                *part = self.rotated_rows(part, rotary, width)?;
            }
        }
        let scale = score_scale(width / heads, seen.distances);
        let distances = match seen.distances {
            Some(Distances::Disentangled(network)) => {
                let queries = self.runs_by_heads(&parts[0], heads, width);
                let keys = self.runs_by_heads(&parts[1], heads, width);
                self.met_by_distance(network, &Tokens { queries: &queries, keys: &keys, heads, scale })?
            }
            _ => self.distances_bias(seen, heads)?.unwrap_or_default(),
        };
        let (offsets, starts) = (self.input(Input::Offsets), self.input(Input::Starts));
        let inputs = [&parts[0], &parts[1], &parts[2], bias.as_str(), offsets, starts, &distances];
        let attributes = vec![integer("num_heads", heads as i64), float("scale", scale)];
        Ok(Shown::One(self.sheet.fused("PackedMultiHeadAttention", &inputs, attributes)))
    }

    /// Rows of queries or keys, turned by their places. The operator sees one text, and a row of the tables for each row.
    fn rotated_rows(&mut self, rows: &str, rotary: &Rotary, width: usize) -> Result<String, ModelError> {
        let mut tables = Vec::with_capacity(2);
        for table in [&rotary.cosines, &rotary.sines] {
            tables.push(self.shared(&format!("rows of {table}"), |lowering| {
                let positions = lowering.input(Input::Positions);
                Ok(lowering.sheet.operator("Gather", &[table, positions], vec![integer("axis", 0)]))
            })?);
        }
        let text = self.sheet.integers(&[3], &[1, -1, width as i64]);
        let text = self.sheet.operator("Reshape", &[rows, &text], vec![]);
        let first = self.sheet.integers(&[1], &[0]);
        let turned = self.sheet.fused("RotaryEmbedding", &[&text, &first, &tables[0], &tables[1]], vec![]);
        let rows = self.sheet.integers(&[2], &[-1, width as i64]);
        Ok(self.sheet.operator("Reshape", &[&turned, &rows], vec![]))
    }

    /// From rows to `[runs, heads, sequence, width of a head]`.
    fn runs_by_heads(&mut self, rows: &str, heads: usize, width: usize) -> String {
        let places = self.input(Input::RunRows);
        let runs = self.sheet.operator("Gather", &[rows, places], vec![integer("axis", 0)]);
        let shape = self.sheet.integers(&[4], &[0, 0, heads as i64, (width / heads) as i64]);
        let split = self.sheet.operator("Reshape", &[&runs, &shape], vec![]);
        self.sheet.operator("Transpose", &[&split], vec![integers("perm", &[0, 2, 1, 3])])
    }

    /// `[batch, sequence, width]`.
    fn fused_attention(
        &mut self,
        parts: &[String],
        width: usize,
        heads: usize,
        rotary: Option<&Rotary>,
        seen: &Seen<'w>,
    ) -> Result<String, ModelError> {
        let scale = score_scale(width / heads, seen.distances);
        let mut inputs = Vec::with_capacity(3);
        for (place, part) in parts.iter().enumerate() {
            let mut padded = self.padded(part, width)?;
            if let (Some(Rotary { cosines, sines }), 0 | 1) = (rotary, place) {
                // One number is the position of the first token, the same for every text.
                let first = self.sheet.integers(&[1], &[0]);
                padded = self.sheet.fused("RotaryEmbedding", &[&padded, &first, cosines, sines], vec![]);
            }
            inputs.push(padded);
        }
        let mask = self.shared("mask of 32 bits", |lowering| {
            Ok(lowering.sheet.cast(Input::Mask.name(), Element::Int32))
        })?;
        let bias = self.distances_bias(seen, heads)?;
        let bias = match seen.distances {
            Some(Distances::Disentangled(network)) => {
                let queries = self.by_heads(&inputs[0], heads, width)?;
                let keys = self.by_heads(&inputs[1], heads, width)?;
                let tokens = Tokens { queries: &queries, keys: &keys, heads, scale };
                let met = self.met_by_distance(network, &tokens)?;
                Some(self.sum(met, bias))
            }
            _ => bias,
        };
        let bias = bias.unwrap_or_default();
        let inputs = [&inputs[0], &inputs[1], &inputs[2], "", &mask, &bias];
        let attributes = vec![integer("num_heads", heads as i64), float("scale", scale)];
        Ok(self.sheet.fused("MultiHeadAttention", &inputs, attributes))
    }

    /// `[batch, sequence, heads, width of a head]`.
    fn spelt_attention(
        &mut self,
        parts: &[String],
        width: usize,
        heads: usize,
        rotary: Option<&Rotary>,
        seen: &Seen<'w>,
    ) -> Result<String, ModelError> {
        let mut inputs = Vec::with_capacity(3);
        for (place, part) in parts.iter().enumerate() {
            let padded = if self.style.packed { self.padded(part, width)? } else { part.clone() };
            let mut turned = self.by_heads(&padded, heads, width)?;
            if let (Some(rotary), 0 | 1) = (rotary, place) {
                turned = self.rotated(&turned, rotary)?;
            }
            inputs.push(turned);
        }
        let keys = self.sheet.operator("Transpose", &[&inputs[1]], vec![integers("perm", &[0, 1, 3, 2])]);
        let scale = score_scale(width / heads, seen.distances);
        let scaled = self.sheet.scalar(scale);
        let scores = self.sheet.operator("MatMul", &[&inputs[0], &keys], vec![]);
        let mut scores = self.sheet.operator("Mul", &[&scores, &scaled], vec![]);
        if let Some(Distances::Disentangled(network)) = seen.distances {
            let tokens = Tokens { queries: &inputs[0], keys: &inputs[1], heads, scale };
            let met = self.met_by_distance(network, &tokens)?;
            scores = self.sum(scores, Some(met));
        }
        let bias = self.whole_bias(seen, heads)?;
        let scores = self.sheet.operator("Add", &[&scores, &bias], vec![]);
        let weights = self.sheet.operator("Softmax", &[&scores], vec![integer("axis", -1)]);
        let context = self.sheet.operator("MatMul", &[&weights, &inputs[2]], vec![]);
        Ok(self.sheet.operator("Transpose", &[&context], vec![integers("perm", &[0, 2, 1, 3])]))
    }

    /// From what is padded to `[batch, heads, sequence, width of a head]`.
    fn by_heads(&mut self, padded: &str, heads: usize, width: usize) -> Result<String, ModelError> {
        let shape = self.padded_shape(&[heads as i64, (width / heads) as i64])?;
        let split = self.sheet.operator("Reshape", &[padded, &shape], vec![]);
        Ok(self.sheet.operator("Transpose", &[&split], vec![integers("perm", &[0, 2, 1, 3])]))
    }

    fn sum(&mut self, left: String, right: Option<String>) -> String {
        match right {
            Some(right) => self.sheet.operator("Add", &[&left, &right], vec![]),
            None => left,
        }
    }

    /// What padding and distances say against each pair of tokens, for all that attend alike.
    fn whole_bias(&mut self, seen: &Seen<'w>, heads: usize) -> Result<String, ModelError> {
        let distances = self.distances_bias(seen, heads)?;
        self.shared(&format!("bias {distances:?}"), |lowering| {
            let mask = lowering.mask()?;
            let axes = lowering.sheet.integers(&[2], &[1, 2]);
            let (one, unseen) = (lowering.sheet.scalar(1.0), lowering.sheet.scalar(UNSEEN));
            let mask = lowering.sheet.operator("Unsqueeze", &[&mask, &axes], vec![]);
            let hidden = lowering.sheet.operator("Sub", &[&one, &mask], vec![]);
            let bias = lowering.sheet.operator("Mul", &[&hidden, &unseen], vec![]);
            Ok(match distances {
                Some(distances) => lowering.sheet.operator("Add", &[&bias, &distances], vec![]),
                None => bias,
            })
        })
    }

    /// What the distance says against each pair of tokens: `[1, heads or 1, sequence, sequence]`.
    fn distances_bias(&mut self, seen: &Seen<'w>, heads: usize) -> Result<Option<String>, ModelError> {
        let window = match seen.window {
            // A window as long as the longest text hides nothing.
            Some(window) if window < self.graph.most_tokens => Some(self.window(window, heads)?),
            _ => None,
        };
        let learned = match seen.distances {
            Some(Distances::Bias(bias)) => Some(self.learned_bias(bias)?),
            _ => None,
        };
        Ok(match (window, learned) {
            (Some(window), learned) => Some(self.sum(window, learned)),
            (None, learned) => learned,
        })
    }

    fn window(&mut self, window: usize, heads: usize) -> Result<String, ModelError> {
        self.shared(&format!("window {window}"), |lowering| {
            let distances = lowering.distances()?;
            let distances = lowering.sheet.operator("Abs", &[&distances], vec![]);
            let window = lowering.sheet.integers(&[], &[window as i64]);
            let far = lowering.sheet.operator("Greater", &[&distances, &window], vec![]);
            if lowering.style.dialect == Dialect::Cuda {
                // The operator for GPUs wants one for each head.
                let element = lowering.style.activations();
                let unseen = lowering.sheet.scalar_of(UNSEEN, element);
                let none = format!("nothing against {heads} heads");
                let none = Tensor::of(none, element, &[1, heads, 1, 1], &vec![0.0; heads]);
                let none = lowering.sheet.tensor(none);
                return Ok(lowering.sheet.operator("Where", &[&far, &unseen, &none], vec![]));
            }
            let (unseen, none) = (lowering.sheet.scalar(UNSEEN), lowering.sheet.scalar(0.0));
            let bias = lowering.sheet.operator("Where", &[&far, &unseen, &none], vec![]);
            let axes = lowering.sheet.integers(&[2], &[0, 1]);
            Ok(lowering.sheet.operator("Unsqueeze", &[&bias, &axes], vec![]))
        })
    }

    /// Places of the longest text that there can be: grids of places are filled up.
    pub(super) fn most_places(&self) -> usize {
        self.graph.most_tokens.next_multiple_of(GRAIN)
    }

    fn learned_bias(&mut self, bias: &'w RelativeBias) -> Result<String, ModelError> {
        self.shared(&format!("learned {}", bias.table.name), |lowering| {
            let most = lowering.most_places() as isize;
            let heads = bias.table.shape[1];
            let table = lowering.weights.floats(&bias.table.name)?;
            // A row for each distance: with `Gather` along columns OpenVINO 2025.4 writes, in bf16, over memory
            // that isn't its own.
            let rows = (1 - most..most).map(|distance| bias.bucket(distance) * heads);
            let by_distance: Vec<f32> = rows.flat_map(|row| &table[row..row + heads]).copied().collect();
            let name = format!("{}.by_distance", bias.table.name);
            let shape = [(2 * most - 1) as usize, heads];
            let element = lowering.style.activations();
            let table = lowering.sheet.tensor(Tensor::of(name, element, &shape, &by_distance));
            let distances = lowering.distances()?;
            let nearest = lowering.sheet.integers(&[], &[most as i64 - 1]);
            let rows = lowering.sheet.operator("Add", &[&distances, &nearest], vec![]);
            let found = lowering.sheet.operator("Gather", &[&table, &rows], vec![integer("axis", 0)]);
            let found = lowering.sheet.operator("Transpose", &[&found], vec![integers("perm", &[2, 0, 1])]);
            let axis = lowering.sheet.integers(&[1], &[0]);
            Ok(lowering.sheet.operator("Unsqueeze", &[&found, &axis], vec![]))
        })
    }

    /// Key minus query, `[sequence, sequence]`.
    fn distances(&mut self) -> Result<String, ModelError> {
        self.shared("distances", |lowering| {
            if lowering.style.dialect == Dialect::Cuda {
                let places = lowering.input(Input::Places);
                let turned = lowering.sheet.operator("Transpose", &[places], vec![integers("perm", &[1, 0])]);
                return Ok(lowering.sheet.operator("Sub", &[places, &turned], vec![]));
            }
            let longest = lowering.longest()?;
            let axis = lowering.sheet.integers(&[1], &[0]);
            let longest = lowering.sheet.operator("Squeeze", &[&longest, &axis], vec![]);
            let (zero, one) = (lowering.sheet.integers(&[], &[0]), lowering.sheet.integers(&[], &[1]));
            let places = lowering.sheet.operator("Range", &[&zero, &longest, &one], vec![]);
            let other = lowering.sheet.integers(&[1], &[1]);
            let queries = lowering.sheet.operator("Unsqueeze", &[&places, &other], vec![]);
            Ok(lowering.sheet.operator("Sub", &[&places, &queries], vec![]))
        })
    }

    /// A row for each position, a column for each pair of numbers that are turned together.
    fn rotary(&mut self, base: f32, head: usize) -> Result<Rotary, ModelError> {
        let (most, half, element) = (self.graph.most_tokens, head / 2, self.style.activations());
        let (cosines, sines) = (format!("cosines {base}"), format!("sines {base}"));
        if !self.sheet.has(&cosines) {
            let speeds: Vec<f32> =
                (0..half).map(|pair| base.powf(2.0 * pair as f32 / head as f32).recip()).collect();
            let angles: Vec<f32> = (0..most)
                .flat_map(|position| speeds.iter().map(move |speed| position as f32 * speed))
                .collect();
            let mut table = |name: &str, of: fn(f32) -> f32| {
                let numbers: Vec<f32> = angles.iter().copied().map(of).collect();
                self.sheet.tensor(Tensor::of(name, element, &[most, half], &numbers));
            };
            table(&cosines, f32::cos);
            table(&sines, f32::sin);
        }
        Ok(Rotary { cosines, sines })
    }

    /// `[batch, heads, sequence, width of a head]`, the halves of each head turned against one another.
    fn rotated(&mut self, heads: &str, rotary: &Rotary) -> Result<String, ModelError> {
        let mut tables = Vec::with_capacity(2);
        for table in [&rotary.cosines, &rotary.sines] {
            tables.push(self.shared(&format!("rows of {table}"), |lowering| {
                let longest = lowering.longest()?;
                let start = lowering.sheet.integers(&[1], &[0]);
                Ok(lowering.sheet.operator("Slice", &[table, &start, &longest, &start], vec![]))
            })?);
        }
        let halves = self.sheet.node("", "Split", &[heads], 2, vec![integer("axis", -1)]);
        let mut times =
            |half: usize, table: usize| self.sheet.operator("Mul", &[&halves[half], &tables[table]], vec![]);
        let (left_cosine, right_sine) = (times(0, 0), times(1, 1));
        let (right_cosine, left_sine) = (times(1, 0), times(0, 1));
        let left = self.sheet.operator("Sub", &[&left_cosine, &right_sine], vec![]);
        let right = self.sheet.operator("Add", &[&right_cosine, &left_sine], vec![]);
        Ok(self.sheet.operator("Concat", &[&left, &right], vec![integer("axis", -1)]))
    }
}
