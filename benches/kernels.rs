//! What the processor's kernels reach, beside what candle multiplies with: `cargo bench --bench kernels`.
//!
//! Throughput is in multiplications and additions, or in numbers. On a machine with neighbours only ratios of one run
//! count.

use std::hint::black_box;

use autotune::backend::candle::kernel::product::{Finish, Panels, multiply};
use autotune::backend::candle::kernel::quantised::Quantised;
use autotune::backend::candle::kernel::{Crew, activation, attention, norm};
use autotune::model::graph::Activation;
use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Inputs and outputs of MiniLM's products and of those of e5-base and e5-large, and the tokens of a text and of a batch.
const SHAPES: [(usize, usize); 4] = [(384, 1536), (1536, 384), (768, 3072), (1024, 4096)];
const TOKENS: [usize; 2] = [74, 592];

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|place| ((place * 37) % 101) as f32 / 50.0 - 1.0).collect()
}

fn products(criterion: &mut Criterion) {
    for tokens in TOKENS {
        let mut group = criterion.benchmark_group(format!("product of {tokens} tokens"));
        for (depth, outputs) in SHAPES {
            let (input, weights) = (numbers(tokens * depth), numbers(outputs * depth));
            let mut output = vec![0.0; tokens * outputs];
            let finish = Finish::default();
            let shape = format!("{depth}x{outputs}");
            group.throughput(Throughput::Elements((2 * tokens * depth * outputs) as u64));
            let mut panels = Panels::new(outputs, depth);
            panels.fill(0, &weights);
            group.bench_function(BenchmarkId::new("panels", &shape), |bench| {
                bench.iter(|| multiply(&panels, black_box(&input), tokens, finish, &mut output, Crew::All));
            });
            let quantised = Quantised::new(&weights, outputs, depth).expect("the shape is whole");
            group.bench_function(BenchmarkId::new("Q8_0", &shape), |bench| {
                bench.iter(|| {
                    quantised.multiply(black_box(&input), tokens, depth, finish, &mut output, Crew::All)
                });
            });
            let left = Tensor::from_slice(&input, (tokens, depth), &Device::Cpu).expect("a matrix");
            let right = Tensor::from_slice(&weights, (outputs, depth), &Device::Cpu).expect("a matrix");
            let right = right.t().expect("a matrix");
            group.bench_function(BenchmarkId::new("candle", &shape), |bench| {
                bench.iter(|| left.matmul(black_box(&right)));
            });
        }
        group.finish();
    }
}

fn others(criterion: &mut Criterion) {
    let (tokens, heads, size) = (592, 12, 32);
    let width = heads * size;
    let mut group = criterion.benchmark_group("592 tokens of 384 numbers");
    group.throughput(Throughput::Elements((tokens * width) as u64));
    let (input, residual, weight) = (numbers(tokens * width), numbers(tokens * width), numbers(width));
    let mut output = vec![0.0; tokens * width];
    let layer_norm = norm::LayerNorm { weight: &weight, bias: Some(&weight), epsilon: 1e-12 };
    group.bench_function("residual and layer norm", |bench| {
        bench.iter(|| {
            norm::layer_norm(&layer_norm, black_box(&input), Some(&residual), &mut output, Crew::All)
        });
    });
    group.bench_function("GELU", |bench| {
        bench.iter(|| {
            output.copy_from_slice(&input);
            activation::apply(Activation::Gelu, black_box(&mut output));
        });
    });
    let qkv = numbers(tokens * 3 * width);
    let sequences: Vec<_> = (0..8).map(|place| place * 74..(place + 1) * 74).collect();
    let plain = attention::Attention {
        heads,
        size,
        scale: (size as f32).sqrt().recip(),
        window: None,
        rotary: None,
        distances: None,
    };
    group.bench_function("attention of 8 texts", |bench| {
        bench.iter(|| attention::attend(&plain, black_box(&qkv), &sequences, &mut output, Crew::All));
    });
    group.finish();
}

criterion_group!(benches, products, others);
criterion_main!(benches);
