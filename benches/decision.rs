//! How long the guided search thinks about its next choice: `cargo bench --bench decision`.
//!
//! The time of one decision must stay far below that of a trial, however large the space.

use std::sync::Arc;
use std::time::Instant;

use autotune::search::{Column, Foreknowledge, Guided, Table, Tried};

const CHOICES: usize = 12;

fn main() {
    println!("{:>12} {:>12} {:>12} {:>12}", "candidates", "observed", "median ms", "longest ms");
    for candidates in [500, 5_000, 50_000] {
        for observed in [20, 100, 200] {
            let mut times = times(candidates, observed);
            times.sort_by(f64::total_cmp);
            let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
            println!("{candidates:>12} {observed:>12} {median:>12.1} {longest:>12.1}");
        }
    }
}

/// Milliseconds of each of some choices in a row, fits of the kernel included.
fn times(candidates: usize, observed: usize) -> Vec<f64> {
    let table = Arc::new(table(candidates));
    let mut search = Guided::new(table.clone(), Foreknowledge::default(), 1);
    // Spread over the table by a step that shares no factor with its size.
    let row = |place: usize| (place * 7919) % table.len();
    let tried = |row: usize| Tried { row, score: Some(score(table.row(row))), rounds: 1, seconds: 1.0 };
    let mut seen: Vec<Tried> = (0..observed).map(|place| tried(row(place))).collect();
    // The first choice fits the kernel for the first time.
    search.choose(&seen, &|_| true);
    (0..CHOICES)
        .filter_map(|_| {
            let start = Instant::now();
            let choice = search.choose(&seen, &|_| true)?;
            let milliseconds = start.elapsed().as_secs_f64() * 1e3;
            seen.push(tried(choice));
            Some(milliseconds)
        })
        .collect()
}

/// Eight knobs, as a real space has them.
fn table(candidates: usize) -> Table {
    let doubling = |count: u32| (0..count).map(|step| f64::from(1u32 << step)).collect::<Vec<f64>>();
    let columns = vec![
        Column::of_numbers("batch_size", &doubling(10)),
        Column::of_numbers("max_tokens", &doubling(6)),
        Column::of_words("dtype", 4),
        Column::of_words("order", 3),
        Column::of_words("padding", 2),
        Column::of_words("transfers", 3),
        Column::of_numbers("num_workers", &doubling(4)),
        Column::of_words("backend", 3),
    ];
    let mut table = Table::new(columns.clone());
    for place in 0..candidates {
        let mut rest = place;
        let levels: Vec<u32> = columns
            .iter()
            .map(|column| {
                let level = rest % column.levels();
                rest /= column.levels();
                level as u32
            })
            .collect();
        table.add(&levels);
    }
    table
}

fn score(levels: &[u32]) -> f64 {
    levels
        .iter()
        .enumerate()
        .map(|(place, level)| (f64::from(*level) * (place as f64 + 1.3)).sin() * 0.2)
        .sum()
}
