//! From tokens to a vector for each text.

use super::sheet::{integer, integers};
use super::{Lowering, Shown};
use crate::model::ModelError;
use crate::model::graph::{Pooling, Value};

impl Lowering<'_> {
    /// A text without tokens has zeros, whatever lies in its places.
    pub(super) fn pool(&mut self, input: Value, pooling: Pooling) -> Result<Shown, ModelError> {
        let width = self.graph.columns(input);
        let rows = self.one(input);
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
                    let element = integer("to", super::Element::Int64 as i64);
                    let last = self.sheet.operator("Cast", &[&last], vec![element]);
                    self.sheet.operator("GatherND", &[&places, &last], vec![integer("batch_dims", 1)])
                };
                let any = self.sheet.operator("Min", &[&lengths, &one], vec![]);
                self.sheet.operator("Mul", &[&row, &any], vec![])
            }
        };
        Ok(Shown::One(pooled))
    }

    pub(super) fn normalise(&mut self, input: Value) -> Result<Shown, ModelError> {
        let input = self.one(input);
        let attributes = vec![integers("axes", &[-1]), integer("keepdims", 1)];
        let length = self.sheet.operator("ReduceL2", &[&input], attributes);
        // PyTorch's bound, below which a vector is as good as none.
        let least = self.sheet.scalar(1e-12);
        let length = self.sheet.operator("Max", &[&length, &least], vec![]);
        Ok(Shown::One(self.sheet.operator("Div", &[&input, &length], vec![])))
    }
}
