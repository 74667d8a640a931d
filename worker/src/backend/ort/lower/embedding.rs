//! What tables say of each token.

use super::lowering::{Lowering, Shown};
use super::sheet::integer;
use super::style::{Dialect, Input};
use crate::backend::ort::onnx::Tensor;
use crate::model::ModelError;
use crate::model::graph::{Positions, Weight};

impl<'w> Lowering<'w> {
    pub(super) fn embedding(
        &mut self,
        words: &'w Weight,
        positions: Option<&'w Positions>,
        types: Option<&'w Weight>,
    ) -> Result<Shown<'w>, ModelError> {
        let width = words.shape[1];
        let mut sum = self.look_up(words, Input::Ids)?;
        if let Some(positions) = positions {
            let rows = self.positions(positions)?;
            sum = self.sheet.operator("Add", &[&sum, &rows], vec![]);
        }
        if let Some(types) = types {
            let rows = self.look_up(types, Input::Types)?;
            sum = self.sheet.operator("Add", &[&sum, &rows], vec![]);
        }
        // That of a padded batch is [batch, sequence, width] so far, so that positions are spread over it.
        let packed = self.style.packed;
        Ok(Shown::One(if packed { sum } else { self.tokens(&sum, width) }))
    }

    fn look_up(&mut self, table: &'w Weight, input: Input) -> Result<String, ModelError> {
        let table = self.table(table)?;
        let ids = self.input(input);
        let rows = self.sheet.operator("Gather", &[&table, ids], vec![integer("axis", 0)]);
        Ok(self.rows_of_table(rows))
    }

    /// The rows of positions: of each token in a packed batch, of each place of the longest text in a padded one.
    fn positions(&mut self, positions: &'w Positions) -> Result<String, ModelError> {
        if self.style.dialect == Dialect::Cuda {
            let table = self.table_from(positions)?;
            let ids = self.input(Input::Positions);
            return Ok(self.sheet.operator("Gather", &[&table, ids], vec![integer("axis", 0)]));
        }
        let table = self.table(&positions.table)?;
        let first = positions.first as i64;
        let rows = if self.style.packed {
            let ids = self.input(Input::Positions);
            let first = self.sheet.integers(&[], &[first]);
            let ids = self.sheet.operator("Add", &[ids, &first], vec![]);
            self.sheet.operator("Gather", &[&table, &ids], vec![integer("axis", 0)])
        } else {
            let longest = self.longest()?;
            let first = self.sheet.integers(&[1], &[first]);
            let end = self.sheet.operator("Add", &[&longest, &first], vec![]);
            let axis = self.sheet.integers(&[1], &[0]);
            self.sheet.operator("Slice", &[&table, &first, &end, &axis], vec![])
        };
        Ok(self.rows_of_table(rows))
    }

    /// The table of positions from the first one on, so that a token's place is its row.
    fn table_from(&mut self, positions: &'w Positions) -> Result<String, ModelError> {
        let (table, element) = (&positions.table, self.style.activations());
        if positions.first == 0 {
            return self.weight_as(table, element);
        }
        let floats = self.weights.floats(&table.name)?;
        let (rows, width) = (table.shape[0] - positions.first, table.shape[1]);
        let name = format!("{} from {}", table.name, positions.first);
        let tensor = Tensor::of(name, element, &[rows, width], &floats[positions.first * width..]);
        Ok(self.sheet.tensor(tensor))
    }

    /// The length of the longest text, `[1]`.
    pub(super) fn longest(&mut self) -> Result<String, ModelError> {
        self.shared("longest", |lowering| {
            let range = vec![integer("start", 1), integer("end", 2)];
            Ok(lowering.sheet.operator("Shape", &[Input::Mask.name()], range))
        })
    }
}
