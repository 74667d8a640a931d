//! What each operation of a graph takes for one batch, counted: arithmetic, bytes, launches, and memory.
//!
//! As candle's executor for cards does it (`backend/candle/cuda/`), kernel by kernel. ONNX Runtime fuses otherwise and is
//! counted alike; its intervals are wider for that.

use super::batches::Shape;
use super::method::{Engine, Method, Numbers};
use crate::backend::candle::kernel::quantised::BLOCK;
use crate::backend::ort::GRAIN;
use crate::model::graph::{Distances, Graph, Operation, Rows, Value};

/// One operation for one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Step {
    /// Of products, in the method's numbers; a multiply-add is two, here and below.
    pub product_flops: f64,
    /// Of the products of heads, which are taken in fp32.
    pub exact_flops: f64,
    /// Of attention's products. What they cost besides, the softmax among it, is in their assumed efficiency.
    pub attention_flops: f64,
    /// Read from and written to the card's memory, each operand once: caches are assumed to do that much and no more.
    pub moved_bytes: u64,
    /// Kernels, products by cuBLAS counted as one each.
    pub launches: u32,
    /// What it makes…
    pub output_bytes: u64,
    /// …and what is held only until it's made.
    pub scratch_bytes: u64,
}

/// Every operation in its order, and last of all what makes fp32 of the output where it isn't.
pub fn steps(graph: &Graph, method: Method, shape: &Shape) -> Vec<Step> {
    let mut walk = Walk { graph, method, shape, kinds: Vec::new() };
    let mut steps: Vec<Step> = (0..graph.operations.len()).map(|place| walk.step(Value(place))).collect();
    steps.extend(walk.widened_output());
    steps
}

/// Whether the weights of a product are held in 8 bits: in blocks, of which a row must be a
/// whole number.
pub fn is_eight(graph: &Graph, product: Value, columns: usize, method: Method) -> bool {
    method.eight && !graph.is_head(product) && columns.is_multiple_of(BLOCK)
}

/// A scale is fp16.
pub const SCALE_BYTES: u64 = 2;

struct Walk<'a> {
    graph: &'a Graph,
    method: Method,
    shape: &'a Shape,
    /// What the numbers of each value so far are.
    kinds: Vec<Numbers>,
}

impl Walk<'_> {
    fn rows(&self, value: Value) -> u64 {
        match self.graph.rows(value) {
            // A kernel over nothing can't be launched: a token of padding is always there.
            Rows::Tokens => self.shape.places.max(1) as u64,
            rows => self.shape.count(rows) as u64,
        }
    }

    fn count(&self, value: Value) -> u64 {
        self.rows(value) * self.graph.columns(value) as u64
    }

    fn bytes(&self, value: Value) -> u64 {
        self.count(value) * self.kinds[value.0].bytes()
    }

    /// Bytes of a value in fp32, where they have to be made first.
    fn widened(&self, value: Value) -> u64 {
        if self.kinds[value.0] == Numbers::Float32 { 0 } else { self.count(value) * 4 }
    }

    fn step(&mut self, value: Value) -> Step {
        let graph = self.graph;
        let operation = graph.operation(value);
        let head = matches!(operation, Operation::Linear { .. }) && graph.is_head(value);
        self.kinds.push(match operation {
            Operation::Embedding { .. } => self.method.numbers,
            Operation::Pool { .. } | Operation::Normalise { .. } | Operation::Spans { .. } => {
                Numbers::Float32
            }
            _ if head => Numbers::Float32,
            _ => self.kinds[Graph::inputs(operation)[0].0],
        });
        let output_bytes = self.bytes(value);
        let read: u64 = Graph::inputs(operation).into_iter().map(|input| self.bytes(input)).sum();
        let plain = Step { moved_bytes: read + output_bytes, launches: 1, output_bytes, ..Step::default() };
        match operation {
            Operation::Embedding { positions, types, .. } => {
                let tables = 1 + u64::from(positions.is_some()) + u64::from(types.is_some());
                Step { moved_bytes: (tables + 1) * output_bytes, ..plain }
            }
            Operation::Linear { input, weight, bias, activation } => {
                let (columns, rows) = (weight.columns() as u64, weight.rows() as u64);
                let flops = 2.0 * self.rows(value) as f64 * (columns * rows) as f64;
                let weights = columns * rows;
                let bias_is_left = activation.is_none() && !head && graph.readers_add_bias(value);
                let finishes = !bias_is_left && (bias.is_some() || activation.is_some());
                // The bias and the activation are a pass of their own over the product.
                let finishing = if finishes { 2 * output_bytes } else { 0 };
                let eight = is_eight(graph, value, weight.columns(), self.method);
                let widened_input = if head { self.widened(*input) } else { 0 };
                let numbers = if head { Numbers::Float32 } else { self.method.numbers };
                let held = weights * numbers.bytes();
                let (scratch_bytes, reading) = if eight {
                    let kept = weights + weights / BLOCK as u64 * SCALE_BYTES;
                    // Read as 8 bits, written widened, and read again by the product.
                    (held, kept + 2 * held)
                } else {
                    (widened_input, held + 2 * widened_input)
                };
                Step {
                    product_flops: if head { 0.0 } else { flops },
                    exact_flops: if head { flops } else { 0.0 },
                    moved_bytes: plain.moved_bytes + reading + finishing,
                    launches: 1 + u32::from(eight) + u32::from(finishes) + u32::from(widened_input > 0),
                    scratch_bytes,
                    ..plain
                }
            }
            Operation::Attention { qkv, heads, window, rotary, distances } => {
                let pairs: f64 = self.shape.lengths.iter().map(|length| pairs(*length, *window)).sum();
                // Turning reads and writes queries and keys, two thirds of a row, in place.
                let turning = if rotary.is_some() { self.bytes(*qkv) / 3 * 4 } else { 0 };
                let disentangled = matches!(distances, Some(Distances::Disentangled(_)));
                // Queries and keys meet twice as many distances as there are tokens in the other, each at the price of half of the
                // two products.
                let products = if disentangled { 2.0 + 4.0 } else { 2.0 };
                let spread = if disentangled { self.spread_scores(*heads) } else { 0 };
                Step {
                    attention_flops: 2.0 * products * pairs * graph.columns(value) as f64,
                    // Of both sides twice as many numbers are written, and half of them read and written again; one is turned, and
                    // their sum made and read.
                    moved_bytes: plain.moved_bytes + turning + 14 * spread,
                    launches: 1 + u32::from(rotary.is_some()) + if spread > 0 { 18 } else { 0 },
                    // One side as it's needed, and the other before it's cut.
                    scratch_bytes: 4 * spread,
                    ..plain
                }
            }
            Operation::Normalise { input } => {
                let scratch_bytes = self.widened(*input);
                let launches = 1 + u32::from(scratch_bytes > 0);
                Step { moved_bytes: plain.moved_bytes + 2 * scratch_bytes, launches, scratch_bytes, ..plain }
            }
            Operation::Gate { .. }
            | Operation::Add { .. }
            | Operation::LayerNorm { .. }
            | Operation::Pick { .. }
            | Operation::Pool { .. } => plain,
            // Each step reads the weights of the states, and waits for the one before.
            Operation::Recurrent { directions, .. } => {
                let steps = self.shape.marks.iter().map(|marks| marks.words.len()).max().unwrap_or(0) as u64;
                let weights = |of: &crate::model::graph::Direction| of.weight.shape.iter().product::<usize>();
                let weights = directions.iter().map(weights).sum::<usize>() as u64;
                Step {
                    exact_flops: 2.0 * self.rows(value) as f64 * weights as f64,
                    moved_bytes: plain.moved_bytes + 4 * steps * weights,
                    ..plain
                }
            }
            Operation::Spans { starts, width, count, .. } => {
                let flops = self.rows(value) as f64 * (width * (1 + count) * graph.columns(*starts)) as f64;
                Step { exact_flops: 2.0 * flops, ..plain }
            }
        }
    }

    /// Bytes of a score for each pair of places and each head, where these lie in the card's memory (backend/ort/lower/disentangled.rs).
    fn spread_scores(&self, heads: usize) -> u64 {
        if self.method.engine != Engine::Ort {
            return 0;
        }
        let Shape { places, lengths, .. } = self.shape;
        let longest = lengths.iter().copied().max().unwrap_or(0).next_multiple_of(GRAIN);
        // The padding of a text is a run of its own.
        let runs = if *places > lengths.iter().sum::<usize>() { 2 * lengths.len() } else { lengths.len() };
        (runs * heads * longest * longest) as u64 * self.method.numbers.bytes()
    }

    fn widened_output(&self) -> Option<Step> {
        let output = self.graph.output();
        let output_bytes = self.widened(output);
        let moved_bytes = self.bytes(output) + output_bytes;
        (output_bytes > 0).then_some(Step { moved_bytes, launches: 1, output_bytes, ..Step::default() })
    }
}

/// Pairs of a query and a key that sees it, in a sequence.
fn pairs(length: usize, window: Option<usize>) -> f64 {
    let length_of = length as f64;
    match window {
        // Each sees so many on either side, and those at the ends fewer.
        Some(window) if window < length => {
            let window = window as f64;
            length_of * (2.0 * window + 1.0) - window * (window + 1.0)
        }
        _ => length_of * length_of,
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::arch::{self, Embedding, Plan};
    use crate::predict::Engine;
    use crate::task::Task;

    pub const HALF: Method =
        Method { engine: Engine::Candle, numbers: Numbers::Float16, eight: false, tf32: false };

    /// A BERT of two layers, 64 wide, with products of four times the width between.
    pub fn bert(task: Task) -> Graph {
        let config = json!({ "model_type": "bert", "vocab_size": 1000, "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 256, "max_position_embeddings": 128,
            "type_vocab_size": 2, "pad_token_id": 0 });
        let embedding = Embedding { normalise: true, ..Embedding::default() };
        arch::build(&Plan { config: &config, checkpoint: None, task, embedding, labels: 0 }).unwrap()
    }

    #[test]
    fn a_layer_of_bert_takes_what_is_counted_by_hand() {
        let (width, length, sequences) = (64.0, 50, 3);
        let shape =
            Shape { places: length * sequences, lengths: vec![length; sequences], ..Shape::default() };
        let steps = steps(&bert(Task::Embed), HALF, &shape);
        let tokens = (length * sequences) as f64;
        let sum = |part: fn(&Step) -> f64| steps.iter().map(part).sum::<f64>();
        // Four products of d by d and two of d by 4d, at 2 for each weight and token.
        assert_eq!(sum(|step| step.product_flops), 2.0 * 24.0 * width * width * tokens);
        assert_eq!(sum(|step| step.attention_flops), 2.0 * 4.0 * length as f64 * width * tokens);
        assert_eq!(sum(|step| step.exact_flops), 0.0);
        // Embedding and its norm; qkv, attention, output, norm, two launches for the product with an activation, the
        // second product, norm; pooling and the rows' length.
        assert_eq!(steps.iter().map(|step| step.launches).sum::<u32>(), 2 + 2 * 8 + 2);
    }

    #[test]
    fn padding_is_multiplied_and_not_attended_to() {
        let padded = Shape { places: 100, lengths: vec![50, 10], ..Shape::default() };
        let packed = Shape { places: 60, ..padded.clone() };
        let sum = |shape: &Shape, part: fn(&Step) -> f64| {
            steps(&bert(Task::Embed), HALF, shape).iter().map(part).sum::<f64>()
        };
        let ratio = sum(&padded, |step| step.product_flops) / sum(&packed, |step| step.product_flops);
        assert!((ratio - 100.0 / 60.0).abs() < 1e-12);
        assert_eq!(sum(&padded, |step| step.attention_flops), sum(&packed, |step| step.attention_flops));
    }

    #[test]
    fn a_product_moves_its_operands_and_weights_of_8_bits_are_widened() {
        let shape = Shape { places: 10, lengths: vec![10], ..Shape::default() };
        let graph = bert(Task::Embed);
        let product =
            graph.operations.iter().position(|operation| matches!(operation, Operation::Linear { .. }));
        let of = |method| steps(&graph, method, &shape)[product.unwrap()];
        let half = of(HALF);
        // Queries, keys and values of 10 tokens in fp16: input, weights, output. Attention adds the bias.
        assert_eq!(half.moved_bytes, 2 * (10 * 64 + 3 * 64 * 64 + 10 * 3 * 64));
        assert_eq!((half.launches, half.scratch_bytes, half.output_bytes), (1, 0, 2 * 10 * 3 * 64));
        let eight = of(Method { eight: true, ..HALF });
        assert_eq!(eight.scratch_bytes, 2 * 3 * 64 * 64);
        assert_eq!(eight.moved_bytes, half.moved_bytes + (3 * 64 * 64) / 32 * 34 + 2 * 3 * 64 * 64);
        assert_eq!(eight.launches, 2);
    }

    #[test]
    fn heads_are_worked_out_in_fp32() {
        let shape = Shape { places: 20, lengths: vec![10, 10], ..Shape::default() };
        let steps = steps(&bert(Task::Classify), HALF, &shape);
        // Out of pooled rows of fp32: a dense layer and one label.
        let exact: f64 = steps.iter().map(|step| step.exact_flops).sum();
        assert_eq!(exact, 2.0 * 2.0 * (64.0 * 64.0 + 64.0));
        let of_tokens = super::steps(&bert(Task::Entities), HALF, &shape);
        let last = of_tokens.last().unwrap();
        assert_eq!((last.scratch_bytes, last.output_bytes), (4 * 20 * 64, 4 * 20));
    }

    #[test]
    fn a_window_is_seen_from_every_token_once() {
        let by_hand = |length: i32, window: i32| {
            let near = |query: i32| (0..length).filter(|key| (key - query).abs() <= window).count();
            (0..length).map(near).sum::<usize>() as f64
        };
        for (length, window) in [(1, 0), (2, 1), (10, 3), (10, 9), (10, 64), (130, 64)] {
            assert_eq!(
                pairs(length as usize, Some(window as usize)),
                by_hand(length, window),
                "{length} {window}"
            );
        }
        assert_eq!(pairs(7, None), 49.0);
    }
}
