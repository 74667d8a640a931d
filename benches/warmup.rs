//! Whether a cold start gets into figures: a scripted engine whose first batches after a load are slower, measured through the
//! worker's own loop, first after the load and last. Prints the table of docs/METHODOLOGY.md: `cargo bench --bench warmup`.

use std::fs;
use std::path::Path;

use autotune::analysis::statistics::median;
use autotune::worker::protocol::{Event, Measured, What};
use autotune::worker::serve;
use serde_json::{Value, json};

const SEEDS: u64 = 30;
const DOCUMENTS: usize = 512;

const COLD_BATCHES: [u64; 8] = [0, 1, 2, 4, 8, 16, 32, 64];
/// Beyond what the worker runs before anything is measured: here the series itself must tell.
const COLDER: [u64; 2] = [128, 256];
const FACTORS: [f64; 5] = [1.2, 1.5, 2.0, 3.0, 5.0];
const BATCHES: [usize; 4] = [1, 8, 64, 512];

#[derive(Clone, Copy)]
struct Cell {
    cold: u64,
    factor: f64,
    batch: usize,
    /// Measurements after the load before this one.
    before: usize,
}

/// What the figure of a measurement is, in documents a second, and whether it was steady.
fn measure(corpus: &Path, cell: Cell, noise: f64, seed: u64) -> (f64, bool) {
    let knobs = json!({ "batch_size": cell.batch });
    let script = json!({
        "batch_ms": 6, "token_us": 45, "noise": noise, "cold_batches": cell.cold, "cold_factor": cell.factor
    });
    let mut requests = vec![json!({
        "id": 0, "do": "load", "protocol": 1, "backend": "fake", "kind": "fake", "task": "embed", "model": "none",
        "knobs": knobs, "settings": script, "corpus": corpus
    })];
    // Each has noise of its own, as other candidates and rounds have.
    requests.extend((0..=cell.before as u64).map(|place| {
        json!({
            "id": place + 1, "do": "measure", "knobs": knobs, "seconds": 1.0, "passes": 2,
            "seed": seed * 1000 + cell.before as u64 - place
        })
    }));
    let lines: String = requests.iter().map(|request: &Value| format!("{request}\n")).collect();
    let mut events = Vec::new();
    serve(lines.as_bytes(), &mut events).unwrap();
    let last = String::from_utf8(events).unwrap().lines().last().unwrap().to_owned();
    let What::Measured(measured) = serde_json::from_str::<Event>(&last).unwrap().what else {
        panic!("{last}")
    };
    let Measured { passes, steady, .. } = measured;
    let seconds = median(passes.iter().map(|pass| pass.seconds)).unwrap();
    (DOCUMENTS as f64 / seconds, steady.unwrap())
}

/// By how much the mean over all seeds lies off the truth, and the share of measurements that were called unstable.
fn off(corpus: &Path, cell: Cell) -> (f64, f64) {
    let truth = measure(corpus, Cell { cold: 0, before: 0, ..cell }, 0.0, 0).0;
    let all: Vec<(f64, bool)> = (0..SEEDS).map(|seed| measure(corpus, cell, 0.03, seed)).collect();
    let mean = all.iter().map(|(figure, _)| figure).sum::<f64>() / SEEDS as f64;
    let unstable = all.iter().filter(|(_, steady)| !steady).count() as f64 / SEEDS as f64;
    (mean / truth - 1.0, unstable)
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("corpus.jsonl");
    let text = |place: usize| vec!["word"; 3 + place * 7 % 11].join(" ");
    let lines: String = (0..DOCUMENTS).map(|place| format!("{}\n", json!({ "text": text(place) }))).collect();
    fs::write(&corpus, lines).unwrap();
    let corpus = corpus.as_path();
    println!(
        "{SEEDS} seeds a cell, noise of 3% a batch, batches of {BATCHES:?}, cold factors of {FACTORS:?}\n"
    );
    println!("| cold batches | place after the load | cells within 1% | furthest off | unstable |");
    println!("|---|---|---|---|---|");
    for cold in COLD_BATCHES.into_iter().chain(COLDER) {
        for (place, before) in [("first", 0), ("last", 3)] {
            let cells = FACTORS
                .into_iter()
                .flat_map(|factor| BATCHES.map(|batch| Cell { cold, factor, batch, before }));
            let found: Vec<(f64, f64)> = std::thread::scope(|scope| {
                let started: Vec<_> = cells.map(|cell| scope.spawn(move || off(corpus, cell))).collect();
                started.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let within = found.iter().filter(|(off, _)| off.abs() <= 0.01).count();
            let furthest = found.iter().map(|(off, _)| off.abs()).fold(0.0, f64::max);
            let unstable = found.iter().map(|(_, unstable)| unstable).sum::<f64>() / found.len() as f64;
            println!(
                "| {cold} | {place} | {within} of {} | {:.2}% | {:.1}% |",
                found.len(),
                furthest * 100.0,
                unstable * 100.0
            );
        }
    }
}
