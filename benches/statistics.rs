//! What the verdict costs: intervals, ratios, and the order of a round.

use std::hint::black_box;

use autotune::analysis::ratio::by_round;
use autotune::analysis::statistics::{Rounds, estimate};
use autotune::search::order;
use criterion::{Criterion, criterion_group, criterion_main};

fn rounds(speed: f64) -> Rounds {
    (0..5).map(|round| (0..20).map(|pass| speed + f64::from(round) + f64::from(pass % 7)).collect()).collect()
}

fn statistics(criterion: &mut Criterion) {
    let (left, right) = (rounds(100.0), rounds(90.0));
    criterion.bench_function("estimate_of_100_passes", |bencher| bencher.iter(|| estimate(black_box(&left))));
    criterion
        .bench_function("ratio_of_100_passes", |bencher| bencher.iter(|| by_round(black_box(&left), &right)));
    let keys: Vec<String> = (0..1000).map(|candidate| format!("load {}", candidate % 12)).collect();
    criterion.bench_function("order_of_1000_candidates", |bencher| {
        bencher.iter(|| order(black_box(&keys), Some("load 3"), 7));
    });
}

criterion_group!(benches, statistics);
criterion_main!(benches);
