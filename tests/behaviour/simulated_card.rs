//! The plain program on the simulated card of tests/simulator, on which it starts the CUDA worker for candle: right answers,
//! shares of memory, what runs out, and who else is there.
//!
//! Run by scripts/simulated-gpu.sh, which provides the worker, builds the card, and sets `SIMULATED_CUDA_STATE`; without it
//! these tests say that they were left out.

use std::collections::HashMap;
use std::path::Path;

use autotune::answer::AnswerFile;
use serde_json::Value;

use crate::support::engines::fixtures_folder;
use crate::support::{Place, text};

/// A context of the simulated card takes so much, and its pools grow by steps of 2 MiB.
const CONTEXT_MIB: u64 = 64;

struct Tuned {
    code: Option<i32>,
    said: String,
    rows: Vec<HashMap<String, String>>,
}

/// Whether there is a simulated card.
fn has_card() -> bool {
    let has = std::env::var_os("SIMULATED_CUDA_STATE").is_some();
    if !has {
        eprintln!("left out: no simulated card (scripts/simulated-gpu.sh)");
    }
    has
}

/// Tunes a tiny XLM-RoBERTa on the card, with these batch sizes and what else is said; or nothing where there is no card.
fn tune(batch_sizes: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Option<Tuned> {
    if !has_card() {
        return None;
    }
    let place = Place::with_suite(&format!(
        r#"
corpus = {{ synthetic = {{ documents = 64, median_words = 60, spread = 0.01, most_words = 64 }} }}
rounds = 1
measure = {{ time = "1ms", passes = 1 }}

[[stages]]
task = "embed"
model = "{}/tests/fixtures/models/xlm-roberta-embed"
backends = ["candle"]
baseline = {{ batch_size = 2 }}
reference = {{ batch_size = 1 }}
quality = {{ metric = "cosine", at_least = 0.9 }}
knobs = {{ batch_size = {batch_sizes} }}
"#,
        env!("CARGO_MANIFEST_DIR")
    ));
    let output = place
        .command(&["--gpu", "cuda:0", "--measured", "--quiet"])
        .args(arguments)
        .envs(settings.iter().copied())
        // A card of its own for each test.
        .env("SIMULATED_CUDA_STATE", place.path().join("card"))
        .output()
        .unwrap();
    let rows = if place.run_folder().join("trials.csv").exists() { place.trials() } else { Vec::new() };
    Some(Tuned { code: output.status.code(), said: text(&output), rows })
}

impl Tuned {
    /// The status of the trial with a batch size.
    fn status(&self, batch_size: &str) -> &str {
        let row = self.rows.iter().find(|row| row["batch_size"] == batch_size);
        row.map_or_else(|| panic!("{}", self.said), |row| &row["status"])
    }
}

#[test]
fn a_share_of_the_card_holds_and_what_does_not_fit_is_out_of_memory() {
    // 128 MiB, of which the share leaves the pool a bit more than 2: enough for a batch of one, and not for sixty-four.
    let memory = (128_u64 << 20).to_string();
    let share = format!("memory_fraction={}", (CONTEXT_MIB + 4) as f64 / 128.0);
    let Some(tuned) = tune("[1, 64]", &["--set", &share], &[("SIMULATED_CUDA_MEMORY", &memory)]) else {
        return;
    };
    assert_eq!(tuned.code, Some(0), "{}", tuned.said);
    assert_eq!((tuned.status("1"), tuned.status("64")), ("ok", "out of memory"));
    let fits = tuned.rows.iter().find(|row| row["batch_size"] == "1").unwrap();
    let bytes = |column: &str| fits[column].parse::<u64>().unwrap();
    assert_eq!(bytes("cap_bytes"), (CONTEXT_MIB + 4) << 20);
    // The worker's count is the driver's, to the byte.
    assert_eq!(bytes("peak_vram_bytes"), bytes("process_vram_bytes"));
    assert!(bytes("process_vram_bytes") <= bytes("cap_bytes"));
    assert_eq!(fits["memory_disagreement"], "");
}

#[test]
fn a_share_that_the_driver_alone_fills_is_out_of_memory_at_the_load() {
    let memory = (128_u64 << 20).to_string();
    let Some(tuned) = tune("[1]", &["--set", "memory_fraction=0.25"], &[("SIMULATED_CUDA_MEMORY", &memory)])
    else {
        return;
    };
    let row = tuned.rows.iter().find(|row| row["memory_fraction"] == "0.25").unwrap();
    assert_eq!(row["status"], "out of memory", "{}", tuned.said);
    assert!(row["reason"].contains("the driver and its libraries alone take 64.0 MiB"), "{}", row["reason"]);
}

#[test]
fn a_smaller_card_is_emulated_in_its_memory() {
    let share = format!("memory_fraction={}", (CONTEXT_MIB + 4) as f64 / 1024.0);
    let Some(tuned) = tune("[1, 64]", &["--emulate-vram", "1GiB", "--set", &share], &[]) else { return };
    assert_eq!((tuned.status("1"), tuned.status("64")), ("ok", "out of memory"), "{}", tuned.said);
    let caps: Vec<&str> = tuned.rows.iter().map(|row| row["cap_bytes"].as_str()).collect();
    // The default's share is all of the emulated card, which is a part of this one.
    assert!(caps.contains(&(1_u64 << 30).to_string().as_str()), "{caps:?}");
    assert!(caps.contains(&((CONTEXT_MIB + 4) << 20).to_string().as_str()), "{caps:?}");
}

#[test]
fn an_allocation_that_fails_in_the_middle_is_a_row_and_the_run_goes_on() {
    let Some(tuned) = tune("[1, 8]", &[], &[("SIMULATED_CUDA_FAIL_ALLOC", "60")]) else { return };
    // Every load meets it, so nothing works; and nothing worse happens either.
    assert!(tuned.said.contains("out of memory") || tuned.code == Some(4), "{}", tuned.said);
}

#[test]
fn a_neighbour_on_the_card_is_seen_and_decides_that_nothing_is_decided() {
    // A process of a number that isn't ours, with a gigabyte.
    let Some(tuned) = tune("[1, 8]", &[], &[("SIMULATED_NVML_OTHER_PROCESS", "999999:1073741824")]) else {
        return;
    };
    let other: Vec<&str> = tuned.rows.iter().map(|row| row["status"].as_str()).collect();
    assert!(other.iter().all(|status| *status == "disturbed"), "{other:?} {}", tuned.said);
}

#[test]
fn a_card_that_throttles_is_on_the_rows() {
    // NVML's bit of hardware that slows itself down for heat.
    let Some(tuned) = tune("[1]", &[], &[("SIMULATED_NVML_THROTTLE", "64")]) else { return };
    assert!(tuned.rows.iter().all(|row| row["status"] == "disturbed"), "{}", tuned.said);
    assert!(tuned.rows.iter().all(|row| row["throttled"].contains("thermal")));
}

#[test]
fn nvml_that_fails_in_any_way_ends_no_run() {
    for (function, code) in [
        ("nvmlInit_v2", 12),
        ("nvmlInit_v2", 9),
        ("nvmlDeviceGetPowerUsage", 3),
        ("nvmlDeviceGetUtilizationRates", 4),
        ("nvmlDeviceGetTemperature", 10),
        ("nvmlDeviceGetMemoryInfo", 999),
        ("nvmlDeviceGetTotalEnergyConsumption", 3),
        ("nvmlDeviceGetComputeRunningProcesses_v3", 4),
    ] {
        let fail = format!("{function}:{code}");
        let Some(tuned) = tune("[1]", &[], &[("SIMULATED_NVML_FAIL", &fail)]) else { return };
        // Without it CUDA alone tells that there is a card.
        assert_eq!(tuned.code, Some(0), "{fail}: {}", tuned.said);
        assert_eq!(tuned.status("1"), "ok", "{fail}");
    }
}

/// Answers of each fixture through the worker, in every precision, against what transformers say of it.
#[test]
fn the_worker_answers_what_transformers_say_and_says_what_it_is() {
    if !has_card() {
        return;
    }
    let folders =
        std::fs::read_dir(fixtures_folder().join("models")).unwrap().map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for folder in folders {
        let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let task = expected["task"].as_str().unwrap();
        // Of the others an answer is less than what transformers say: worker/tests/card.rs has their numbers.
        if task != "embed" {
            continue;
        }
        seen += 1;
        answers_as_expected(&folder, &expected);
    }
    assert!(seen >= 10, "{seen}");
}

fn answers_as_expected(folder: &Path, expected: &Value) {
    let place = Place::with_suite(&format!(
        r#"
corpus = {{ file = "corpus.jsonl" }}
rounds = 1
measure = {{ time = "1ms", passes = 1 }}

[[stages]]
task = "embed"
model = "{}"
backends = ["candle"]
knobs = {{ dtype = ["fp32", "fp16", "bf16", "int8"] }}
"#,
        folder.display()
    ));
    let texts = expected["texts"].as_array().unwrap();
    let lines: Vec<String> =
        texts.iter().map(|text| serde_json::json!({ "text": text }).to_string()).collect();
    std::fs::write(place.path().join("corpus.jsonl"), lines.join("\n")).unwrap();
    let output = place
        .command(&["--gpu", "cuda:0", "--measured", "--quiet"])
        .env("SIMULATED_CUDA_STATE", place.path().join("card"))
        .output()
        .unwrap();
    let name = folder.display();
    assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
    let rows = place.trials();
    assert_eq!(rows.len(), 4, "{name}");
    for row in &rows {
        assert_eq!(row["status"], "ok", "{name}: {row:?}");
        assert!(
            row["version"].contains("autotune-cuda-worker")
                && row["version"].contains("compute capability 9.0")
        );
    }
    let best = place.best_json();
    assert_eq!(best["stages"][0]["reference"]["device"], "cuda:0", "{best}");
    // The reference's own answers, in fp32.
    let answers = AnswerFile::open(&place.reference("embed")).unwrap();
    assert_eq!(answers.count(), texts.len(), "{name}");
    for (answer, wanted) in answers.answers().unwrap().zip(expected["outputs"].as_array().unwrap()) {
        let answer = serde_json::to_value(answer.unwrap()).unwrap();
        let (given, wanted) = (numbers(&answer), numbers(wanted));
        assert_eq!(given.len(), wanted.len(), "{name}");
        let off = given.iter().zip(&wanted).map(|(given, wanted)| (given - wanted).abs()).fold(0.0, f64::max);
        assert!(off < 1e-4, "{name}: {off}");
    }
}

/// All numbers in a value.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        Value::Object(fields) => fields.values().flat_map(numbers).collect(),
        other => other.as_f64().into_iter().collect(),
    }
}
