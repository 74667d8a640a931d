//! What it costs to keep and judge large answers: `cargo bench --bench answers`. Prints seconds and the peak memory of this process.
//!
//! A worker's answers are played by files that are made first, in a stream, so that the process holds no more than the harness would.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use autotune::answer::{AnswerFile, digest_of};
use autotune::item::Item;
use autotune::quality::{Question, Reference};
use autotune::task::{Metric, Task};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// What a candidate's numbers differ by from the reference's, as those of a lower precision do.
const NOISE: f32 = 0.02;

fn main() {
    let scratch =
        tempfile::tempdir_in(std::env::var("AUTOTUNE_BENCH_FOLDER").unwrap_or_else(|_| ".".into())).unwrap();
    println!("| answers | size | digest | judge | peak memory |");
    println!("|---|---|---|---|---|");
    // A hundred thousand vectors of 1,024 numbers.
    judge(scratch.path(), Task::Embed, Metric::Cosine, &[1; 100_000], 1024);
    // Two hundred texts of 2,048 tokens.
    judge(scratch.path(), Task::MultiVector, Metric::Cosine, &[2048; 200], 1024);
}

fn judge(folder: &Path, task: Task, metric: Metric, counts: &[u32], width: usize) {
    let file = |name: &str, noise: f32| made(&folder.join(name), task, counts, width, noise);
    let (reference, candidate) = (file("reference.safetensors", 0.0), file("candidate.safetensors", NOISE));
    let items = vec![Item { text: String::new(), query: None }; counts.len()];
    let question = Question { task, items: &items, gold: None };
    let reference = Reference::open(&reference).unwrap();
    let start = Instant::now();
    digest_of(&candidate).unwrap();
    let digested = start.elapsed().as_secs_f64();
    let judged = reference.judge(metric, question, &AnswerFile::open(&candidate).unwrap()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(&candidate).unwrap().len();
    let neighbours =
        judged.get(&Metric::Top10).map(|top| format!(" top10 {:.4} {:?}", top.value, top.interval));
    println!(
        "| {} of {} | {:.2} GB | {digested:.1} s | {:.1} s, cosine {:.4}{} | {:.0} MiB |",
        counts.len(),
        task.name(),
        bytes as f64 / 1e9,
        seconds - digested,
        judged[&metric].value,
        neighbours.unwrap_or_default(),
        peak_mib(),
    );
    std::fs::remove_file(&candidate).unwrap();
    std::fs::remove_file(reference.path()).unwrap();
}

/// A file of answers, each of so many vectors.
fn made(path: &Path, task: Task, counts: &[u32], width: usize, noise: f32) -> PathBuf {
    let rows: usize = counts.iter().map(|count| *count as usize).sum();
    let end = rows * width * 4;
    let mut header =
        format!(r#"{{"vectors":{{"dtype":"F32","shape":[{rows},{width}],"data_offsets":[0,{end}]}}"#);
    if task == Task::MultiVector {
        let counted = counts.len();
        header += &format!(
            r#","counts":{{"dtype":"U32","shape":[{counted}],"data_offsets":[{end},{}]}}"#,
            end + 4 * counted
        );
    }
    header += "}";
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    out.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    out.write_all(header.as_bytes()).unwrap();
    // The same texts for both, and for the candidate something besides.
    let (mut text, mut other) = (Pcg64::seed_from_u64(1), Pcg64::seed_from_u64(2));
    for _ in 0..rows * width {
        let number = text.random_range(-1f32..1.0) + noise * other.random_range(-1f32..1.0);
        out.write_all(&number.to_le_bytes()).unwrap();
    }
    if task == Task::MultiVector {
        counts.iter().for_each(|count| out.write_all(&count.to_le_bytes()).unwrap());
    }
    out.flush().unwrap();
    path.to_owned()
}

/// The most memory that this process has had.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(f64::NAN) / 1024.0
}
