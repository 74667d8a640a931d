//! Workers that are other programs.

use crate::support::{Place, text, winner};

/// A suite with a command as its backend, beside a fake that is right.
fn with_command(command: &str) -> Place {
    Place::with_suite(&format!(
        r#"corpus = {{ synthetic = {{ documents = 8, median_words = 10, spread = 0.1, most_words = 20 }} }}
measure = {{ time = "50ms", passes = 1 }}
rounds = 1
timeouts = {{ load = "4s", answer = "4s", measure = "4s" }}

[[stages]]
task = "embed"
model = "m"
backends = ["fake", "other"]

[backends.fake]
batch_ms = 2

[backends.other]
kind = "exec"
command = {command}
"#
    ))
}

fn status(command: &str) -> (String, String) {
    let place = with_command(command);
    let best = place.best(&[], 0);
    assert_eq!(winner(&best)["candidate"]["backend"], "fake");
    let rows = place.trials();
    let row = rows.iter().find(|row| row["backend"] == "other").unwrap();
    (row["status"].clone(), row["reason"].clone())
}

/// A shell's worker that answers each request with the next of the given lines.
fn shell(lines: &[&str]) -> String {
    let script: String = lines.iter().map(|line| format!("read request; echo '{line}'\n")).collect();
    format!("[\"sh\", \"-c\", '''{script}read end''']")
}

const LOADED: &str =
    r#"{"id":1,"event":"loaded","protocol":1,"version":"sh 1","device":"cpu","seconds":0.1}"#;

#[test]
fn a_command_that_breaks_the_protocol_is_garbage() {
    for (lines, reason) in [
        (vec!["hello"], "not an event"),
        (vec![r#"{"id":7,"event":"unloaded"}"#], "request 7"),
        (vec![r#"{"id":1,"event":"unloaded"}"#], "expected \"loaded\""),
        (vec![LOADED, r#"{"id":2,"event":"answered","answers":[{"vector":"x"}]}"#], "not an event"),
    ] {
        let (status, why) = status(&shell(&lines));
        assert_eq!(status, "garbage", "{lines:?}: {why}");
        assert!(why.contains(reason), "{why}");
    }
    let (closed, why) = status(r#"["sh", "-c", "exec >&-; sleep 5"]"#);
    assert_eq!(closed, "garbage", "{why}");
}

/// A worker whose figures can't be must not win by them.
#[test]
fn figures_that_cannot_be_are_garbage() {
    // As wide as the fake's, which are the reference.
    let answer = format!(r#"{{"vector":[{}]}}"#, ["1"; 32].join(","));
    let answered = format!(r#"{{"id":2,"event":"answered","answers":[{}]}}"#, vec![answer; 8].join(","));
    let pass =
        |fields: &str| format!(r#"{{"id":3,"event":"measured","passes":[{{"documents":8,{fields}}}]}}"#);
    for (measured, reason) in [
        (r#"{"id":3,"event":"measured","passes":[]}"#.to_owned(), "without a single pass"),
        (pass(r#""seconds":0"#), "took 0 s"),
        (pass(r#""seconds":0.001"#), "were requested"),
        (pass(r#""seconds":50"#), "the answer came after"),
        (pass(r#""seconds":0.06,"split":{"compute":5}"#), "longer than their pass"),
        (pass(r#""seconds":0.06,"batch_seconds":[9]"#), "longer than their pass"),
        (pass(r#""seconds":0.06,"tokens":9,"padded_tokens":8"#), "with padding"),
        (pass(r#""seconds":0.06"#).replace(":8,", ":7,"), "over 7 documents"),
    ] {
        let (status, why) = status(&shell(&[LOADED, &answered, &measured]));
        assert_eq!((status.as_str(), why.contains(reason)), ("garbage", true), "{measured}: {why}");
    }
}

#[test]
fn a_worker_on_another_device_than_the_target_is_refused() {
    let place = with_command(&shell(&[&LOADED.replace("\"cpu\"", "\"cuda:0\"")]));
    let best = place.best(&["--gpu", "cpu"], 0);
    assert_eq!(winner(&best)["candidate"]["backend"], "fake");
    let rows = place.trials();
    let row = rows.iter().find(|row| row["backend"] == "other").unwrap();
    assert_eq!(row["status"], "refused", "{}", row["reason"]);
}

#[test]
fn a_debug_line_replays_a_request_by_hand() {
    let place = with_command(&shell(&[LOADED]));
    let output = place.command(&["--backend", "fake"]).env("AUTOTUNE_LOG", "debug").output().unwrap();
    let log = text(&output);
    let lines = log.lines().rev().filter(|line| line.contains("\"do\":\"measure\""));
    let line = lines.filter_map(|line| line.split_once("replay with: ")).next().expect("a replay line").1;
    let replayed = std::process::Command::new("sh").args(["-c", line]).current_dir("/").output().unwrap();
    let events = String::from_utf8(replayed.stdout).unwrap();
    assert!(events.lines().next().unwrap_or_default().contains("loaded"), "{line}\n{events}");
    assert!(events.lines().nth(1).unwrap_or_default().contains("measured"), "{line}\n{events}");
}

#[test]
fn a_command_that_states_no_version_is_refused() {
    let (status, why) = status(&shell(&[&LOADED.replace("sh 1", " ")]));
    assert_eq!((status.as_str(), why.contains("version")), ("refused", true), "{why}");
    let (status, why) = self::status(&shell(&[&LOADED.replace("\"protocol\":1", "\"protocol\":9")]));
    assert_eq!((status.as_str(), why.contains("version 9")), ("refused", true), "{why}");
}

/// Whoever is killed while it writes leaves half a line: that is a death, not garbage.
#[test]
fn an_event_that_is_cut_short_by_a_death_is_that_death() {
    let (status, why) =
        status(r#"["sh", "-c", "read request; printf '{\"id\":1,\"event\":\"loa'; kill -9 $$"]"#);
    assert_eq!((status.as_str(), why.contains("twice")), ("out of memory", true), "{why}");
    let (status, why) = self::status(r#"["sh", "-c", "read request; printf half; exit 3"]"#);
    assert_eq!((status.as_str(), why.contains("exit status: 3")), ("crashed", true), "{why}");
}

#[test]
fn answers_that_cannot_be_right_are_wrong_answers() {
    for answers in [r#"[]"#, r#"[{"score":1}]"#] {
        let answered = format!(r#"{{"id":2,"event":"answered","answers":{answers}}}"#);
        let (status, why) = status(&shell(&[LOADED, &answered]));
        assert_eq!(status, "wrong answers", "{why}");
    }
}

#[test]
fn a_command_that_is_not_there_is_not_available() {
    let (status, why) = status(r#"["/no/such/program"]"#);
    assert_eq!(status, "not available");
    assert!(why.contains("/no/such/program"), "{why}");
}

#[test]
fn everything_that_a_worker_started_ends_with_it() {
    // The shell's child holds the group open and would sleep for an hour.
    let place = with_command(r#"["sh", "-c", "sleep 3600 & echo $! > child.pid; wait"]"#);
    place.best(&[], 0);
    let pid = std::fs::read_to_string(place.path().join("child.pid")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    assert!(status.is_empty() || status.contains("zombie"), "the child lives on: {status}");
}

/// The example speaks the first version of the protocol, which knows of passes and not of batches.
#[test]
fn a_worker_that_knows_no_batches_is_asked_for_as_many_passes_as_a_percentile_needs() {
    let suite = format!("{}/docs/examples/worker.toml", env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let output = crate::support::autotune(&["--suite", &suite, "--out", "run", "--limit", "p95<=10s"])
        .args(["--set", "batch_size=64", "--set", "ngram=3", "--set", "max_chars=100"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.code().is_some_and(|code| code == 0 || code == 4), "{}", text(&output));
    let best: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("run/best.json")).unwrap()).unwrap();
    for candidate in best["stages"][0]["candidates"].as_array().unwrap() {
        // One batch a pass, and 130 of them in each round.
        assert!(candidate["figures"]["p95"]["value"].is_number(), "{candidate}");
        assert!(candidate["passes"].as_u64() >= Some(130), "{candidate}");
    }
}

#[test]
fn a_worker_in_another_language_works_from_the_document_alone() {
    let root = env!("CARGO_MANIFEST_DIR");
    let example = std::fs::read_to_string(format!("{root}/docs/examples/worker.py")).unwrap();
    assert!(example.lines().count() < 100, "an example is to be read at a glance");
    let folder = tempfile::tempdir().unwrap();
    let output =
        crate::support::autotune(&["--suite", &format!("{root}/docs/examples/worker.toml"), "--out", "run"])
            .current_dir(folder.path())
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let best: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("run/best.json")).unwrap()).unwrap();
    assert_eq!(best["provenance"], "measured");
    let won = winner(&best);
    assert!(won["figures"]["throughput"]["value"].as_f64().unwrap() > 0.0);
    assert!(won["figures"]["rss"]["value"].as_f64().unwrap() > 1e6, "{won}");
    assert!(won["figures"]["quality"]["value"].as_f64().unwrap() >= 0.95);
    // It really cuts, and really answers otherwise for it: some candidate misses the limit.
    let candidates = best["stages"][0]["candidates"].as_array().unwrap();
    assert!(candidates.iter().any(|candidate| candidate["status"] == "below quality"));
    assert!(candidates.iter().all(|candidate| candidate["failure"].is_null()));
}
