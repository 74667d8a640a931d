//! Words and labels picked out of tokens, words read in both directions, and spans scored against labels: GLiNER's head, on
//! processors. Rows of words are laid out as a grid: those of the text with most words, for each text.

use super::lowering::{Lowering, Shown};
use super::sheet::{integer, integers, text};
use super::style::{Dialect, Input};
use crate::backend::ort::onnx::{Element, Tensor};
use crate::model::ModelError;
use crate::model::graph::{Direction, Marked, Operation, Stack, Value, Weight};

/// Blocks of an LSTM's gates as ONNX has them (in, out, forget, candidate), by their places in PyTorch's.
const GATES: [usize; 4] = [0, 3, 1, 2];

impl<'w> Lowering<'w> {
    pub(super) fn pick(&mut self, input: Value, marked: Marked) -> Result<Shown<'w>, ModelError> {
        if self.style.dialect == Dialect::Cuda {
            // ONNX Runtime would read words in their order by cuDNN.
            self.graph.fits_cards()?;
        }
        let columns = self.graph.columns(input);
        let rows = self.one_as(input, Element::Float32)?;
        let places = match marked {
            Marked::Words => Input::WordRows,
            Marked::Labels => Input::LabelRows,
        };
        let places = self.input(places);
        let picked = self.sheet.operator("Gather", &[&rows, places], vec![integer("axis", 0)]);
        let picked = self.in_rows(&picked, columns);
        if marked == Marked::Labels {
            return Ok(Shown::One(picked));
        }
        let seen = self.input(Input::WordSeen);
        Ok(Shown::One(self.sheet.operator("Mul", &[&picked, seen], vec![])))
    }

    pub(super) fn recurrent(
        &mut self,
        gates: Value,
        directions: &'w [Direction; 2],
    ) -> Result<Shown<'w>, ModelError> {
        let Operation::Linear { input, weight, bias: Some(bias), .. } = self.graph.operation(gates) else {
            return Err(ModelError::Unfit("a recurrent layer without a product in front of it".into()));
        };
        let (columns, size) = (weight.columns(), directions[0].weight.shape[1]);
        let words = self.one_as(*input, Element::Float32)?;
        let words = self.by_text(&words, columns)?;
        // Step by step, and of each step all texts.
        let words = self.sheet.operator("Transpose", &[&words], vec![integers("perm", &[1, 0, 2])]);
        let [there, back] = directions;
        let of_state = Stack(vec![there.weight.clone(), back.weight.clone()]);
        let bias_of_state = [&there.bias, &back.bias];
        let input_weights = self.gates(&weight.0, &[2, 4 * size, columns])?;
        let state_weights = self.gates(&of_state.0, &[2, 4 * size, size])?;
        let [bias_there, bias_back] = [0, 1].map(|which| [&bias.0[which], bias_of_state[which]]);
        let biases: Vec<Weight> = [bias_there, bias_back].concat().into_iter().cloned().collect();
        let biases = self.gates(&biases, &[2, 8 * size])?;
        let counts = self.input(Input::WordCounts);
        let attributes = vec![integer("hidden_size", size as i64), text("direction", "bidirectional")];
        let inputs = [&words, input_weights.as_str(), &state_weights, &biases, counts];
        let states = self.sheet.operator("LSTM", &inputs, attributes);
        // [words, directions, batch, size]
        let states = self.sheet.operator("Transpose", &[&states], vec![integers("perm", &[2, 0, 1, 3])]);
        Ok(Shown::One(self.in_rows(&states, 2 * size)))
    }

    pub(super) fn spans(
        &mut self,
        [starts, ends, labels]: [Value; 3],
        width: usize,
        count: usize,
    ) -> Result<Shown<'w>, ModelError> {
        let size = self.graph.columns(starts);
        let [of_starts, of_ends] = [starts, ends].map(|value| self.one_as(value, Element::Float32));
        let (of_starts, of_ends) = (self.by_text(&of_starts?, size)?, self.by_text(&of_ends?, size)?);
        let span_ends = self.input(Input::SpanEnds(width));
        // [batch, words, width, size]
        let of_ends = self.sheet.operator("Gather", &[&of_ends, span_ends], vec![integer("axis", 1)]);
        let two = self.sheet.integers(&[1], &[2]);
        let of_starts = self.sheet.operator("Unsqueeze", &[&of_starts, &two], vec![]);
        let middle = self.sheet.operator("Add", &[&of_starts, &of_ends], vec![]);
        let middle = self.sheet.operator("Relu", &[&middle], vec![]);
        let spans = self.sheet.integers(&[3], &[0, -1, size as i64]);
        let middle = self.sheet.operator("Reshape", &[&middle, &spans], vec![]);

        let labels = self.one_as(labels, Element::Float32)?;
        let shape = self.sheet.integers(&[3], &[-1, count as i64, size as i64 + 1]);
        let labels = self.sheet.operator("Reshape", &[&labels, &shape], vec![]);
        // A column for each label.
        let labels = self.sheet.operator("Transpose", &[&labels], vec![integers("perm", &[0, 2, 1])]);
        let [none, last, end] =
            [0, size as i64, size as i64 + 1].map(|place| self.sheet.integers(&[1], &[place]));
        let axis = self.sheet.integers(&[1], &[1]);
        let keys = self.sheet.operator("Slice", &[&labels, &none, &last, &axis], vec![]);
        let added = self.sheet.operator("Slice", &[&labels, &last, &end, &axis], vec![]);
        let scores = self.sheet.operator("MatMul", &[&middle, &keys], vec![]);
        let scores = self.sheet.operator("Add", &[&scores, &added], vec![]);
        Ok(Shown::One(self.in_rows(&scores, width * count)))
    }

    /// Rows of words as `[batch, words, columns]`.
    fn by_text(&mut self, rows: &str, columns: usize) -> Result<String, ModelError> {
        let shape = self.shared(&format!("words by text {columns}"), |lowering| {
            let picked = lowering.input(Input::WordRows);
            let grid = lowering.sheet.operator("Shape", &[picked], vec![]);
            let columns = lowering.sheet.integers(&[1], &[columns as i64]);
            Ok(lowering.sheet.operator("Concat", &[&grid, &columns], vec![integer("axis", 0)]))
        })?;
        Ok(self.sheet.operator("Reshape", &[rows, &shape], vec![]))
    }

    fn in_rows(&mut self, grid: &str, columns: usize) -> String {
        let shape = self.sheet.integers(&[2], &[-1, columns as i64]);
        self.sheet.operator("Reshape", &[grid, &shape], vec![])
    }

    /// Weights of gates one behind the other, with the blocks of each in ONNX's order.
    fn gates(&mut self, weights: &[Weight], shape: &[usize]) -> Result<String, ModelError> {
        let mut numbers: Vec<f32> = Vec::new();
        for weight in weights {
            let floats = self.weights.floats(&weight.name)?;
            let block = floats.len() / GATES.len();
            GATES.iter().for_each(|gate| numbers.extend_from_slice(&floats[gate * block..][..block]));
        }
        let names: Vec<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
        Ok(self.sheet.tensor(Tensor::of(names.join("+"), Element::Float32, shape, &numbers)))
    }
}
