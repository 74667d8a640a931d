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
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let home = std::path::PathBuf::from(std::env::var_os("CUDA_HOME").unwrap_or("/usr/local/cuda".into()));
    let nvcc = home.join("bin/nvcc");
    let nvcc = if nvcc.is_file() { nvcc } else { "nvcc".into() };
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where"));
    // Without a suffix: code for 9.0a would run on 9.0 and on nothing later.
    let capability = cudaforge::detect_compute_cap().expect("CUDA_COMPUTE_CAP says what to build for").base();
    let compiled = Command::new(&nvcc)
        .args(["--ptx", "-std=c++17", "-O3", &format!("-arch=compute_{capability}"), "-o"])
        .arg(out.join("network.ptx"))
        .arg(format!("{KERNELS}/network.cu"))
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/cuda-toolkit.sh sees to one", nvcc.display()));
    assert!(compiled.success(), "nvcc can't compile the kernels");

    // candle links the toolkit's libraries by their names alone. In toolkits of NVIDIA's the driver's library is a stub.
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
