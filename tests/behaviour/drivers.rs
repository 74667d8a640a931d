//! What people meet on machines with NVIDIA's cards: old drivers, divided cards, hidden ones, containers, drivers that hang,
//! and add-ons that can't be had. The driver is a stand-in (tests/stand_in/machine.c) that computes nothing.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use autotune::addon::cuda::REVISION;

use crate::support::{self, Place, autotune};

const RTX_3090: &str = "NVIDIA GeForce RTX 3090,GPU-aaaaaaaa-0000-1111-2222-333344445555,24576,8.6";
const A10G: &str = "NVIDIA A10G,GPU-bbbbbbbb-0000-1111-2222-333344445555,23028,8.6";
const DIVIDED: &str = "NVIDIA A100-SXM4-40GB,GPU-cccccccc-0000-1111-2222-333344445555,40536,8.0;\
                       NVIDIA A100-SXM4-40GB MIG 1g.5gb,MIG-dddddddd-0000-1111-2222-333344445555,4864,8.0;\
                       NVIDIA A100-SXM4-40GB MIG 2g.10gb,MIG-eeeeeeee-0000-1111-2222-333344445555,9856,8.0";

/// What was printed, as one line: where a terminal's lines end is no matter here.
fn text(output: &Output) -> String {
    support::text(output).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A folder with the driver's libraries, compiled once.
static DRIVER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap().keep();
    let source = format!("{}/tests/stand_in/machine.c", env!("CARGO_MANIFEST_DIR"));
    for (library, define) in [("libnvidia-ml.so.1", "-DNVML"), ("libcuda.so.1", "-DCUDA")] {
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-w", define, &format!("-Wl,-soname,{library}"), "-o"]);
        assert!(compiler.arg(folder.join(library)).arg(&source).status().unwrap().success(), "{library}");
    }
    folder
});

/// A machine with cards and a driver, and nothing else: no compiler, no pip, an empty cache.
struct Machine {
    place: Place,
    settings: Vec<(String, String)>,
}

impl Machine {
    fn with(cards: &str, suite: &str) -> Machine {
        let place = Place::with_suite(suite);
        for folder in ["home", "tools"] {
            std::fs::create_dir(place.path().join(folder)).unwrap();
        }
        let below = |name: &str| place.path().join(name).display().to_string();
        let settings = [
            ("STAND_IN_CARDS", cards.to_owned()),
            ("LD_LIBRARY_PATH", DRIVER.display().to_string()),
            ("PATH", below("tools")),
            ("HOME", below("home")),
            ("AUTOTUNE_CACHE", below("cache")),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Machine { place, settings }
    }

    fn set(mut self, name: &str, value: &str) -> Machine {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    fn driver(self, version: &str) -> Machine {
        self.set("STAND_IN_DRIVER", version)
    }

    /// Only one of the driver's two libraries, as some containers have it.
    fn with_only(self, library: &str) -> Machine {
        let folder = self.place.path().join("driver");
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(DRIVER.join(library), folder.join(library)).unwrap();
        let folder = folder.display().to_string();
        self.set("LD_LIBRARY_PATH", &folder)
    }

    /// A program on its path.
    fn tool(&self, name: &str, script: &str) {
        program(&self.place.path().join("tools").join(name), &format!("export PATH=/usr/bin:/bin\n{script}"));
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = autotune(arguments);
        for name in [
            "CUDA_VISIBLE_DEVICES",
            "CUDA_HOME",
            "CUDA_COMPUTE_CAP",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "AUTOTUNE_CUDA_WORKER",
            "ORT_DYLIB_PATH",
            "AUTOTUNE_CUDA_LIBRARIES",
            "AUTOTUNE_CUDA_DYLIB_PATH",
        ] {
            command.env_remove(name);
        }
        command.current_dir(self.place.path()).envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.output().unwrap()
    }

    fn doctor(&self) -> String {
        text(&self.run(&["doctor"]))
    }

    /// Tunes the suite, demands the exit code, and gives what was said.
    fn tune(&self, code: i32, more: &[&str]) -> String {
        let output = self.run(&[&["--suite", "suite.toml", "--out", "run"], more].concat());
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }

    /// Reason and remedy of a backend's rows, which are all alike.
    fn row(&self, backend: &str) -> (String, String) {
        let rows = self.place.trials();
        let row = rows.iter().find(|row| row["backend"] == backend).unwrap();
        assert_eq!(row["status"], "not available", "{row:?}");
        (row["reason"].clone(), row["remedy"].clone())
    }
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Both engines, on a tiny model that is here.
fn engines(more_backends: &str, more: &str) -> String {
    format!(
        r#"corpus = {{ synthetic = {{ documents = 2, median_words = 10, spread = 0.1, most_words = 20 }} }}
measure = {{ time = "1ms", passes = 1 }}
rounds = 1

[[stages]]
task = "embed"
model = "{}/tests/fixtures/models/bert-embed-mean"
backends = ["candle", "ort"{more_backends}]
knobs = {{ batch_size = [1, 2] }}
{more}"#,
        env!("CARGO_MANIFEST_DIR")
    )
}

/// A worker that answers and measures on `cuda:0`, and states this version. Its vectors agree with everybody's.
fn worker(version: &str) -> String {
    format!(
        r#"
export PATH=/usr/bin:/bin
while read request; do
  id=${{request#*:}}; id=${{id%%,*}}
  case $request in
  *'"do":"load"'*) echo '{{"id":'$id',"event":"loaded","protocol":1,"version":"{version}","device":"cuda:0","seconds":0.1}}';;
  *'"do":"answer"'*) echo '{{"id":'$id',"event":"answered","answers":[{{"vector":[1,0]}},{{"vector":[0,1]}}]}}';;
  *'"do":"measure"'*) sleep 0.1; echo '{{"id":'$id',"event":"measured","passes":[{{"seconds":0.05,"documents":2}}]}}';;
  *) echo '{{"id":'$id',"event":"unloaded"}}';;
  esac
done"#
    )
}

#[test]
fn a_card_and_nothing_else_gives_each_engine_a_row_with_its_reason_and_its_remedy() {
    let machine = Machine::with(RTX_3090, "");
    // The bare command, whose model isn't here either.
    let output = machine.run(&["--out", "run"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("target: cuda:0, NVIDIA GeForce RTX 3090 with 24.0 GiB (the GPU of this machine"),
        "{said}"
    );
    assert!(said.contains("No candidate can win."), "{said}");
    let (why, remedy) = machine.row("candle");
    assert_eq!(
        why,
        "the CUDA worker is not built yet, and tools for the build are missing: cargo, g++, bash, python3 with pip"
    );
    assert!(remedy.starts_with("install Rust 1.95 or later (https://rustup.rs), install g++"), "{remedy}");
    assert!(remedy.ends_with("; then `autotune setup cuda`"), "{remedy}");
    // Nothing ran, so nothing is called measured, and a model would be of no use.
    assert!(!said.contains("getting the model") && !said.contains("--resume"), "{said}");
    assert_eq!(machine.place.best_json()["provenance"], "nothing");
    let (why, remedy) = machine.row("ort");
    assert!(why.contains("onnxruntime-gpu==1.31.1 is not downloaded yet, and pip was not found"), "{why}");
    assert!(
        remedy.contains("install pip") && remedy.contains("`autotune setup onnxruntime-cuda`"),
        "{remedy}"
    );
    let rows = machine.place.trials();
    let lacking = |row: &&HashMap<String, String>| row["status"] == "not available";
    assert!(rows.iter().filter(lacking).all(|row| !row["remedy"].is_empty()), "{rows:?}");
    let report = std::fs::read_to_string(machine.place.run_folder().join("report.html")).unwrap();
    assert!(
        report.contains("then `autotune setup cuda`") && report.contains("autotune setup onnxruntime-cuda")
    );
    assert!(machine.place.best_json()["stages"][0]["reference"].is_null());
}

#[test]
fn the_run_ends_well_as_soon_as_one_engine_runs_through() {
    let card =
        format!("\n[backends.card]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''{}''']\n", worker("sh 1"));
    let suite =
        engines(", \"card\"", &card).replace("knobs =", "reference = { backend = \"card\" }\nknobs =");
    let machine = Machine::with(RTX_3090, &suite).set("PATH", "/usr/bin:/bin");
    let said = machine.tune(0, &["--no-setup", "--set", "batch_size=1"]);
    assert!(machine.row("candle").1.contains("`autotune setup cuda`"), "{said}");
    assert_eq!(machine.row("ort").1, "`autotune setup onnxruntime-cuda`");
    assert!(
        machine.place.trials().iter().any(|row| row["backend"] == "card" && row["status"] == "ok"),
        "{said}"
    );
}

#[test]
fn right_answers_come_from_the_processor_where_the_card_has_nobody_for_them() {
    // candle answers on the processor; what the card's worker answers is of another width, so it's wrong, and not slower.
    let card =
        format!("\n[backends.card]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''{}''']\n", worker("sh 1"));
    let suite =
        engines(", \"card\"", &card).replace("knobs =", "reference = { backend = \"candle\" }\nknobs =");
    let machine = Machine::with(RTX_3090, &suite).set("PATH", "/usr/bin:/bin");
    machine.tune(4, &["--no-setup"]);
    let best = machine.place.best_json();
    let reference = &best["stages"][0]["reference"];
    assert_eq!(
        (&reference["device"], &reference["candidate"]["backend"]),
        (&"cpu".into(), &"candle".into()),
        "{best}"
    );
    assert!(reference["instead"].as_str().unwrap().contains("candle for NVIDIA GPUs"), "{reference}");
    let report = std::fs::read_to_string(machine.place.run_folder().join("report.html")).unwrap();
    assert!(report.contains("reference answers: candle") && report.contains("on cpu"));
    let rows = machine.place.trials();
    assert!(rows.iter().any(|row| row["backend"] == "card" && row["status"] == "wrong answers"), "{rows:?}");
}

#[test]
fn the_driver_decides_before_anything_is_fetched() {
    for (version, candle, ort, remedies) in [
        (
            "470.223.02",
            "driver 470.223.02, which supports CUDA 11.4",
            "which supports CUDA 11.4",
            ["580 or later", "580 or later"],
        ),
        (
            "535.129.03",
            "needs driver 580 or later, or a CUDA 12 toolkit that is not newer than the driver; this machine has \
             driver 535.129.03, which supports CUDA 12.2",
            "ONNX Runtime for NVIDIA GPUs: not downloaded yet, and --no-setup was given",
            ["set CUDA_HOME to it, and `autotune setup cuda`", "`autotune setup onnxruntime-cuda`"],
        ),
        (
            "580.65.06",
            "candle for NVIDIA GPUs (the CUDA worker): not built yet, and --no-setup was given",
            "not downloaded yet, and --no-setup was given",
            ["`autotune setup cuda`", "`autotune setup onnxruntime-cuda`"],
        ),
    ] {
        let machine = Machine::with(RTX_3090, &engines("", "")).driver(version);
        machine.tune(4, &["--no-setup"]);
        for ((backend, why), remedy) in [("candle", candle), ("ort", ort)].into_iter().zip(remedies) {
            let (reason, mended) = machine.row(backend);
            assert!(
                reason.contains(why) && mended.contains(remedy),
                "{version} {backend}: {reason} → {mended}"
            );
        }
        assert!(!machine.place.path().join("cache").exists(), "{version}");
    }
    // What would be fetched is what the driver can.
    let setup = |version: &str| {
        let machine = Machine::with(RTX_3090, "").driver(version);
        machine.tool("python3", "echo pip 23.0 from here");
        text(&machine.run(&["setup"]))
    };
    assert!(
        setup("535.129.03").contains("onnxruntime-gpu==1.26.0, nvidia-cuda-runtime-cu12"),
        "{}",
        setup("535.129.03")
    );
    assert!(
        setup("580.65.06").contains("onnxruntime-gpu==1.31.1, nvidia-cuda-runtime=="),
        "{}",
        setup("580.65.06")
    );
    assert!(
        Machine::with(RTX_3090, "")
            .driver("535.129.03")
            .doctor()
            .contains("driver 535.129.03, which supports CUDA 12.2")
    );
}

#[test]
fn a_card_that_is_too_old_is_refused_by_name() {
    let machine = Machine::with("Tesla P100-PCIE-16GB,GPU-aa,16280,6.0", &engines("", ""));
    machine.tune(4, &[]);
    for backend in ["candle", "ort"] {
        let (reason, remedy) = machine.row(backend);
        assert!(reason.contains("Tesla P100-PCIE-16GB has compute capability 6.0"), "{reason}");
        assert!(remedy.contains("--gpu cpu"), "{remedy}");
    }
    assert!(machine.doctor().contains("none runs on cuda:0: Tesla P100"));
}

#[test]
fn cards_are_found_wherever_they_hide() {
    let both = format!("{RTX_3090};{A10G}");
    for (cards, visible, wanted) in [
        (both.as_str(), None, "cuda:1: NVIDIA A10G with 22.5 GiB, compute capability 8.6"),
        (&both, Some("GPU-bbbbbbbb"), "cuda:0: NVIDIA A10G with 22.5 GiB"),
        (&both, Some("1,0"), "cuda:1: NVIDIA GeForce RTX 3090 with 24.0 GiB"),
        (DIVIDED, None, "cuda:0: NVIDIA A100-SXM4-40GB MIG 1g.5gb with 4.75 GiB"),
        (
            DIVIDED,
            Some("MIG-eeeeeeee-0000-1111-2222-333344445555"),
            "cuda:0: NVIDIA A100-SXM4-40GB MIG 2g.10gb with 9.62 GiB, compute capability 8.0",
        ),
    ] {
        let mut machine = Machine::with(cards, "");
        if let Some(visible) = visible {
            machine = machine.set("CUDA_VISIBLE_DEVICES", visible);
        }
        let shown = machine.doctor();
        assert!(shown.contains(wanted), "{visible:?}: {shown}");
        assert!(shown.contains("reported by NVML"), "{shown}");
    }
    let second = Machine::with(&both, "").set("CUDA_VISIBLE_DEVICES", "GPU-bbbbbbbb").doctor();
    assert!(second.contains("NVIDIA GeForce RTX 3090 in the machine, hidden from programs"), "{second}");
    assert!(second.contains("target") && second.contains("cuda:0, NVIDIA A10G"), "{second}");
    // A container without NVML.
    let container = Machine::with(RTX_3090, "").with_only("libcuda.so.1").doctor();
    assert!(
        container.contains("cuda:0: NVIDIA GeForce RTX 3090 with 24.0 GiB")
            && container.contains("reported by CUDA"),
        "{container}"
    );
    // One without the part that computes.
    let machine = Machine::with(RTX_3090, &engines("", "")).with_only("libnvidia-ml.so.1");
    machine.tune(4, &[]);
    let (reason, remedy) = machine.row("candle");
    assert!(reason.contains("libcuda.so.1 can't be loaded"), "{reason}");
    assert!(remedy.contains("NVIDIA_DRIVER_CAPABILITIES=compute,utility"), "{remedy}");
}

#[test]
fn the_processor_is_never_taken_in_silence() {
    for (machine, why) in [
        (
            Machine::with(RTX_3090, &engines("", "")).set("CUDA_VISIBLE_DEVICES", "MIG-nothing"),
            "CUDA_VISIBLE_DEVICES=MIG-nothing hides every GPU of this machine: NVIDIA GeForce RTX 3090",
        ),
        (Machine::with("", &engines("", "")), "no NVIDIA GPU was found"),
    ] {
        let said = machine.tune(0, &["--backend", "candle"]);
        assert!(said.contains("target: cpu, ") && said.contains(why), "{said}");
    }
}

#[test]
fn a_driver_that_never_answers_is_waited_for_so_long_and_told_of() {
    let hanging = |function: &str| {
        let machine = Machine::with(RTX_3090, &engines("", ""));
        machine.set("STAND_IN_HANGS", function).set("AUTOTUNE_DRIVER_PATIENCE", "0.5")
    };
    let machine = hanging("cuInit");
    machine.tune(4, &[]);
    for backend in ["candle", "ort"] {
        let (reason, remedy) = machine.row(backend);
        assert_eq!(reason, "NVIDIA's driver doesn't answer: no answer within 500 ms");
        assert!(remedy.starts_with("restart the machine"), "{remedy}");
    }
    let shown = hanging("nvmlInit_v2").doctor();
    assert!(
        shown.contains("✗ GPU NVIDIA's driver doesn't answer: no answer within 500 ms → restart"),
        "{shown}"
    );
    assert!(shown.contains("✓ target cpu, ") && !shown.contains("not needed here"), "{shown}");
    assert!(shown.contains("no GPU can be watched: NVIDIA's driver doesn't answer"), "{shown}");
}

#[test]
fn a_driver_that_fails_is_a_row() {
    let machine = Machine::with(RTX_3090, &engines("", "")).set("STAND_IN_FAILS", "cuInit");
    machine.tune(4, &[]);
    let (reason, remedy) = machine.row("ort");
    assert!(reason.contains("cuInit: an error of the stand-in (CUDA error 999)"), "{reason}");
    assert!(remedy.contains("install or repair NVIDIA's driver"), "{remedy}");
}

/// A toolkit and compilers that are programs of a few lines.
fn with_compilers(machine: &Machine, cargo: &str) -> String {
    let toolkit = machine.place.path().join("toolkit");
    for folder in ["bin", "lib64"] {
        std::fs::create_dir_all(toolkit.join(folder)).unwrap();
    }
    program(&toolkit.join("bin/nvcc"), "echo 'Cuda compilation tools, release 12.9, V12.9.86'");
    let linked = ["libcudart.so", "libcublas.so", "libcurand.so"];
    let loaded = ["libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcurand.so.10"];
    for library in linked.into_iter().chain(loaded) {
        std::fs::write(toolkit.join("lib64").join(library), b"").unwrap();
    }
    machine.tool("g++", "");
    machine.tool("cargo", cargo);
    toolkit.display().to_string()
}

#[test]
fn a_build_that_fails_half_way_leaves_nothing_and_the_next_one_goes_on() {
    let machine = Machine::with(RTX_3090, &engines("", ""));
    let failing = "case $1 in build) echo '   Compiling one v1.0.0' >&2; echo 'error: could not compile `two`' >&2; exit 101;; esac";
    let toolkit = with_compilers(&machine, failing);
    let machine = machine.set("CUDA_HOME", &toolkit);
    let said = machine.tune(4, &["--backend", "candle"]);
    assert!(
        said.contains("candle for NVIDIA GPUs (the CUDA worker) is set up once. This takes about "),
        "{said}"
    );
    let (reason, remedy) = machine.row("candle");
    assert!(reason.contains("building the CUDA worker failed: error: could not compile `two`"), "{reason}");
    assert_eq!(remedy, "`autotune setup cuda`");
    let cache = machine.place.path().join("cache");
    let built = cache.join(format!("cuda-worker/{REVISION}-cuda12.9-sm86"));
    assert!(!built.exists() && cache.join("build").exists());

    // A cargo that makes a worker where it was asked to. It's found again, and started in place of this program.
    let receipt = format!("autotune-cuda-worker {REVISION}, CUDA 12.9, compute capability 8.6");
    let script = machine.place.path().join("worker.sh");
    program(&script, &worker(&format!("candle, {receipt}")));
    machine.tool(
        "cargo",
        &format!(
            "case $1 in build) while [ $1 != --target-dir ]; do shift; done; mkdir -p $2/release
test $CUDA_COMPUTE_CAP = 86 && test $AUTOTUNE_WORKER_REVISION = {REVISION} && test -f worker/src/main.rs &&
cp {} $2/release/autotune-cuda-worker;; esac",
            script.display()
        ),
    );
    let output = machine.run(&["setup", "cuda"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains(&receipt) && built.join("autotune-cuda-worker").exists());
    assert!(
        std::fs::read_dir(cache.join("build")).unwrap().next().is_none(),
        "what was built on the way is gone"
    );
    assert!(machine.doctor().contains(&receipt));
    std::fs::remove_dir_all(machine.place.run_folder()).unwrap();
    machine.tune(0, &["--backend", "candle", "--no-setup"]);
    let best = machine.place.best_json();
    assert_eq!(best["stages"][0]["reference"]["device"], "cuda:0", "{best}");
    assert!(machine.place.trials().iter().all(|row| row["version"].contains(&receipt)));
}

#[test]
fn a_worker_of_another_revision_is_refused_by_name() {
    let machine = Machine::with(RTX_3090, &engines("", ""));
    let other = machine.place.path().join("other");
    program(&other, "echo 'autotune-cuda-worker 0123456789ab, CUDA 13.0, compute capability 8.6'");
    let machine = machine.set("AUTOTUNE_CUDA_WORKER", &other.display().to_string());
    machine.tune(4, &["--backend", "candle", "--no-setup"]);
    let (reason, _) = machine.row("candle");
    assert!(reason.contains("its revision is 0123456789ab, and this autotune needs"), "{reason}");
    // One that states something else once it's started.
    let swapped = Machine::with(RTX_3090, &engines("", ""));
    let own = format!("autotune-cuda-worker {REVISION}, CUDA 13.0, compute capability 8.6");
    let path = swapped.place.path().join("swapped");
    program(&path, &format!("if [ $1 = --version ]; then echo '{own}'; exit; fi{}", worker("candle 9")));
    let swapped =
        swapped.set("AUTOTUNE_CUDA_WORKER", &path.display().to_string()).set("PATH", "/usr/bin:/bin");
    swapped.tune(4, &["--backend", "candle", "--no-setup"]);
    let rows = swapped.place.trials();
    assert!(rows.iter().all(|row| row["status"] == "refused"), "{rows:?}");
    assert!(
        rows[0]["reason"].contains(&format!("the worker reports \"candle 9\", but {own:?} was started")),
        "{rows:?}"
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_a_row_that_names_it() {
    let machine = Machine::with(RTX_3090, &engines("", "")).set("AUTOTUNE_CACHE", "/dev/null/cache");
    let toolkit = with_compilers(&machine, "");
    let machine = machine.set("CUDA_HOME", &toolkit);
    machine.tool("python3", "echo pip 23.0 from here");
    machine.tune(4, &[]);
    for backend in ["candle", "ort"] {
        let (reason, remedy) = machine.row(backend);
        assert!(
            reason.contains("the cache can't be written: ") && reason.contains("/dev/null/cache"),
            "{reason}"
        );
        assert!(remedy.contains("AUTOTUNE_CACHE to a writable folder"), "{remedy}");
    }
}

#[test]
fn setup_shows_what_there_is_and_refuses_what_there_is_not() {
    let machine = Machine::with(RTX_3090, "");
    machine.tool("python3", "echo pip 23.0 from here");
    let shown = text(&machine.run(&["setup"]));
    for part in [
        "cuda ",
        "candle for NVIDIA GPUs",
        "onnxruntime ",
        "onnxruntime-cuda",
        "onnxruntime-openvino",
        "at most 24 MB",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    let output = machine.run(&["setup", "cud"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("onnxruntime-openvino; did you mean \"cuda\"?"), "{}", text(&output));
    let output = machine.run(&["setup", "cuda"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("→ install Rust 1.95 or later"), "{}", text(&output));
    assert!(text(&output).ends_with("error: not set up: cuda"), "{}", text(&output));
    let without = Machine::with("", "");
    let output = without.run(&["setup", "cuda"]);
    assert!(text(&output).contains("`autotune setup cuda --capability 8.6`"), "{}", text(&output));
    assert_eq!(without.run(&["setup", "cuda", "--capability", "new"]).status.code(), Some(2));
    let doctor = without.doctor();
    assert!(doctor.contains("not needed here (no NVIDIA GPU)"), "{doctor}");
}

#[test]
fn a_resume_tries_again_what_was_not_available() {
    let card =
        format!("\n[backends.card]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''{}''']\n", worker("sh 1"));
    let suite =
        engines(", \"card\"", &card).replace("knobs =", "reference = { backend = \"card\" }\nknobs =");
    let machine = Machine::with(RTX_3090, &suite).driver("535.129.03").set("PATH", "/usr/bin:/bin");
    let toolkit = with_compilers(&machine, "exit 1");
    machine.tune(0, &["--backend", "candle,card"]);
    assert!(machine.row("candle").1.contains("update NVIDIA's driver"));
    let rows = machine.place.trials().len();

    // The remedy is followed: a newer driver, a toolkit, and a worker.
    let receipt = format!("autotune-cuda-worker {REVISION}, CUDA 12.9, compute capability 8.6");
    let path = machine.place.path().join("own-worker");
    program(&path, &format!("if [ $1 = --version ]; then echo '{receipt}'; exit; fi{}", worker(&receipt)));
    let machine = machine
        .driver("580.65.06")
        .set("CUDA_HOME", &toolkit)
        .set("AUTOTUNE_CUDA_WORKER", &path.display().to_string());
    let output = machine.run(&["--resume", "run"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let after = machine.place.trials();
    assert_eq!(after.len(), rows, "each once, in place of what it was before");
    assert!(after.iter().all(|row| row["status"] == "ok"), "{after:?}");
    let report = machine.run(&["report", "run"]);
    assert_eq!(report.status.code(), Some(0), "{}", text(&report));
}

#[test]
fn the_first_card_that_an_engine_can_use_is_taken_and_what_is_hidden_is_not_predicted() {
    let old_and_new = format!("NVIDIA GeForce GTX 1080 Ti,GPU-99999999,11172,6.1;{RTX_3090}");
    let shown = Machine::with(&old_and_new, "").doctor();
    assert!(shown.contains("cuda:1, NVIDIA GeForce RTX 3090"), "{shown}");
    let both = format!("{RTX_3090};{A10G}");
    let hidden = || Machine::with(&both, &engines("", "")).set("CUDA_VISIBLE_DEVICES", "GPU-bbbbbbbb");
    for wanted in ["rtx3090", "cuda:1"] {
        let said = hidden().tune(3, &["--gpu", wanted]);
        assert!(said.contains("hidden from programs: NVIDIA GeForce RTX 3090"), "{wanted}: {said}");
    }
    let divided = Machine::with(DIVIDED, &engines("", ""));
    let said = divided.tune(3, &["--gpu", "a100"]);
    assert!(said.contains("is in this machine, but CUDA doesn't show it to programs as that card"), "{said}");
    let by_uuid = Machine::with(&both, &engines("", "")).tune(4, &["--gpu", "GPU-bbbbbbbb", "--no-setup"]);
    assert!(by_uuid.contains("target: cuda:1, NVIDIA A10G"), "{by_uuid}");
}

#[test]
fn a_worker_is_built_ahead_of_time_for_a_card_that_is_not_here() {
    let machine = Machine::with("", "");
    for (arguments, capability) in [(["--gpu", "t4"], "75"), (["--capability", "9.0"], "90")] {
        let made = format!("build/{REVISION}-cuda13.0-sm{capability}");
        machine.tool("cargo", "case $1 in build) echo 'error: no' >&2; exit 101;; esac");
        machine.tool("g++", "");
        machine.tool("bash", "mkdir -p $AUTOTUNE_CACHE/toolkits/cuda-13.0/bin; touch $AUTOTUNE_CACHE/toolkits/cuda-13.0/bin/nvcc");
        machine.tool("python3", "echo pip 23.0 from here");
        let output = machine.run(&[&["setup", "cuda"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(machine.place.path().join("cache").join(made).exists(), "{}", text(&output));
    }
}
