//! What is done to each row by itself: norms, activations, gates. Knows no layout.

use super::lowering::{Lowering, Shown};
use super::sheet::{float, integer};
use super::style::Dialect;
use crate::backend::ort::onnx::Element;
use crate::model::ModelError;
use crate::model::graph::{Activation, Value, Weight};

impl<'w> Lowering<'w> {
    /// Spelt out on processors: ONNX Runtime's `SkipLayerNormalization`, which adds as well, takes 5.1 ns a number
    /// on the CPU, and `Add` and `LayerNormalization` 0.8 together (1.31 on one core of an EPYC, 640 rows of 384).
    pub(super) fn layer_norm(
        &mut self,
        input: Value,
        residual: Option<Value>,
        weight: &'w Weight,
        bias: Option<&'w Weight>,
        epsilon: f32,
    ) -> Result<Shown<'w>, ModelError> {
        let element = self.element(Value(self.values.len()));
        let scale = self.weight_as(weight, element)?;
        let shift = bias.map(|bias| self.weight_as(bias, element)).transpose()?.unwrap_or_default();
        if let (Dialect::Cuda, Some(residual)) = (self.style.dialect, residual) {
            return self.skip_layer_norm([input, residual], &scale, &shift, epsilon, element);
        }
        let mut input = self.one_as(input, element)?;
        if let Some(residual) = residual {
            let residual = self.one_as(residual, element)?;
            input = self.sheet.operator("Add", &[&input, &residual], vec![]);
        }
        let attributes = vec![float("epsilon", epsilon), integer("axis", -1)];
        let inputs = [&input, scale.as_str(), &shift];
        Ok(Shown::One(self.sheet.operator("LayerNormalization", &inputs, attributes)))
    }

    /// On a GPU one pass over memory does what here are three: the product's bias, the sum and the norm.
    fn skip_layer_norm(
        &mut self,
        [input, residual]: [Value; 2],
        scale: &str,
        shift: &str,
        epsilon: f32,
        element: Element,
    ) -> Result<Shown<'w>, ModelError> {
        let is_biased =
            |value: Value| matches!(&self.values[value.0], Shown::Biased(products, _) if products.len() == 1);
        let swapped = !is_biased(input) && is_biased(residual);
        let [input, residual] = if swapped { [residual, input] } else { [input, residual] };
        let (input, bias) = match self.values[input.0].clone() {
            Shown::Biased(mut products, bias) if products.len() == 1 && self.element(input) == element => {
                (products.swap_remove(0), self.stack_as(bias, 0..bias.rows(), element)?)
            }
            _ => (self.one_as(input, element)?, String::new()),
        };
        let residual = self.one_as(residual, element)?;
        let inputs = [&input, &residual, scale, shift, &bias];
        Ok(Shown::One(self.sheet.fused("SkipLayerNormalization", &inputs, vec![float("epsilon", epsilon)])))
    }

    pub(super) fn gate(&mut self, input: Value, activation: Activation) -> Result<Shown<'w>, ModelError> {
        let mut parts = self.parts(input)?;
        if parts.len() != 2 {
            let whole = self.one(input)?;
            parts = self.sheet.node("", "Split", &[&whole], 2, vec![integer("axis", -1)]);
        }
        let (left, right) = (&parts[0], &parts[1]);
        let left = self.activation(left, activation);
        Ok(Shown::One(self.sheet.operator("Mul", &[&left, right], vec![])))
    }

    pub(super) fn activation(&mut self, input: &str, activation: Activation) -> String {
        let fused = self.may_fuse();
        let sheet = &mut self.sheet;
        match activation {
            Activation::Relu => sheet.operator("Relu", &[input], vec![]),
            Activation::Tanh => sheet.operator("Tanh", &[input], vec![]),
            Activation::Gelu if fused => sheet.fused("Gelu", &[input], vec![]),
            Activation::GeluTanh if fused => sheet.fused("FastGelu", &[input], vec![]),
            Activation::Silu if fused => sheet.fused("QuickGelu", &[input], vec![float("alpha", 1.0)]),
            Activation::Silu => {
                let gate = sheet.operator("Sigmoid", &[input], vec![]);
                sheet.operator("Mul", &[input, &gate], vec![])
            }
            Activation::Gelu => {
                let root = sheet.scalar(std::f32::consts::SQRT_2);
                let scaled = sheet.operator("Div", &[input, &root], vec![]);
                let error = sheet.operator("Erf", &[&scaled], vec![]);
                self.half_of_one_plus(input, &error)
            }
            Activation::GeluTanh => {
                // √(2/π)·(x + 0.044715·x³)
                let cube = sheet.scalar(0.044715);
                let factor = sheet.scalar((2.0 / std::f32::consts::PI).sqrt());
                let square = sheet.operator("Mul", &[input, input], vec![]);
                let cubed = sheet.operator("Mul", &[&square, input], vec![]);
                let cubed = sheet.operator("Mul", &[&cubed, &cube], vec![]);
                let sum = sheet.operator("Add", &[input, &cubed], vec![]);
                let scaled = sheet.operator("Mul", &[&sum, &factor], vec![]);
                let tanh = sheet.operator("Tanh", &[&scaled], vec![]);
                self.half_of_one_plus(input, &tanh)
            }
        }
    }

    /// `input · (1 + part) · ½`, in the order in which compilers look for it.
    fn half_of_one_plus(&mut self, input: &str, part: &str) -> String {
        let (one, half) = (self.sheet.scalar(1.0), self.sheet.scalar(0.5));
        let sum = self.sheet.operator("Add", &[part, &one], vec![]);
        let product = self.sheet.operator("Mul", &[input, &sum], vec![]);
        self.sheet.operator("Mul", &[&product, &half], vec![])
    }
}
