//! A network as a list of high-level operations, with named weights and symbolic shapes.
//!
//! It's written once, by a file in `arch/`, and read by every engine and by the cost model. A value is a matrix with a
//! row for each token or for each sequence; how tokens are laid out, padded or packed, is the reader's affair.

use super::error::ModelError;
use crate::task::Task;

/// What an operation gives: its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(pub usize);

/// A tensor of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    pub name: String,
    pub shape: Vec<usize>,
}

/// Weights whose rows stand one below the other, so that several products over one input are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack(pub Vec<Weight>);

impl Stack {
    pub fn rows(&self) -> usize {
        self.0.iter().map(|part| part.shape[0]).sum()
    }

    /// The length of a row; 1 for a stack of vectors.
    pub fn columns(&self) -> usize {
        self.0.first().and_then(|part| part.shape.get(1)).copied().unwrap_or(1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// With the error function, exact.
    Gelu,
    /// Its approximation by the hyperbolic tangent.
    GeluTanh,
    Relu,
    Silu,
    Tanh,
}

/// Positions by a learned table, the first of a sequence at row `first`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    pub table: Weight,
    pub first: usize,
}

/// A learned bias of attention that depends on the distance between two tokens (T5's, as MPNet has it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelativeBias {
    /// A row for each bucket of distances, a column for each head.
    pub table: Weight,
    pub most_distance: usize,
}

impl RelativeBias {
    /// The bucket of a distance, key minus query: near ones have one each, far ones share.
    pub fn bucket(&self, distance: isize) -> usize {
        // Half of the buckets are for each direction.
        let half = self.table.shape[0] / 2;
        let direction = if distance > 0 { half } else { 0 };
        let exact = half / 2;
        let distance = distance.unsigned_abs();
        if distance < exact {
            return direction + distance;
        }
        let far = (distance as f64 / exact as f64).ln() / (self.most_distance as f64 / exact as f64).ln();
        direction + (exact + (far * (half - exact) as f64) as usize).min(half - 1)
    }
}

/// Attention by distance as well as by content (DeBERTa's): a query meets the key of its distance to a token, and the token's key
/// meets the query of that distance. Both are made of one table by the products that make the tokens' own.
#[derive(Debug, Clone, PartialEq)]
pub struct Disentangled {
    /// A row for each bucket of distances, those of later tokens first.
    pub table: Weight,
    /// The norm of the table's rows, where they have one.
    pub norm: Option<Norm>,
    pub query: Projection,
    pub key: Projection,
    /// Where far distances share rows: the distance beyond which all have one. Else each has its own, as far as the table goes.
    pub most_distance: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    pub weight: Weight,
    pub bias: Option<Weight>,
    pub epsilon: f32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    pub weight: Weight,
    pub bias: Weight,
}

impl Disentangled {
    /// Rows of the table for one direction.
    pub fn span(&self) -> usize {
        self.table.shape[0] / 2
    }

    /// The row of a distance, key minus query. In single precision, as these models were trained.
    pub fn row(&self, distance: isize) -> usize {
        let span = self.span();
        let near = span / 2;
        let away = distance.unsigned_abs();
        let bucket = match self.most_distance {
            Some(most) if away > near => {
                let far = (away as f32 / near as f32).ln() / ((most - 1) as f32 / near as f32).ln();
                (far * (near - 1) as f32).ceil() as usize + near
            }
            _ => away,
        };
        if distance > 0 { span.saturating_sub(bucket) } else { (span + bucket).min(2 * span - 1) }
    }

    /// The row of each distance in sequences of so many positions, from that of the farthest earlier token on.
    pub fn rows(&self, positions: usize) -> Vec<u32> {
        let furthest = positions as isize - 1;
        (-furthest..=furthest).map(|distance| self.row(distance) as u32).collect()
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let norm = self.norm.iter().flat_map(|norm| std::iter::once(&norm.weight).chain(&norm.bias));
        let projections = [&self.query, &self.key].into_iter().flat_map(|made| [&made.weight, &made.bias]);
        std::iter::once(&self.table).chain(norm).chain(projections)
    }
}

/// How the distance of two tokens changes what they are to one another.
#[derive(Debug, Clone, PartialEq)]
pub enum Distances {
    Bias(RelativeBias),
    Disentangled(Box<Disentangled>),
}

/// What the product of a query and a key of so many numbers is multiplied with: the more is added up to a score, the less each counts.
pub fn score_scale(size: usize, distances: Option<&Distances>) -> f32 {
    // Contents, and each against the other's distance.
    let terms = if matches!(distances, Some(Distances::Disentangled(_))) { 3 } else { 1 };
    ((terms * size) as f32).sqrt().recip()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Mean,
    First,
    Last,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// The sum of what tables say of each token.
    Embedding {
        words: Weight,
        positions: Option<Positions>,
        types: Option<Weight>,
    },
    /// `activation(input · weightᵀ + bias)`.
    Linear {
        input: Value,
        weight: Stack,
        bias: Option<Stack>,
        activation: Option<Activation>,
    },
    /// `activation(left half of each row) × right half`.
    Gate {
        input: Value,
        activation: Activation,
    },
    Add {
        left: Value,
        right: Value,
    },
    /// Of the sum of input and residual, where there is one.
    LayerNorm {
        input: Value,
        residual: Option<Value>,
        weight: Weight,
        bias: Option<Weight>,
        epsilon: f32,
    },
    /// Each sequence attends to itself. A row holds queries, keys and values of all heads, in this order.
    Attention {
        qkv: Value,
        heads: usize,
        /// Tokens farther away than this aren't seen.
        window: Option<usize>,
        /// Base of the rotary positions.
        rotary: Option<f32>,
        distances: Option<Distances>,
    },
    /// From a row for each token to a row for each sequence.
    Pool {
        input: Value,
        pooling: Pooling,
    },
    /// Rows of length one.
    Normalise {
        input: Value,
    },
    /// Of each sequence the rows of tokens that the batch marks as words, or as labels.
    Pick {
        input: Value,
        marked: Marked,
    },
    /// Words of a sequence read in their order, and in the other: what both made of a word stands side by side. A row of the input
    /// holds what a word brings to the gates, for one direction and then for the other (PyTorch's LSTM).
    Recurrent {
        gates: Value,
        directions: Box<[Direction; 2]>,
    },
    /// How well each span of up to `width` words that begins with a word fits each label: of a span the sum of what its first and
    /// its last word bring, positive parts alone, times the label's row, whose last number is added.
    Spans {
        starts: Value,
        ends: Value,
        labels: Value,
        width: usize,
        /// Labels of a sequence.
        count: usize,
    },
}

/// Which tokens of a sequence are picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    Words,
    Labels,
}

/// What a recurrent network takes from one word to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direction {
    /// A block of rows for each gate: in, forget, candidate, out.
    pub weight: Weight,
    pub bias: Weight,
}

impl Operation {
    /// Its kind, as it's called where operations are counted.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Embedding { .. } => "Embedding",
            Operation::Linear { .. } => "Linear",
            Operation::Gate { .. } => "Gate",
            Operation::Add { .. } => "Add",
            Operation::LayerNorm { .. } => "LayerNorm",
            Operation::Attention { .. } => "Attention",
            Operation::Pool { .. } => "Pool",
            Operation::Normalise { .. } => "Normalise",
            Operation::Pick { .. } => "Pick",
            Operation::Recurrent { .. } => "Recurrent",
            Operation::Spans { .. } => "Spans",
        }
    }
}

/// What rows stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    Tokens,
    Sequences,
    /// Words of a text, each by its first token.
    Words,
    /// Labels that are asked for in front of a text.
    Labels,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The name of the architecture, as `config.json` has it.
    pub architecture: String,
    pub task: Task,
    /// The last of them gives the output.
    pub operations: Vec<Operation>,
    /// The longest sequence that it can read.
    pub most_tokens: usize,
}

impl Graph {
    pub fn output(&self) -> Value {
        Value(self.operations.len() - 1)
    }

    /// The operation that gives a value.
    pub fn operation(&self, value: Value) -> &Operation {
        &self.operations[value.0]
    }

    /// Columns of a value.
    pub fn columns(&self, value: Value) -> usize {
        match self.operation(value) {
            Operation::Embedding { words, .. } => words.shape[1],
            Operation::Linear { weight, .. } => weight.rows(),
            Operation::Gate { input, .. } => self.columns(*input) / 2,
            Operation::Attention { qkv, .. } => self.columns(*qkv) / 3,
            Operation::Recurrent { directions, .. } => {
                directions.iter().map(|direction| direction.weight.shape[1]).sum()
            }
            Operation::Spans { width, count, .. } => width * count,
            Operation::Add { left: input, .. }
            | Operation::LayerNorm { input, .. }
            | Operation::Pool { input, .. }
            | Operation::Pick { input, .. }
            | Operation::Normalise { input } => self.columns(*input),
        }
    }

    /// What the rows of a value stand for.
    pub fn rows(&self, value: Value) -> Rows {
        match self.operation(value) {
            Operation::Embedding { .. } => Rows::Tokens,
            Operation::Pool { .. } => Rows::Sequences,
            Operation::Pick { marked: Marked::Words, .. } => Rows::Words,
            Operation::Pick { marked: Marked::Labels, .. } => Rows::Labels,
            Operation::Linear { input, .. }
            | Operation::Gate { input, .. }
            | Operation::Add { left: input, .. }
            | Operation::LayerNorm { input, .. }
            | Operation::Attention { qkv: input, .. }
            | Operation::Recurrent { gates: input, .. }
            | Operation::Spans { starts: input, .. }
            | Operation::Normalise { input } => self.rows(*input),
        }
    }

    /// Values that an operation reads.
    pub fn inputs(operation: &Operation) -> Vec<Value> {
        match operation {
            Operation::Embedding { .. } => vec![],
            Operation::Add { left, right } => vec![*left, *right],
            Operation::Spans { starts, ends, labels, .. } => vec![*starts, *ends, *labels],
            Operation::LayerNorm { input, residual, .. } => {
                std::iter::once(*input).chain(*residual).collect()
            }
            Operation::Linear { input, .. }
            | Operation::Gate { input, .. }
            | Operation::Attention { qkv: input, .. }
            | Operation::Recurrent { gates: input, .. }
            | Operation::Pool { input, .. }
            | Operation::Pick { input, .. }
            | Operation::Normalise { input } => vec![*input],
        }
    }

    /// The place of the last operation that reads each value; the output is read by nobody and kept to the end.
    pub fn last_uses(&self) -> Vec<usize> {
        let mut last: Vec<usize> = (0..self.operations.len()).collect();
        for (place, operation) in self.operations.iter().enumerate() {
            for value in Graph::inputs(operation) {
                last[value.0] = place;
            }
        }
        last
    }

    /// Whether a product belongs to a head: its rows are few, or nothing comes after it. Heads are small, and every digit of
    /// theirs is in the answer.
    pub fn is_head(&self, product: Value) -> bool {
        matches!(self.rows(product), Rows::Sequences | Rows::Labels) || product == self.output()
    }

    /// Whether all who read a product can add its bias on the way, which saves a pass over it.
    pub fn readers_add_bias(&self, product: Value) -> bool {
        let mut readers = self.operations.iter().filter(|reader| Graph::inputs(reader).contains(&product));
        readers.all(|reader| match reader {
            Operation::LayerNorm { input, residual, .. } => *input == product && *residual != Some(product),
            // What comes before attention needs the bias added already.
            Operation::Attention { rotary, distances, .. } => {
                rotary.is_none() && !matches!(distances, Some(Distances::Disentangled(_)))
            }
            _ => false,
        })
    }

    /// That cards have a kernel for every operation.
    pub fn fits_cards(&self) -> Result<(), ModelError> {
        let only_here = |operation: &Operation| {
            matches!(
                operation,
                Operation::Pick { .. } | Operation::Recurrent { .. } | Operation::Spans { .. }
            )
        };
        if self.operations.iter().any(only_here) {
            let why = format!("the head of {} runs on processors only, so far", self.architecture);
            return Err(ModelError::Unfit(why));
        }
        Ok(())
    }

    /// Every weight, in the order in which they are read.
    pub fn weights(&self) -> Vec<&Weight> {
        self.operations.iter().flat_map(weights_of).collect()
    }
}

fn weights_of(operation: &Operation) -> Vec<&Weight> {
    match operation {
        Operation::Embedding { words, positions, types } => std::iter::once(words)
            .chain(positions.iter().map(|positions| &positions.table))
            .chain(types)
            .collect(),
        Operation::Linear { weight, bias, .. } => {
            weight.0.iter().chain(bias.iter().flat_map(|bias| &bias.0)).collect()
        }
        Operation::LayerNorm { weight, bias, .. } => std::iter::once(weight).chain(bias).collect(),
        Operation::Attention { distances, .. } => match distances {
            None => vec![],
            Some(Distances::Bias(bias)) => vec![&bias.table],
            Some(Distances::Disentangled(disentangled)) => disentangled.weights().collect(),
        },
        Operation::Recurrent { directions, .. } => {
            directions.iter().flat_map(|direction| [&direction.weight, &direction.bias]).collect()
        }
        Operation::Gate { .. }
        | Operation::Add { .. }
        | Operation::Pool { .. }
        | Operation::Pick { .. }
        | Operation::Spans { .. }
        | Operation::Normalise { .. } => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_buckets_of_their_own_and_far_ones_share() {
        let table = Weight { name: "bias".into(), shape: vec![32, 12] };
        let bias = RelativeBias { table, most_distance: 128 };
        assert_eq!([0, -1, -7, 1, 7].map(|distance| bias.bucket(distance)), [0, 1, 7, 17, 23]);
        assert_eq!([-8, -12, -127, -5000].map(|distance| bias.bucket(distance)), [8, 9, 15, 15]);
        assert_eq!([8, 128, 5000].map(|distance| bias.bucket(distance)), [24, 31, 31]);
    }

    #[test]
    fn disentangled_rows_run_from_later_tokens_to_earlier_ones() {
        let weight = |shape: &[usize]| Weight { name: "weight".into(), shape: shape.into() };
        let projection = || Projection { weight: weight(&[12, 12]), bias: weight(&[12]) };
        let (query, key) = (projection(), projection());
        let table = weight(&[16, 12]);
        let mut of = Disentangled { table, norm: None, query, key, most_distance: Some(64) };
        // By transformers' `build_relative_position(…, bucket_size=8, max_position=64)` and 8 more.
        assert_eq!([-4, -3, 0, 3, 4].map(|distance| of.row(distance)), [12, 11, 8, 5, 4]);
        assert_eq!([-5, -10, -63, 5, 10, 63].map(|distance| of.row(distance)), [13, 13, 15, 3, 3, 1]);
        of.most_distance = None;
        assert_eq!([-7, -8, -90, 7, 8, 90].map(|distance| of.row(distance)), [15, 15, 15, 1, 0, 0]);
    }
}
