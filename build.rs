//! Tells the program what it was built from: the git revision, and the version of candle in the lock file. With the feature
//! `cuda` it compiles the kernels, and finds the toolkit's libraries.

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
    #[cfg(feature = "cuda")]
    cuda();
}

#[cfg(feature = "cuda")]
fn cuda() {
    const KERNELS: &str = "src/backend/candle/cuda/kernels";
    println!("cargo::rerun-if-changed={KERNELS}");
    cudaforge::KernelBuilder::new()
        .source_files([format!("{KERNELS}/network.cu")])
        .args(["-std=c++17", "-O3"])
        .build_ptx()
        .expect("nvcc compiles the kernels; scripts/cuda-toolkit.sh sees to one");

    // candle links the toolkit's libraries by their names alone. In toolkits of NVIDIA's the driver's library is a stub.
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let home = std::path::PathBuf::from(std::env::var_os("CUDA_HOME").unwrap_or("/usr/local/cuda".into()));
    for folder in ["lib64", "lib", "lib64/stubs", "lib/stubs"].map(|folder| home.join(folder)) {
        if folder.is_dir() {
            println!("cargo::rustc-link-search=native={}", folder.display());
        }
    }
    // A stub made by the script is empty: the driver's own functions are found where the program is started. A linker that
    // sees no use for a library leaves it out, and then nobody would load the driver.
    for argument in ["--unresolved-symbols=ignore-all", "--no-as-needed", "-lcuda", "--as-needed"] {
        let flag = if argument.starts_with("-l") { argument.to_owned() } else { format!("-Wl,{argument}") };
        println!("cargo::rustc-link-arg={flag}");
    }
}
