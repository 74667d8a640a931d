//! Executes a graph on the card: each operation made ready once, with its weights, and put on the stream for each batch.

use std::collections::HashMap;
use std::rc::Rc;

use candle_core::{DType, Result, Tensor};

use super::device::{Card, failed};
use super::kernels::{self, Attention, Distances, Kernels, Norm, Sequences, Tables};
use super::weight::{self, Product};
use super::words::Layout;
use super::{Choice, weight::tensor};
use crate::backend::BackendError;
use crate::backend::candle::kernel::attention::Rotary;
use crate::backend::candle::network::distance_bias;
use crate::backend::disentangled::ByDistance;
use crate::model::graph::{self, Activation, Graph, Operation, Pooling, Rows, Value, Weight, score_scale};
use crate::model::{Model, Weights};

pub struct Network {
    steps: Vec<Step>,
    /// The place of the last step that reads each value.
    last_uses: Vec<usize>,
    kernels: Rc<Kernels>,
    rows: Rows,
    columns: usize,
}

/// An operation with what it needs at hand.
struct Step {
    kind: Kind,
    inputs: Vec<Value>,
}

enum Kind {
    Embedding {
        words: Tensor,
        positions: Option<(Tensor, usize)>,
        types: Option<Tensor>,
    },
    Linear {
        product: Product,
        activation: Option<Activation>,
        head: bool,
        bias_is_left: bool,
    },
    Gate(Activation),
    Add,
    LayerNorm {
        weight: Tensor,
        shift: Option<Tensor>,
        epsilon: f32,
    },
    Attention {
        heads: usize,
        scale: f32,
        window: Option<usize>,
        turns: Option<Tensor>,
        distances: Option<Distances>,
    },
    Pool(Pooling),
    Normalise,
}

/// What a value is while the graph runs.
struct Held {
    tensor: Tensor,
    /// The bias of the product that made it, which whoever reads it adds on the way: a pass over memory less.
    bias: Option<Tensor>,
}

impl Held {
    fn whole(tensor: Tensor) -> Held {
        Held { tensor, bias: None }
    }
}

impl Network {
    pub fn new(model: &Model, card: &Card, choice: Choice) -> std::result::Result<Self, BackendError> {
        let graph = &model.graph;
        let device = card.candle.clone();
        let mut maker = Maker {
            graph,
            weights: &model.weights,
            device,
            choice,
            turns: HashMap::new(),
            bias: None,
            row_of: None,
        };
        let mut steps = Vec::with_capacity(graph.operations.len());
        for (place, operation) in graph.operations.iter().enumerate() {
            let kind = maker.kind(Value(place), operation).map_err(failed)?;
            steps.push(Step { kind, inputs: Graph::inputs(operation) });
        }
        let output = graph.output();
        let (rows, columns) = (graph.rows(output), graph.columns(output));
        Ok(Network { steps, last_uses: graph.last_uses(), kernels: Rc::clone(&card.kernels), rows, columns })
    }

    /// Puts all operations on the stream. `address` is where the batch's words are by the time that they run; what comes
    /// back is where the output, of fp32, will be.
    pub fn run(&self, batch: &Layout, address: u64) -> Result<Tensor> {
        let mut values: Vec<Option<Held>> = Vec::with_capacity(self.steps.len());
        for (place, step) in self.steps.iter().enumerate() {
            let made = self.step(step, &values, batch, address)?;
            values.push(Some(made));
            // Memory that nobody will read any more is the next operation's: in the order of the stream it's free.
            for input in &step.inputs {
                if self.last_uses[input.0] == place {
                    values[input.0] = None;
                }
            }
        }
        let Some(Some(output)) = values.pop() else { candle_core::bail!("a graph without operations") };
        self.kernels.widen(&output.tensor)
    }

    fn step(&self, step: &Step, values: &[Option<Held>], batch: &Layout, address: u64) -> Result<Held> {
        let kernels = &*self.kernels;
        let input = |place: usize| -> Result<&Held> {
            let held = step.inputs.get(place).and_then(|value| values[value.0].as_ref());
            held.ok_or_else(|| candle_core::Error::msg("an operation reads a freed value"))
        };
        let sequences = Sequences {
            count: batch.sequences.len(),
            longest: batch.longest,
            starts: batch.starts(address),
            lengths: batch.lengths(address),
        };
        Ok(Held::whole(match &step.kind {
            Kind::Embedding { words, positions, types } => {
                let positions = positions.as_ref().map(|(table, first)| (table, *first));
                let tables = Tables { words, types: types.as_ref(), positions };
                let (ids, kinds) = (batch.ids(address), batch.types(address));
                kernels.embed(&tables, ids, kinds, batch.positions(address), batch.tokens)?
            }
            Kind::Linear { product, activation, head, bias_is_left } => {
                let from = &input(0)?.tensor;
                let made = if *head {
                    product.run(kernels, &kernels.widen(from)?)?
                } else {
                    product.run(kernels, from)?
                };
                if *bias_is_left {
                    return Ok(Held { tensor: made, bias: product.bias.clone() });
                }
                if product.bias.is_some() || activation.is_some() {
                    kernels.bias_activation(&made, product.bias.as_ref(), *activation)?;
                }
                made
            }
            Kind::Gate(activation) => kernels.gate(&input(0)?.tensor, *activation)?,
            Kind::Add => kernels.sum(&input(0)?.tensor, &input(1)?.tensor)?,
            Kind::LayerNorm { weight, shift, epsilon } => {
                let residual = if step.inputs.len() > 1 { Some(&input(1)?.tensor) } else { None };
                let norm = Norm { weight, shift: shift.as_ref(), epsilon: *epsilon };
                let Held { tensor, bias } = input(0)?;
                kernels.layer_norm(&norm, tensor, bias.as_ref(), residual)?
            }
            Kind::Attention { heads, scale, window, turns, distances } => {
                let Held { tensor, bias } = input(0)?;
                if let Some(turns) = turns {
                    kernels.rotate(tensor, batch.positions(address), turns, *heads)?;
                }
                let distances = distances.as_ref();
                let attention = Attention { heads: *heads, scale: *scale, window: *window, distances };
                kernels.attend(&attention, tensor, bias.as_ref(), sequences)?
            }
            Kind::Pool(pooling) => kernels.pool(&input(0)?.tensor, *pooling, sequences)?,
            Kind::Normalise => kernels.unit_rows(&kernels.widen(&input(0)?.tensor)?)?,
        }))
    }

    /// The output's row for each sequence; for outputs that have one for each token, those of its tokens.
    pub fn rows(&self, batch: &Layout, numbers: &[f32]) -> Vec<Vec<f32>> {
        let columns = self.columns;
        let row = |(place, sequence): (usize, &std::ops::Range<usize>)| match self.rows {
            Rows::Sequences | Rows::Words | Rows::Labels => {
                numbers[place * columns..(place + 1) * columns].to_vec()
            }
            Rows::Tokens => numbers[sequence.start * columns..sequence.end * columns].to_vec(),
        };
        batch.sequences.iter().enumerate().map(row).collect()
    }
}

/// Makes operations ready, and shares what several of them read.
struct Maker<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    device: candle_core::Device,
    choice: Choice,
    turns: HashMap<u32, Tensor>,
    bias: Option<Tensor>,
    row_of: Option<Tensor>,
}

impl Maker<'_> {
    fn kind(&mut self, value: Value, operation: &Operation) -> Result<Kind> {
        let (weights, device, choice) = (self.weights, &self.device, self.choice);
        let table = |weight: &Weight| weight::one(weights, weight, choice.numbers, device);
        let exact = |weight: &Weight| weight::one(weights, weight, DType::F32, device);
        Ok(match operation {
            Operation::Embedding { words, positions, types } => Kind::Embedding {
                words: table(words)?,
                positions: positions
                    .as_ref()
                    .map(|at| Ok::<_, candle_core::Error>((table(&at.table)?, at.first)))
                    .transpose()?,
                types: types.as_ref().map(table).transpose()?,
            },
            Operation::Linear { weight, bias, activation, .. } => {
                let head = self.graph.is_head(value);
                let choice = if head { Choice { numbers: DType::F32, eight: false } } else { choice };
                let bias_is_left = activation.is_none() && !head && self.graph.readers_add_bias(value);
                let product = Product::new(weights, weight, bias.as_ref(), choice, device)?;
                Kind::Linear { product, activation: *activation, head, bias_is_left }
            }
            Operation::Gate { activation, .. } => Kind::Gate(*activation),
            Operation::Add { .. } => Kind::Add,
            Operation::LayerNorm { weight, bias, epsilon, .. } => Kind::LayerNorm {
                weight: exact(weight)?,
                shift: bias.as_ref().map(exact).transpose()?,
                epsilon: *epsilon,
            },
            Operation::Attention { heads, window, rotary, distances, .. } => {
                let size = self.graph.columns(value) / heads;
                let positions = self.graph.most_tokens;
                let turns = rotary.map(|base| self.turns(base, size, positions)).transpose()?;
                let scale = score_scale(size, distances.as_ref());
                let disentangled = matches!(distances, Some(graph::Distances::Disentangled(_)));
                kernels::attention_depth(size, disentangled)?;
                let distances =
                    distances.as_ref().map(|distances| self.distances(distances, *heads)).transpose()?;
                Kind::Attention { heads: *heads, scale, window: *window, turns, distances }
            }
            Operation::Pool { pooling, .. } => Kind::Pool(*pooling),
            Operation::Normalise { .. } => Kind::Normalise,
            Operation::Pick { .. } | Operation::Recurrent { .. } | Operation::Spans { .. } => {
                candle_core::bail!("an operation that runs on processors only")
            }
        })
    }

    fn distances(&mut self, distances: &graph::Distances, heads: usize) -> Result<Distances> {
        let wrap = candle_core::Error::wrap;
        let positions = self.graph.most_tokens;
        match distances {
            // One table for all layers.
            graph::Distances::Bias(bias) => {
                if self.bias.is_none() {
                    let table = self.weights.floats(&bias.table.name).map_err(wrap)?;
                    let numbers = distance_bias(bias, &table, heads, positions).table;
                    self.bias = Some(tensor(&numbers, &[numbers.len()], DType::F32, &self.device)?);
                }
                let Some(table) = self.bias.clone() else { candle_core::bail!("no table of distances") };
                Ok(Distances::Bias { table, positions })
            }
            graph::Distances::Disentangled(network) => {
                let made = ByDistance::of(network, self.weights).map_err(wrap)?;
                let on_card =
                    |rows: &[f32]| tensor(rows, &network.table.shape, self.choice.numbers, &self.device);
                Ok(Distances::Disentangled {
                    keys: on_card(&made.keys)?,
                    queries: on_card(&made.queries)?,
                    row_of: self.row_of(network, positions)?,
                    positions,
                })
            }
        }
    }

    /// The row of each distance, the same for all layers.
    fn row_of(&mut self, network: &graph::Disentangled, positions: usize) -> Result<Tensor> {
        if let Some(row_of) = &self.row_of {
            return Ok(row_of.clone());
        }
        let rows = network.rows(positions);
        // A tile has room for as many rows as it has distances.
        if rows.windows(2).any(|pair| pair[0].abs_diff(pair[1]) > 1) {
            let most = network.most_distance.unwrap_or(positions);
            candle_core::bail!(
                "no attention kernel on the GPU for {} buckets of distances up to {most}: neighbours are further apart than one",
                network.span()
            );
        }
        let row_of = Tensor::from_slice(&rows, rows.len(), &self.device)?;
        self.row_of = Some(row_of.clone());
        Ok(row_of)
    }

    fn turns(&mut self, base: f32, size: usize, positions: usize) -> Result<Tensor> {
        if let Some(turns) = self.turns.get(&base.to_bits()) {
            return Ok(turns.clone());
        }
        let rotary = Rotary::new(base, size, positions);
        let turns = tensor(rotary.turns(), &[positions, size], DType::F32, &self.device)?;
        self.turns.insert(base.to_bits(), turns.clone());
        Ok(turns)
    }
}
