//! From tokens to a vector for each text.

use super::lowering::{Lowering, Shown};
use super::sheet::{float, integer, integers};
use super::style::{Dialect, Input};
use crate::backend::ort::onnx::{Element, Tensor};
use crate::model::ModelError;
use crate::model::graph::{Pooling, Value};

impl<'w> Lowering<'w> {
    /// A text without tokens has zeros, whatever lies in its places.
    pub(super) fn pool(&mut self, input: Value, pooling: Pooling) -> Result<Shown<'w>, ModelError> {
        let width = self.graph.columns(input);
        let (rows, element) = (self.one(input)?, self.element(input));
        if self.style.dialect == Dialect::Cuda {
            return self.cuda_pool(&rows, element, width, pooling);
        }
        let places = self.padded(&rows, width)?;
        let mask = self.mask()?;
        let axis = self.sheet.integers(&[1], &[1]);
        let one = self.sheet.scalar(1.0);
        // [batch, 1]
        let lengths = self.sheet.operator("ReduceSum", &[&mask, &axis], vec![integer("keepdims", 1)]);
        let pooled = match pooling {
            Pooling::Mean => {
                let weights = self.sheet.operator("Unsqueeze", &[&mask, &axis], vec![]);
                let sums = self.sheet.operator("MatMul", &[&weights, &places], vec![]);
                let sums = self.sheet.operator("Squeeze", &[&sums, &axis], vec![]);
                let lengths = self.sheet.operator("Max", &[&lengths, &one], vec![]);
                self.sheet.operator("Div", &[&sums, &lengths], vec![])
            }
            Pooling::First | Pooling::Last => {
                let row = if pooling == Pooling::First {
                    let first = self.sheet.integers(&[], &[0]);
                    self.sheet.operator("Gather", &[&places, &first], vec![integer("axis", 1)])
                } else {
                    let last = self.sheet.operator("Sub", &[&lengths, &one], vec![]);
                    let none = self.sheet.scalar(0.0);
                    let last = self.sheet.operator("Max", &[&last, &none], vec![]);
                    let last = self.sheet.cast(&last, Element::Int64);
                    self.sheet.operator("GatherND", &[&places, &last], vec![integer("batch_dims", 1)])
                };
                let any = self.sheet.operator("Min", &[&lengths, &one], vec![]);
                self.sheet.operator("Mul", &[&row, &any], vec![])
            }
        };
        Ok(Shown::One(pooled))
    }

    pub(super) fn normalise(&mut self, input: Value) -> Result<Shown<'w>, ModelError> {
        let width = self.graph.columns(input);
        let input = self.one_as(input, Element::Float32)?;
        if self.style.dialect == Dialect::Cuda {
            return Ok(self.cuda_normalise(&input, width));
        }
        let attributes = vec![integers("axes", &[-1]), integer("keepdims", 1)];
        let length = self.sheet.operator("ReduceL2", &[&input], attributes);
        // PyTorch's bound, below which a vector is as good as none.
        let least = self.sheet.scalar(1e-12);
        let length = self.sheet.operator("Max", &[&length, &least], vec![]);
        Ok(Shown::One(self.sheet.operator("Div", &[&input, &length], vec![])))
    }

    /// In fp32 from the chosen rows on. Nothing is reduced: ONNX Runtime needs cuDNN for that.
    fn cuda_pool(
        &mut self,
        rows: &str,
        element: Element,
        width: usize,
        pooling: Pooling,
    ) -> Result<Shown<'w>, ModelError> {
        let chosen = match pooling {
            Pooling::First => Input::FirstRows,
            Pooling::Last => Input::LastRows,
            Pooling::Mean => {
                let places = self.padded(rows, width)?;
                let places = self.whole(places, element);
                let shares = self.input(Input::Shares);
                let means = self.sheet.operator("MatMul", &[shares, &places], vec![]);
                let shape = self.sheet.integers(&[2], &[-1, width as i64]);
                return Ok(Shown::One(self.sheet.operator("Reshape", &[&means, &shape], vec![])));
            }
        };
        let (chosen, seen) = (self.input(chosen), self.input(Input::Seen));
        let row = self.sheet.operator("Gather", &[rows, chosen], vec![integer("axis", 0)]);
        let row = self.whole(row, element);
        Ok(Shown::One(self.sheet.operator("Mul", &[&row, seen], vec![])))
    }

    /// A row of length one is one whose mean square is one, shrunk by the root of its width.
    fn cuda_normalise(&mut self, input: &str, width: usize) -> Shown<'w> {
        let name = format!("root of {width}");
        let scale = vec![(width as f32).sqrt().recip(); width];
        let scale = self.sheet.tensor(Tensor::new(name, Element::Float32, &[width], &scale));
        // The square of PyTorch's bound, below which a vector is as good as none.
        let attributes = vec![float("epsilon", 1e-24), integer("axis", -1)];
        Shown::One(self.sheet.operator("SimplifiedLayerNormalization", &[input, &scale], attributes))
    }
}
