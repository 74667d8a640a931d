//! The most of a card's memory that candle's executor holds at once, by following what it allocates and lets go of.

use std::collections::HashSet;

use super::assumption::{
    ALLOCATION_BYTES, FRAGMENTS_SHARE, MOST_FRAGMENTS_BYTES, MOST_FRAGMENTS_SHARE, ORT_MOST, Overhead,
    POOL_STEP_BYTES,
};
use super::batches::{Batches, Shape};
use super::cost::{SCALE_BYTES, is_eight, steps};
use super::method::{Engine, Method, Numbers};
use crate::backend::Transfers;
use crate::backend::candle::kernel::quantised::BLOCK;
use crate::backend::gpu::lanes::GRAIN;
use crate::model::graph::{Distances, Graph, Operation, Stack, Value, Weight};
use crate::record::PredictedBytes;

/// Peaks, as a worker counts them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Weights and tables, from the load on.
    pub weight_bytes: u64,
    /// The most in use: weights, and what a batch becomes on its way.
    pub used_bytes: u64,
    /// The most that the allocator takes from the card for it.
    pub reserved_bytes: u64,
    /// That, and what the driver and the libraries take.
    pub peak: PredictedBytes,
}

/// What a worker takes that runs these batches in these ways.
pub fn memory(
    graph: &Graph,
    method: Method,
    transfers: Transfers,
    batches: &Batches,
    overhead: Overhead,
) -> Memory {
    let weight_bytes = weights(graph, method);
    let used_bytes = weight_bytes + under_way(graph, method, transfers, batches);
    let fragments = |share: f64| ((used_bytes - weight_bytes) as f64 * share) as u64;
    let reserved = |bytes: u64| bytes.next_multiple_of(POOL_STEP_BYTES);
    let reserved_bytes = reserved(used_bytes + fragments(FRAGMENTS_SHARE));
    let most = reserved(used_bytes + fragments(MOST_FRAGMENTS_SHARE) + MOST_FRAGMENTS_BYTES);
    let least = overhead.least_bytes + reserved(used_bytes);
    let peak = match method.engine {
        Engine::Candle => PredictedBytes {
            low: least,
            value: overhead.bytes + reserved_bytes,
            high: overhead.most_bytes + most,
        },
        Engine::Ort => {
            let high = overhead.most_bytes + (reserved_bytes as f64 * ORT_MOST) as u64;
            PredictedBytes { low: least, value: (least as f64 * high as f64).sqrt() as u64, high }
        }
    };
    Memory { weight_bytes, used_bytes, reserved_bytes, peak }
}

/// Bytes of the values of fp32 that are there at once while a batch goes through the graph, at the most. On whatever device: it's
/// the order of operations that decides, and allocations are counted as a card makes them.
pub fn live_values(graph: &Graph, shape: &Shape) -> u64 {
    let method = Method { engine: Engine::Candle, numbers: Numbers::Float32, eight: false, tf32: false };
    Peak::of(graph, method, shape).bytes
}

/// What is really taken for an allocation.
fn allocated(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALLOCATION_BYTES)
}

/// Every tensor that a load leaves on the card (candle/cuda/network.rs, `Maker`): tables and products in the method's
/// numbers, heads, norms and what is made of positions in fp32.
fn weights(graph: &Graph, method: Method) -> u64 {
    let mut bases = HashSet::new();
    // Layers share a bias, and the rows of distances.
    let with_distances =
        |operation: &&Operation| matches!(operation, Operation::Attention { distances: Some(_), .. });
    let first_with_distances = graph.operations.iter().find(with_distances);
    let own = |bytes: u64, weight: &Weight| allocated(weight.shape.iter().product::<usize>() as u64 * bytes);
    let of = |(place, operation): (usize, &Operation)| match operation {
        Operation::Embedding { words, positions, types } => std::iter::once(words)
            .chain(positions.iter().map(|positions| &positions.table))
            .chain(types)
            .map(|table| own(method.numbers.bytes(), table))
            .sum(),
        Operation::Linear { weight, bias, .. } => product(graph, Value(place), weight, bias.as_ref(), method),
        Operation::LayerNorm { weight, bias, .. } => {
            std::iter::once(weight).chain(bias).map(|weight| own(4, weight)).sum()
        }
        Operation::Attention { heads, rotary, distances, .. } => {
            let positions = graph.most_tokens as u64;
            let size = (graph.columns(Value(place)) / heads) as u64;
            let fresh = rotary.filter(|base| bases.insert(base.to_bits()));
            let turns = fresh.map_or(0, |_| allocated(4 * positions * size));
            let is_first = first_with_distances.is_some_and(|first| std::ptr::eq(first, operation));
            let of_distances = match distances {
                Some(Distances::Bias(_)) if is_first => allocated(4 * *heads as u64 * (2 * positions - 1)),
                // A layer's own keys and queries of distances; and for all the row of each distance.
                Some(Distances::Disentangled(network)) => {
                    let rows = if is_first { allocated(4 * (2 * positions - 1)) } else { 0 };
                    2 * own(method.numbers.bytes(), &network.table) + rows
                }
                _ => 0,
            };
            turns + of_distances
        }
        Operation::Gate { .. }
        | Operation::Add { .. }
        | Operation::Pool { .. }
        | Operation::Pick { .. }
        | Operation::Spans { .. }
        | Operation::Normalise { .. } => 0,
        Operation::Recurrent { directions, .. } => {
            directions.iter().map(|of| own(4, &of.weight) + own(4, &of.bias)).sum()
        }
    };
    graph.operations.iter().enumerate().map(of).sum()
}

fn product(graph: &Graph, value: Value, weight: &Stack, bias: Option<&Stack>, method: Method) -> u64 {
    let count = (weight.rows() * weight.columns()) as u64;
    let size = if graph.is_head(value) { 4 } else { method.numbers.bytes() };
    let numbers = if is_eight(graph, value, weight.columns(), method) {
        allocated(count) + allocated(count / BLOCK as u64 * SCALE_BYTES)
    } else {
        allocated(count * size)
    };
    numbers + bias.map_or(0, |bias| allocated(bias.rows() as u64 * size))
}

/// The most that batches take besides the weights: the memory that they arrive in, and what they become.
///
/// The batch of the longest documents comes first and alone. Of a pass that isn't waited for two batches are under way at
/// once: what was let go of is used again in the order of the stream, so they share everything but the memory that each
/// arrives in, and the output of the first, which is still being copied.
fn under_way(graph: &Graph, method: Method, transfers: Transfers, batches: &Batches) -> u64 {
    let peak = |shape: &Shape| Peak::of(graph, method, shape);
    let alone = batches.longest.as_ref().map_or(0, |longest| lane(longest) + peak(longest).bytes);
    let of_pass: Vec<Peak> = batches.of_pass.iter().map(peak).collect();
    let largest = batches.of_pass.iter().map(lane).max().unwrap_or(0);
    // A lane grows to the largest batch that came, and stays. Which batch takes which lane changes from pass to pass.
    let first = batches.longest.as_ref().map_or(0, lane).max(largest);
    let most = of_pass.iter().map(|peak| peak.bytes).max().unwrap_or(0);
    let pass = if transfers == Transfers::NonBlocking && of_pass.len() > 1 {
        let behind = of_pass.windows(2).map(|pair| pair[0].output_bytes + pair[1].bytes);
        largest + most.max(behind.max().unwrap_or(0))
    } else {
        most
    };
    alone.max(first + pass)
}

/// Memory that a batch arrives in: ids, types and positions of tokens, starts and lengths of sequences
/// (candle/cuda/words.rs).
fn lane(shape: &Shape) -> u64 {
    let words = 3 * shape.places.max(1) + 2 * shape.lengths.len();
    allocated((4 * words).next_multiple_of(GRAIN) as u64)
}

/// One batch.
struct Peak {
    bytes: u64,
    output_bytes: u64,
}

impl Peak {
    /// In the executor's order: an operation's inputs, what it needs meanwhile and what it makes are there at once, and then
    /// inputs go that nobody reads any more.
    fn of(graph: &Graph, method: Method, shape: &Shape) -> Peak {
        let last_uses = graph.last_uses();
        let steps = steps(graph, method, shape);
        let (mut held, mut most, mut output_bytes) = (0, 0, 0);
        for (place, step) in steps.iter().enumerate() {
            output_bytes = allocated(step.output_bytes);
            held += output_bytes;
            most = most.max(held + allocated(step.scratch_bytes));
            // Behind the last operation there is only its output in fp32.
            let Some(operation) = graph.operations.get(place) else { continue };
            let mut inputs = Graph::inputs(operation);
            inputs.dedup();
            let gone = inputs.iter().filter(|input| last_uses[input.0] == place);
            held -= gone.map(|input| allocated(steps[input.0].output_bytes)).sum::<u64>();
        }
        Peak { bytes: most, output_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::cost::tests::{HALF, bert};
    use crate::task::Task;

    fn of(method: Method, transfers: Transfers, of_pass: &[Shape]) -> Memory {
        let batches = Batches { longest: of_pass.first().cloned(), of_pass: of_pass.to_vec() };
        memory(&bert(Task::Embed), method, transfers, &batches, Overhead::of(Some((8, 6))))
    }

    /// 64 wide, two layers, 256 between, 1000 words, 128 positions, 2 types; every size here is a multiple of 512 but for
    /// vectors of 64 numbers and the table of types.
    #[test]
    fn a_small_network_takes_what_is_counted_by_hand() {
        let shape = Shape { places: 4 * 32, lengths: vec![32; 4], ..Shape::default() };
        let memory = of(HALF, Transfers::Blocking, std::slice::from_ref(&shape));
        let tables = 1000 * 64 * 2 + 128 * 64 * 2 + 512;
        let norm = 512 + 512;
        let layer = (3 * 64 * 64 * 2 + 512) + (64 * 64 * 2 + 512) + 2 * (256 * 64 * 2) + 512 + 512 + 2 * norm;
        assert_eq!(memory.weight_bytes, tables + norm + 2 * layer);
        // The most is there at the product with the activation and at the one after it: the residual of 128 by 64, the
        // wide value of 128 by 256, and the input or the output of 128 by 64. The words fit into the least lane.
        let (row, wide) = (128 * 64 * 2, 128 * 256 * 2);
        assert_eq!(memory.used_bytes - memory.weight_bytes, (64 << 10) + wide + 2 * row);
        assert_eq!(memory.reserved_bytes, 2 << 20);
        assert_eq!(memory.peak.value, (290 << 20) + (2 << 20));
        assert!(memory.peak.low < memory.peak.value && memory.peak.value < memory.peak.high);
    }

    #[test]
    fn a_batch_behind_another_keeps_the_output_of_the_one_before_and_a_lane_of_its_own() {
        let large = Shape { places: 128 * 100, lengths: vec![100; 128], ..Shape::default() };
        let small = Shape { places: 100, lengths: vec![100], ..Shape::default() };
        let used = |transfers, shapes: &[Shape]| of(HALF, transfers, shapes).used_bytes;
        let both = [large.clone(), large];
        let lane: u64 = 4 * (3 * 12_800 + 2 * 128);
        let difference = used(Transfers::NonBlocking, &both) - used(Transfers::Blocking, &both);
        assert_eq!(difference, lane.next_multiple_of(64 << 10) + 128 * 64 * 4);
        assert_eq!(used(Transfers::NonBlocking, &both[..1]), used(Transfers::Blocking, &both[..1]));
        assert_eq!(used(Transfers::Pinned, &both), used(Transfers::Blocking, &both));
        assert!(used(Transfers::Blocking, &[small]) < used(Transfers::Blocking, &both) / 4);
    }

    #[test]
    fn fewer_bits_take_less_and_a_product_is_widened_for_a_while() {
        let shape = [Shape { places: 32, lengths: vec![32], ..Shape::default() }];
        let weights = |method| of(method, Transfers::Blocking, &shape).weight_bytes;
        let single = Method { numbers: Numbers::Float32, ..HALF };
        let eight = Method { eight: true, ..HALF };
        assert!(weights(eight) < weights(HALF) && weights(HALF) < weights(single));
        // 2 layers of 12·64² weights: a byte and a sixteenth of one in place of two.
        let (held, products) = (weights(HALF) - weights(eight), 2 * 12 * 64 * 64);
        // …and 256 bytes each are lost behind the scales of queries, keys and values and behind those of the context.
        assert_eq!(held, products * 2 - products - products / 16 - 2 * (256 + 256));
        // Few tokens: the widest product is what counts, in 8 bits and widened.
        let used = |method| of(method, Transfers::Blocking, &shape).used_bytes;
        let grown = (used(eight) - weights(eight)) - (used(HALF) - weights(HALF));
        assert_eq!(grown, 256 * 64 * 2);
    }
}
