//! What is predicted for cards that aren't here, and that it's called so everywhere.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use autotune::knob::Candidate;
use autotune::predict::Forecast;
use autotune::suite::{self, Folder, Overrides, Suite, SuiteSource};
use serde_json::{Value, json};

use crate::support::{Place, autotune, text, winner};

/// Models and what is special about their memory: norms, a bias by distance, keys and queries of distances, rotary positions, gates, heads, answers a
/// token.
const MODELS: [(&str, &str); 8] = [
    ("bert-embed-mean", "embed"),
    ("mpnet-embed", "embed"),
    ("deberta-embed", "embed"),
    ("modernbert-embed", "embed"),
    ("bert-classify", "classify"),
    ("bert-tokens", "entities"),
    ("bge-m3", "multi-vector"),
    ("bge-m3", "sparse"),
];

fn suite_of(model: &str, task: &str) -> Suite {
    let folder = format!("{}/tests/fixtures/models/{model}", env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        r#"corpus = {{ synthetic = {{ documents = 60, median_words = 16, spread = 0.6, most_words = 40 }} }}
[[stages]]
name = "stage"
task = "{task}"
model = "{folder}"
backends = ["candle"]
[stages.knobs]
dtype = ["fp32", "fp16", "int8"]
batch_size = [8, 25]
padding = ["padded", "packed"]
transfers = ["blocking", "non_blocking"]
"#
    );
    let source = SuiteSource { name: "s".into(), file: "s".into(), text, folder: Folder::BuiltIn };
    suite::parse(&source, &Overrides::default(), &autotune::emit::env::names()).unwrap()
}

/// A worker of another build, asked by hand.
struct Worker {
    process: std::process::Child,
    events: BufReader<std::process::ChildStdout>,
}

impl Worker {
    fn start(program: &str) -> Worker {
        let mut process =
            Command::new(program).arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let events = BufReader::new(process.stdout.take().unwrap());
        Worker { process, events }
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.process.stdin.as_mut().unwrap(), "{request}").unwrap();
        let mut line = String::new();
        self.events.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?} to {request}"))
    }

    /// The most that a candidate had in use while it was measured, and the most that its pool held.
    fn peaks(&mut self, candidate: &Candidate, model: &str, task: &str, corpus: &str) -> (u64, u64) {
        let loaded = self.ask(&json!({"id": 1, "do": "load", "protocol": 1, "backend": "candle",
            "kind": "candle", "task": task, "model": model, "folder": model, "device": "cuda:0",
            "knobs": candidate.knobs, "settings": {}, "corpus": corpus}));
        assert_eq!(loaded["event"], "loaded", "{loaded}");
        let measured =
            self.ask(&json!({"id": 2, "do": "measure", "knobs": {}, "seconds": 0.0, "passes": 1, "seed": 0}));
        let memory = &measured["device_memory"];
        let bytes = |name: &str| memory[name].as_u64().unwrap_or_else(|| panic!("{name}: {measured}"));
        (bytes("used_peak_bytes"), bytes("reserved_peak_bytes"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Needs the CUDA build, and a card or the simulated one (tests/simulator): with the latter
/// `LD_LIBRARY_PATH=OUT AUTOTUNE_CUDA_WORKER=PATH cargo test --release --test behaviour -- --ignored --nocapture predicted_memory`.
#[test]
#[ignore = "needs a card, and a CUDA build at PATH: AUTOTUNE_CUDA_WORKER=PATH cargo test --release -- --ignored predicted_memory"]
fn predicted_memory_is_what_a_worker_uses() {
    let program = std::env::var("AUTOTUNE_CUDA_WORKER").expect("AUTOTUNE_CUDA_WORKER");
    let place = tempfile::tempdir().unwrap();
    let corpus = place.path().join("corpus.jsonl");
    let mut worst: f64 = 0.0;
    for (model, task) in MODELS {
        let suite = suite_of(model, task);
        let documents = suite.documents(&Folder::BuiltIn).unwrap();
        std::fs::write(&corpus, autotune::store::corpus_lines(&documents)).unwrap();
        let stage = &suite.stages[0];
        let folders = [(stage.name.clone(), Ok(stage.model.clone().into()))].into();
        let mut forecast = Forecast::new(&suite, &documents, folders);
        for candidate in stage.space.iter() {
            let predicted = forecast.memory(stage, &candidate, None).unwrap();
            let mut worker = Worker::start(&program);
            let (used, reserved) =
                worker.peaks(&candidate, &stage.model, task, &corpus.display().to_string());
            let off = predicted.used_bytes as f64 / used as f64 - 1.0;
            worst = worst.max(off.abs());
            println!(
                "{model} {task} {}: used {used}, predicted {} ({:+.2}%), reserved {reserved}, predicted {}",
                candidate.label(|knob| ["dtype", "batch_size", "padding", "transfers"]
                    .iter()
                    .all(|own| own != &knob)),
                predicted.used_bytes,
                off * 100.0,
                predicted.reserved_bytes,
            );
        }
    }
    assert!(worst < 0.03, "off by {worst}");
}

/// Made-up weights and a tokenizer of the real one's kind, so that no network is needed.
const SUITE: &str = r#"corpus = { synthetic = { documents = 300, median_words = 60, spread = 0.6, most_words = 300 } }
limits = ["rss <= 1GiB"]
[[stages]]
task = "embed"
model = "intfloat/multilingual-e5-large"
backends = ["candle", "script", "service"]
quality = { at_least = 0.99 }
[stages.knobs]
dtype = ["fp32", "fp16", "bf16", "int8"]
batch_size = [8, 64, 256]
[backends.script]
kind = "fake"
[backends.service]
kind = "exec"
command = ["false"]
"#;

fn place() -> Place {
    Place::with_suite(SUITE)
}

fn predict(place: &Place, arguments: &[&str]) -> (i32, String) {
    let own = ["--suite", "suite.toml", "--replica", "--out", "run"];
    let mut command = autotune(&[arguments, &own[..]].concat());
    command.current_dir(place.path()).env("AUTOTUNE_CACHE", cache());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

/// One for all tests here: outlines of models are made once.
fn cache() -> &'static std::path::Path {
    static CACHE: std::sync::LazyLock<tempfile::TempDir> =
        std::sync::LazyLock::new(|| tempfile::tempdir().unwrap());
    CACHE.path()
}

fn read(place: &Place, file: &str) -> String {
    std::fs::read_to_string(place.run_folder().join(file)).unwrap()
}

#[test]
fn a_card_that_is_not_here_is_predicted_and_called_so_everywhere() {
    let place = place();
    let (code, message) = predict(&place, &["--gpu", "rtx3090"]);
    assert_eq!(code, 0, "{message}");
    for part in [
        "! PREDICTED for RTX 3090 with 24.0 GiB (not in this machine) from data sheet figures; nothing was",
        "predicted by throughput",
        "quality >= 0.9900 (not checked: predicted)",
        "rss <= 1.00 GiB (not checked: predicted)",
        "predicted from data sheet figures, not measured: real times may be",
        "can't be predicted: autotune has no cost model of script",
        "can't be predicted: autotune has no cost model of service",
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&message).contains(&words(part)), "no {part:?} in {message}");
    }
    let best = place.best_json();
    assert_eq!((&best["provenance"], &best["finished"]), (&"predicted".into(), &true.into()));
    let throughput = &winner(&best)["figures"]["throughput"];
    let figure = |end: &str| throughput[end].as_f64().unwrap();
    assert!(figure("low") < 0.9 * figure("value") && figure("high") > 1.1 * figure("value"), "{throughput}");
    assert!(winner(&best)["figures"]["quality"].is_null());

    let rows = place.trials();
    assert_eq!(rows.len(), 13 + 3 + 1, "every candidate, the baseline beside the space among them");
    for row in &rows {
        assert_eq!(row["provenance"], "predicted", "{row:?}");
        assert_eq!(row["peak_vram_bytes"], "", "{row:?}");
        let works = row["status"] == "ok";
        assert_eq!(works, !row["docs_per_s_low"].is_empty() && !row["docs_per_s_high"].is_empty(), "{row:?}");
        assert_eq!(row["backend"] == "candle", !row["predicted_vram_bytes"].is_empty(), "{row:?}");
    }
    let settings = read(&place, ".env.optimized");
    assert!(settings.contains("# Predicted: RTX 3090 with 24.0 GiB (not in this machine) on"), "{settings}");
    assert!(settings.contains("quality not checked: predicted"), "{settings}");
    assert!(
        settings.contains("EMBEDDING_DEVICE=cuda:0") && !settings.contains("measured, but this"),
        "{settings}"
    );
    let run: Value = serde_json::from_str(&read(&place, "run.json")).unwrap();
    assert_eq!(run["target"]["provenance"], "predicted");
    assert!(read(&place, "plots/embed-pareto.svg").contains("predicted: RTX 3090"));
    assert!(read(&place, "report.html").contains(r#"<span class="tag">predicted</span>"#));

    // It's read and gone on with as what it is.
    let again = |arguments: &[&str]| {
        let output = autotune(arguments).current_dir(place.path()).env("AUTOTUNE_CACHE", cache()).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(again(&["report", "run", "--json"])["provenance"], "predicted");
    assert_eq!(again(&["--resume", "run", "--budget", "1h", "--json"])["provenance"], "predicted");
    assert_eq!(place.trials().len(), rows.len());
}

#[test]
fn a_smaller_card_runs_out_of_memory_and_a_faster_one_is_faster() {
    let best = |gpu: &str, more: &[&str]| {
        let place = place();
        let (code, message) = predict(
            &place,
            &[&["predict", "--gpu", gpu, "--backend", "candle", "--json", "--quiet"], more].concat(),
        );
        assert_eq!(code, 0, "{message}");
        let document: Value = serde_json::from_str(&message).unwrap();
        let failed = place.trials().into_iter().filter(|row| row["status"] == "out of memory").count();
        (winner(&document)["figures"]["throughput"]["value"].as_f64().unwrap(), failed, document)
    };
    let (slow, failed_small, document) =
        best("rtx3080", &["--set", "batch_size=8,256", "--set", "memory_fraction=0.5"]);
    assert_eq!(document["provenance"], "predicted");
    let (fast, failed_large, _) =
        best("h200", &["--set", "batch_size=8,256", "--set", "memory_fraction=0.5"]);
    assert!(fast > 2.0 * slow, "{fast} {slow}");
    assert!(failed_small > failed_large && failed_large == 0, "{failed_small} {failed_large}");
    let (_, failed_share, _) = best("h200", &["--set", "memory_fraction=0.02"]);
    assert!(failed_share > 0);
}

#[test]
fn what_a_card_cannot_do_and_what_nothing_is_known_of_is_not_predicted() {
    let place = place();
    let (code, message) = predict(&place, &["--gpu", "t4", "--backend", "candle", "--dtype", "fp16,bf16"]);
    assert_eq!((code, message.contains("T4 has no bf16")), (0, true), "{message}");
    for (arguments, wanted, part) in [
        (vec!["predict", "--gpu", "cpu"], 2, "no figures of processors"),
        (vec!["predict", "--gpu", "rtx309"], 2, "did you mean \"rtx3090\"?"),
        (vec!["--gpu", "rtx3090", "--measured"], 3, "--measured: RTX 3090 is not in this machine"),
        (vec!["--gpu", "rtx3090", "--emulate-vram", "8GiB"], 2, "not in this machine"),
    ] {
        let place = self::place();
        let (code, message) = predict(&place, &arguments);
        assert_eq!((code, message.contains(part)), (wanted, true), "{arguments:?}: {message}");
        assert!(!place.run_folder().exists(), "nothing was begun: {arguments:?}");
    }
    let place = self::place();
    let (code, message) = predict(&place, &["predict", "--gpu", "m2max", "--backend", "candle"]);
    assert_eq!(
        (code, message.contains("candle on Apple GPUs is not implemented yet")),
        (4, true),
        "{message}"
    );
}

#[test]
fn told_nothing_but_a_gpu_its_own_suite_is_predicted() {
    let place = place();
    let output = autotune(&["--gpu", "rtx3090", "--replica", "--out", "run", "--json"])
        .current_dir(place.path())
        .env("AUTOTUNE_CACHE", cache())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let best: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&best["suite"], &best["provenance"]), (&"minilm-gpu".into(), &"predicted".into()));
}
