//! Products with weights, at each precision.
//!
//! fp32 weights keep the checkpoint's layout, `[out, in]`: `Gemm` reads them so, and ONNX Runtime packs them once.
//! One product for queries, keys and values together was slower than three by 2% (MiniLM on 2 cores of an EPYC).

use std::ops::Range;

use super::lowering::{Lowering, Shown};
use super::quantise::{self, BLOCK};
use super::sheet::{Attributes, integer};
use super::style::{Dialect, Precision};
use crate::backend::ort::onnx::{Element, Tensor};
use crate::model::ModelError;
use crate::model::graph::{Activation, Rows, Stack, Value, Weight};

impl<'w> Lowering<'w> {
    /// A product, shared out among so many.
    pub(super) fn linear(
        &mut self,
        input: Value,
        weight: &'w Stack,
        bias: Option<&'w Stack>,
        activation: Option<Activation>,
        parts: usize,
    ) -> Result<Shown<'w>, ModelError> {
        if self.style.dialect == Dialect::Cuda {
            return self.cuda_linear(input, weight, bias, activation, parts);
        }
        let quantised = matches!(self.graph.rows(input), Rows::Tokens | Rows::Words)
            && weight.rows() >= quantise::LEAST_OUTPUTS;
        let precision = match self.style.precision {
            Precision::Int8 | Precision::Int8Weights if !quantised => Precision::Float32,
            precision => precision,
        };
        let input = self.one(input)?;
        let share = weight.rows() / parts;
        let mut products = Vec::with_capacity(parts);
        for part in 0..parts {
            let rows = part * share..(part + 1) * share;
            let product = match precision {
                Precision::Float32 => self.product(&input, weight, bias, rows)?,
                Precision::Float16 => self.half_product(&input, weight, bias, rows)?,
                Precision::Int8 => self.int8_product(&input, weight, bias, rows)?,
                Precision::Int8Weights => self.block_product(&input, weight, bias, rows)?,
            };
            products.push(match activation {
                Some(activation) => self.activation(&product, activation),
                None => product,
            });
        }
        if precision != Precision::Float32 {
            // What was converted is held once: here, and not in the file's pages as well.
            weight.0.iter().for_each(|part| self.weights.release(&part.name));
        }
        Ok(if parts == 1 { Shown::One(products.swap_remove(0)) } else { Shown::Parts(products) })
    }

    fn product(
        &mut self,
        input: &str,
        weight: &'w Stack,
        bias: Option<&'w Stack>,
        rows: Range<usize>,
    ) -> Result<String, ModelError> {
        let bias = self.bias(bias, &rows)?;
        let shape = [rows.len(), weight.columns()];
        let (name, floats) = self.rows_of(weight, rows)?;
        let weight = self.sheet.floats(&name, &shape, floats);
        Ok(self.sheet.operator("Gemm", &[input, &weight, &bias], vec![integer("transB", 1)]))
    }

    fn half_product(
        &mut self,
        input: &str,
        weight: &'w Stack,
        bias: Option<&'w Stack>,
        rows: Range<usize>,
    ) -> Result<String, ModelError> {
        let half = Element::Float16;
        let input = self.shared(&format!("half {input}"), |lowering| Ok(lowering.sheet.cast(input, half)))?;
        let bias = bias.map(|bias| self.stack_as(bias, rows.clone(), half)).transpose()?.unwrap_or_default();
        let weight = self.stack_as(weight, rows, half)?;
        let product = self.sheet.operator("Gemm", &[&input, &weight, &bias], vec![integer("transB", 1)]);
        Ok(self.whole(product, half))
    }

    /// Activations quantised once for all products that read them.
    fn int8_product(
        &mut self,
        input: &str,
        weight: &'w Stack,
        bias: Option<&'w Stack>,
        rows: Range<usize>,
    ) -> Result<String, ModelError> {
        let bias = self.bias(bias, &rows)?;
        let columns = weight.columns();
        let (name, floats) = self.rows_of(weight, rows.clone())?;
        let quantised = quantise::by_row(&floats, columns, quantise::widest());
        drop(floats);
        let shape = [columns, rows.len()];
        let weight =
            self.sheet.tensor(Tensor::new(format!("{name}.int8"), Element::Int8, &shape, &quantised.numbers));
        let scale = format!("{name}.scale");
        let scale = self.sheet.tensor(Tensor::new(scale, Element::Float32, &[rows.len()], &quantised.scales));
        let shared = |place: usize| format!("int8 {place} {input}");
        if !self.shared.contains_key(&shared(0)) {
            let outputs = self.sheet.node("", "DynamicQuantizeLinear", &[input], 3, vec![]);
            for (place, output) in outputs.into_iter().enumerate() {
                self.shared.insert(shared(place), output);
            }
        }
        let input = |place: usize| self.shared.get(&shared(place)).cloned().unwrap_or_default();
        let inputs = [&input(0), &weight, &input(1), &scale, &input(2), "", &bias];
        Ok(self.sheet.fused("MatMulIntegerToFloat", &inputs, vec![]))
    }

    fn block_product(
        &mut self,
        input: &str,
        weight: &'w Stack,
        bias: Option<&'w Stack>,
        rows: Range<usize>,
    ) -> Result<String, ModelError> {
        let bias = self.bias(bias, &rows)?;
        let (weight, scale, attributes) = self.blocks(weight, rows, Element::Float32)?;
        Ok(self.sheet.fused("MatMulNBits", &[input, &weight, &scale, "", "", &bias], attributes))
    }

    /// Weights in blocks with their scales, and what the operator is told of them.
    fn blocks(
        &mut self,
        weight: &'w Stack,
        rows: Range<usize>,
        scales: Element,
    ) -> Result<(String, String, Attributes), ModelError> {
        let columns = weight.columns();
        let blocks = columns.div_ceil(BLOCK);
        let outputs = rows.len();
        let (name, floats) = self.rows_of(weight, rows)?;
        let quantised = quantise::by_block(&floats, columns);
        drop(floats);
        let shape = [outputs, blocks, BLOCK];
        let weight = format!("{name}.blocks");
        let weight = self.sheet.tensor(Tensor::new(weight, Element::Uint8, &shape, &quantised.numbers));
        let scale = format!("{name}.scale");
        let scale = self.sheet.tensor(Tensor::of(scale, scales, &[outputs * blocks], &quantised.scales));
        let attributes = vec![
            integer("K", columns as i64),
            integer("N", outputs as i64),
            integer("bits", 8),
            integer("block_size", BLOCK as i64),
            // Activations as int8 inside of the operator: the processor's fast path, and the only one for 8 bits that
            // is. CUDA's code takes no notice.
            integer("accuracy_level", 4),
        ];
        Ok((weight, scale, attributes))
    }

    /// Products that keep the checkpoint's layout whatever the dimensions before the last are, and that leave the bias to
    /// whoever reads them: attention, activations and norms add it in passing.
    fn cuda_linear(
        &mut self,
        input: Value,
        weight: &'w Stack,
        bias: Option<&'w Stack>,
        activation: Option<Activation>,
        parts: usize,
    ) -> Result<Shown<'w>, ModelError> {
        let element = self.element(Value(self.values.len()));
        let quantised = element != Element::Float32 && self.style.precision == Precision::Int8Weights;
        let input = self.one_as(input, element)?;
        let share = weight.rows() / parts;
        let mut products = Vec::with_capacity(parts);
        for part in 0..parts {
            let rows = part * share..(part + 1) * share;
            products.push(if quantised {
                let (weight, scale, attributes) = self.blocks(weight, rows, element)?;
                self.sheet.fused("MatMulNBits", &[&input, &weight, &scale], attributes)
            } else {
                let weight = self.stack_as(weight, rows, element)?;
                self.sheet.fused("FusedMatMul", &[&input, &weight], vec![integer("transB", 1)])
            });
        }
        if element != Element::Float32 {
            weight.0.iter().for_each(|part| self.weights.release(&part.name));
        }
        let shown = match bias {
            Some(bias) => Shown::Biased(products, bias),
            None => Shown::Parts(products),
        };
        let Some(activation) = activation else { return Ok(shown) };
        self.cuda_activation(shown, activation, element)
    }

    fn cuda_activation(
        &mut self,
        shown: Shown<'w>,
        activation: Activation,
        element: Element,
    ) -> Result<Shown<'w>, ModelError> {
        let (products, bias) = match shown {
            Shown::One(product) => (vec![product], None),
            Shown::Parts(products) => (products, None),
            Shown::Biased(products, bias) => (products, Some(bias)),
        };
        let share = bias.map_or(0, Stack::rows) / products.len();
        let mut activated = Vec::with_capacity(products.len());
        for (place, product) in products.iter().enumerate() {
            let bias = bias
                .map(|bias| self.stack_as(bias, place * share..(place + 1) * share, element))
                .transpose()?;
            activated.push(match (activation, bias) {
                (Activation::Gelu, Some(bias)) => self.sheet.fused("BiasGelu", &[product, &bias], vec![]),
                (Activation::GeluTanh, Some(bias)) => self.sheet.fused("FastGelu", &[product, &bias], vec![]),
                (activation, Some(bias)) => {
                    let sum = self.sheet.operator("Add", &[product, &bias], vec![]);
                    self.activation(&sum, activation)
                }
                (activation, None) => self.activation(product, activation),
            });
        }
        Ok(Shown::Parts(activated))
    }

    fn bias(&mut self, bias: Option<&'w Stack>, rows: &Range<usize>) -> Result<String, ModelError> {
        let Some(bias) = bias else { return Ok(String::new()) };
        let (name, floats) = self.rows_of(bias, rows.clone())?;
        Ok(self.sheet.floats(&name, &[rows.len()], floats))
    }

    /// Numbers of fewer bits as fp32.
    pub(super) fn whole(&mut self, numbers: String, element: Element) -> String {
        if element == Element::Float32 { numbers } else { self.sheet.cast(&numbers, Element::Float32) }
    }

    /// What a table that rows are taken from is kept in.
    fn table_element(&self) -> Element {
        match self.style.precision {
            Precision::Float16 => Element::Float16,
            _ => self.style.activations(),
        }
    }

    pub(super) fn table(&mut self, table: &'w Weight) -> Result<String, ModelError> {
        self.weight_as(table, self.table_element())
    }

    /// Rows of a table as what goes from operator to operator.
    pub(super) fn rows_of_table(&mut self, rows: String) -> String {
        let (from, to) = (self.table_element(), self.style.activations());
        if from == to { rows } else { self.sheet.cast(&rows, to) }
    }

    /// Whether operators that only ONNX Runtime has may be used.
    pub(super) fn may_fuse(&self) -> bool {
        self.style.dialect != Dialect::Plain
    }
}
