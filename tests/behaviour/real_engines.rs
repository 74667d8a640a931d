//! The program tuning networks for real: small ones of the fixtures, on the engines that are there.

use std::path::{Path, PathBuf};
use std::process::Command;

use autotune::hardware::Machine;
use autotune::task::Task;

use crate::support::engines;
use crate::support::{Place, text, winner};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

/// A suite of one stage on both engines.
fn suite(task: &str, model: &Path, more: &str) -> Place {
    Place::with_suite(&format!(
        r#"corpus = {{ synthetic = {{ documents = 12, median_words = 8, spread = 0.3, most_words = 16, queries = 3 }} }}
measure = {{ time = "20ms", passes = 1 }}
rounds = 1

[[stages]]
task = "{task}"
model = "{}"
backends = ["candle", "ort"]
{more}
"#,
        model.display()
    ))
}

fn has_ort() -> bool {
    engines::all().iter().any(|engine| engine.name == "ort")
}

#[test]
fn every_task_is_tuned_on_both_engines_and_they_agree() {
    for (task, model) in [
        ("embed", "xlm-roberta-embed"),
        ("rerank", "xlm-roberta-rerank"),
        ("classify", "distilbert-classify"),
        ("entities", "camembert-tokens"),
        ("sparse", "bge-m3"),
        ("multi-vector", "bge-m3"),
    ] {
        let place = suite(
            task,
            &fixture(model),
            "knobs = { batch_size = [1, 4], padding = [\"padded\", \"packed\"] }",
        );
        let best = place.best(&["--gpu", "cpu"], 0);
        winner(&best);
        let rows = place.trials();
        let ok: Vec<_> = rows.iter().filter(|row| row["status"] == "ok").collect();
        assert_eq!(ok.len(), if has_ort() { 9 } else { 5 }, "{task}: {rows:?}");
        for row in ok {
            assert!(row["quality"].parse::<f64>().unwrap() > 0.9999, "{task}: {row:?}");
            assert_eq!((row["provenance"].as_str(), row["weights"].as_str()), ("measured", "checkpoint"));
            assert!(row["version"].contains("candle-core 0.") || row["version"].contains("ONNX Runtime"));
        }
    }
}

#[test]
fn every_metric_of_the_task_is_on_the_row() {
    let place = suite("embed", &fixture("bert-embed-mean"), "knobs = { dtype = \"fp16\" }");
    place.best(&["--gpu", "cpu", "--backend", "candle"], 0);
    let rows = place.trials();
    for metric in Task::Embed.agreements() {
        assert!(rows[0]["agreements"].contains(&format!("{}=", metric.name())), "{:?}", rows[0]);
    }
}

#[test]
fn a_model_that_is_not_there_is_a_row_with_its_remedy() {
    let place = suite("embed", Path::new("/nowhere/at/all"), "");
    let output = place.tune(&["--gpu", "cpu"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("/nowhere/at/all is no folder"), "{}", text(&output));
}

#[test]
fn an_architecture_that_is_not_there_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(fixture("bert-embed-mean").join(file), folder.path().join(file)).unwrap();
    }
    let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    std::fs::write(folder.path().join("config.json"), config.replace("\"bert\"", "\"t5\"")).unwrap();
    let output = suite("embed", folder.path(), "").tune(&["--gpu", "cpu"]);
    assert!(
        text(&output).contains("unsupported architecture \"t5\"; supported: bert, "),
        "{}",
        text(&output)
    );
}

/// A machine without pip and without a network: an empty cache, and a PATH with nothing on it.
#[test]
fn without_pip_candle_is_tuned_and_ort_is_not_available_with_the_remedy() {
    let place = suite("embed", &fixture("bert-embed-mean"), "");
    let empty = tempfile::tempdir().unwrap();
    let mut command = place.command(&["--gpu", "cpu"]);
    command.env("AUTOTUNE_CACHE", empty.path()).env("PATH", empty.path()).env_remove("ORT_DYLIB_PATH");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(winner(&place.best_json())["candidate"]["backend"], "candle");
    let rows = place.trials();
    let row = rows.iter().find(|row| row["backend"] == "ort").unwrap();
    assert_eq!(row["status"], "not available");
    assert!(row["reason"].contains("pip") && row["remedy"].contains("ORT_DYLIB_PATH"), "{row:?}");
}

#[test]
fn a_share_of_the_memory_is_a_limit_on_the_worker() {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: f64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    // 2 MiB: less than an engine takes to say its name.
    let fraction = 2.0 * 1024.0 / total;
    let place = suite(
        "embed",
        &fixture("bert-embed-mean"),
        &format!("knobs = {{ memory_fraction = [{fraction:.9}] }}"),
    );
    place.best(&["--gpu", "cpu", "--backend", "candle"], 0);
    let rows = place.trials();
    let limited = rows.iter().find(|row| row["memory_fraction"] != "1").unwrap();
    assert_eq!(limited["status"], "out of memory", "{limited:?}");
}

#[test]
fn an_exported_model_answers_as_the_one_that_was_tuned() {
    if !has_ort() {
        return;
    }
    let model = fixture("bert-embed-mean");
    let place = suite("embed", &model, "");
    place.best(&["--gpu", "cpu", "--backend", "ort"], 0);
    let export = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autotune"));
        let output = command.args(["export", "run"]).args(more).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    };
    export(&[]);
    let exported = place.run_folder().join("export/embed");
    for file in ["model.onnx", "config.json", "tokenizer.json", "autotune.json", "../.env.optimized"] {
        assert!(exported.join(file).is_file(), "{file}");
    }
    // The exported file stands in for the lowered graph, beside the checkpoint that the reference reads.
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors", "modules.json"] {
        std::fs::copy(model.join(file), folder.path().join(file)).unwrap();
    }
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    std::fs::copy(model.join("1_Pooling/config.json"), folder.path().join("1_Pooling/config.json")).unwrap();
    std::fs::copy(exported.join("model.onnx"), folder.path().join("model.onnx")).unwrap();
    let again =
        suite("embed", folder.path(), "knobs = { graph = \"file\" }\nreference = { backend = \"candle\" }");
    again.best(&["--gpu", "cpu", "--backend", "ort"], 0);
    let rows = again.trials();
    let row = rows.iter().find(|row| row["graph"] == "file").unwrap();
    assert!(row["quality"].parse::<f64>().unwrap() > 0.999_999, "{row:?}");
    // candle's winner is the checkpoint as it is.
    let place = suite("embed", &model, "");
    place.best(&["--gpu", "cpu", "--backend", "candle"], 0);
    let output = Command::new(env!("CARGO_BIN_EXE_autotune"))
        .args(["export", "run", "--out", "there"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(place.path().join("there/embed/model.safetensors").is_file());
}

#[test]
fn a_replica_is_as_large_as_the_model_and_says_what_it_is() {
    let cache = tempfile::tempdir().unwrap();
    // The libraries stay where they are; only models are made anew.
    let library = crate::support::engines::library("cpu", &Machine::default()).ok();
    let suite = r#"corpus = { synthetic = { documents = 2, median_words = 4, spread = 0.1, most_words = 6 } }
measure = { time = "10ms", passes = 1 }
rounds = 1
[[stages]]
task = "embed"
model = "minilm"
backends = ["candle", "ort"]
"#;
    let place = Place::with_suite(suite);
    let mut command = place.command(&["--gpu", "cpu", "--replica"]);
    command.env("AUTOTUNE_CACHE", cache.path());
    match &library {
        Some(library) => command.env("ORT_DYLIB_PATH", &library.path),
        None => command.env_remove("ORT_DYLIB_PATH"),
    };
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("replica"), "{}", text(&output));
    assert!(place.trials().iter().all(|row| row["weights"] == "replica"));
    let settings = std::fs::read_to_string(place.run_folder().join(".env.optimized")).unwrap();
    assert!(settings.contains("replica quality"), "{settings}");
}
