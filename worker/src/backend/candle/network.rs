//! Executes a graph: each operation made ready once, with its weights, and run for each batch.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use candle_core::Result;
use rayon::prelude::*;

use super::kernel::attention::{self, Attention, DistanceBias, Rotary, attend};
use super::kernel::called::{Kernel, called};
use super::kernel::disentangled::{DistanceTables, TableRows};
use super::kernel::norm::{self, LayerNorm};
use super::kernel::product::Panels;
use super::kernel::recurrent::{self, Direction};
use super::kernel::spans::{self, Spans};
use super::kernel::{Crew, activation};
use super::plan::{self, Place, Plan};
use super::precision::Precision;
use super::slot::Slot;
use super::weight::{Product, Table, vector};
use crate::backend::Batch;
use crate::backend::disentangled::ByDistance;
use crate::model::graph::{
    self, Activation, Graph, Marked, Operation, Pooling, RelativeBias, Rows, Value, Weight, score_scale,
};
use crate::model::{Model, ModelError, Weights};

pub struct Network {
    steps: Vec<Step>,
    /// For each thread slots of its own; the first are everybody's when all work on one batch.
    slots: Vec<Mutex<Vec<Slot>>>,
    output: Place,
    rows: Rows,
}

/// Tokens that one thread takes through the whole network: few enough that what they become stays in its own cache, and
/// enough that reading the weights pays.
const SHARE: usize = 48;

/// An operation with what it needs at hand.
struct Step {
    kind: Kind,
    planned: plan::Step,
}

enum Kind {
    Embedding {
        words: Table,
        positions: Option<(Table, usize)>,
        types: Option<Table>,
    },
    Linear(Product),
    Gate(Activation),
    Add,
    LayerNorm {
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
        epsilon: f32,
    },
    Attention {
        heads: usize,
        scale: f32,
        window: Option<usize>,
        rotary: Option<Arc<Rotary>>,
        distances: Option<Distances>,
    },
    Pool(Pooling),
    Normalise,
    Pick(Marked),
    Recurrent(Box<[Direction; 2]>),
    Spans {
        width: usize,
        count: usize,
    },
}

/// What distances say: a bias that all layers share, or tables of a layer's own.
enum Distances {
    Bias(Arc<DistanceBias>),
    Disentangled(DistanceTables),
}

impl Distances {
    fn shown(&self) -> attention::Distances<'_> {
        match self {
            Distances::Bias(bias) => attention::Distances::Bias(bias),
            Distances::Disentangled(tables) => attention::Distances::Disentangled(tables),
        }
    }
}

impl Network {
    pub fn new(model: &Model, precision: Precision) -> std::result::Result<Self, String> {
        let weights = Arc::new(model.weights.clone());
        let graph = &model.graph;
        let plan = Plan::of(graph, precision);
        let slots = plan.slots();
        let mut maker = Maker { graph, weights, rotary: HashMap::new(), bias: None, row_of: None };
        let mut steps = Vec::new();
        for ((place, operation), planned) in graph.operations.iter().enumerate().zip(plan.steps) {
            steps.push(Step { kind: maker.kind(Value(place), operation, planned.precision)?, planned });
        }
        let own = |_| (0..slots).map(|_| Slot::new()).collect::<Result<_>>().map(Mutex::new);
        let slots = (0..rayon::current_num_threads()).map(own).collect::<Result<_>>();
        let slots = slots.map_err(|error| error.to_string())?;
        let last = steps.last().map(|step| step.planned.clone()).ok_or("a graph without operations")?;
        Ok(Network { steps, slots, output: last.output, rows: last.rows })
    }

    /// The output's row for each sequence; for outputs that have one for each token, those of its tokens.
    ///
    /// Where there are texts enough each thread takes some of them through the whole network, by itself: nobody waits for
    /// anybody, and what a text becomes stays in a cache. A few texts are worked on by all threads together.
    pub fn run(&self, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        let threads = self.slots.len();
        if threads == 1 {
            return self.share(batch, Crew::Alone);
        }
        let mut shares: Vec<(usize, Batch)> = batch.shares(SHARE).into_iter().enumerate().collect();
        if shares.len() < 2 * threads {
            return self.share(batch, Crew::All);
        }
        // The longest first, so that none is left over when the others are done.
        shares.sort_by_key(|(_, share)| std::cmp::Reverse(share.ids.len()));
        let run = |(place, share): (usize, Batch)| Ok((place, self.share(&share, Crew::Alone)?));
        let mut done: Vec<(usize, Vec<Vec<f32>>)> =
            shares.into_par_iter().with_max_len(1).map(run).collect::<Result<_>>()?;
        done.sort_by_key(|(place, _)| *place);
        Ok(done.into_iter().flat_map(|(_, rows)| rows).collect())
    }

    fn share(&self, batch: &Batch, crew: Crew) -> Result<Vec<Vec<f32>>> {
        let own = match crew {
            Crew::Alone => rayon::current_thread_index().unwrap_or(0),
            Crew::All => 0,
        };
        let mut slots = self.slots[own].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sequences: Vec<Range<usize>> = batch.rows().collect();
        for step in &self.steps {
            let plan::Step { output, rows, .. } = &step.planned;
            slots[output.slot].reserve(batch.count(*rows) * output.columns)?;
        }
        for step in &self.steps {
            step.run(&slots, batch, &sequences, batch.count(step.planned.rows), crew)?;
        }
        let Place { slot, columns } = self.output;
        slots[slot].read(batch.count(self.rows) * columns, |numbers| {
            let rows = batch.answers(self.rows).into_iter();
            rows.map(|rows| numbers[rows.start * columns..rows.end * columns].to_vec()).collect()
        })
    }
}

/// Makes operations ready, and shares what several of them read.
struct Maker<'a> {
    graph: &'a Graph,
    weights: Arc<Weights>,
    rotary: HashMap<u32, Arc<Rotary>>,
    bias: Option<Arc<DistanceBias>>,
    /// The row of each distance in DeBERTa's tables.
    row_of: Option<Arc<[u32]>>,
}

impl Maker<'_> {
    fn kind(
        &mut self,
        value: Value,
        operation: &Operation,
        precision: Precision,
    ) -> std::result::Result<Kind, String> {
        let said = |error: ModelError| error.to_string();
        let weights = &self.weights;
        let table = |weight: &Weight| Table::new(weights, weight).map_err(said);
        let numbers = |weight: &Weight| vector(weights, std::slice::from_ref(weight)).map_err(said);
        Ok(match operation {
            Operation::Embedding { words, positions, types } => Kind::Embedding {
                words: table(words)?,
                positions: positions
                    .as_ref()
                    .map(|at| Ok::<_, String>((table(&at.table)?, at.first)))
                    .transpose()?,
                types: types.as_ref().map(table).transpose()?,
            },
            Operation::Linear { weight, bias, activation, .. } => {
                Kind::Linear(Product::new(weights, weight, bias.as_ref(), *activation, precision)?)
            }
            Operation::Gate { activation, .. } => Kind::Gate(*activation),
            Operation::Add { .. } => Kind::Add,
            Operation::LayerNorm { weight, bias, epsilon, .. } => Kind::LayerNorm {
                weight: numbers(weight)?,
                bias: bias.as_ref().map(numbers).transpose()?,
                epsilon: *epsilon,
            },
            Operation::Attention { heads, window, rotary, distances, .. } => {
                let size = self.graph.columns(value) / heads;
                let positions = self.graph.most_tokens;
                let scale = score_scale(size, distances.as_ref());
                let distances = match distances {
                    None => None,
                    Some(graph::Distances::Bias(bias)) => {
                        let table = numbers(&bias.table)?;
                        let make = || Arc::new(distance_bias(bias, &table, *heads, positions));
                        Some(Distances::Bias(Arc::clone(self.bias.get_or_insert_with(make))))
                    }
                    Some(graph::Distances::Disentangled(network)) => {
                        let made = ByDistance::of(network, weights).map_err(said)?;
                        let count = network.table.shape[0];
                        let rows = TableRows { keys: &made.keys, queries: &made.queries, count };
                        let row_of =
                            Arc::clone(self.row_of.get_or_insert_with(|| network.rows(positions).into()));
                        Some(Distances::Disentangled(DistanceTables::new(&rows, *heads, scale, row_of)))
                    }
                };
                Kind::Attention {
                    heads: *heads,
                    scale,
                    window: *window,
                    rotary: rotary.map(|base| {
                        let rotary = self.rotary.entry(base.to_bits());
                        Arc::clone(rotary.or_insert_with(|| Arc::new(Rotary::new(base, size, positions))))
                    }),
                    distances,
                }
            }
            Operation::Pool { pooling, .. } => Kind::Pool(*pooling),
            Operation::Normalise { .. } => Kind::Normalise,
            Operation::Pick { marked, .. } => Kind::Pick(*marked),
            Operation::Recurrent { directions, .. } => {
                let [there, back] = &**directions;
                let direction = |direction: &graph::Direction| {
                    let [outputs, size] = [direction.weight.shape[0], direction.weight.shape[1]];
                    let mut weights = Panels::new(outputs, size);
                    weights.fill(0, &numbers(&direction.weight)?);
                    Ok::<_, String>(Direction { weights, bias: numbers(&direction.bias)?, size })
                };
                Kind::Recurrent(Box::new([direction(there)?, direction(back)?]))
            }
            Operation::Spans { width, count, .. } => Kind::Spans { width: *width, count: *count },
        })
    }
}

/// The bias of each distance for each head, out of the table by buckets.
pub fn distance_bias(bias: &RelativeBias, table: &[f32], heads: usize, positions: usize) -> DistanceBias {
    let furthest = positions as isize - 1;
    let of = |head: usize, distance: isize| table[bias.bucket(distance) * heads + head];
    let table = (0..heads).flat_map(|head| (-furthest..=furthest).map(move |distance| (head, distance)));
    DistanceBias { positions, table: table.map(|(head, distance)| of(head, distance)).collect() }
}

impl Step {
    fn run(
        &self,
        slots: &[Slot],
        batch: &Batch,
        sequences: &[Range<usize>],
        rows: usize,
        crew: Crew,
    ) -> Result<()> {
        let columns = self.planned.output.columns;
        let output = &slots[self.planned.output.slot];
        let input = |place: usize| &slots[self.planned.inputs[place].slot];
        let count = rows * columns;
        match &self.kind {
            Kind::Embedding { words, positions, types } => {
                let lookup = Lookup { words, positions: positions.as_ref(), types: types.as_ref() };
                called(Kernel::Embedding);
                output.fill(count, |output| lookup.run(batch, sequences, columns, output))
            }
            Kind::Linear(product) => product.run(rows, input(0), output, crew),
            Kind::Gate(kind) => output.map(count, input(0), |output, input| {
                called(Kernel::Gate);
                let rows = output.chunks_mut(columns).zip(input.chunks(2 * columns));
                crew.each(rows, |(output, both)| {
                    let (numbers, gates) = both.split_at(columns);
                    output.copy_from_slice(numbers);
                    activation::gate(*kind, output, gates);
                });
                Ok(())
            }),
            Kind::Add => output.combine(count, input(0), input(1), |output, left, right| {
                called(Kernel::Sum);
                norm::add(&left[..count], &right[..count], output);
                Ok(())
            }),
            Kind::LayerNorm { weight, bias, epsilon } => {
                let norm = LayerNorm { weight, bias: bias.as_deref(), epsilon: *epsilon };
                match self.planned.inputs.len() {
                    1 => output.map(count, input(0), |output, input| {
                        called(Kernel::Norm);
                        norm::layer_norm(&norm, input, None, output, crew);
                        Ok(())
                    }),
                    _ => output.combine(count, input(0), input(1), |output, input, residual| {
                        called(Kernel::Norm);
                        norm::layer_norm(&norm, input, Some(residual), output, crew);
                        Ok(())
                    }),
                }
            }
            Kind::Attention { heads, scale, window, rotary, distances } => {
                let attention = Attention {
                    heads: *heads,
                    size: columns / heads,
                    scale: *scale,
                    window: *window,
                    rotary: rotary.as_deref(),
                    distances: distances.as_ref().map(Distances::shown),
                };
                output.map(count, input(0), |output, qkv| {
                    called(Kernel::Attention);
                    attend(&attention, qkv, sequences, output, crew);
                    Ok(())
                })
            }
            Kind::Pool(pooling) => output.map(count, input(0), |output, input| {
                called(Kernel::Pooling);
                for (output, sequence) in output.chunks_exact_mut(columns).zip(sequences) {
                    let tokens = match pooling {
                        Pooling::Mean => sequence.clone(),
                        Pooling::First => sequence.start..sequence.end.min(sequence.start + 1),
                        Pooling::Last => sequence.end.saturating_sub(1).max(sequence.start)..sequence.end,
                    };
                    norm::mean_row(&input[tokens.start * columns..tokens.end * columns], columns, output);
                }
                Ok(())
            }),
            Kind::Normalise => output.map(count, input(0), |output, input| {
                called(Kernel::Length);
                output.copy_from_slice(&input[..count]);
                norm::unit_rows(output, columns);
                Ok(())
            }),
            Kind::Pick(marked) => output.map(count, input(0), |output, input| {
                called(Kernel::Picking);
                let rows = batch.picked(*marked);
                for (output, row) in output.chunks_exact_mut(columns).zip(rows) {
                    match row {
                        Some(row) => output.copy_from_slice(&input[row * columns..(row + 1) * columns]),
                        None => output.fill(0.0),
                    }
                }
                Ok(())
            }),
            Kind::Recurrent(directions) => output.map(count, input(0), |output, gates| {
                called(Kernel::Recurrence);
                recurrent::read(directions, gates, &batch.answers(Rows::Words), output, crew);
                Ok(())
            }),
            Kind::Spans { width, count: labels_of_text } => {
                let (starts, labels) = (&self.planned.inputs[0], &self.planned.inputs[2]);
                slots[labels.slot].read(batch.count(Rows::Labels) * labels.columns, |labels| {
                    output.combine(count, input(0), input(1), |output, left, right| {
                        called(Kernel::Spans);
                        let (size, width, count) = (starts.columns, *width, *labels_of_text);
                        let spans = Spans { starts: left, ends: right, labels, size, width, count };
                        spans::score(&spans, &batch.answers(Rows::Words), output, crew);
                        Ok(())
                    })
                })?
            }
        }
    }
}

/// The sum of what the tables say of each token.
struct Lookup<'a> {
    words: &'a Table,
    positions: Option<&'a (Table, usize)>,
    types: Option<&'a Table>,
}

impl Lookup<'_> {
    fn run(&self, batch: &Batch, sequences: &[Range<usize>], width: usize, output: &mut [f32]) -> Result<()> {
        let wrap = candle_core::Error::wrap;
        let words = self.words.rows().map_err(wrap)?;
        let positions = self.positions.map(|(table, first)| Ok((table.rows()?, *first)));
        let positions = positions.transpose().map_err(|error: ModelError| wrap(error))?;
        let types = self.types.map(Table::rows).transpose().map_err(wrap)?;
        let missing =
            |what: &str, row: usize| candle_core::Error::msg(format!("no {what} {row} in its table"));
        // What lies between the sequences is padding, and stays out of every sequence's way as zeros.
        if sequences.iter().map(ExactSizeIterator::len).sum::<usize>() < batch.ids.len() {
            output.fill(0.0);
        }
        for sequence in sequences {
            for (position, token) in sequence.clone().enumerate() {
                let row = &mut output[token * width..(token + 1) * width];
                let id = batch.ids[token] as usize;
                row.copy_from_slice(words.get(id).ok_or_else(|| missing("word", id))?);
                if let Some((table, first)) = &positions {
                    let place = first + position;
                    add(row, table.get(place).ok_or_else(|| missing("position", place))?);
                }
                if let Some(table) = &types {
                    let kind = batch.types[token] as usize;
                    add(row, table.get(kind).ok_or_else(|| missing("type", kind))?);
                }
            }
        }
        Ok(())
    }
}

fn add(row: &mut [f32], other: &[f32]) {
    row.iter_mut().zip(other).for_each(|(number, other)| *number += other);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::backend::candle::kernel::called::noted;
    use crate::model::Encoding;
    use crate::task::Task;

    /// Runs every model of the fixtures at every precision, one batch on one thread.
    #[test]
    fn what_is_called_is_what_is_planned() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models");
        let folders = std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path());
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let text =
            |ids: &[u32]| Encoding { ids: ids.into(), types: vec![0; ids.len()], ..Encoding::default() };
        let batch = Batch::new(&[text(&[1, 2, 3]), text(&[2, 1])], false);
        let mut networks = 0;
        for folder in folders {
            for model in Task::ALL.into_iter().filter_map(|task| Model::open(&folder, task, None).ok()) {
                for precision in [Precision::Float, Precision::Half, Precision::Eight] {
                    let (called, slots, numbers, answers) = alone.install(|| {
                        let network = Network::new(&model, precision).unwrap();
                        noted::take();
                        let answers = network.run(&batch).unwrap();
                        let slots = network.slots[0].lock().unwrap();
                        let numbers = slots.iter().map(Slot::count).sum::<usize>();
                        (noted::take(), slots.len(), numbers, answers)
                    });
                    let plan = Plan::of(&model.graph, precision);
                    assert_eq!(called, plan.kernels(), "{} at {precision:?}", folder.display());
                    assert_eq!(plan.allocations()["for slots of a thread"], slots as u64);
                    let answers: usize = answers.iter().map(|row| size_of_val(&row[..])).sum();
                    let copied = plan.copied(|rows| batch.count(rows), batch.lengths.iter().sum());
                    assert_eq!(copied["from the engine"], answers as u64, "{}", folder.display());
                    let bytes = plan.slot_bytes(|rows| batch.count(rows));
                    assert_eq!((numbers * size_of::<f32>()) as u64, bytes, "{}", folder.display());
                    networks += 1;
                }
            }
        }
        assert!(networks > 60, "{networks}");
    }
}
