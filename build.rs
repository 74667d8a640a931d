//! Tells the program what it was built from: the git revision, and the version of candle in the lock file.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock: toml::Table = std::fs::read_to_string("Cargo.lock")
        .expect("Cargo.lock is committed")
        .parse()
        .expect("Cargo.lock is TOML");
    let candle = lock["package"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"].as_str() == Some("candle-core"))
        .and_then(|package| package["version"].as_str())
        .expect("candle-core is locked");
    println!("cargo::rustc-env=CANDLE_VERSION={candle}");

    // A source archive has no revision, and says so.
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=AUTOTUNE_REVISION={revision}");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
}
