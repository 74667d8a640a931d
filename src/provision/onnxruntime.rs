//! Where the ONNX Runtime library comes from: a path that the user gives, or a pinned wheel, fetched at first use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::json;

use super::Missing;
use super::cache::Cache;
use super::wheel::{Wheel, WheelError};

/// What may run a graph, and the variable that names the library for it.
pub const PROVIDERS: [(&str, &str); 2] =
    [("cpu", "ORT_DYLIB_PATH"), ("openvino", "AUTOTUNE_OPENVINO_DYLIB_PATH")];

/// A library that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    pub path: PathBuf,
    /// Who says that it's this one, for people.
    pub origin: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    provider: String,
    system: String,
    library: String,
    wheel: Wheel,
}

#[derive(Deserialize)]
struct Table {
    library: Vec<Pin>,
}

// A test reads the table, so it can't be wrong in a program that passed its tests.
static PINS: LazyLock<Vec<Pin>> = LazyLock::new(|| {
    toml::from_str::<Table>(include_str!("onnxruntime.toml")).map(|table| table.library).unwrap_or_default()
});

/// The library for a provider, fetched if it isn't here yet.
pub fn library(provider: &str) -> Result<Library, Missing> {
    if let Some(library) = look(provider)? {
        return Ok(library);
    }
    let pin = pin(provider, &system())?;
    pin.fetch(&Cache::of_user()?).map_err(|error| {
        let missing = Missing::from(error);
        Missing { remedy: format!("{}; or {}", missing.remedy, set_the_variable(provider)), ..missing }
    })
}

/// The library for a provider if it's here already, or else what brings it. Fetches nothing.
pub fn here(provider: &str) -> Result<Library, Missing> {
    let not_yet = || {
        let requirement = pin(provider, &system()).map(|pin| pin.wheel.requirement()).unwrap_or_default();
        Missing {
            why: "not here yet".to_owned(),
            remedy: format!(
                "the first run that needs it has pip fetch {requirement}; or {}",
                set_the_variable(provider)
            ),
        }
    };
    look(provider)?.ok_or_else(not_yet)
}

/// The settings of the backend `ort`: for each provider the path of its library, or why there is none.
pub fn settings(find: impl Fn(&str) -> Result<Library, Missing>) -> serde_json::Value {
    let place = |provider: &str| match find(provider) {
        Ok(library) => json!({ "path": library.path }),
        Err(missing) => json!({ "missing": missing.to_string() }),
    };
    let places: serde_json::Map<_, _> =
        PROVIDERS.iter().map(|(provider, _)| ((*provider).to_owned(), place(provider))).collect();
    json!({ "libraries": places })
}

/// An error says that it's not here and can't be fetched either; `None`, that it can be tried.
fn look(provider: &str) -> Result<Option<Library>, Missing> {
    let variable = variable(provider);
    if let Some(given) = variable.and_then(std::env::var_os).filter(|given| !given.is_empty()) {
        return given_library(variable.unwrap_or_default(), given).map(Some);
    }
    let pin = pin(provider, &system())?;
    Ok(pin.find(&Cache::of_user()?))
}

impl Pin {
    fn key(&self) -> String {
        format!("libraries/{}-{}-{}", self.wheel.package, self.wheel.version, self.system)
    }

    fn find(&self, cache: &Cache) -> Option<Library> {
        cache.find(&self.key()).map(|folder| self.in_folder(&folder))
    }

    fn fetch(&self, cache: &Cache) -> Result<Library, WheelError> {
        Ok(self.in_folder(&cache.place(&self.key(), |folder| self.wheel.fetch(folder))?))
    }

    fn in_folder(&self, folder: &Path) -> Library {
        Library { path: folder.join(&self.library), origin: format!("wheel {}", self.wheel.requirement()) }
    }
}

fn pin(provider: &str, system: &str) -> Result<&'static Pin, Missing> {
    let found = PINS.iter().find(|pin| pin.provider == provider && pin.system == system);
    found.ok_or_else(|| Missing {
        why: format!("no ONNX Runtime library with {provider} is known for {system}"),
        remedy: set_the_variable(provider),
    })
}

/// A library of another C library can't be loaded, so it's another system.
fn system() -> String {
    let library = if cfg!(target_env = "musl") { "-musl" } else { "" };
    format!("{}-{}{library}", std::env::consts::OS, std::env::consts::ARCH)
}

fn variable(provider: &str) -> Option<&'static str> {
    PROVIDERS.iter().find(|(name, _)| *name == provider).map(|(_, variable)| *variable)
}

fn set_the_variable(provider: &str) -> String {
    let with = if provider == "cpu" { String::new() } else { format!(" with {provider}") };
    match variable(provider) {
        Some(variable) => format!("set {variable} to the path of a libonnxruntime{with}"),
        None => format!("choose one of {}", PROVIDERS.map(|(name, _)| name).join(", ")),
    }
}

/// What the user names counts, and is not replaced in silence if it's wrong.
fn given_library(variable: &str, given: OsString) -> Result<Library, Missing> {
    let path = PathBuf::from(given);
    // A bare name is looked up by the system's loader.
    if path.is_file() || path.components().count() == 1 {
        return Ok(Library { path, origin: variable.to_owned() });
    }
    Err(Missing {
        why: format!("{variable} is {}, and there is no such file", path.display()),
        remedy: format!("correct {variable}, or unset it so that autotune fetches a library"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_every_provider_has_a_library_here() {
        let table: Table = toml::from_str(include_str!("onnxruntime.toml")).unwrap();
        for pin in &table.library {
            assert!(variable(&pin.provider).is_some(), "{}", pin.provider);
            assert!(pin.wheel.members.contains(&pin.library), "{}", pin.library);
            assert_eq!(pin.wheel.sha256.len(), 64);
            assert!(pin.wheel.file.contains(&pin.wheel.version));
            let machine = pin.system.rsplit('-').next().unwrap();
            assert!(pin.wheel.file.contains(machine), "{}", pin.wheel.file);
        }
        for (provider, _) in PROVIDERS {
            assert!(pin(provider, "linux-x86_64").is_ok());
        }
        assert!(pin("cpu", "linux-aarch64").is_ok());
    }

    #[test]
    fn a_machine_without_a_library_is_told_what_to_set() {
        let missing = pin("cpu", "plan9-mips").err().unwrap();
        assert!(missing.to_string().contains("plan9-mips") && missing.remedy.contains("ORT_DYLIB_PATH"));
        let missing = pin("cdua", "linux-x86_64").err().unwrap();
        assert_eq!(missing.remedy, "choose one of cpu, openvino");
    }

    #[test]
    fn the_settings_say_where_each_library_is_or_why_it_is_not() {
        let find = |provider: &str| match provider {
            "cpu" => Ok(Library { path: "/a.so".into(), origin: "here".into() }),
            _ => Err(Missing { why: "gone".into(), remedy: "look".into() }),
        };
        let expected =
            json!({ "libraries": { "cpu": { "path": "/a.so" }, "openvino": { "missing": "gone; look" } } });
        assert_eq!(settings(find), expected);
    }

    #[test]
    fn what_was_placed_is_found_and_a_wrong_path_of_the_user_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().to_owned());
        let pin = pin("cpu", "linux-x86_64").unwrap();
        assert_eq!(pin.find(&cache), None);
        cache.place(&pin.key(), |folder| std::fs::write(folder.join(&pin.library), b"")).unwrap();
        let library = pin.find(&cache).unwrap();
        assert!(library.path.is_file());
        assert_eq!(library.origin, "wheel onnxruntime==1.31.1");

        let given = |path: &Path| given_library("ORT_DYLIB_PATH", path.as_os_str().to_owned());
        assert_eq!(given(&library.path).unwrap().origin, "ORT_DYLIB_PATH");
        assert!(given(Path::new("libonnxruntime.so")).is_ok());
        assert!(given(Path::new("/no/where.so")).unwrap_err().why.contains("/no/where.so"));
    }
}
