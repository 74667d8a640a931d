//! The gate: two programs side by side, in pairs.

use std::process::Output;

use serde_json::Value as Json;

use crate::support::{Place, autotune, text};

/// A worker whose figures are drawn: `time` times as slow as usual, answers turned by `turned`, and `dies` at its second measurement.
const WORKER: &str = r#"
import json, math, os, random, sys
options = dict(word.split("=") for word in sys.argv[1:])
time, noise, turned = (float(options.get(name, usual)) for name, usual in (("time", 1), ("noise", 0.01), ("turned", 0)))
corpus, offset, measured = [], math.exp(random.SystemRandom().gauss(0, noise / 2)), 0
events = os.fdopen(os.dup(1), "w")
for request in map(json.loads, sys.stdin):
    what = request["do"]
    if what == "load":
        corpus = [json.loads(line)["text"] for line in open(request["corpus"])]
        event = {"event": "loaded", "protocol": 1, "version": "drawn 1", "device": request.get("device", "cpu"),
                 "seconds": 0.5, "simulated": True}
    elif what == "answer":
        angle = lambda text: len(text) % 7 + turned
        event = {"event": "answered", "answers": [{"vector": [math.cos(angle(t)), math.sin(angle(t))]} for t in corpus]}
    else:
        measured += 1
        if options.get("dies") and measured > 1:
            os._exit(3)
        draw = random.Random(f"{request['seed']} {sys.argv}")
        seconds = 0.4 * time * offset * math.exp(draw.gauss(0, noise))
        event = {"event": "measured", "passes": [{"seconds": seconds, "documents": len(corpus)}], "busy_seconds": 0.1}
    print(json.dumps({"id": request["id"], **event}), file=events, flush=True)
"#;

fn place() -> Place {
    let place = Place::with_suite(
        "corpus = { synthetic = { documents = 8, median_words = 20, spread = 0.4, most_words = 60 } }\n\
         measure = { time = \"100ms\", passes = 1 }\n\
         [backends.drawn]\nkind = \"exec\"\ncommand = [\"python3\", \"worker.py\"]\n\
         [backends.drawn.knobs]\nbatch_size = { applies = \"run\", default = 8 }\n\
         [[stages]]\nname = \"embed\"\ntask = \"embed\"\nmodel = \"any\"\nbackends = [\"drawn\"]\n",
    );
    std::fs::write(place.path().join("worker.py"), WORKER).unwrap();
    place
}

/// The base's worker beside the new one's, each with options of its own.
fn between(place: &Place, base: &str, new: &str, more: &[&str]) -> Output {
    let [base, new] = [base, new].map(|options| format!("python3 worker.py {options}"));
    let arguments =
        ["gate", "--suite", "suite.toml", "--gpu", "cpu", "--base-worker", &base, "--new-worker", &new];
    autotune(&arguments).args(more).current_dir(place.path()).output().unwrap()
}

fn gate(place: &Place, new: &str, more: &[&str]) -> Output {
    between(place, "", new, more)
}

fn json(place: &Place, new: &str, code: i32) -> Json {
    let output = gate(place, new, &["--json", "--margin", "2%", "--time", "20s"]);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    document["stages"][0].clone()
}

#[test]
fn a_program_beside_itself_passes_and_a_slower_one_is_a_regression() {
    let place = place();
    let same = json(&place, "", 0);
    assert_eq!(same["verdict"], "pass", "{same:#}");
    let pairs = same["pairs"].as_array().unwrap();
    assert!(pairs.len() >= 12);
    // Processes differ, and so does the base beside itself.
    assert!(pairs.iter().any(|pair| pair["own"] != 1.0));
    let calibration = &same["calibration"];
    assert!(calibration["noise"].as_f64().unwrap() > 0.003, "{calibration}");
    assert!(calibration["false_alarms"]["value"].as_f64().unwrap() <= 0.01, "{calibration}");

    let slower = json(&place, "time=1.15", 5);
    assert_eq!(slower["verdict"], "regression");
    let time = &slower["figures"][0];
    let (ratio, low) = (time["ratio"]["value"].as_f64().unwrap(), time["ratio"]["low"].as_f64().unwrap());
    assert!((ratio - 1.15).abs() < 0.03 && low > 1.02, "{time}");
    assert!(slower["sentence"].as_str().unwrap().contains("worse by more than 2.0%"), "{slower:#}");

    let faster = json(&place, "time=0.85", 0);
    assert_eq!(faster["verdict"], "improved");
}

#[test]
fn faster_and_wrong_is_a_regression_and_rounding_is_none() {
    let place = place();
    let wrong = json(&place, "time=0.5 turned=0.1", 5);
    assert!(wrong["sentence"].as_str().unwrap().contains("below 0.999"), "{wrong:#}");
    assert_eq!(json(&place, "turned=0.0001", 0)["verdict"], "pass");
}

#[test]
fn noise_that_hides_the_margin_is_said() {
    let place = place();
    let output = gate(&place, "noise=0.3", &["--margin", "1%", "--time", "2s", "--quiet"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let said = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("→ ambiguous: time a document"), "{said}");
}

#[test]
fn whoever_dies_is_to_blame() {
    let place = place();
    let dies = json(&place, "dies=1", 5);
    assert!(dies["sentence"].as_str().unwrap().starts_with("the new arm failed: "), "{dies:#}");
    let output = between(&place, "dies=1", "", &["--json"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["stages"][0]["verdict"], "invalid");
}

#[test]
fn what_ci_reads_is_written() {
    let place = place();
    let files = ["--markdown", "summary.md", "--junit", "junit.xml", "--margin", "2%", "--time", "20s"];
    let output = gate(&place, "time=1.2", &files);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    assert!(read("summary.md").starts_with("### autotune gate: regression"), "{}", read("summary.md"));
    assert!(read("junit.xml").contains("failures=\"1\""), "{}", read("junit.xml"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = place();
    std::fs::write(place.path().join("notes.txt"), "no program").unwrap();
    let refused = |arguments: &[&str], why: &str| {
        let output = autotune(&[&["gate", "--suite", "suite.toml", "--gpu", "cpu"], arguments].concat())
            .current_dir(place.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(why), "{arguments:?}: {}", text(&output));
    };
    refused(&[], "--base-bin");
    refused(&["--base-bin", "nowhere"], "nowhere: No such file");
    refused(&["--base-bin", "notes.txt"], "no program that can be run");
    refused(&["--base-worker", "python3 worker.py"], "--new-worker");
    refused(&["--base-bin", "notes.txt", "--margin", "60%"], "less than 50%");
    let built_in = ["--suite", "demo", "--base-worker", "a", "--new-worker", "b"];
    let output = autotune(&[&["gate"], &built_in[..]].concat()).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("is built in"), "{}", text(&output));
}
