//! What the tests share: running the program, and reading what it leaves.

mod engine;
pub mod engines;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use autotune::store::Run;
use serde_json::Value;

/// A command of the program under test.
pub fn autotune(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autotune"));
    command.args(arguments);
    command
}

/// A folder of its own for a test, with a suite in it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn with_suite(suite: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("suite.toml"), suite).unwrap();
        Place { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn run_folder(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The file of a stage's right answers, which are vectors.
    pub fn reference(&self, stage: &str) -> PathBuf {
        self.run_folder().join("answers").join(stage).join("reference.safetensors")
    }

    /// The command that tunes the suite into `run/`, with more arguments.
    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = autotune(&["--suite", "suite.toml", "--out", "run"]);
        command.args(more).current_dir(self.path());
        command
    }

    /// Tunes the suite into `run/`.
    pub fn tune(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    pub fn resume(&self) -> Output {
        autotune(&["--resume", "run"]).current_dir(self.path()).output().unwrap()
    }

    /// Tunes, demands the exit code, and reads `best.json`.
    pub fn best(&self, more: &[&str], code: i32) -> Value {
        let output = self.tune(more);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        self.best_json()
    }

    pub fn best_json(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.run_folder().join("best.json")).unwrap()).unwrap()
    }

    pub fn run(&self) -> Run {
        Run::read(&self.run_folder()).unwrap()
    }

    /// The rows of `trials.csv`, each as its columns by name.
    pub fn trials(&self) -> Vec<std::collections::HashMap<String, String>> {
        let mut table = csv::Reader::from_path(self.run_folder().join("trials.csv")).unwrap();
        table.deserialize().map(Result::unwrap).collect()
    }
}

/// Both streams of a command, for messages.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The winner of a stage in `best.json`.
pub fn winner(best: &Value) -> &Value {
    let first = &best["stages"][0]["candidates"][0];
    assert_eq!(first["verdict"], "won", "{first}");
    first
}

/// A suite of one embedding stage on a fake, with the stage's knobs and the fake's script.
pub fn suite(stage: &str, script: &str) -> String {
    format!(
        r#"{CORPUS}
measure = {{ time = "100ms", passes = 1 }}
{stage}
[backends.fake]
{script}
"#
    )
}

pub const CORPUS: &str =
    "corpus = { synthetic = { documents = 24, median_words = 20, spread = 0.4, most_words = 60 } }";

pub const STAGE: &str = r#"
[[stages]]
task = "embed"
model = "m"
backends = ["fake"]
quality = { at_least = 0.99 }
"#;
