//! What `--gpu` and `--emulate-vram` find, refuse and write down. A program in the place of `nvidia-smi` stands for the
//! driver of a machine with a GPU, so these tests see one only where NVML can't be asked for real ones.

use std::process::{Command, Output};

use autotune::hardware::Machine;
use serde_json::Value;

use crate::support::{Place, autotune, suite, text, winner};

/// A worker that says that it runs on `cuda:0`, and answers once and measures once a round.
const SUITE: &str = r#"corpus = { synthetic = { documents = 2, median_words = 10, spread = 0.1, most_words = 20 } }
measure = { time = "1ms", passes = 1 }
rounds = 1

[[stages]]
task = "embed"
model = "m"
backends = ["card"]

[backends.card]
kind = "exec"
command = ["sh", "-c", '''
while read request; do
  id=${request#*:}; id=${id%%,*}
  case $request in
  *'"do":"load"'*) echo "$request" >&2; echo "$request $CUDA_DEVICE_ORDER" >request.json
    echo '{"id":'$id',"event":"loaded","protocol":1,"version":"sh 1","device":"cuda:0","seconds":0.1}';;
  *'"do":"answer"'*) echo '{"id":'$id',"event":"answered","answers":[{"vector":[1,0]},{"vector":[0,1]}]}';;
  *'"do":"measure"'*) sleep 0.1
    echo '{"id":'$id',"event":"measured","passes":[{"seconds":0.05,"documents":2}]}';;
  *) echo '{"id":'$id',"event":"unloaded"}';;
  esac
done
''']
"#;

/// A place whose machine has the GPUs that `nvidia-smi` is to print, if no real ones can be seen.
struct Pretended {
    place: Place,
}

impl Pretended {
    fn with(gpus: &str, suite: &str) -> Option<Pretended> {
        Machine::detect(None).no_nvml?;
        let place = Place::with_suite(suite);
        let program = place.path().join("nvidia-smi");
        std::fs::write(&program, format!("#!/bin/sh\ncat <<END\n{gpus}\nEND\n")).unwrap();
        let made = Command::new("chmod").arg("+x").arg(&program).status().unwrap();
        assert!(made.success());
        Some(Pretended { place })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:{}", self.place.path().display(), std::env::var("PATH").unwrap());
        let mut command = autotune(arguments);
        command.current_dir(self.place.path()).env("PATH", path).env_remove("CUDA_VISIBLE_DEVICES");
        command.output().unwrap()
    }

    fn code_and_text(&self, more: &[&str]) -> (i32, String) {
        let output = self.run(&[&["--suite", "suite.toml", "--out", "run"], more].concat());
        (output.status.code().unwrap(), text(&output))
    }
}

const A10G: &str = "NVIDIA A10G, 23028, 550.54.15, GPU-0000, 8.6, 00000000:00:1E.0";

#[test]
fn the_card_in_the_machine_is_measured_and_another_one_is_not() {
    let Some(machine) = Pretended::with(A10G, SUITE) else { return };
    let (code, message) = machine.code_and_text(&["--measured"]);
    assert_eq!(code, 0, "{message}");
    let request = std::fs::read_to_string(machine.place.path().join("request.json")).unwrap();
    assert!(request.contains(r#""device":"cuda:0","device_memory":24146608128,"#), "{request}");
    assert!(request.trim_end().ends_with("} PCI_BUS_ID"), "{request}");
    let best = machine.place.best_json();
    assert_eq!(
        (&best["target"], &best["provenance"]),
        (&"NVIDIA A10G with 22.5 GiB".into(), &"measured".into())
    );
    std::fs::remove_dir_all(machine.place.run_folder()).unwrap();

    for (more, code, parts) in [
        (
            vec!["--gpu", "rtx3090", "--measured"],
            3,
            vec!["--measured", "RTX 3090 is not in this machine (NVIDIA A10G)", "without --measured"],
        ),
        (vec!["--gpu", "cuda:1"], 3, vec!["cuda:1 is not in this machine (NVIDIA A10G)", "autotune list"]),
        (vec!["--gpu", "a10"], 2, vec!["did you mean \"a10g\"?", "  gtx1080ti, rtx2070super,"]),
        (
            vec!["--gpu", "cpu", "--emulate-vram", "8GiB"],
            2,
            vec!["--emulate-vram 8GiB", "no memory of its own"],
        ),
        (
            vec!["--gpu", "h200", "--emulate-vram", "8GiB"],
            2,
            vec!["--emulate-vram 8GiB", "not in this machine"],
        ),
        (vec!["--emulate-vram", "24GiB"], 2, vec!["has 22.5 GiB, and can only emulate"]),
        (vec!["--emulate-vram", "8"], 2, vec!["write a unit"]),
    ] {
        let (given, message) = machine.code_and_text(&more);
        assert_eq!(given, code, "{more:?}: {message}");
        for part in parts {
            assert!(message.contains(part), "{more:?}: no {part:?} in {message}");
        }
        assert!(!machine.place.run_folder().exists(), "nothing was begun: {more:?}");
    }
    // Another card is predicted, and what the suite's own program does on it is known to nobody.
    let (code, message) = machine.code_and_text(&["--gpu", "rtx3090"]);
    assert_eq!(code, 4, "{message}");
    assert!(
        message.contains("PREDICTED for RTX 3090") && message.contains("can't be predicted"),
        "{message}"
    );
    assert!(machine.place.trials().iter().all(|row| row["provenance"] == "predicted"));
}

#[test]
fn rows_of_candle_on_a_card_have_the_memory_that_was_to_be_expected_beside_what_was_seen() {
    let folder = format!("{}/tests/fixtures/models/bert-embed-mean", env!("CARGO_MANIFEST_DIR"));
    let suite = SUITE.replace("model = \"m\"", &format!("model = {folder:?}")).replace(
        "backends = [\"card\"]",
        "backends = [\"card\", \"candle\"]\nknobs = { batch_size = [1, 2] }",
    );
    let Some(machine) = Pretended::with(A10G, &suite) else { return };
    let (code, message) = machine.code_and_text(&[]);
    assert_eq!(code, 0, "{message}");
    let rows = machine.place.trials();
    // There is no card, so nothing of candle runs; what it would take is known all the same.
    let expected = |batch: &str| {
        let row = rows.iter().find(|row| row["backend"] == "candle" && row["batch_size"] == batch).unwrap();
        row["predicted_vram_bytes"].parse::<u64>().unwrap()
    };
    // The driver's own on such a card, and one step of the pool's.
    assert_eq!((expected("1"), expected("2")), (292 << 20, 292 << 20));
    assert!(
        rows.iter().filter(|row| row["backend"] == "card").all(|row| row["predicted_vram_bytes"].is_empty())
    );
    assert!(rows.iter().all(|row| row["provenance"] != "predicted"));
}

#[test]
fn a_card_that_is_here_is_predicted_when_that_is_asked_for() {
    let Some(machine) = Pretended::with(A10G, SUITE) else { return };
    let suite = ["--suite", "suite.toml", "--out", "run"];
    let predicted = |gpu: &str| machine.run(&[&["predict", "--gpu", gpu], &suite[..]].concat());
    for gpu in ["cuda:0", "a10g"] {
        let output = predicted(gpu);
        let message = text(&output);
        assert_eq!(output.status.code(), Some(4), "{message}");
        assert!(
            message.contains("PREDICTED for NVIDIA A10G with 22.5 GiB from data sheet figures"),
            "{message}"
        );
        assert!(!machine.place.path().join("request.json").exists(), "nothing was started");
        std::fs::remove_dir_all(machine.place.run_folder()).unwrap();
    }
    let Some(unknown) = Pretended::with("NVIDIA L40, 46068, 550.54.15, x, 8.9, y", SUITE) else { return };
    let output = unknown.run(&[&["predict", "--gpu", "auto"], &suite[..]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("the table of GPUs (`autotune list`) doesn't have its figures"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_smaller_card_is_emulated_in_memory_and_named_so_everywhere() {
    let Some(machine) = Pretended::with(A10G, SUITE) else { return };
    let (code, message) = machine.code_and_text(&["--emulate-vram", "rtx2070super"]);
    assert_eq!(code, 0, "{message}");
    let request = std::fs::read_to_string(machine.place.path().join("request.json")).unwrap();
    assert!(request.contains(r#""device_memory":8589934592,"#), "{request}");
    let label = "A10G, memory limited to 8 GiB: memory is emulated, speed is the A10G's own";
    assert_eq!(machine.place.best_json()["target"], label);
    let settings = std::fs::read_to_string(machine.place.run_folder().join(".env.optimized")).unwrap();
    assert!(settings.contains(label), "{settings}");
    let run: Value =
        serde_json::from_slice(&std::fs::read(machine.place.run_folder().join("run.json")).unwrap()).unwrap();
    assert_eq!(run["target"]["name"], "a10g-as-8GiB", "{run}");
    assert_eq!(run["machine"]["gpus"][0]["found_by"], "nvidia-smi", "{run}");
    // It's resumed as what it was.
    let output = machine.run(&["--resume", "run", "--json", "--budget", "9trials"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(machine.place.best_json()["target"], label);
}

#[test]
fn the_cost_is_by_the_price_of_the_card_where_the_suite_has_none() {
    let Some(machine) = Pretended::with(A10G, SUITE) else { return };
    let (code, message) = machine.code_and_text(&["--objective", "cost"]);
    assert_eq!(code, 0, "{message}");
    assert!(message.contains("the price in the table of GPUs, 1.20 an hour"), "{message}");
    let cost = |best: &Value| winner(best)["figures"]["cost"]["value"].as_f64().unwrap();
    // 1.2 an hour for two documents in 50 ms.
    let wanted = 1.2 / 3600.0 * 0.05 / 2.0 * 1e6;
    assert!((cost(&machine.place.best_json()) / wanted - 1.0).abs() < 1e-9);
    let output = machine.run(&["report", "run", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((cost(&report) / wanted - 1.0).abs() < 1e-9, "a report has the price of its run");

    let Some(own) = Pretended::with(A10G, &format!("price_per_hour = 6.0\n{SUITE}")) else { return };
    let (code, message) = own.code_and_text(&["--objective", "cost"]);
    assert_eq!((code, message.contains("table of GPUs")), (0, false), "{message}");
    assert!((cost(&own.place.best_json()) / (wanted * 5.0) - 1.0).abs() < 1e-9);

    let Some(unpriced) = Pretended::with("NVIDIA L4, 23034, 550.54.15, x, 8.9, y", SUITE) else { return };
    let (code, message) = unpriced.code_and_text(&["--limit", "cost<=1"]);
    assert_eq!((code, message.contains("price_per_hour")), (2, true), "{message}");
}

#[test]
fn doctor_shows_each_gpu_and_who_told_of_it() {
    let gpus = format!("{A10G}\nNVIDIA GeForce RTX 3080, 12288, 550.54.15, GPU-1111, 8.6, 00000000:00:1F.0");
    let Some(machine) = Pretended::with(&gpus, SUITE) else { return };
    // Where a terminal's lines end is no matter here.
    let shown = text(&machine.run(&["doctor"])).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "cuda:0: NVIDIA A10G with 22.5 GiB, compute capability 8.6, driver 550.54.15, bus 00000000:00:1E.0, GPU-0000, \
         reported by nvidia-smi, a10g in the table of GPUs",
        "cuda:1: NVIDIA GeForce RTX 3080 with 12.0 GiB",
        "not in the table of GPUs",
        "libnvidia-ml.so.1",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
}

#[test]
fn a_simulated_run_takes_an_emulated_card_as_a_label() {
    let place = Place::with_suite(&suite(crate::support::STAGE, "batch_ms = 1"));
    let best = place.best(&["--emulate-vram", "8GiB"], 0);
    let target = best["target"].as_str().unwrap();
    assert!(target.contains("memory limited to 8 GiB") && target.contains("a label only"), "{target}");
    assert_eq!(best["provenance"], "simulated");
}

#[test]
fn list_shows_the_gpus_in_a_table_and_all_their_figures_in_json() {
    let shown = text(&autotune(&["list"]).output().unwrap());
    let table = shown.split("\nGPUs\n").nth(1).unwrap().split("\n\n").next().unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(table.lines().any(|line| line.contains("rtx3090") && line.contains("936")), "{table}");
    let output = autotune(&["list", "--json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let gpus = document["GPUs"].as_array().unwrap();
    let card = gpus.iter().find(|card| card["name"] == "h200").unwrap();
    for field in ["title", "vram_gib", "bandwidth_gb_s", "fp32_tflops", "int8_tops", "l2_mib", "power_w"] {
        assert!(!card[field].is_null(), "{field} in {card}");
    }
    assert_eq!(card["compute_capability"], "9.0");
}
