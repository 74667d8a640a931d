//! A service that searches: what is decided of it once its stages have their winners, what was promised of it, and the settings that
//! come of it.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::support::{Place, autotune, engines, text};

/// Eight documents, each the answer to one query.
fn corpus(folder: &Path) {
    let subjects = ["trains", "cellos", "lighthouses", "cakes", "vaccines", "chess", "invoices", "mortgages"];
    let lines = |line: &dyn Fn(usize, &str) -> String| {
        let lines = subjects.iter().enumerate().map(|(place, subject)| line(place, subject));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    let folder = folder.join("corpus");
    std::fs::create_dir_all(folder.join("qrels")).unwrap();
    let text = |place: usize, subject: &str| {
        format!(
            r#"{{"_id": "d{place}", "text": "All that there is to say of {subject}, and of how they came to be."}}"#
        )
    };
    std::fs::write(folder.join("corpus.jsonl"), lines(&text)).unwrap();
    let query = |place: usize, subject: &str| format!(r#"{{"_id": "q{place}", "text": "of {subject}"}}"#);
    std::fs::write(folder.join("queries.jsonl"), lines(&query)).unwrap();
    let grade = |place: usize, _: &str| format!("q{place}\td{place}\t2");
    let grades = "query-id\tcorpus-id\tscore\n".to_owned() + &lines(&grade);
    std::fs::write(folder.join("qrels/test.tsv"), grades).unwrap();
}

const SUITE: &str = r#"
corpus = { file = "corpus" }
measure = { time = "100ms", passes = 2 }

[[stages]]
task = "embed"
model = "e"
backends = ["fake"]
knobs = { batch_size = [4, 8], dtype = ["fp32", "fp16", "int8"] }

[[stages]]
task = "rerank"
model = "r"
backends = ["fake"]
knobs = { batch_size = [4, 8] }

[backends.fake]
batch_ms = 4
token_us = 20
memory_mib = 500
knobs.dtype = { applies = "load", default = "fp32", values = ["fp32", "fp16", "int8"] }

[[backends.fake.rules]]
when = { dtype = "fp16" }
compute = 0.5

[[backends.fake.rules]]
when = { dtype = "int8" }
compute = 0.25
"#;

const SERVICE: &str = r#"
[service]
rerank_k = [2, 4]
final_n = [1, 3]
cache = [0, 4, 100]
log = { queries = 500, exponent = 1.0 }

[[promises]]
says = "half precision doubles it"
of = { dtype = "fp16" }
beside = { dtype = "fp32" }
times = [1.5, 2.5]

[[promises]]
says = "eight bits: 10 times"
of = { dtype = "int8" }
beside = { dtype = "fp32" }
times = [10.0, 11.0]

[[promises]]
says = "30 times on CUDA"
device = "cuda"
"#;

fn place(more: &str) -> Place {
    let place = Place::with_suite(&format!("{}\n{more}", SUITE.trim()));
    corpus(place.path());
    place
}

fn settings(place: &Place) -> String {
    std::fs::read_to_string(place.run_folder().join(".env.optimized")).unwrap()
}

/// The keys that a file sets.
fn keys(settings: &str) -> HashMap<&str, &str> {
    settings.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn what_a_service_needs_is_decided_by_what_was_seen() {
    let place = place(SERVICE);
    let output = place.tune(&[]);
    assert!(output.status.success(), "{}", text(&output));
    let shown = text(&output);
    for said in [
        "single query embedding (short)",
        "20 documents embedding",
        "rerank 5 passages",
        "half precision doubles it · kept: here ",
        "eight bits: 10 times · not kept: here ",
        "30 times on CUDA · not measured: it's said of cuda, and this ran on",
    ] {
        assert!(shown.contains(said), "{said:?} is missing in\n{shown}");
    }
    let best = place.best_json();
    let service = &best["service"];
    let choices = service["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3 * 2, "none, two and four sorted again; one and three kept: {service:#}");
    let value = |choice: &Value| choice["ndcg10"]["value"].as_f64().unwrap();
    let of = |k: u64, n: u64| choices.iter().find(|choice| choice["k"] == k && choice["n"] == n).unwrap();
    // What is kept besides can't make a list worse.
    assert!([0, 2, 4].iter().all(|k| value(of(*k, 3)) >= value(of(*k, 1))), "{service:#}");
    let (k, n) = (service["rerank_k"].as_u64().unwrap(), service["final_n"].as_u64().unwrap());
    let most = |n: u64| [0, 2, 4].iter().map(|k| value(of(*k, n))).fold(0.0, f64::max);
    assert!(value(of(k, 3)) >= 0.99 * most(3) && value(of(k, n)) >= 0.99 * value(of(k, 3)), "{service:#}");

    let cache = service["cache"].as_array().unwrap();
    let rates: Vec<f64> = cache.iter().map(|cache| cache["hit_rate"].as_f64().unwrap()).collect();
    assert!(rates[0] == 0.0 && rates[0] < rates[1] && rates[1] < rates[2], "{service:#}");
    assert_eq!(service["cache_size"], 100);

    let settings = settings(&place);
    let keys = keys(&settings);
    assert_eq!(keys["EMBEDDING_CACHE_SIZE"], "100");
    assert_eq!(keys["RERANK_ENABLE"], if k > 0 { "true" } else { "false" });
    assert_eq!(keys["RERANK_FINAL_N"], n.to_string());
    let page = std::fs::read_to_string(place.run_folder().join("report.html")).unwrap();
    assert!(page.contains("<th>nDCG@10</th>") && page.contains("half precision doubles it"));
}

#[test]
fn queries_that_never_repeat_need_no_cache() {
    let log = "[service]\ncache = [0, 10, 1000]\nlog = \"log.txt\"\n";
    let place = place(log);
    let once: String = (0..300).map(|number| format!("question {number}\n")).collect();
    std::fs::write(place.path().join("log.txt"), once).unwrap();
    let best = place.best(&["--budget", "12trials"], 0);
    assert_eq!(best["service"]["cache_size"], 0, "{:#}", best["service"]);
    assert_eq!(keys(&settings(&place))["EMBEDDING_CACHE_SIZE"], "0");
}

#[test]
fn what_wasnt_measured_is_commented_out() {
    let place = place("");
    place.best(&["--budget", "12trials"], 0);
    let settings = settings(&place);
    let keys = keys(&settings);
    assert!(keys.contains_key("EMBEDDING_BATCH") && !keys.contains_key("EMBEDDING_CACHE_SIZE"), "{settings}");
    for key in ["EMBEDDING_CACHE_SIZE", "RERANK_ENABLE", "RERANK_K", "RERANK_FINAL_N"] {
        assert!(settings.contains(&format!("# {key}=")), "{key} in {settings}");
    }
}

/// The settings of a run, fed to another one, give what they promise.
#[test]
fn settings_that_are_read_back_give_the_same_throughput() {
    let place = place(SERVICE);
    let best = place.best(&[], 0);
    let settings = settings(&place);
    let keys = keys(&settings);
    let precision = if keys["EMBEDDING_FP16"] == "true" { "fp16" } else { "fp32" };
    let set = [format!("embed.batch_size={}", keys["EMBEDDING_BATCH"]), format!("embed.dtype={precision}")];
    // Not the winner, which the service doesn't accept, but what is set.
    let candidates = best["stages"][0]["candidates"].as_array().unwrap();
    assert_eq!(candidates[0]["candidate"]["knobs"]["dtype"], "int8", "{candidates:#?}");
    let wanted = candidates.iter().find(|candidate| {
        candidate["candidate"]["knobs"]["dtype"] == precision
            && candidate["candidate"]["knobs"]["batch_size"].as_u64() == keys["EMBEDDING_BATCH"].parse().ok()
    });
    let wanted = &wanted.unwrap()["figures"]["throughput"];
    let output = autotune(&["--suite", "suite.toml", "--out", "again", "--set", &set[0], "--set", &set[1]])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let again: Value =
        serde_json::from_slice(&std::fs::read(place.path().join("again/best.json")).unwrap()).unwrap();
    let own = again["stages"][0]["candidates"].as_array().unwrap();
    let own = own.iter().find(|candidate| candidate["candidate"]["knobs"]["dtype"] == precision).unwrap();
    let value = own["figures"]["throughput"]["value"].as_f64().unwrap();
    let (low, high) = (wanted["low"].as_f64().unwrap(), wanted["high"].as_f64().unwrap());
    assert!((low..=high).contains(&value), "{value} is not in [{low}, {high}]");
}

#[test]
fn a_service_that_cant_be_is_refused() {
    for (section, said) in [
        ("[service]\nrerank_k = [2000]", "`rerank_k` has 2000, not from 0 to 1000"),
        ("[service]\nfinal_n = [0]", "`final_n` has 0, not from 1 to 1000"),
        ("[service]\ncache = [10]", "`cache` needs a `log`"),
        ("[service]\nembed = \"embde\"", "did you mean \"embed\"?"),
        ("[service]\nlog = \"nowhere.txt\"\ncache = [1]", "no file "),
        ("[service]\nlog = { queries = 0, exponent = 1.0 }", "`queries` must be from 1"),
        ("[service]\nlog = { queries = 5, exponent = 11.0 }", "`exponent` must be from 0"),
        ("[[promises]]\nsays = \"x\"\nof = { dtype = \"fp16\" }", "`of` and `beside` go together"),
        (
            "[[promises]]\nsays = \"x\"\nof = { dtype = \"fp16\" }\nbeside = { dtype = \"fp32\" }",
            "nothing is promised",
        ),
        (
            "[[promises]]\nsays = \"x\"\nof = { dtype = \"fp16\" }\nbeside = { dtype = \"fp32\" }\ntimes = [3.0, 2.0]",
            "the lower number first",
        ),
    ] {
        let output = place(section).tune(&[]);
        assert_eq!(output.status.code(), Some(2), "{section}");
        assert!(text(&output).contains(said), "{section}: {}", text(&output));
    }
}

/// The shipped suite with MiniLM's real weights in place of BGE-M3, and a small reranker.
#[test]
fn the_shipped_suite_runs_from_documents_to_settings() {
    let Some(minilm) = engines::minilm() else { return };
    let reranker = engines::fixtures_folder().join("models/bert-rerank");
    let place = Place::with_suite("");
    let models = [("embed", &minilm), ("rerank", &reranker)];
    let models = models.map(|(stage, folder)| format!("{stage}={}", folder.display()));
    let output = autotune(&["--suite", "retrieval", "--out", "run", "--budget", "8trials"])
        .args(models.iter().flat_map(|model| ["--model", model]))
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let best = place.best_json();
    let service = &best["service"];
    assert!(service["requests"].as_array().is_some_and(|requests| !requests.is_empty()), "{service:#}");
    let settings = settings(&place);
    let keys = keys(&settings);
    assert!(keys.contains_key("EMBEDDING_BATCH") && keys["EMBEDDING_DEVICE"] == "cpu", "{settings}");
    // A reranker of random weights sorts nothing better than the search did.
    assert_eq!((&service["rerank_k"], keys["RERANK_ENABLE"]), (&0.into(), "false"), "{service:#}");
    assert_eq!(keys["RERANK_FINAL_N"], service["final_n"].to_string());
    assert!(service["without"].as_array().is_some_and(Vec::is_empty), "{service:#}");
    let promises = best["promises"].as_array().unwrap();
    assert_eq!(promises.len(), 8);
    let on_card = promises.iter().filter(|promise| promise["says"].as_str().unwrap().contains("CUDA"));
    assert!(
        on_card.clone().count() == 3 && on_card.into_iter().all(|kept| kept["verdict"] == "not-measured")
    );
}

/// The same with made-up weights of a real size, on a few documents of its own.
#[test]
fn the_shipped_suite_runs_with_replicas() {
    let place = Place::with_suite("");
    corpus(place.path());
    let models = ["embed=BAAI/bge-small-en-v1.5", "rerank=mixedbread-ai/mxbai-rerank-xsmall-v1"];
    let output = autotune(&["--suite", "retrieval", "--out", "run", "--replica", "--corpus", "corpus"])
        .args(["--budget", "6trials", "--backend", "candle"])
        .args(models.iter().flat_map(|model| ["--model", model]))
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let best = place.best_json();
    assert!(best["stages"].as_array().unwrap().iter().all(|stage| stage["replica"] == true));
    let service = &best["service"];
    assert_eq!(service["requests"].as_array().map(Vec::len), Some(6), "{service:#}");
    assert!(service["rerank_k"].is_u64() && service["final_n"].is_u64(), "{service:#}");
    assert!(settings(&place).contains("RERANK_FINAL_N="), "{}", settings(&place));
}
