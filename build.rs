//! States what the program was built from: the git revision, and the revision of the worker's sources, which it carries.

use std::path::Path;
use std::process::Command;

include!("worker/build/revision.rs");

fn main() {
    // A source archive has no revision, and states so.
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=AUTOTUNE_REVISION={revision}");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }

    // The macro that carries the sources doesn't notice new files; a build script that ran again has it expanded anew.
    for path in ["worker", "Cargo.lock", "scripts/cuda-toolkit.sh", "scripts/cuda-toolkit.txt"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let worker = worker_revision(Path::new("worker"), Path::new("Cargo.lock"));
    println!("cargo::rustc-env=AUTOTUNE_WORKER_REVISION={worker}");
}
