//! `autotune counts`: equal twice, and what has changed is named.

use std::path::Path;
use std::process::Output;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::{Place, autotune, text};

/// One for all tests here: outlines of models are made once.
fn cache() -> &'static Path {
    static CACHE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    CACHE.path()
}

fn counts(place: &Place, arguments: &[&str]) -> Output {
    let mut command = autotune(&[&["counts"], arguments].concat());
    command.current_dir(place.path()).env("AUTOTUNE_CACHE", cache()).output().unwrap()
}

fn document(place: &Place, arguments: &[&str]) -> Value {
    let output = counts(place, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Counts beside a document: the exit code and what is said.
fn beside(place: &Place, base: &Value, arguments: &[&str]) -> (i32, String) {
    std::fs::write(place.path().join("base.json"), base.to_string()).unwrap();
    let output = counts(place, &[arguments, &["--beside", "base.json"]].concat());
    (output.status.code().unwrap(), text(&output))
}

/// A stage on both engines, whose baseline has more knobs.
fn suite(baseline: &str) -> String {
    format!(
        r#"corpus = {{ synthetic = {{ documents = 60, median_words = 16, spread = 0.6, most_words = 40 }} }}
[[stages]]
name = "embed"
task = "embed"
model = "minilm"
backends = ["candle", "ort", "script"]
baseline = {{ backend = "candle"{baseline} }}
[stages.knobs]
batch_size = [8, 25]
[backends.script]
kind = "fake"
"#
    )
}

const OWN: [&str; 3] = ["--suite", "suite.toml", "--replica"];

/// A count of the suite's stage on an engine.
fn count<'a>(document: &'a mut Value, engine: &str, group: &str, name: &str) -> &'a mut Value {
    let entries = document["entries"].as_array_mut().unwrap();
    let entry = entries.iter_mut().find(|entry| entry["configuration"]["backend"] == engine);
    &mut entry.unwrap()["groups"][group][name]
}

fn set(document: &mut Value, engine: &str, group: &str, name: &str, more: i64) {
    let count = count(document, engine, group, name);
    let was = count.as_i64().unwrap_or_else(|| panic!("{engine}: no {name} among {group}"));
    *count = json!(was + more);
}

#[test]
fn counts_are_equal_twice_and_a_change_is_named() {
    let place = Place::with_suite("");
    let minilm = ["--suite", "minilm", "--replica"];
    let document = document(&place, &minilm);
    let again = counts(&place, &[&minilm[..], &["--json"]].concat());
    assert_eq!(
        String::from_utf8(again.stdout).unwrap(),
        serde_json::to_string_pretty(&document).unwrap() + "\n"
    );

    let (code, said) = beside(&place, &document, &minilm);
    assert_eq!((code, said.contains("→ no count has changed")), (0, true), "{said}");

    // There were fewer: now there are more.
    let mut base = document.clone();
    set(&mut base, "ort", "nodes", "Add", -5);
    set(&mut base, "candle", "pass", "padded tokens", -2000);
    let (code, said) = beside(&place, &base, &minilm);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("embed · ort fp32: Add 15, was 10 (+5)"), "{said}");
    assert!(said.contains("embed · candle fp32: padded tokens 2,590, was 590 (4.4 times)"), "{said}");
    assert!(said.contains("→ there is more than before"), "{said}");

    let mut base = document.clone();
    set(&mut base, "candle", "kernels", "norm", 1);
    let (code, said) = beside(&place, &base, &minilm);
    assert_eq!(
        (code, said.contains("fewer           embed · candle fp32: kernel norm 13, was 14 (-1)")),
        (0, true),
        "{said}"
    );
}

#[test]
fn a_lost_fusion_is_found_by_the_sum_of_nodes() {
    let place = Place::with_suite("");
    let minilm = ["--suite", "minilm", "--replica"];
    let document = document(&place, &minilm);
    // The base adds the residuals within the norms, where this program has two operators.
    let mut fused = document.clone();
    let layers = 12;
    set(&mut fused, "ort", "nodes", "Add", -layers);
    set(&mut fused, "ort", "nodes", "LayerNormalization", -layers);
    *count(&mut fused, "ort", "nodes", "SkipLayerNormalization") = json!(layers);
    let (code, said) = beside(&place, &fused, &minilm);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("embed · ort fp32: SkipLayerNormalization none, was 12"), "{said}");
    // One that is found isn't taken for a loss, although an operator is new.
    let mut unfused = document.clone();
    set(&mut unfused, "ort", "nodes-on-gpu", "Add", layers);
    set(&mut unfused, "ort", "nodes-on-gpu", "LayerNormalization", layers);
    set(&mut unfused, "ort", "nodes-on-gpu", "SkipLayerNormalization", -layers);
    let (code, said) = beside(&place, &unfused, &minilm);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("SkipLayerNormalization (nodes on a GPU) 12, was none"), "{said}");
}

#[test]
fn padding_batches_and_weights_follow_the_configuration() {
    let of = |baseline: &str| document(&Place::with_suite(&suite(baseline)), &OWN);
    let base = of(r#", batch_size = 8, order = "length""#);
    let place = Place::with_suite(&suite(", batch_size = 8"));
    let (code, said) = beside(&place, &base, &OWN);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("embed · candle fp32: padded tokens 1,611, was "), "{said}");
    assert!(said.contains("order is arrival, was length"), "{said}");
    assert!(!said.contains("batches") && !said.contains("norm"), "{said}");

    let place = Place::with_suite(&suite(r#", batch_size = 25, order = "length""#));
    let (code, said) = beside(&place, &base, &OWN);
    assert_eq!(code, 5, "{said}");
    for part in ["live values ", "slots of a thread ", "batches 3, was 8", "batch_size is 25, was 8"] {
        assert!(said.contains(part), "{part}: {said}");
    }

    let place = Place::with_suite(&suite(r#", batch_size = 8, order = "length", dtype = "fp16""#));
    let (code, said) = beside(&place, &base, &OWN);
    assert_eq!(code, 5, "{said}");
    for part in [
        "candle fp16: kernel conversion to fp16 24, was none",
        "candle fp16: allocations in kernels 96, was none",
        "candle fp16: bytes copied by conversion to fp16 ",
        "candle fp16: weights fp16 ",
        "ort fp16: weights fp32 ",
        "dtype is fp16, was fp32",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    // Nothing is padded where texts are packed.
    let mut packed = of(r#", batch_size = 8, padding = "packed""#);
    assert_eq!(*count(&mut packed, "candle", "pass", "padded tokens"), 0);
    let mut padded = of(", batch_size = 8");
    let tokens = |document: &mut Value| count(document, "candle", "pass", "tokens").clone();
    assert_eq!(tokens(&mut packed), tokens(&mut padded));
    assert_ne!(count(&mut packed, "ort", "nodes", "Gather"), count(&mut padded, "ort", "nodes", "Gather"));
    // As much comes back, and on a GPU's way places of padding are missing.
    for (engine, group) in [("candle", "copied"), ("ort", "copied"), ("ort", "copied-on-gpu")] {
        let back = |document: &mut Value| count(document, engine, group, "from the engine").clone();
        assert_eq!(back(&mut packed), json!(60 * 384 * 4), "{engine}");
        assert_eq!(back(&mut padded), back(&mut packed), "{engine}");
    }
    let sent = |document: &mut Value| count(document, "ort", "copied-on-gpu", "to the engine").as_u64();
    assert!(sent(&mut packed) < sent(&mut padded));
}

#[test]
fn what_cannot_be_counted_is_said_with_its_reason() {
    let place = Place::with_suite(&suite(r#", dtype = "bf16""#));
    let output = counts(&place, &OWN);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    for part in [
        "kernels, in passing, weights, allocations, bytes copied are not counted: `dtype` bf16 is for",
        "nodes, weights, bytes copied are not counted: `dtype` bf16 needs `provider` openvino",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The launches on a GPU are.
    assert!(said.contains("launches on a GPU"), "{said}");

    let missing =
        suite("").replace("minilm", "./nowhere").replace(r#"backend = "candle""#, r#"backend = "ort""#);
    let place = Place::with_suite(&missing);
    let document = document(&place, &["--suite", "suite.toml"]);
    let why = document["entries"][0]["missing"].as_str().unwrap();
    assert!(why.contains("nowhere is no folder"), "{why}");
    assert!(document["entries"][0].get("groups").is_none());
    let (code, said) = beside(&place, &document, &["--suite", "suite.toml"]);
    assert_eq!((code, said.contains("there are no counts in it")), (2, true), "{said}");

    let scripted = suite("").replace(r#"backend = "candle""#, r#"backend = "script""#);
    let said = text(&counts(&Place::with_suite(&scripted), &OWN));
    assert!(said.contains("only candle and ort are counted, and script is neither"), "{said}");
}

#[test]
fn the_winner_of_a_run_is_counted() {
    let place = Place::with_suite(&suite("").replace("[8, 25]", "[8]"));
    let mut run = autotune(&["predict", "--gpu", "rtx3090", "--backend", "candle", "--set", "batch_size=25"]);
    run.args(OWN).args(["--out", "run"]).current_dir(place.path()).env("AUTOTUNE_CACHE", cache());
    let output = run.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let winner = crate::support::winner(&place.best_json())["candidate"].clone();
    let document = document(&place, &["--config", "run"]);
    assert_eq!(document["entries"][0]["configuration"], winner, "{document}");
    assert_eq!(document["entries"][0]["replica"], true, "as the run was");
    assert_eq!(document["entries"].as_array().unwrap().len(), 1, "the run has one engine");
}

#[test]
fn a_base_that_holds_no_counts_is_bad_usage_and_another_suite_is_not_comparable() {
    let place = Place::with_suite(&suite(""));
    let base = document(&place, &OWN);
    let text_of_base = base.to_string();
    for (file, content) in [
        ("truncated.json", &text_of_base[..text_of_base.len() / 2]),
        ("empty.json", ""),
        ("other.json", "{\"entries\": []}"),
    ] {
        std::fs::write(place.path().join(file), content).unwrap();
        let output = counts(&place, &[&OWN[..], &["--beside", file]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("not a document of `autotune counts --json`"), "{}", text(&output));
    }
    let output = counts(&place, &[&OWN[..], &["--beside", "nowhere.json"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));

    let mut other = base.clone();
    other["suite"] = json!("another");
    let (code, said) = beside(&place, &other, &OWN);
    assert_eq!((code, said.contains("suite suite, was another")), (6, true), "{said}");
    let mut other = base.clone();
    other["corpus_digest"] = json!("another");
    set(&mut other, "candle", "pass", "batches", -1);
    let (code, said) = beside(&place, &other, &OWN);
    assert_eq!((code, said.contains("the corpus is another one")), (6, true), "{said}");
    assert!(!said.contains("batches"), "{said}");
}
