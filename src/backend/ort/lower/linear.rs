//! Products with weights, at each precision.
//!
//! fp32 weights keep the checkpoint's layout, `[out, in]`: `Gemm` reads them so, and ONNX Runtime packs them once.
//! One product for queries, keys and values together was slower than three by 2% (MiniLM on 2 cores of an EPYC).

use std::ops::Range;

use super::quantise::{self, BLOCK};
use super::sheet::integer;
use super::{Dialect, Element, Lowering, Precision, Rows, Shown, Tensor};
use crate::model::ModelError;
use crate::model::graph::{Activation, Stack, Value, Weight};

/// Products with fewer outputs than this stay fp32: they take no time, and what they say is the answer.
const LEAST_QUANTISED_OUTPUTS: usize = 16;

impl<'w> Lowering<'w> {
    /// A product, shared out among so many.
    pub(super) fn linear(
        &mut self,
        input: Value,
        weight: &'w Stack,
        bias: Option<&'w Stack>,
        activation: Option<Activation>,
        parts: usize,
    ) -> Result<Shown, ModelError> {
        let quantised = self.graph.rows(input) == Rows::Tokens && weight.rows() >= LEAST_QUANTISED_OUTPUTS;
        let precision = match self.style.precision {
            Precision::Int8 | Precision::Int8Weights if !quantised => Precision::Float32,
            precision => precision,
        };
        let input = self.one(input);
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
        let half = |number: &f32| half::f16::from_f32(*number).to_bits();
        let input = self.shared(&format!("half {input}"), |lowering| {
            let element = integer("to", Element::Float16 as i64);
            Ok(lowering.sheet.operator("Cast", &[input], vec![element]))
        })?;
        let bias = match bias {
            None => String::new(),
            Some(bias) => {
                let (name, floats) = self.rows_of(bias, rows.clone())?;
                let halves: Vec<u16> = floats.iter().map(half).collect();
                self.sheet.tensor(Tensor::new(name, Element::Float16, &[rows.len()], &halves))
            }
        };
        let shape = [rows.len(), weight.columns()];
        let (name, floats) = self.rows_of(weight, rows)?;
        let halves: Vec<u16> = floats.iter().map(half).collect();
        let weight = self.sheet.tensor(Tensor::new(name, Element::Float16, &shape, &halves));
        let product = self.sheet.operator("Gemm", &[&input, &weight, &bias], vec![integer("transB", 1)]);
        Ok(self.whole(product))
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
        let scale =
            self.sheet.tensor(Tensor::new(scale, Element::Float32, &[outputs * blocks], &quantised.scales));
        let attributes = vec![
            integer("K", columns as i64),
            integer("N", outputs as i64),
            integer("bits", 8),
            integer("block_size", BLOCK as i64),
            // Activations as int8 inside of the operator: the fast path, and the only one for 8 bits that is.
            integer("accuracy_level", 4),
        ];
        Ok(self.sheet.fused("MatMulNBits", &[input, &weight, &scale, "", "", &bias], attributes))
    }

    fn bias(&mut self, bias: Option<&'w Stack>, rows: &Range<usize>) -> Result<String, ModelError> {
        let Some(bias) = bias else { return Ok(String::new()) };
        let (name, floats) = self.rows_of(bias, rows.clone())?;
        Ok(self.sheet.floats(&name, &[rows.len()], floats))
    }

    /// fp16 back to fp32.
    fn whole(&mut self, halves: String) -> String {
        self.sheet.operator("Cast", &[&halves], vec![integer("to", Element::Float32 as i64)])
    }

    /// A table that rows are taken from: fp16 where that's asked for, or else as it is.
    pub(super) fn table(&mut self, table: &'w Weight) -> Result<String, ModelError> {
        if self.style.precision != Precision::Float16 {
            return self.weight(table);
        }
        let floats = self.weights.floats(&table.name)?;
        let halves: Vec<u16> = floats.iter().map(|number| half::f16::from_f32(*number).to_bits()).collect();
        drop(floats);
        self.weights.release(&table.name);
        Ok(self.sheet.tensor(Tensor::new(&table.name, Element::Float16, &table.shape, &halves)))
    }

    /// Rows of a table as fp32.
    pub(super) fn rows_of_table(&mut self, rows: String) -> String {
        if self.style.precision == Precision::Float16 { self.whole(rows) } else { rows }
    }

    /// Whether operators that only ONNX Runtime has may be used.
    pub(super) fn may_fuse(&self) -> bool {
        self.style.dialect == Dialect::Fused
    }
}
