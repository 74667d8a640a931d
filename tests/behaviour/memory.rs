//! What models take: measured on real workers, with a card that is scripted.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use autotune::analysis::{Kept, Leak, Taken, taken};
use autotune::hardware::Target;
use autotune::record::{Footprint, Status};
use autotune::runner::{Course, Interrupt};
use autotune::task::Task;
use autotune::telemetry::{Memory, Reading, Scripted, Watch};
use autotune::worker::protocol::{Load, ONE_MODEL, Slot};
use serde_json::{Value, json};

use crate::support::{autotune, engines, text};

const MIB: u64 = 1 << 20;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

/// Takes a fake with this script through its rounds, or another command in its place.
fn course(script: Value, command: Option<&str>, rounds: u32, watch: &mut Watch) -> Footprint {
    let mut corpus = tempfile::NamedTempFile::new().unwrap();
    corpus.write_all(b"{\"text\":\"a text\"}\n{\"text\":\"another\"}\n").unwrap();
    let target = Target::simulated(None, "scripted");
    let program = env!("CARGO_BIN_EXE_autotune");
    let own = || vec![program.to_owned(), "worker".to_owned()];
    let command = command.map_or_else(own, |script| ["sh", "-c", script].map(String::from).into());
    let load = Load {
        protocol: ONE_MODEL,
        slot: Slot::default(),
        backend: "fake".into(),
        kind: "fake".into(),
        task: Task::Embed,
        prompt: None,
        model: "m".into(),
        folder: None,
        device: None,
        device_memory: None,
        knobs: [].into(),
        settings: script,
        corpus: corpus.path().display().to_string(),
    };
    let course = Course {
        command,
        folder: PathBuf::from("."),
        target: &target,
        receipt: None,
        load,
        knobs: [].into(),
        rounds,
    };
    let mut heard = Vec::new();
    let footprint = course.run(watch, &Interrupt::default(), |done| heard.push(done)).unwrap();
    assert_eq!(heard, (1..=footprint.rounds.len() as u32).collect::<Vec<_>>());
    footprint
}

fn fake(script: Value, rounds: u32, watch: &mut Watch) -> Taken {
    let footprint = course(script, None, rounds, watch);
    assert_eq!(footprint.failure, None);
    assert_eq!(footprint.rounds.len(), rounds as usize);
    assert!(footprint.loaded.as_ref().unwrap().simulated);
    // Nobody knows where its files lie, so none of its loads is called cold.
    assert!(footprint.not_cold.is_some());
    taken(&footprint)
}

fn verdict(kept: Option<Kept>) -> Leak {
    kept.unwrap().growth.unwrap().verdict
}

#[test]
fn a_leak_of_the_host_is_found_and_a_clean_worker_has_none() {
    let script =
        |leak_mib: u32| json!({ "load_ms": 250, "batch_ms": 5, "memory_mib": 100, "leak_mib": leak_mib });
    let leaky = fake(script(3), 12, &mut Watch::off());
    let growth = leaky.rss.unwrap().growth.unwrap();
    assert_eq!(growth.verdict, Leak::Found, "{growth:?}");
    assert!((growth.per_round.value / MIB as f64 - 3.0).abs() < 0.2, "{growth:?}");
    assert_eq!((leaky.cold_load_seconds, leaky.warm_load_seconds), (None, Some(0.25)));
    assert_eq!((leaky.device, leaky.reserved_bytes), (None, Some(100 * MIB)));
    let clean = fake(script(0), 12, &mut Watch::off());
    assert_eq!(verdict(clean.rss), Leak::None, "{clean:?}");
    assert!(clean.rss.unwrap().stays < 4 * MIB as i64, "{clean:?}");
}

/// A card on which the worker has `after(round)` MiB after an unload, and a gibibyte more while it's loaded. The driver
/// lists nobody, as in a container.
fn card(rounds: u32, after: impl Fn(u32) -> u64) -> Watch {
    let used = |mib: u64| {
        let memory = Memory { used_bytes: (2048 + mib) * MIB, total_bytes: 24 << 30 };
        Ok(Reading { memory: Some(Ok(memory)), ..Scripted::calm() })
    };
    // Before the worker is there, once it is, and then at the start of each round, loaded, at its end, and unloaded.
    let mut readings = vec![used(0), used(0)];
    for round in 0..rounds {
        let (before, after) = (round.checked_sub(1).map_or(0, &after), after(round));
        readings.extend([used(before), used(after + 1024), used(after + 1536), used(after)]);
    }
    let sensor = Scripted::new(readings);
    // So seldom that a round has its first sample and its last, and no other.
    Watch::new(move || Ok(Box::new(sensor.clone())), Duration::from_secs(3600))
}

#[test]
fn a_leak_of_the_device_is_found_and_noise_and_what_stays_are_none() {
    let device =
        |after: fn(u32) -> u64| fake(json!({ "batch_ms": 5 }), 16, &mut card(16, after)).device.unwrap();
    // The context of a driver stays, and the allocator wanders between its steps.
    let noisy = device(|round| 300 + 2 * u64::from(round * 7919 % 5));
    assert_eq!(noisy.growth.unwrap().verdict, Leak::None, "{noisy:?}");
    let kept = [noisy.before, noisy.loaded, noisy.peak, noisy.after].map(|bytes| bytes / MIB);
    assert_eq!((kept, noisy.stays as u64 / MIB), ([0, 1328, 1844, 304], 304));
    let leaky = device(|round| 300 + 2 * u64::from(round * 7919 % 5) + 4 * u64::from(round));
    let growth = leaky.growth.unwrap();
    assert_eq!(growth.verdict, Leak::Found, "{growth:?}");
    assert!((growth.per_round.value / MIB as f64 - 4.0).abs() < 0.5, "{growth:?}");
    let settling = device(|round| 300 + 40 * u64::from(round.min(2)));
    assert_eq!(settling.growth.unwrap().verdict, Leak::None, "{settling:?}");
}

#[test]
fn a_card_that_cannot_be_watched_is_told() {
    let mut watch =
        Watch::new(|| Err(autotune::telemetry::Trouble::gone("no driver here")), Duration::from_secs(3600));
    let footprint = course(json!({ "batch_ms": 5 }), None, 2, &mut watch);
    assert_eq!((footprint.rounds.len(), footprint.rounds[1].device), (2, None));
    assert_eq!(footprint.unseen.as_deref(), Some("no driver here"));
}

const LOADED: &str = r#""event":"loaded","protocol":1,"version":"sh 1","device":"cpu","seconds":0.1"#;
const MEASURED: &str = r#""event":"measured","passes":[{"documents":2,"seconds":0.01}]"#;

/// A shell's worker: any program that speaks the protocol can be watched.
fn shell(events: &[&str], end: &str) -> String {
    let answer =
        |(id, event): (usize, &&str)| format!("read request; echo '{{\"id\":{},{event}}}'\n", id + 1);
    events.iter().enumerate().map(answer).collect::<String>() + end
}

#[test]
fn a_worker_that_dies_half_way_leaves_its_rounds_and_the_reason() {
    let unloaded = r#""event":"unloaded""#;
    let failed = r#""event":"failed","kind":"out-of-memory","message":"no room""#;
    for (events, end, status, rounds, reason) in [
        (
            vec![LOADED, MEASURED, unloaded, LOADED],
            "read request; echo giving up >&2; exit 3",
            Status::Crashed,
            1,
            "3",
        ),
        (vec![LOADED, MEASURED, unloaded, LOADED, failed], "read end", Status::OutOfMemory, 1, "no room"),
        (vec![LOADED, MEASURED, LOADED], "read end", Status::Garbage, 0, "expected \"unloaded\""),
        (vec![unloaded], "read end", Status::Garbage, 0, "expected \"loaded\""),
        (vec![LOADED, &MEASURED.replace("0.01", "0")], "read end", Status::Garbage, 0, "took 0 s"),
    ] {
        let footprint = course(json!({}), Some(&shell(&events, end)), 3, &mut Watch::off());
        let failure = footprint.failure.unwrap();
        assert_eq!((failure.status, footprint.rounds.len()), (status, rounds), "{events:?}: {failure:?}");
        assert!(failure.in_words().contains(reason), "{failure:?}");
        assert!(status != Status::Crashed || failure.stderr == "giving up", "{failure:?}");
    }
    let events = [LOADED, MEASURED, unloaded, LOADED, MEASURED, unloaded];
    let whole = course(json!({}), Some(&shell(&events, "read end")), 2, &mut Watch::off());
    assert_eq!((whole.failure, whole.rounds.len()), (None, 2));
}

/// What the verb prints as JSON.
fn json_of(arguments: &[&str], code: i32) -> Value {
    let output = autotune(arguments).args(["--json", "--quiet"]).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_configuration_is_a_row_and_what_cannot_be_has_its_reason() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("memory.csv").display().to_string();
    let model = fixture("bert-embed-mean").display().to_string();
    let models = format!("{model},./no/where");
    let arguments = ["memory", "--model", &models, "--gpu", "cpu,cuda:7", "--backend", "candle", "--dtype"];
    let more = ["fp32,bf16,fp7", "--rounds", "2", "--batch", "3", "--max-tokens", "9", "--out", &out];
    let report = json_of(&[&arguments[..], &more].concat(), 0);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!((rows.len(), report["batch_size"].clone()), (12, json!(3)));
    let of = |model: &str, device: &str, dtype: &str| {
        let is = |row: &&Value| {
            row["model"] == model && row["device"] == device && row["candidate"]["knobs"]["dtype"] == dtype
        };
        rows.iter().find(is).unwrap()
    };
    let good = of(&model, "cpu", "fp32");
    assert_eq!(good["status"], "ok", "{good}");
    assert_eq!(good["footprint"]["rounds"][1]["tokens"], 9);
    assert!(good["rss"]["loaded"].as_u64() > good["rss"]["before"].as_u64(), "{good}");
    for (model, device, dtype, status, reason) in [
        (model.as_str(), "cpu", "bf16", "refused", "bf16 is for GPUs"),
        (&model, "cpu", "fp7", "refused", "\"fp7\" is not one of"),
        (&model, "cuda:7", "fp32", "not available", "not in this machine"),
        ("./no/where", "cpu", "fp32", "not available", "is no folder"),
    ] {
        let row = of(model, device, dtype);
        assert_eq!(row["status"], status, "{row}");
        assert!(row["reason"].as_str().unwrap().contains(reason), "{row}");
    }
    let rows: Vec<HashMap<String, String>> =
        csv::Reader::from_path(&out).unwrap().deserialize().map(Result::unwrap).collect();
    assert_eq!(
        (rows.len(), rows[1]["round"].as_str()),
        (13, "1"),
        "a row a round, and one for each that can't be"
    );
    assert_eq!((rows[0]["provenance"].as_str(), rows[0]["weights"].as_str()), ("measured", "checkpoint"));
    // Where nothing at all can be measured the code says so.
    json_of(&["memory", "--model", &model, "--gpu", "rtx3090", "--backend", "candle"], 4);
}

#[test]
fn a_slip_is_told_before_anything_is_measured() {
    for (arguments, word) in [
        (["--backend", "candel"], "did you mean \"candle\"?"),
        (["--gpu", "rtx309"], "did you mean"),
        (["--task", "embedd"], "embed"),
        (["--out", "/no/where/memory.csv"], "--out /no/where/memory.csv"),
        (["--rounds", "0"], "1..=1000"),
    ] {
        let output = autotune(&["memory"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(word), "{}", text(&output));
    }
}

#[test]
fn fifty_rounds_of_a_small_network_leak_nothing_on_the_engines_that_are_here() {
    let model = fixture("bert-embed-mean").display().to_string();
    for engine in engines::all() {
        let device = engine.device.to_string();
        let arguments =
            ["memory", "--model", &model, "--gpu", &device, "--backend", engine.name, "--rounds", "50"];
        let report = json_of(&arguments, 0);
        let row = &report["rows"][0];
        assert_eq!(row["status"], "ok", "{row}");
        assert_eq!(row["rss"]["growth"]["verdict"], "none", "{}: {}", engine.name, row["rss"]);
    }
}

#[test]
fn a_real_model_takes_memory_and_gives_most_of_it_back() {
    let Some(model) = engines::minilm() else { return };
    let model = model.display().to_string();
    let report = json_of(
        &[
            "memory",
            "--model",
            &model,
            "--gpu",
            "cpu",
            "--backend",
            "candle",
            "--rounds",
            "3",
            "--max-tokens",
            "64",
        ],
        0,
    );
    let row = &report["rows"][0];
    let mib = |level: &str| row["rss"][level].as_f64().unwrap() / MIB as f64;
    // 22 million weights, of which most of the word table is never read.
    assert!(mib("loaded") - mib("before") > 40.0, "{row}");
    assert!(mib("after") - mib("before") < 0.5 * (mib("loaded") - mib("before")), "{row}");
    assert!(mib("peak") >= mib("loaded"), "{row}");
    assert!(row["warm_load_seconds"].as_f64() > Some(0.0), "{row}");
}
