//! The gate: two programs side by side, in pairs.

use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;

use crate::support::{Place, STAGE, autotune, suite, text};

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
    // No pair would change that.
    assert_eq!(wrong["pairs"].as_array().map(Vec::len), Some(0));
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
    let files = [
        ["--markdown", "summary.md"],
        ["--junit", "junit.xml"],
        ["--bencher", "bencher.json"],
        ["--benchmark", "benchmark.json"],
        ["--svg", "pairs.svg"],
        ["--margin", "2%"],
        ["--time", "20s"],
    ];
    let mut command = autotune(&["gate", "--suite", "suite.toml", "--gpu", "cpu", "--quiet", "--github"]);
    command.args(["--base-worker", "python3 worker.py", "--new-worker", "python3 worker.py time=1.2"]);
    command.args(files.concat()).env("GITHUB_STEP_SUMMARY", place.path().join("step.md"));
    let output = command.current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    assert!(read("summary.md").starts_with("### autotune gate: regression"), "{}", read("summary.md"));
    assert!(read("junit.xml").contains("failures=\"1\""), "{}", read("junit.xml"));
    assert_eq!(read("step.md"), read("summary.md"));
    assert!(
        text(&output).contains("::error title=autotune gate%2C embed%3A regression::"),
        "{}",
        text(&output)
    );
    let json = |name: &str| serde_json::from_str::<Json>(&read(name)).unwrap();
    let ratio = json("bencher.json")["suite/embed"]["time-a-document-beside-base"]["value"].as_f64().unwrap();
    assert!((ratio - 1.2).abs() < 0.05, "{ratio}");
    assert_eq!(json("benchmark.json")[0]["value"].as_f64(), Some(ratio));
    assert!(read("pairs.svg").starts_with("<svg") && read("pairs.svg").contains("the base again"));
}

#[test]
fn a_configuration_is_gated_like_a_program() {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [2, 24]\n");
    let place = Place::with_suite(&suite(&stage, "batch_ms = 5\nnoise = 0.01\n"));
    place.best(&[], 0);
    let candidate = |more: &[&str]| {
        let arguments = ["gate", "--suite", "suite.toml", "--candidate", "run", "--json", "--quiet"];
        autotune(&arguments).args(more).current_dir(place.path()).output().unwrap()
    };
    // The default has batches of 32, which 24 documents don't fill; the winner is as fast.
    let output = candidate(&["--margin", "5%"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let slow = suite(&format!("{STAGE}\nbaseline = {{ batch_size = 1 }}\n"), "batch_ms = 5\nnoise = 0.01\n");
    std::fs::write(place.path().join("suite.toml"), slow).unwrap();
    let output = candidate(&[]);
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    let stage = &document["stages"][0];
    assert_eq!(stage["verdict"], "improved", "{stage:#}");
    assert_eq!(stage["candidate"]["knobs"]["batch_size"], 1);
    assert!(stage["new_candidate"]["knobs"]["batch_size"].as_u64().unwrap() >= 24, "{stage:#}");
}

#[test]
fn figures_are_kept_and_compared_with_where_they_can_be() {
    let place = place();
    let run = |more: &[&str]| {
        let arguments = ["gate", "--suite", "suite.toml", "--gpu", "cpu", "--json", "--quiet"];
        autotune(&arguments).args(more).current_dir(place.path()).output().unwrap()
    };
    let output = run(&["--new-worker", "python3 worker.py", "--save", "kept.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let kept = std::fs::read_to_string(place.path().join("kept.json")).unwrap();
    let against = |file: &str, worker: &str, code: i32| {
        let output = run(&["--new-worker", worker, "--baseline", file, "--margin", "5%"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        let document: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        document["stages"][0]["sentence"].as_str().unwrap_or_default().to_owned() + &text(&output)
    };
    assert!(against("kept.json", "python3 worker.py", 0).contains("beside figures of "));
    assert!(against("kept.json", "python3 worker.py time=1.3", 5).contains("worse by more than 5.0%"));
    let change = |from: &str, to: &str| {
        assert!(kept.contains(from), "{kept}");
        std::fs::write(place.path().join("other.json"), kept.replace(from, to)).unwrap();
        against("other.json", "python3 worker.py", 6)
    };
    assert!(change("\"drawn 1\"", "\"drawn 2\"").contains("not comparable: the engine's version differs"));
    assert!(change("\"cores\": ", "\"cores\": 9").contains("not comparable: the machine differs"));
    assert!(
        change("\"suite\": \"suite\"", "\"suite\": \"another\"")
            .contains("not comparable: the suite differs")
    );
    // What isn't whole is no file of ours.
    std::fs::write(place.path().join("other.json"), &kept[..kept.len() / 2]).unwrap();
    assert!(against("other.json", "python3 worker.py", 2).contains("no whole file"));
    assert!(against("nowhere.json", "python3 worker.py", 2).contains("No such file"));
}

#[test]
fn commands_are_run_where_they_were_typed() {
    let place = place();
    let folder = place.path().file_name().unwrap().to_str().unwrap();
    let worker = format!("python3 {folder}/worker.py");
    let suite = format!("{folder}/suite.toml");
    let output = autotune(&["gate", "--suite", &suite, "--gpu", "cpu", "--quiet", "--margin", "3%"])
        .args(["--base-worker", &worker, "--new-worker", &worker])
        .current_dir(place.path().parent().unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_gate_that_is_interrupted_says_so_where_ci_looks() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let place = place();
        let mut command =
            autotune(&["gate", "--suite", "suite.toml", "--gpu", "cpu", "--junit", "junit.xml"]);
        command.args(["--base-worker", "python3 worker.py", "--new-worker", "python3 worker.py"]);
        command.args(["--markdown", "summary.md", "--history", "past", "--margin", "0.1%", "--time", "1h"]);
        command.current_dir(place.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_secs(3));
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
        for (name, wanted) in
            [("junit.xml", "errors=\"1\""), ("junit.xml", "interrupted"), ("summary.md", "interrupted")]
        {
            assert!(read(name).contains(wanted), "{name}: {}", read(name));
        }
        // What decides nothing isn't remembered.
        assert_eq!(read("past/gates.jsonl"), "");
    }
}

#[test]
fn gates_are_remembered_and_their_trend_is_shown() {
    let place = place();
    let remembered = |new: &str, code: i32| {
        let output = gate(&place, new, &["--margin", "3%", "--time", "20s", "--history", "past", "--quiet"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        text(&output).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let said = remembered("", 0);
    assert!(
        said.contains("embed on this machine, suite suite, drawn, on ") && said.contains("its first gate"),
        "{said}"
    );
    let read = |name: &str| std::fs::read_to_string(place.path().join("past").join(name)).unwrap();
    // Seven more like it, and as many of a program that is slower.
    let first: Json = serde_json::from_str(&read("gates.jsonl")).unwrap();
    let seconds = first["seconds"].as_f64().unwrap();
    let later = (1..15).map(|place| {
        let slower = if place < 8 { 1.0 } else { 1.2 };
        let mut gate = first.clone();
        gate["seconds"] = (seconds * slower * (1.0 + 0.001 * f64::from(place % 5))).into();
        gate["ratio"] = serde_json::json!({ "value": if place == 8 { 1.19 } else { 1.0 } });
        gate.to_string() + "\n"
    });
    let lines = read("gates.jsonl") + &later.collect::<String>();
    std::fs::write(place.path().join("past/gates.jsonl"), lines).unwrap();
    let output = autotune(&["gate", "--history", "past"]).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in
        ["15 gates since ", "time a document: ", "that gate itself measured +19.0%", "noise a pair: "]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(read("embed-trend.svg").contains("<svg"));
    let output =
        autotune(&["gate", "--history", "past", "--json"]).current_dir(place.path()).output().unwrap();
    let trends: Json = serde_json::from_slice(&output.stdout).unwrap();
    let levels = trends[0]["levels"].as_array().unwrap();
    assert_eq!(levels.len(), 2, "{levels:?}");
    let change = levels[1]["seconds"].as_f64().unwrap() / levels[0]["seconds"].as_f64().unwrap();
    assert!((change - 1.2).abs() < 0.05, "{change}");
    assert_eq!(levels[1]["first"], 8);
    let said = remembered("", 0);
    assert!(said.contains("16 gates since "), "{said}");
    // What isn't ours is refused before anything is measured.
    std::fs::write(place.path().join("past/gates.jsonl"), "nonsense\n").unwrap();
    let output = gate(&place, "", &["--history", "past"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("gates.jsonl:1: no gate"), "{}", text(&output));
}

#[test]
fn counts_of_two_builds_are_compared_without_a_clock() {
    let place = Place::with_suite("");
    let own = env!("CARGO_BIN_EXE_autotune");
    let counted = |arguments: &[&str]| {
        let mut command = autotune(&["gate", "--counts", "--replica", "--suite", "minilm"]);
        command.args(arguments).current_dir(place.path()).output().unwrap()
    };
    let output = counted(&["--base-bin", own]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("→ pass: no count has changed"), "{}", text(&output));

    let output = counted(&["--save", "kept.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let kept = std::fs::read_to_string(place.path().join("kept.json")).unwrap();
    let mut fused: Json = serde_json::from_str(&kept).unwrap();
    let nodes = &mut fused["entries"][1]["groups"]["nodes"];
    nodes["Add"] = (nodes["Add"].as_i64().unwrap() - 5).into();
    std::fs::write(place.path().join("fused.json"), fused.to_string()).unwrap();
    let files = ["--junit", "junit.xml", "--markdown", "summary.md", "--json"];
    let output = counted(&[&["--baseline", "fused.json"], &files[..]].concat());
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["stages"][0]["verdict"], &report["stages"][1]["verdict"]),
        (&"pass".into(), &"regression".into())
    );
    let sentence = report["stages"][1]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("more than before: Add ") && sentence.contains("(+5)"), "{sentence}");
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    assert!(read("junit.xml").contains("tests=\"2\" failures=\"1\""), "{}", read("junit.xml"));
    assert!(read("summary.md").contains("- Add "), "{}", read("summary.md"));

    // A program that is an older build has no counts: nobody is to blame.
    let older = place.path().join("older");
    std::fs::write(
        &older,
        "#!/bin/sh\necho 'autotune 0.0.1'\necho 'no counts' >&2\ntest \"$1\" = --version\n",
    )
    .unwrap();
    std::fs::set_permissions(&older, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = counted(&["--base-bin", "older"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(text(&output).contains("older doesn't count: no counts"), "{}", text(&output));

    std::fs::write(place.path().join("half.json"), &kept[..kept.len() / 2]).unwrap();
    assert_eq!(counted(&["--baseline", "half.json"]).status.code(), Some(2));
    assert_eq!(counted(&[]).status.code(), Some(2));
    assert_eq!(counted(&["--base-bin", own, "--suite", "nowhere.toml"]).status.code(), Some(2));
}

#[test]
fn a_full_disk_is_said_and_nothing_is_claimed() {
    let place = place();
    let output = gate(&place, "", &["--quiet", "--margin", "3%", "--junit", "/dev/full"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("writing /dev/full: No space left"), "{}", text(&output));
    // What was found is told all the same.
    assert!(text(&output).contains("→ "), "{}", text(&output));
    let save =
        ["gate", "--suite", "suite.toml", "--gpu", "cpu", "--quiet", "--new-worker", "python3 worker.py"];
    let output = autotune(&save).args(["--save", "/dev/full"]).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("writing /dev/full: No space left"), "{}", text(&output));
}

#[test]
fn a_long_pass_is_cut_into_short_turns() {
    let place = Place::with_suite(
        "corpus = { synthetic = { documents = 24, median_words = 40, spread = 0.4, most_words = 80 } }\n\
         measure = { time = \"100ms\", passes = 1 }\n\
         [[stages]]\nname = \"embed\"\ntask = \"embed\"\nmodel = \"sentence-transformers/all-MiniLM-L6-v2\"\n\
         backends = [\"candle\"]\nbaseline = { backend = \"candle\", batch_size = 2, order = \"length\", threads = 1 }\n",
    );
    let own = env!("CARGO_BIN_EXE_autotune");
    let arguments =
        ["gate", "--suite", "suite.toml", "--replica", "--gpu", "cpu", "--base-bin", own, "--json"];
    let more = ["--quiet", "--time", "1s", "--margin", "40%", "--other-load", "100%"];
    let output = autotune(&arguments).args(more).current_dir(place.path()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 6)), "{}", text(&output));
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    let stage = &report["stages"][0];
    // A turn for each of its batches, unless the machine is too quick for that.
    assert!((4..=12).contains(&stage["turns"].as_u64().unwrap()), "{stage}");
    assert!(stage["pairs"].as_array().unwrap().len() >= 12, "{stage}");
    assert!(
        stage["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|pair| (0.2..5.0).contains(&pair["own"].as_f64().unwrap()))
    );
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
    // It would never be started.
    let own = env!("CARGO_BIN_EXE_autotune");
    refused(&["--base-bin", own], "runs commands only");
    refused(&["--base-bin", "/bin/true"], "this is no build of autotune");
    refused(&["--base-worker", "no-such-program", "--new-worker", "python3"], "there is no such program");
    let workers = ["--base-worker", "python3 worker.py", "--new-worker", "python3 worker.py"];
    refused(&[&workers[..], &["--junit", "nowhere/junit.xml"]].concat(), "can't write nowhere/junit.xml");
    refused(&["--base-bin", "nowhere"], "nowhere: No such file");
    refused(&["--base-bin", "notes.txt"], "no program that can be run");
    refused(&["--base-worker", "python3 worker.py"], "--new-worker");
    refused(&["--base-bin", "notes.txt", "--margin", "60%"], "less than 50%");
    let built_in = ["--suite", "demo", "--base-worker", "a", "--new-worker", "b"];
    let output = autotune(&[&["gate"], &built_in[..]].concat()).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("is built in"), "{}", text(&output));
}
