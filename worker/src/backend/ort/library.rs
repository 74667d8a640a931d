//! The shared library: where it is, and that a process loads only one. Knows no model.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::logging::LogLevel;
use serde::Deserialize;

use super::choice::Provider;
use crate::backend::{BackendError, Missing};

/// Where the library of each provider is, or why it isn't there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Libraries {
    cpu: Place,
    openvino: Place,
    cuda: Place,
    /// What the CUDA provider is linked against and the system's loader doesn't find by itself, in the order in which
    /// they need one another.
    #[serde(default)]
    cuda_needs: Vec<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Path(PathBuf),
    Missing(Missing),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    libraries: Libraries,
}

/// Where libraries are looked for without settings. The first is the one that `ort` itself knows.
const VARIABLES: [(&str, &str); 3] = [
    ("ORT_DYLIB_PATH", "onnxruntime"),
    ("AUTOTUNE_OPENVINO_DYLIB_PATH", "onnxruntime-openvino==1.24.1"),
    ("AUTOTUNE_CUDA_DYLIB_PATH", "onnxruntime-gpu==1.31.1"),
];

/// A folder with the libraries that the CUDA provider needs, by the names that it has them under.
const CUDA_LIBRARIES: &str = "AUTOTUNE_CUDA_LIBRARIES";
/// Those of CUDA 13; the library for CUDA 12 is linked against more (src/addon/onnxruntime.toml).
pub const CUDA_NEEDS: [&str; 4] =
    ["libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10"];
pub const CUDA_12_NEEDS: [&str; 6] = [
    "libcudart.so.12",
    "libcublasLt.so.12",
    "libcublas.so.12",
    "libcurand.so.10",
    "libcufft.so.11",
    "libcudnn.so.9",
];

impl Libraries {
    pub fn read(settings: serde_json::Value) -> Result<Libraries, BackendError> {
        if settings.is_null() {
            let [cpu, openvino, cuda] =
                VARIABLES.map(|(variable, package)| from_environment(variable, package));
            let folder = std::env::var_os(CUDA_LIBRARIES).map(PathBuf::from);
            let in_it = |folder: PathBuf| -> Vec<PathBuf> {
                let needs: &[&str] =
                    if folder.join(CUDA_NEEDS[0]).exists() { &CUDA_NEEDS } else { &CUDA_12_NEEDS };
                needs.iter().map(|name| folder.join(name)).collect()
            };
            return Ok(Libraries { cpu, openvino, cuda, cuda_needs: folder.map(in_it).unwrap_or_default() });
        }
        let settings: Settings = serde_json::from_value(settings)
            .map_err(|error| BackendError::Refused(format!("the settings of ort: {error}")))?;
        Ok(settings.libraries)
    }

    /// Loads the library that has a provider.
    pub fn load(&self, provider: Provider) -> Result<Environment, BackendError> {
        let place = match provider {
            Provider::Cpu | Provider::Coreml => &self.cpu,
            Provider::Openvino => &self.openvino,
            Provider::Cuda(_) => &self.cuda,
        };
        match place {
            Place::Path(path) => {
                if let Provider::Cuda(_) = provider {
                    self.cuda_needs.iter().try_for_each(|library| preload(library))?;
                    fuse_attention();
                }
                load(path)
            }
            Place::Missing(missing) => Err(missing.clone().into()),
        }
    }
}

fn from_environment(variable: &str, package: &str) -> Place {
    match std::env::var_os(variable) {
        Some(path) => Place::Path(path.into()),
        None => Place::Missing(Missing {
            why: format!("{variable} is not set"),
            remedy: format!(
                "`pip download --no-deps {package}`, unpack the wheel, and set {variable} to the path of its \
                 libonnxruntime.so"
            ),
        }),
    }
}

/// ONNX Runtime leaves attention of fp32 unfused for texts of fewer than 256 tokens, and waits for the card in each of its
/// nodes then, to check what it was given: nothing is prepared meanwhile, and no graph can be captured. There is no other
/// way to tell it than its environment.
fn fuse_attention() {
    // SAFETY: whoever reads the environment in Rust holds its lock, and the library that reads it in C isn't loaded yet.
    unsafe { std::env::set_var("ORT_MIN_SEQ_LEN_EFFICIENT_ATTENTION_FP32", "0") };
}

/// Loads a library for others to find: whoever is linked against it gets this one, whatever the search path is, which
/// can't be changed any more once a process runs.
fn preload(path: &Path) -> Result<(), BackendError> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: NVIDIA's libraries touch nothing of ours when they're loaded.
    match unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => {
            // It stays for as long as the process.
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(BackendError::NotAvailable(format!("{}: {error}", path.display()))),
    }
}

/// The library that this process has loaded. `ort` can't let go of it again.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// Loads the library, if it isn't the one that's loaded already.
fn load(path: &Path) -> Result<Environment, BackendError> {
    let not_available = |why: &str| BackendError::NotAvailable(format!("{}: {why}", path.display()));
    let mut loaded =
        LOADED.lock().map_err(|_| BackendError::Failed("ONNX Runtime failed while loading".into()))?;
    match loaded.as_ref() {
        Some((other, environment)) if other == path => Ok(environment.clone()),
        Some((other, _)) => {
            Err(not_available(&format!("this process has loaded {}, and can load one only", other.display())))
        }
        None => {
            let builder = ort::init_from(path).map_err(|error| not_available(&error.to_string()))?;
            let environment = builder
                .with_name("autotune")
                .with_telemetry(false)
                .build()
                .map_err(|error| not_available(&error.to_string()))?;
            // Its warnings are about choices that are made here on purpose.
            environment.set_log_level(LogLevel::Error);
            *loaded = Some((path.to_owned(), environment.clone()));
            Ok(environment)
        }
    }
}

/// What the loaded library says of itself.
pub fn receipt() -> Option<String> {
    let loaded = LOADED.lock().ok()?;
    loaded.as_ref().map(|_| format!("ONNX Runtime, {}", ort::info()))
}
