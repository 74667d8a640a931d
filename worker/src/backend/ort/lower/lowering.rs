//! Operation after operation, each by the file that knows its kind.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::quantise;
use super::sheet::{Sheet, integer};
use super::style::{Dialect, Input, Style};
use crate::backend::ort::onnx::{self, Dimension, Element, Port, Tensor};
use crate::model::graph::{Distances, Graph, Operation, Rows, Stack, Value, Weight};
use crate::model::{ModelError, Weights};
use crate::task::Task;

pub struct Lowered<'w> {
    pub graph: onnx::Graph<'w>,
    pub inputs: Vec<Input>,
}

/// Lowers a network.
pub fn lower<'w>(graph: &'w Graph, weights: &'w Weights, style: Style) -> Result<Lowered<'w>, ModelError> {
    let mut lowering = Lowering::new(graph, weights, style);
    for operation in &graph.operations {
        let shown = lowering.operation(operation)?;
        lowering.values.push(shown);
    }
    lowering.finish()
}

/// What stands for a value of the network in the sheet.
#[derive(Debug, Clone)]
pub enum Shown<'w> {
    One(String),
    /// Its columns, shared out among several: queries, keys and values, or the halves of a gate.
    Parts(Vec<String>),
    /// The same, or all columns in one, and what is still to be added to them: whoever reads it may do so in passing.
    Biased(Vec<String>, &'w Stack),
}

/// What makes some tokens count less than others.
pub struct Seen<'w> {
    pub window: Option<usize>,
    pub distances: Option<&'w Distances>,
}

pub struct Lowering<'w> {
    pub graph: &'w Graph,
    pub weights: &'w Weights,
    pub style: Style,
    pub sheet: Sheet<'w>,
    pub values: Vec<Shown<'w>>,
    pub inputs: Vec<Input>,
    /// What several operations share, by a name of our own.
    pub shared: HashMap<String, String>,
}

impl<'w> Lowering<'w> {
    pub fn new(graph: &'w Graph, weights: &'w Weights, style: Style) -> Self {
        let inputs = match style.dialect {
            Dialect::Cuda => vec![],
            // The mask tells the shape.
            Dialect::Fused | Dialect::Plain => vec![Input::Ids, Input::Mask],
        };
        Lowering {
            graph,
            weights,
            style,
            sheet: Sheet::default(),
            values: Vec::new(),
            inputs,
            shared: HashMap::new(),
        }
    }

    pub fn operation(&mut self, operation: &'w Operation) -> Result<Shown<'w>, ModelError> {
        match operation {
            Operation::Embedding { words, positions, types } => {
                self.embedding(words, positions.as_ref(), types.as_ref())
            }
            // ONNX's operator takes the product with the words on itself.
            Operation::Linear { .. } if self.is_for_recurrence(Value(self.values.len())) => {
                Ok(Shown::One(String::new()))
            }
            Operation::Linear { input, weight, bias, activation } => {
                let parts = self.parts_wanted(Value(self.values.len()));
                self.linear(*input, weight, bias.as_ref(), *activation, parts)
            }
            Operation::Gate { input, activation } => self.gate(*input, *activation),
            Operation::Add { left, right } => {
                let element = self.element(Value(self.values.len()));
                let sides = [self.one_as(*left, element)?, self.one_as(*right, element)?];
                Ok(Shown::One(self.sheet.operator("Add", &[&sides[0], &sides[1]], vec![])))
            }
            Operation::LayerNorm { input, residual, weight, bias, epsilon } => {
                self.layer_norm(*input, *residual, weight, bias.as_ref(), *epsilon)
            }
            Operation::Attention { qkv, heads, window, rotary, distances } => {
                let seen = Seen { window: *window, distances: distances.as_ref() };
                self.attention(*qkv, *heads, *rotary, &seen)
            }
            Operation::Pool { input, pooling } => self.pool(*input, *pooling),
            Operation::Normalise { input } => self.normalise(*input),
            Operation::Pick { input, marked } => self.pick(*input, *marked),
            Operation::Recurrent { gates, directions } => self.recurrent(*gates, directions),
            Operation::Spans { starts, ends, labels, width, count } => {
                self.spans([*starts, *ends, *labels], *width, *count)
            }
        }
    }

    fn is_for_recurrence(&self, value: Value) -> bool {
        let mut readers =
            self.graph.operations.iter().filter(|operation| Graph::inputs(operation).contains(&value));
        matches!((readers.next(), readers.next()), (Some(Operation::Recurrent { .. }), None))
    }

    /// How many products a value is best computed as: its readers say.
    pub fn parts_wanted(&self, value: Value) -> usize {
        let mut readers =
            self.graph.operations.iter().filter(|operation| Graph::inputs(operation).contains(&value));
        match (readers.next(), readers.next()) {
            (Some(Operation::Attention { .. }), None) => 3,
            (Some(Operation::Gate { .. }), None) => 2,
            _ => 1,
        }
    }

    /// A value under one name, put together if it's in parts.
    pub fn one(&mut self, value: Value) -> Result<String, ModelError> {
        let mut parts = self.parts(value)?;
        let name = match parts.as_slice() {
            [_] => parts.swap_remove(0),
            _ => {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                self.sheet.operator("Concat", &parts, vec![integer("axis", -1)])
            }
        };
        self.values[value.0] = Shown::One(name.clone());
        Ok(name)
    }

    /// A value in as many parts as it was made in, with all that belongs to it.
    pub fn parts(&mut self, value: Value) -> Result<Vec<String>, ModelError> {
        let (products, bias) = match self.values[value.0].clone() {
            Shown::One(name) => return Ok(vec![name]),
            Shown::Parts(parts) => return Ok(parts),
            Shown::Biased(products, bias) => (products, bias),
        };
        let element = self.element(value);
        let share = bias.rows() / products.len();
        let mut parts = Vec::with_capacity(products.len());
        for (place, product) in products.iter().enumerate() {
            let bias = self.stack_as(bias, place * share..(place + 1) * share, element)?;
            parts.push(self.sheet.operator("Add", &[product, &bias], vec![]));
        }
        self.values[value.0] = Shown::Parts(parts.clone());
        Ok(parts)
    }

    /// A value under one name, as numbers of this kind.
    pub fn one_as(&mut self, value: Value, element: Element) -> Result<String, ModelError> {
        let (name, own) = (self.one(value)?, self.element(value));
        if own == element {
            return Ok(name);
        }
        self.shared(&format!("{element:?} {name}"), |lowering| Ok(lowering.sheet.cast(&name, element)))
    }

    /// What the numbers of a value are. fp32 where digits make the answer, and where it costs nothing: a row a text, the
    /// last product before the answer, and rows of length one.
    pub fn element(&self, value: Value) -> Element {
        let activations = self.style.activations();
        match self.graph.operation(value) {
            _ if self.graph.rows(value) != Rows::Tokens => Element::Float32,
            Operation::Normalise { .. } => Element::Float32,
            Operation::Linear { weight, .. } if weight.rows() < quantise::LEAST_OUTPUTS => Element::Float32,
            _ => activations,
        }
    }

    /// What was made under this name before, or else is made now.
    pub fn shared(
        &mut self,
        key: &str,
        make: impl FnOnce(&mut Self) -> Result<String, ModelError>,
    ) -> Result<String, ModelError> {
        if let Some(name) = self.shared.get(key) {
            return Ok(name.clone());
        }
        let name = make(self)?;
        self.shared.insert(key.to_owned(), name.clone());
        Ok(name)
    }

    pub fn input(&mut self, input: Input) -> &'static str {
        if !self.inputs.contains(&input) {
            self.inputs.push(input);
        }
        input.name()
    }

    /// A weight as it lies in the checkpoint.
    pub fn weight(&mut self, weight: &'w Weight) -> Result<String, ModelError> {
        let floats = self.weights.floats(&weight.name)?;
        Ok(self.sheet.floats(&weight.name, &weight.shape, floats))
    }

    /// A weight as numbers of this kind.
    pub fn weight_as(&mut self, weight: &'w Weight, element: Element) -> Result<String, ModelError> {
        if element == Element::Float32 {
            return self.weight(weight);
        }
        let floats = self.weights.floats(&weight.name)?;
        let tensor = Tensor::of(format!("{} {element:?}", weight.name), element, &weight.shape, &floats);
        drop(floats);
        // What was converted is held once: here, and not in the file's pages as well.
        self.weights.release(&weight.name);
        Ok(self.sheet.tensor(tensor))
    }

    /// Some rows of a stack as numbers of this kind.
    pub fn stack_as(
        &mut self,
        stack: &'w Stack,
        rows: Range<usize>,
        element: Element,
    ) -> Result<String, ModelError> {
        let is_matrix = stack.0.first().is_some_and(|part| part.shape.len() > 1);
        let shape = [rows.len(), stack.columns()];
        let shape = if is_matrix { &shape[..] } else { &shape[..1] };
        let (name, floats) = self.rows_of(stack, rows)?;
        if element == Element::Float32 {
            return Ok(self.sheet.floats(&name, shape, floats));
        }
        Ok(self.sheet.tensor(Tensor::of(format!("{name} {element:?}"), element, shape, &floats)))
    }

    /// Some rows of a stack, and a name for them. They're copied only where they belong to several weights.
    pub fn rows_of(
        &self,
        stack: &'w Stack,
        rows: Range<usize>,
    ) -> Result<(String, Cow<'w, [f32]>), ModelError> {
        let (columns, mut start) = (stack.columns(), 0);
        let mut found: Option<(String, Cow<'w, [f32]>)> = None;
        for part in &stack.0 {
            let end = start + part.shape[0];
            let wanted = rows.start.max(start)..rows.end.min(end);
            if wanted.start < wanted.end {
                let whole = wanted == (start..end);
                let within = (wanted.start - start) * columns..(wanted.end - start) * columns;
                let floats = match self.weights.floats(&part.name)? {
                    Cow::Borrowed(floats) => Cow::Borrowed(&floats[within]),
                    Cow::Owned(floats) if whole => Cow::Owned(floats),
                    Cow::Owned(floats) => Cow::Owned(floats[within].to_vec()),
                };
                let name =
                    if whole { part.name.clone() } else { format!("{}.{}", part.name, wanted.start - start) };
                found = Some(match found {
                    None => (name, floats),
                    Some((first, before)) => {
                        (format!("{first}+{name}"), [&before[..], &floats[..]].concat().into())
                    }
                });
            }
            start = end;
        }
        found.ok_or_else(|| ModelError::Missing("a product's weight".into()))
    }

    /// The lengths of a padded batch, and what follows them.
    pub fn padded_shape(&mut self, rest: &[i64]) -> Result<String, ModelError> {
        self.shared(&format!("shape {rest:?}"), |lowering| {
            let batch = lowering.shared("shape", |lowering| {
                Ok(lowering.sheet.operator("Shape", &[Input::Mask.name()], vec![]))
            })?;
            let rest = lowering.sheet.integers(&[rest.len()], rest);
            Ok(lowering.sheet.operator("Concat", &[&batch, &rest], vec![integer("axis", 0)]))
        })
    }

    /// From a row a token to `[batch, sequence, columns]`.
    pub fn padded(&mut self, rows: &str, columns: usize) -> Result<String, ModelError> {
        if self.style.packed {
            let places = self.input(Input::PaddedRows);
            return Ok(self.sheet.operator("Gather", &[rows, places], vec![integer("axis", 0)]));
        }
        let shape = self.padded_shape(&[columns as i64])?;
        Ok(self.sheet.operator("Reshape", &[rows, &shape], vec![]))
    }

    /// From places to a row a token: what [`padded`](Self::padded) did, undone.
    pub fn tokens(&mut self, places: &str, columns: usize) -> String {
        let shape = self.sheet.integers(&[2], &[-1, columns as i64]);
        let rows = self.sheet.operator("Reshape", &[places, &shape], vec![]);
        if self.style.packed {
            let tokens = self.input(Input::PackedRows);
            return self.sheet.operator("Gather", &[&rows, tokens], vec![integer("axis", 0)]);
        }
        rows
    }

    /// The mask as floats, `[batch, sequence]`.
    pub fn mask(&mut self) -> Result<String, ModelError> {
        self.shared("mask", |lowering| {
            let mask = lowering.input(Input::Mask);
            Ok(lowering.sheet.cast(mask, Element::Float32))
        })
    }

    pub fn finish(mut self) -> Result<Lowered<'w>, ModelError> {
        let output = self.graph.output();
        let (columns, rows) = (self.graph.columns(output), self.graph.rows(output));
        let mut last = self.one_as(output, Element::Float32)?;
        let named = Dimension::Named;
        let mut shape = vec![named("batch"), Dimension::Fixed(columns)];
        if rows == Rows::Words {
            shape[0] = named("words of all");
        }
        if rows == Rows::Tokens {
            if self.style.packed {
                shape[0] = named("tokens");
            } else {
                last = self.padded(&last, columns)?;
                shape.insert(1, named("sequence"));
            }
        }
        let name = match self.graph.task {
            Task::Embed => "sentence_embedding",
            Task::Classify | Task::Rerank | Task::Entities => "logits",
            Task::Sparse => "token_weights",
            Task::MultiVector => "token_embeddings",
        };
        self.sheet.operator_named("Identity", &last, name);
        let packed = self.style.packed;
        let ports = self.inputs.iter().map(|input| Port {
            name: input.name(),
            element: input.element(),
            shape: input.shape(packed),
        });
        let graph = onnx::Graph {
            inputs: ports.collect(),
            outputs: vec![Port { name, element: Element::Float32, shape }],
            nodes: self.sheet.nodes,
            tensors: self.sheet.tensors.into_values().collect(),
        };
        Ok(Lowered { graph, inputs: self.inputs })
    }
}
