//! What the processor's reader makes of a graph, before it reads a weight: which kernels it calls, what they do in passing, where
//! values lie, and what is held. `network.rs` carries it out, and a test holds the kernels that it calls against these.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::kernel::Kernel;
use super::kernel::disentangled::DistanceTables;
use super::precision::Precision;
use super::weight::{kernels_of_product, product_bytes};
use crate::model::graph::{Distances, Graph, Operation, Rows, Value, Weight};

/// How a graph is run at a precision.
pub struct Plan<'g> {
    graph: &'g Graph,
    pub steps: Vec<Step>,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Step {
    pub inputs: Vec<Place>,
    pub output: Place,
    pub rows: Rows,
    /// What a product is taken in; other operations are fp32.
    pub precision: Precision,
}

/// Where a value lies and how wide it is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub slot: usize,
    pub columns: usize,
}

/// Bytes of a number of fp32.
const FLOAT: u64 = size_of::<f32>() as u64;

impl<'g> Plan<'g> {
    pub fn of(graph: &'g Graph, precision: Precision) -> Plan<'g> {
        let places = places(graph);
        let step = |(place, operation): (usize, &Operation)| {
            let value = Value(place);
            Step {
                inputs: Graph::inputs(operation).iter().map(|value| places[value.0]).collect(),
                output: places[place],
                rows: graph.rows(value),
                // The heads are small, and every digit of theirs is in the answer.
                precision: if graph.is_head(value) { Precision::Float } else { precision },
            }
        };
        Plan { graph, steps: graph.operations.iter().enumerate().map(step).collect() }
    }

    pub fn slots(&self) -> usize {
        self.steps.iter().map(|step| step.output.slot + 1).max().unwrap_or(0)
    }

    fn planned(&self) -> impl Iterator<Item = (&Operation, &Step)> {
        self.graph.operations.iter().zip(&self.steps)
    }

    /// How often each kernel is called for a batch that one thread works on.
    pub fn kernels(&self) -> IndexMap<&'static str, u64> {
        let called = self.planned().flat_map(|(operation, step)| kernels(operation, step.precision));
        tally(called.map(Kernel::name))
    }

    /// How often memory is asked for: once for each slot of a thread, and for each batch by the kernels that don't write to one.
    pub fn allocations(&self) -> IndexMap<&'static str, u64> {
        let called = self.planned().flat_map(|(operation, step)| kernels(operation, step.precision));
        let in_kernels = called.filter(|kernel| kernel.allocates()).count();
        let counts = [("for slots of a thread", self.slots()), ("in kernels", in_kernels)];
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(of, count)| (of, count as u64)).collect()
    }

    /// What has no kernel of its own, since another does it in passing.
    pub fn in_passing(&self) -> IndexMap<&'static str, u64> {
        tally(self.graph.operations.iter().flat_map(in_passing))
    }

    /// Bytes of weights by what their numbers are, as they are laid out; with them tables that are made at the load.
    pub fn weights(&self) -> IndexMap<&'static str, u64> {
        let mut bytes: IndexMap<&'static str, u64> = IndexMap::new();
        let mut made = HashSet::new();
        let count = |weight: &Weight| weight.shape.iter().product::<usize>() as u64;
        let mut add = |kind: &'static str, more: u64| *bytes.entry(kind).or_default() += more;
        for ((operation, step), place) in self.planned().zip(0..) {
            match operation {
                Operation::Embedding { words, positions, types } => {
                    let tables = [Some(words), positions.as_ref().map(|at| &at.table), types.as_ref()];
                    tables.into_iter().flatten().for_each(|table| add("fp32", FLOAT * count(table)));
                }
                Operation::Linear { weight, bias, .. } => {
                    let (kind, of_product) = product_bytes(step.precision, weight.rows(), weight.columns());
                    add(kind, of_product);
                    bias.iter().for_each(|bias| add("fp32", FLOAT * bias.rows() as u64));
                }
                Operation::LayerNorm { weight, bias, .. } => {
                    [Some(weight), bias.as_ref()]
                        .into_iter()
                        .flatten()
                        .for_each(|weight| add("fp32", FLOAT * count(weight)));
                }
                Operation::Attention { heads, rotary, distances, .. } => {
                    let positions = self.graph.most_tokens as u64;
                    let size = (self.graph.columns(Value(place)) / heads) as u64;
                    // Layers share what turns, a table for each base, and a bias of distances or the rows of distances.
                    if rotary.is_some_and(|base| made.insert(Some(base.to_bits()))) {
                        add("fp32", FLOAT * positions * size);
                    }
                    match distances {
                        Some(Distances::Bias(_)) if made.insert(None) => {
                            add("fp32", FLOAT * *heads as u64 * (2 * positions).saturating_sub(1));
                        }
                        Some(Distances::Disentangled(network)) => {
                            add(
                                "fp32",
                                DistanceTables::bytes(network.table.shape[1], network.table.shape[0]),
                            );
                            if made.insert(None) {
                                add("int32", size_of::<u32>() as u64 * (2 * positions).saturating_sub(1));
                            }
                        }
                        _ => {}
                    }
                }
                Operation::Recurrent { directions, .. } => {
                    for direction in directions.iter() {
                        let [outputs, depth] = [direction.weight.shape[0], direction.weight.shape[1]];
                        let (kind, of_product) = product_bytes(Precision::Float, outputs, depth);
                        add(kind, of_product + FLOAT * count(&direction.bias));
                    }
                }
                Operation::Gate { .. }
                | Operation::Add { .. }
                | Operation::Pool { .. }
                | Operation::Pick { .. }
                | Operation::Spans { .. }
                | Operation::Normalise { .. } => {}
            }
        }
        bytes
    }

    /// Bytes of the slots that one thread needs for a batch with so many rows of each kind, padding counted.
    pub fn slot_bytes(&self, count: impl Fn(Rows) -> usize) -> u64 {
        let mut slots = vec![0; self.slots()];
        for step in &self.steps {
            let slot = &mut slots[step.output.slot];
            *slot = (*slot).max(count(step.rows) * step.output.columns);
        }
        FLOAT * slots.iter().sum::<usize>() as u64
    }

    /// Bytes that are copied or converted for a batch with so many rows of each kind, padding counted, and so many tokens without
    /// it. It's read where it lies, so nothing is copied to the engine.
    pub fn copied(&self, rows: impl Fn(Rows) -> usize, tokens: usize) -> IndexMap<String, u64> {
        let mut bytes: IndexMap<String, u64> = IndexMap::new();
        for (operation, step) in self.planned() {
            let input_columns = step.inputs.first().map_or(0, |input| input.columns);
            for kernel in kernels(operation, step.precision) {
                if let Some(of_row) = kernel.copied_for_row(input_columns, step.output.columns) {
                    let by = format!("by {}", kernel.name());
                    *bytes.entry(by).or_default() += (rows(step.rows) * of_row) as u64;
                }
            }
        }
        if let Some(last) = self.steps.last() {
            let rows = if last.rows == Rows::Tokens { tokens } else { rows(last.rows) };
            bytes.insert("from the engine".to_owned(), FLOAT * (rows * last.output.columns) as u64);
        }
        bytes
    }
}

fn tally(names: impl Iterator<Item = &'static str>) -> IndexMap<&'static str, u64> {
    let mut counts = IndexMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

fn kernels(operation: &Operation, precision: Precision) -> Vec<Kernel> {
    match operation {
        Operation::Embedding { .. } => vec![Kernel::Embedding],
        Operation::Linear { .. } => kernels_of_product(precision),
        Operation::Gate { .. } => vec![Kernel::Gate],
        Operation::Add { .. } => vec![Kernel::Sum],
        Operation::LayerNorm { .. } => vec![Kernel::Norm],
        Operation::Attention { .. } => vec![Kernel::Attention],
        Operation::Pool { .. } => vec![Kernel::Pooling],
        Operation::Normalise { .. } => vec![Kernel::Length],
        Operation::Pick { .. } => vec![Kernel::Picking],
        Operation::Recurrent { .. } => vec![Kernel::Recurrence],
        Operation::Spans { .. } => vec![Kernel::Spans],
    }
}

fn in_passing(operation: &Operation) -> Vec<&'static str> {
    let words = match operation {
        Operation::Embedding { positions, types, .. } => {
            vec![(positions.is_some(), "positions added"), (types.is_some(), "types added")]
        }
        Operation::Linear { weight, bias, activation, .. } => {
            // Products over one input whose weights stand one below the other.
            let stacked = weight.0.iter().skip(1).map(|_| (true, "product of the same input"));
            let finish = [(bias.is_some(), "bias added"), (activation.is_some(), "activation applied")];
            stacked.chain(finish).collect()
        }
        Operation::Gate { .. } => vec![(true, "activation applied")],
        Operation::LayerNorm { residual, .. } => vec![(residual.is_some(), "residual added")],
        Operation::Attention { rotary, distances, .. } => vec![
            (rotary.is_some(), "rotary positions applied"),
            (matches!(distances, Some(Distances::Bias(_))), "bias of distances added"),
            (matches!(distances, Some(Distances::Disentangled(_))), "keys and queries of distances met"),
        ],
        // What the ends of a span bring is added up, and its positive part taken.
        Operation::Spans { .. } => vec![(true, "ends added"), (true, "activation applied")],
        Operation::Add { .. }
        | Operation::Pool { .. }
        | Operation::Pick { .. }
        | Operation::Recurrent { .. }
        | Operation::Normalise { .. } => vec![],
    };
    words.into_iter().filter(|(is_there, _)| *is_there).map(|(_, word)| word).collect()
}

/// Gives each value a slot; one whose value nobody will read any more is given again.
fn places(graph: &Graph) -> Vec<Place> {
    let last = graph.last_uses();
    let mut free: Vec<usize> = Vec::new();
    let mut slots = 0;
    let mut places: Vec<Place> = Vec::new();
    for (place, operation) in graph.operations.iter().enumerate() {
        let slot = free.pop().unwrap_or_else(|| {
            slots += 1;
            slots - 1
        });
        places.push(Place { slot, columns: graph.columns(Value(place)) });
        let mut inputs = Graph::inputs(operation);
        inputs.dedup();
        free.extend(inputs.iter().filter(|value| last[value.0] == place).map(|value| places[value.0].slot));
    }
    places
}
