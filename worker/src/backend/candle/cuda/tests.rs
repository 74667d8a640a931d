//! The kernels against those of the processor, on the device that `AUTOTUNE_TEST_DEVICE` names, real or simulated
//! (tests/simulator/README.md). Without one these tests say so and do nothing.

use std::sync::{Mutex, MutexGuard};

use candle_core::{DType, Tensor};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::device::Card;
use super::kernels::{Attention, Distances, Kernels, Sequences};
use super::weight::tensor;
use crate::backend::Device;
use crate::backend::candle::kernel::Crew;
use crate::backend::candle::kernel::attention::{self, DistanceBias};
use crate::backend::candle::kernel::disentangled::{DistanceTables, TableRows};
use crate::model::graph::score_scale;

/// A process has one pool on a card that everything comes out of, so its tests go one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn number() -> Option<(u32, MutexGuard<'static, ()>)> {
    match std::env::var("AUTOTUNE_TEST_DEVICE").ok().map(|device| device.parse()) {
        None => {
            eprintln!("left out: no AUTOTUNE_TEST_DEVICE");
            None
        }
        Some(Ok(Device::Cuda(number))) => {
            Some((number, ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)))
        }
        Some(other) => panic!("AUTOTUNE_TEST_DEVICE is {other:?}, and these tests are for cuda:N"),
    }
}

fn card(number: u32, fraction: f64, numbers: DType) -> Card {
    Card::open(number, None, fraction, numbers).unwrap()
}

fn drawn(count: usize, random: &mut Pcg64) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn read(tensor: &Tensor, kernels: &Kernels) -> Vec<f32> {
    let wide = kernels.widen(tensor).unwrap();
    wide.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

/// Words on the card, as a batch's are.
fn words(words: &[u32], card: &Card) -> (Tensor, u64) {
    let bytes: &[u8] = bytemuck::cast_slice(words);
    let tensor = Tensor::from_slice(bytes, bytes.len(), &card.candle).unwrap();
    let address = super::kernels::address(&tensor).unwrap();
    (tensor, address)
}

/// What distances say in a test.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    Nothing,
    Bias,
    Disentangled,
}

/// Rows of tables of distances, and the row of each distance: near ones have one each, and far ones share.
const TABLE_ROWS: usize = 100;
fn row(distance: isize) -> usize {
    let away = distance.unsigned_abs();
    let bucket = if away > 30 { 30 + (away - 30).div_ceil(10).min(19) } else { away };
    if distance > 0 { 50 - bucket } else { 50 + bucket }
}

#[test]
fn attention_is_the_processors_whatever_the_lengths_windows_and_distances() {
    let Some((number, _alone)) = number() else { return };
    let mut random = Pcg64::seed_from_u64(3);
    // Lengths around a tile's end, sequences without tokens, and places between them that belong to nobody.
    let lengths = [1_usize, 63, 0, 64, 65, 130, 200, 31, 33];
    let positions = 256;
    for (dtype, near) in [(DType::F32, 2e-5), (DType::F16, 2e-3), (DType::BF16, 2e-2)] {
        let card = card(number, 1.0, dtype);
        let kernels = &card.kernels;
        for (heads, size) in [(2, 8), (1, 32), (2, 40), (1, 64), (1, 128)] {
            let width = heads * size;
            let mut start = 0;
            let sequences: Vec<_> = lengths
                .iter()
                .enumerate()
                .map(|(place, length)| {
                    start += length + place % 3;
                    start - length..start
                })
                .collect();
            let rows = start + 2;
            let qkv = drawn(rows * 3 * width, &mut random);
            let bias = drawn(3 * width, &mut random);
            let table = drawn(heads * (2 * positions - 1), &mut random);
            // What the card multiplies has been rounded; so what it's compared with is, too.
            let rounded =
                |numbers: &[f32]| read(&on_card(numbers, &[numbers.len(), 1], dtype, &card), kernels);
            let biased: Vec<f32> = rounded(&qkv)
                .iter()
                .zip(rounded(&bias).iter().cycle())
                .map(|(number, bias)| number + bias)
                .collect();
            let [keys, queries] = [(); 2].map(|()| drawn(TABLE_ROWS * width, &mut random));
            let scale = score_scale(size, None);
            for (window, told) in [
                (None, Told::Nothing),
                (Some(20), Told::Nothing),
                (None, Told::Bias),
                (Some(70), Told::Bias),
                (None, Told::Disentangled),
            ] {
                if told == Told::Disentangled && size > 64 {
                    continue;
                }
                let distance = DistanceBias { positions, table: table.clone() };
                let (keys_there, queries_there) = (rounded(&keys), rounded(&queries));
                let count = TABLE_ROWS;
                let tables = TableRows { keys: &keys_there, queries: &queries_there, count };
                let furthest = positions as isize - 1;
                let row_of: Vec<u32> = (-furthest..=furthest).map(|distance| row(distance) as u32).collect();
                let disentangled = DistanceTables::new(&tables, heads, scale, row_of.clone().into());
                let plain = attention::Attention {
                    heads,
                    size,
                    scale,
                    window,
                    rotary: None,
                    distances: match told {
                        Told::Nothing => None,
                        Told::Bias => Some(attention::Distances::Bias(&distance)),
                        Told::Disentangled => Some(attention::Distances::Disentangled(&disentangled)),
                    },
                };
                // Where distances are met nothing is left for attention to add.
                let bias_is_left = told != Told::Disentangled;
                let mut expected = vec![0.0; rows * width];
                let unbiased = rounded(&qkv);
                let input = if bias_is_left { &biased } else { &unbiased };
                attention::attend(&plain, input, &sequences, &mut expected, Crew::Alone);

                let table = tensor(&table, &[table.len()], DType::F32, &card.candle).unwrap();
                let starts: Vec<u32> = sequences.iter().map(|sequence| sequence.start as u32).collect();
                let counts: Vec<u32> = sequences.iter().map(|sequence| sequence.len() as u32).collect();
                let ((_starts, starts), (_counts, lengths)) = (words(&starts, &card), words(&counts, &card));
                let sequences_there = Sequences { count: counts.len(), longest: 200, starts, lengths };
                let table_on_card = |numbers: &[f32]| on_card(numbers, &[TABLE_ROWS, width], dtype, &card);
                let distances = match told {
                    Told::Nothing => None,
                    Told::Bias => Some(Distances::Bias { table, positions }),
                    Told::Disentangled => Some(Distances::Disentangled {
                        keys: table_on_card(&keys),
                        queries: table_on_card(&queries),
                        row_of: Tensor::from_slice(&row_of, row_of.len(), &card.candle).unwrap(),
                        positions,
                    }),
                };
                let attend = Attention { heads, scale, window, distances: distances.as_ref() };
                let left = bias_is_left.then(|| on_card(&bias, &[3 * width], dtype, &card));
                let given = kernels
                    .attend(
                        &attend,
                        &on_card(&qkv, &[rows, 3 * width], dtype, &card),
                        left.as_ref(),
                        sequences_there,
                    )
                    .unwrap();
                let given = read(&given, kernels);
                for sequence in &sequences {
                    for place in sequence.start * width..sequence.end * width {
                        let off = (given[place] - expected[place]).abs();
                        assert!(
                            off < near,
                            "{dtype:?}, {heads} heads of {size}, window {window:?}, distances {told:?}, row {} \
                             of {sequence:?}: {} and not {}",
                            place / width,
                            given[place],
                            expected[place]
                        );
                    }
                }
            }
        }
    }
}

fn on_card(numbers: &[f32], shape: &[usize], dtype: DType, card: &Card) -> Tensor {
    tensor(numbers, shape, dtype, &card.candle).unwrap()
}

#[test]
fn a_pool_that_is_full_says_so_and_weights_come_back_when_they_are_let_go_of() {
    let Some((number, _alone)) = number() else { return };
    let whole = card(number, 1.0, DType::F32);
    let (total, overhead) = (whole.share.total_bytes, whole.share.overhead_bytes);
    drop(whole);
    // A share with room for some hundred megabytes besides the context's own.
    let fraction = (overhead + (256 << 20)) as f64 / total as f64;
    let card = card(number, fraction, DType::F32);
    let megabytes = |count: usize| card.kernels.empty(count << 18, DType::F32);
    let kept = megabytes(100).unwrap();
    let error = super::device::failed(megabytes(200).unwrap_err());
    assert!(matches!(error, crate::backend::BackendError::OutOfMemory(_)), "{error}");
    drop(kept);
    card.driver.synchronise_all().unwrap();
    assert!(megabytes(200).is_ok());
    card.driver.synchronise_all().unwrap();
    assert!(card.pool.used_peak().unwrap() >= 200 << 20);
    assert!(card.pool.reserved_peak().unwrap() <= 256 << 20);
    card.pool.trim().unwrap();
    card.pool.forget_peaks().unwrap();
    assert!(card.pool.reserved_peak().unwrap() < 32 << 20, "{}", card.pool.reserved_peak().unwrap());
}
