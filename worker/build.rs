//! States what the worker was built from: its revision, and the version of candle in the lock file. With the feature
//! `cuda` it compiles the kernels, and finds the toolkit's libraries.

use std::path::Path;

include!("build/revision.rs");

/// Of the workspace: the project's own, or that in which `autotune` lays the sources out to build them.
const LOCK: &str = "../Cargo.lock";

fn main() {
    println!("cargo::rerun-if-changed={LOCK}");
    let lock: toml::Table =
        std::fs::read_to_string(LOCK).expect("Cargo.lock is committed").parse().expect("Cargo.lock is TOML");
    let candle = lock["package"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"].as_str() == Some("candle-core"))
        .and_then(|package| package["version"].as_str())
        .expect("candle-core is locked");
    println!("cargo::rustc-env=CANDLE_VERSION={candle}");

    // Whoever carries the sources knows their revision: cargo leaves packages out of the lock file that only others need.
    println!("cargo::rerun-if-env-changed=AUTOTUNE_WORKER_REVISION");
    for path in ["src", "build", "build.rs", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let revision = std::env::var("AUTOTUNE_WORKER_REVISION")
        .unwrap_or_else(|_| worker_revision(Path::new("."), Path::new(LOCK)));
    println!("cargo::rustc-env=AUTOTUNE_WORKER_REVISION={revision}");
    #[cfg(feature = "cuda")]
    cuda();
}

/// Where the program looks for CUDA's libraries, after `LD_LIBRARY_PATH`: beside itself, where `autotune` puts links to
/// them; and for the driver's, where WSL 2, NVIDIA's containers and NixOS have it (`DRIVER_FOLDERS` in src/backend/gpu).
#[cfg(feature = "cuda")]
const LIBRARIES: &str =
    "$ORIGIN/lib:/usr/lib/wsl/lib:/usr/local/nvidia/lib64:/usr/local/nvidia/lib:/run/opengl-driver/lib";

#[cfg(feature = "cuda")]
fn cuda() {
    const KERNELS: &str = "src/backend/candle/cuda/kernels";
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let home = std::path::PathBuf::from(std::env::var_os("CUDA_HOME").unwrap_or("/usr/local/cuda".into()));
    let nvcc = home.join("bin/nvcc");
    let nvcc = if nvcc.is_file() { nvcc } else { "nvcc".into() };
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    // Without a suffix: code for 9.0a would run on 9.0 and on nothing later.
    let capability =
        cudaforge::detect_compute_cap().expect("CUDA_COMPUTE_CAP states what to build for").base();
    let compiled = std::process::Command::new(&nvcc)
        .args(["--ptx", "-std=c++17", "-O3", &format!("-arch=compute_{capability}"), "-o"])
        .arg(out.join("network.ptx"))
        .arg(format!("{KERNELS}/network.cu"))
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/cuda-toolkit.sh provides one", nvcc.display()));
    assert!(compiled.success(), "nvcc can't compile the kernels");
    let version =
        std::process::Command::new(&nvcc).arg("--version").output().expect("nvcc has just run").stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let release = version.split("release ").nth(1).and_then(|rest| rest.split(',').next());
    println!("cargo::rustc-env=CUDA_VERSION={}", release.expect("nvcc states its release"));

    // candle links the toolkit's libraries by their names alone. In NVIDIA's toolkits the driver's library is a stub.
    for folder in ["lib64", "lib", "targets/x86_64-linux/lib", "lib64/stubs", "lib/stubs"]
        .map(|folder| home.join(folder))
    {
        if folder.is_dir() {
            println!("cargo::rustc-link-search=native={}", folder.display());
        }
    }
    println!("cargo::rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{LIBRARIES}");
}
