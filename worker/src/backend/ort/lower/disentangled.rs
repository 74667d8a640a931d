//! What disentangled attention adds to scores, in standard operators: each query meets the keys of distances, and each key their queries.
//!
//! Exports gather the score of each pair by an index as large as all scores. Here products are taken with a row for each distance, in
//! order. The distance of the pair (i, j) is then in column j - i + n of row i, which is the number i · 2n + n + j of the whole, where
//! n tokens have 2n + 1 distances: read as rows of n numbers, every other row is the scores of a token over all others.

use super::lowering::Lowering;
use super::sheet::{integer, integers};
use super::style::{Dialect, Input};
use crate::backend::disentangled::ByDistance;
use crate::backend::ort::onnx::{Element, Tensor};
use crate::model::ModelError;
use crate::model::graph::Disentangled;

/// Which of two tokens meets a distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Query,
    Key,
}

/// What the tables of a layer are held against.
pub struct Tokens<'a> {
    /// Both `[batch, heads, sequence, width of a head]`.
    pub queries: &'a str,
    pub keys: &'a str,
    pub heads: usize,
    pub scale: f32,
}

impl<'w> Lowering<'w> {
    /// `[batch, heads, sequence, sequence]`, scaled.
    pub(super) fn met_by_distance(
        &mut self,
        network: &'w Disentangled,
        tokens: &Tokens,
    ) -> Result<String, ModelError> {
        let made = ByDistance::of(network, self.weights)?;
        let met_by_queries = self.met(network, tokens, &made.keys, Side::Query)?;
        let met_by_keys = self.met(network, tokens, &made.queries, Side::Key)?;
        let turned = self.sheet.operator("Transpose", &[&met_by_keys], vec![integers("perm", &[0, 1, 3, 2])]);
        Ok(self.sheet.operator("Add", &[&met_by_queries, &turned], vec![]))
    }

    /// A row for each token of a side, a column for each token of the other.
    fn met(
        &mut self,
        network: &Disentangled,
        tokens: &Tokens,
        table: &[f32],
        side: Side,
    ) -> Result<String, ModelError> {
        let (rows, width) = (network.table.shape[0], network.table.shape[1]);
        let (of, projection) = match side {
            Side::Query => (tokens.queries, &network.key),
            Side::Key => (tokens.keys, &network.query),
        };
        let scaled: Vec<f32> = table.iter().map(|number| number * tokens.scale).collect();
        let name = format!("{} of distances", projection.weight.name);
        let table = self.sheet.tensor(Tensor::of(name, self.style.activations(), &[rows, width], &scaled));
        let in_order = self.rows_in_order(network, side)?;
        let rows = self.sheet.operator("Gather", &[&table, &in_order], vec![integer("axis", 0)]);
        let heads = tokens.heads;
        let split = self.sheet.integers(&[3], &[-1, heads as i64, (width / heads) as i64]);
        let rows = self.sheet.operator("Reshape", &[&rows, &split], vec![]);
        let rows = self.sheet.operator("Transpose", &[&rows], vec![integers("perm", &[1, 2, 0])]);
        let met = self.sheet.operator("MatMul", &[of, &rows], vec![]);
        Ok(self.by_pairs(&met))
    }

    /// The table's rows for the distances in a batch, from one more than the farthest on one side to as many on the other.
    fn rows_in_order(&mut self, network: &Disentangled, side: Side) -> Result<String, ModelError> {
        self.shared(&format!("rows by distance of a {side:?}"), |lowering| {
            let most = lowering.most_places() as isize;
            let row = |distance: isize| match side {
                Side::Query => network.row(distance) as i64,
                // From the key to the query.
                Side::Key => network.row(-distance) as i64,
            };
            let rows: Vec<i64> = (-most..=most).map(row).collect();
            let rows = Tensor::new(format!("rows of a {side:?}"), Element::Int64, &[rows.len()], &rows);
            let rows = lowering.sheet.tensor(rows);
            if lowering.style.dialect == Dialect::Cuda {
                let around = lowering.input(Input::Around);
                let most = lowering.sheet.integers(&[], &[most as i64]);
                let places = lowering.sheet.operator("Add", &[around, &most], vec![]);
                return Ok(lowering.sheet.operator("Gather", &[&rows, &places], vec![integer("axis", 0)]));
            }
            let longest = lowering.longest()?;
            let [first, end] = [most, most + 1].map(|place| lowering.sheet.integers(&[1], &[place as i64]));
            let first = lowering.sheet.operator("Sub", &[&first, &longest], vec![]);
            let end = lowering.sheet.operator("Add", &[&end, &longest], vec![]);
            Ok(lowering.sheet.operator("Slice", &[&rows, &first, &end], vec![]))
        })
    }

    /// From a column for each distance to one for each token.
    fn by_pairs(&mut self, met: &str) -> String {
        let [one, two] = [1, 2].map(|number| self.sheet.integers(&[1], &[number]));
        let met = self.sheet.operator("Unsqueeze", &[met, &two], vec![]);
        // Zeros keep lengths as they are: the last one is the sequence's.
        let rows = self.sheet.integers(&[4], &[0, 0, -1, 0]);
        let rows = self.sheet.operator("Reshape", &[&met, &rows], vec![]);
        let end = self.sheet.integers(&[1], &[i64::MAX]);
        self.sheet.operator("Slice", &[&rows, &one, &end, &two, &two], vec![])
    }
}
