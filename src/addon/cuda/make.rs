//! Builds the CUDA worker: its sources laid out as a workspace of their own, a toolkit, and cargo.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use include_dir::{Dir, include_dir};

use super::toolkit::{self, Toolkit};
use crate::addon::cache::{Cache, make_folder};
use crate::addon::needs::{self, CUDA_LIBRARIES};
use crate::addon::pip::Pip;
use crate::addon::process::ends_with_us;
use crate::addon::{Missing, Tell, command, version};
use crate::backend::host_memory;
use crate::hardware::CudaVersion;

/// The revision of the sources that the program carries.
pub const REVISION: &str = env!("AUTOTUNE_WORKER_REVISION");

pub const NAME: &str = "cuda";
pub const PROGRAM: &str = "autotune-cuda-worker";

/// The worker's sources, with the lock file that its packages are pinned by.
static SOURCES: Dir = include_dir!("$CARGO_MANIFEST_DIR/worker");
const LOCK: &str = include_str!("../../../Cargo.lock");

/// A workspace of its own, or else cargo would look for one in the folders above, and find whoever's. Its packages are compiled as
/// Cargo.toml has them compiled.
const WORKSPACE: &str = r#"[workspace]
members = ["worker"]
resolver = "3"

[profile.release]
lto = "off"

[profile.release.package.autotune-worker]
codegen-units = 1
"#;

/// Makes the toolkit if there is none, builds the worker, and places it in the cache. What cargo made of other packages is
/// kept until that has worked, so that a second try goes on where the first one ended.
pub fn worker(
    cache: &Cache,
    key: &str,
    toolkit: &Toolkit,
    capability: (u32, u32),
    tell: &dyn Tell,
) -> Result<(), Missing> {
    let cargo = cargo().unwrap_or_else(|| PathBuf::from("cargo"));
    let build = cache.root().join("build").join(key.rsplit('/').next().unwrap_or(key));
    if cache.is_being_filled(key) {
        tell.say("another autotune is building the CUDA worker; waiting for it");
    }
    let made = cache.place(key, |folder| -> Result<(), Failed> {
        make_folder(&build)?;
        let log = build.join("build.log");
        fs::write(&log, b"")?;
        if toolkit.to_make {
            make_toolkit(cache, &build, &log, tell).map_err(Failed::Making)?;
        }
        fill(folder, &build, &log, &cargo, toolkit, capability, tell).map_err(Failed::Making)?;
        let _ = fs::remove_dir_all(&build);
        Ok(())
    });
    match made {
        Ok(_) => Ok(()),
        Err(Failed::Making(missing)) => Err(missing),
        Err(Failed::Writing(error)) => Err(Missing {
            why: format!("the cache can't be written: {error}"),
            remedy: format!("set AUTOTUNE_CACHE to a writable folder, then {}", command(NAME)),
        }),
    }
}

enum Failed {
    Writing(io::Error),
    Making(Missing),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Writing(error)
    }
}

/// What building needs and isn't here, all of it at once.
pub fn lacks(makes_toolkit: bool) -> Option<Missing> {
    let needs = [
        ("cargo", cargo().is_some(), "install Rust 1.95 or later (https://rustup.rs)"),
        // nvcc hands the host's part of its input to it.
        ("g++", answers(Path::new("g++")), "install g++ (`apt-get install g++` on Debian and Ubuntu)"),
        ("bash", !makes_toolkit || answers(Path::new("bash")), "install bash"),
        (
            "python3 with pip",
            !makes_toolkit || Pip::find().is_some(),
            "install python3 with pip (`apt-get install python3-pip` on Debian and Ubuntu)",
        ),
    ];
    let lacking: Vec<_> = needs.iter().filter(|(_, is_here, _)| !is_here).collect();
    let names = lacking.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    let remedies = lacking.iter().map(|(_, _, remedy)| *remedy).collect::<Vec<_>>().join(", ");
    (!lacking.is_empty()).then(|| Missing {
        why: format!("the CUDA worker is not built yet, and tools for the build are missing: {names}"),
        remedy: format!("{remedies}; then {}", command(NAME)),
    })
}

fn answers(program: &Path) -> bool {
    version::stated(Command::new(program)).is_ok()
}

/// rustup's own place is on the path of login shells only.
fn cargo() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let places = [Some(PathBuf::from("cargo")), home.map(|home| home.join("bin/cargo"))];
    places.into_iter().flatten().find(|cargo| answers(cargo))
}

/// Runs the carried script.
fn make_toolkit(cache: &Cache, build: &Path, log: &Path, tell: &dyn Tell) -> Result<(), Missing> {
    let failed = |why: String| Missing {
        why: format!("the CUDA toolkit can't be set up: {why}"),
        remedy: format!(
            "make sure that python3 with pip is installed and reaches a package index (or finds the wheels in \
             PIP_FIND_LINKS), or install NVIDIA's toolkit and set CUDA_HOME; then {}",
            command(NAME)
        ),
    };
    let lay = || -> io::Result<PathBuf> {
        let script = build.join("cuda-toolkit.sh");
        fs::write(&script, toolkit::SCRIPT)?;
        fs::write(build.join("cuda-toolkit.txt"), toolkit::PINS)?;
        Ok(script)
    };
    let script = lay().map_err(|error| failed(error.to_string()))?;
    let mut bash = Command::new("bash");
    // An installed one that the driver is too old for isn't wanted.
    bash.arg(script).env("AUTOTUNE_CACHE", cache.root()).env("AUTOTUNE_MAKE_TOOLKIT", "1");
    // Nothing is installed, so a person's wish to install into virtual environments only doesn't apply.
    bash.env("PIP_REQUIRE_VIRTUALENV", "0");
    let said = watched(bash, log, |line| {
        if line.starts_with("CUDA toolkit, part") {
            tell.step(line);
        }
    });
    said.map_err(failed)
}

/// Builds the worker, and puts it with its libraries into a folder.
fn fill(
    folder: &Path,
    build: &Path,
    log: &Path,
    cargo: &Path,
    toolkit: &Toolkit,
    capability: (u32, u32),
    tell: &dyn Tell,
) -> Result<(), Missing> {
    let failed = |why: String| {
        // Without a network cargo says so in many ways.
        let unreached = ["failed to download", "Could not resolve host", "failed to get `"];
        let online = if unreached.iter().any(|words| why.contains(words)) {
            " where crates.io can be reached"
        } else {
            ""
        };
        Missing {
            why: format!("building the CUDA worker failed: {why} (full log: {})", log.display()),
            remedy: format!("{}{online}", command(NAME)),
        }
    };
    lay_out(build).map_err(|error| failed(error.to_string()))?;
    // A folder of its own: in one that is shared cargo would take what was compiled with another toolkit. The project's own tests
    // share theirs, which have one toolkit and one card.
    let named = std::env::var_os(TARGET_VARIABLE).and_then(|folder| std::path::absolute(folder).ok());
    let target = named.unwrap_or_else(|| build.join("target"));
    let path = std::env::join_paths(
        std::iter::once(toolkit.home.join("bin"))
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut build_it = Command::new(cargo);
    build_it
        .args(["build", "--release", "--package", "autotune-worker", "--features", "cuda", "--bin", PROGRAM])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(build)
        // The worker runs here, whatever a person builds for otherwise.
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("NVCC")
        .env_remove("CUDARC_CUDA_VERSION")
        .env("AUTOTUNE_WORKER_REVISION", REVISION)
        .env("CUDA_HOME", &toolkit.home)
        .env("CUDA_COMPUTE_CAP", format!("{}{}", capability.0, capability.1))
        .env(COMPILERS, compilers_at_once().to_string())
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never");
    if let Ok(path) = path {
        build_it.env("PATH", path);
    }
    tell.step("building the CUDA worker: finding its packages");
    let total = packages(build, cargo);
    let mut compiled = 0;
    tell.step("building the CUDA worker");
    watched(build_it, log, |line| {
        if let Some(package) = line.trim_start().strip_prefix("Compiling ") {
            compiled += 1;
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            tell.step(&format!("building the CUDA worker: package {compiled}{of}, {package}"));
        }
    })
    .map_err(failed)?;
    let put = || -> io::Result<()> {
        fs::copy(target.join("release").join(PROGRAM), folder.join(PROGRAM))?;
        Ok(())
    };
    put().map_err(|error| failed(error.to_string()))?;
    link_to(folder, toolkit.version, &toolkit.folders());
    Ok(())
}

/// Names a folder for what cargo compiles on the way.
const TARGET_VARIABLE: &str = "AUTOTUNE_WORKER_TARGET";

/// How many of candle's kernels are compiled at once. cudaforge would leave half of the cores idle.
const COMPILERS: &str = "CUDAFORGE_THREADS";

/// A compiler for each core, as far as the memory goes: one takes up to 2 GiB.
fn compilers_at_once() -> usize {
    let named = std::env::var(COMPILERS).ok().and_then(|number| number.parse().ok());
    named.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let room = host_memory().map_or(1, |bytes| bytes >> 31);
        cores.min(usize::try_from(room).unwrap_or(1)).max(1)
    })
}

/// Writes the sources and their workspace, and takes away what an earlier revision had there.
fn lay_out(build: &Path) -> io::Result<()> {
    let worker = build.join("worker");
    if worker.exists() {
        fs::remove_dir_all(&worker)?;
    }
    fs::create_dir_all(&worker)?;
    SOURCES.extract(&worker)?;
    fs::write(build.join("Cargo.toml"), WORKSPACE)?;
    fs::write(build.join("Cargo.lock"), LOCK)
}

/// How many packages the worker is built of, for people who wait.
fn packages(build: &Path, cargo: &Path) -> Option<usize> {
    let mut tree = Command::new(cargo);
    tree.args([
        "tree",
        "--prefix",
        "none",
        "--edges",
        "normal,build",
        "--features",
        "cuda",
        "--package",
        "autotune-worker",
    ]);
    let output = tree
        .current_dir(build)
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).replace(" (*)", "");
    let mut lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches(" (proc-macro)")).collect();
    lines.sort_unstable();
    lines.dedup();
    Some(lines.len())
}

/// Runs a command to its end. Each line of its stderr is heard and logged; an error is its last words.
fn watched(mut command: Command, log: &Path, mut heard: impl FnMut(&str)) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    ends_with_us(&mut command);
    let mut child = command.spawn().map_err(|error| format!("{name} can't be started: {error}"))?;
    let mut log = File::options().append(true).create(true).open(log).ok();
    let mut lines: Vec<String> = Vec::new();
    let stderr = child.stderr.take().map(BufReader::new).into_iter();
    for line in stderr.flat_map(|stderr| stderr.split(b'\n')).map_while(Result::ok) {
        // Compilers print whatever is in a source.
        let line = String::from_utf8_lossy(&line).into_owned();
        if let Some(log) = &mut log {
            let _ = writeln!(log, "{line}");
        }
        heard(&line);
        if !line.trim().is_empty() {
            lines.push(line.trim().to_owned());
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(gist(&lines).unwrap_or_else(|| format!("{name} ended with {status}"))),
        Err(error) => Err(error.to_string()),
    }
}

/// What went wrong first, and what was behind it.
fn gist(lines: &[String]) -> Option<String> {
    let shown = |line: &String| line.chars().take(200).collect::<String>();
    let first = lines.iter().position(|line| line.starts_with("error") || line.starts_with("ERROR"));
    match first {
        Some(first) => {
            // cargo lists causes by a heading and lines below it.
            let causes = lines[first + 1..].iter().filter(|line| *line != "Caused by:").take(2);
            Some(std::iter::once(&lines[first]).chain(causes).map(shown).collect::<Vec<_>>().join(" / "))
        }
        None => lines.last().map(shown),
    }
}

/// The libraries that the worker is linked against, by the generation of their CUDA.
pub fn libraries(version: CudaVersion) -> Vec<String> {
    let major = version.major;
    let mut names: Vec<String> =
        ["libcudart", "libcublas", "libcublasLt"].iter().map(|name| format!("{name}.so.{major}")).collect();
    names.push("libcurand.so.10".to_owned());
    names
}

/// Sees that the links beside a worker lead somewhere: toolkits may be taken away, and caches moved. What is found nowhere, not
/// even by the system's loader, is named.
pub fn link_libraries(folder: &Path, version: CudaVersion) -> Vec<String> {
    let named = std::env::var_os(CUDA_LIBRARIES).map(PathBuf::from);
    let wheels =
        Cache::of_user().map(|cache| super::super::onnxruntime::library_folders(&cache)).unwrap_or_default();
    let places: Vec<PathBuf> = named.into_iter().chain(toolkit::library_folders()).chain(wheels).collect();
    link_to(folder, version, &places);
    let is_found = |name: &String| folder.join("lib").join(name).exists() || needs::loads(name);
    libraries(version).into_iter().filter(|name| !is_found(name)).collect()
}

fn link_to(folder: &Path, version: CudaVersion, places: &[PathBuf]) {
    let links = folder.join("lib");
    // Where it can't be written the loader finds them by itself, or the worker says what it lacks.
    let _ = fs::create_dir_all(&links);
    for name in libraries(version) {
        let link = links.join(&name);
        if link.exists() {
            continue;
        }
        let _ = fs::remove_file(&link);
        if let Some(place) = places.iter().map(|place| place.join(&name)).find(|library| library.is_file()) {
            let _ = std::os::unix::fs::symlink(place, &link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_all_there_and_stand_alone() {
        let folder = tempfile::tempdir().unwrap();
        lay_out(folder.path()).unwrap();
        for file in
            ["Cargo.toml", "Cargo.lock", "worker/Cargo.toml", "worker/build.rs", "worker/build/revision.rs"]
        {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
        let kernels = folder.path().join("worker/src/backend/candle/cuda/kernels/network.cu");
        assert!(kernels.is_file());
        // No path leads out of what is carried, but in the package's own tests.
        let manifest = fs::read_to_string(folder.path().join("worker/Cargo.toml")).unwrap();
        assert!(!manifest.contains("workspace = true") && !manifest.contains("path = \".."));
        // A second time it's the same.
        fs::write(folder.path().join("worker/src/stale.rs"), b"").unwrap();
        lay_out(folder.path()).unwrap();
        assert!(!folder.path().join("worker/src/stale.rs").exists());
    }

    #[test]
    fn the_gist_of_a_failed_build_is_its_first_error_with_causes() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let offline = lines(
            "Updating index\nerror: failed to get `cudarc`\nCaused by:\nfailed to download\nCaused by:\nCould not resolve host",
        );
        assert_eq!(
            gist(&offline).unwrap(),
            "error: failed to get `cudarc` / failed to download / Could not resolve host"
        );
        assert_eq!(gist(&lines("a\nlast")), Some("last".to_owned()));
        assert_eq!(gist(&[]), None);
    }

    #[test]
    fn a_command_is_heard_line_by_line_and_its_last_words_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let shell = |script: &str, heard: &mut Vec<String>| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            watched(command, &log, |line| heard.push(line.to_owned()))
        };
        let mut heard = Vec::new();
        assert_eq!(shell("echo one >&2; echo two >&2", &mut heard), Ok(()));
        assert_eq!(heard, ["one", "two"]);
        assert_eq!(shell("echo half >&2; exit 3", &mut heard), Err("half".to_owned()));
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\nhalf\n");
    }

    #[test]
    fn links_lead_to_the_libraries_wherever_these_have_gone() {
        let folder = tempfile::tempdir().unwrap();
        let version = "13.0".parse().unwrap();
        let place = |name: &str| {
            let place = folder.path().join(name);
            fs::create_dir_all(&place).unwrap();
            for library in libraries(version) {
                fs::write(place.join(library), b"").unwrap();
            }
            place
        };
        let (first, worker) = (place("first"), folder.path().join("worker"));
        link_to(&worker, version, std::slice::from_ref(&first));
        assert!(worker.join("lib/libcublas.so.13").exists() && worker.join("lib/libcurand.so.10").exists());
        fs::remove_dir_all(&first).unwrap();
        assert!(!worker.join("lib/libcublas.so.13").exists());
        link_to(&worker, version, &[place("second")]);
        assert!(worker.join("lib/libcublas.so.13").exists());
    }
}
