//! The shared library: where it is, and that a process loads only one. Knows no model.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::logging::LogLevel;
use serde::Deserialize;

use super::choice::Provider;
use crate::backend::BackendError;

/// Where the library of each provider is, or why it isn't there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Libraries {
    cpu: Place,
    openvino: Place,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Path(PathBuf),
    /// Why, and what helps.
    Missing(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    libraries: Libraries,
}

/// Where libraries are looked for without settings. The first is the one that `ort` itself knows.
const VARIABLES: [(&str, &str); 2] =
    [("ORT_DYLIB_PATH", "onnxruntime"), ("AUTOTUNE_OPENVINO_DYLIB_PATH", "onnxruntime-openvino==1.24.1")];

impl Libraries {
    pub fn read(settings: serde_json::Value) -> Result<Libraries, BackendError> {
        if settings.is_null() {
            let [cpu, openvino] = VARIABLES.map(|(variable, package)| from_environment(variable, package));
            return Ok(Libraries { cpu, openvino });
        }
        let settings: Settings = serde_json::from_value(settings)
            .map_err(|error| BackendError::Refused(format!("the settings of ort: {error}")))?;
        Ok(settings.libraries)
    }

    pub fn of(&self, provider: Provider) -> Result<&Path, BackendError> {
        let place = match provider {
            Provider::Cpu => &self.cpu,
            Provider::Openvino => &self.openvino,
        };
        match place {
            Place::Path(path) => Ok(path),
            Place::Missing(why) => Err(BackendError::NotAvailable(why.clone())),
        }
    }
}

fn from_environment(variable: &str, package: &str) -> Place {
    match std::env::var_os(variable) {
        Some(path) => Place::Path(path.into()),
        None => Place::Missing(format!(
            "{variable} is not set; `pip download --no-deps {package}`, unpack the wheel, and set it to the path of \
             libonnxruntime.so in there"
        )),
    }
}

/// The library that this process has loaded. `ort` can't let go of it again.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// Loads the library, if it isn't the one that's loaded already.
pub fn load(path: &Path) -> Result<Environment, BackendError> {
    let not_available = |why: &str| BackendError::NotAvailable(format!("{}: {why}", path.display()));
    let mut loaded =
        LOADED.lock().map_err(|_| BackendError::Failed("ONNX Runtime broke while it loaded".into()))?;
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
