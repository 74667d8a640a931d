//! Where the ONNX Runtime library comes from: a path that the user gives, or a pinned wheel, fetched at first use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::json;

use super::Missing;
use super::cache::Cache;
use super::needs::{self, CUDA_LIBRARIES};
use super::wheel::{Wheel, WheelError};

/// What may run a graph, and the variable that names the library for it.
pub const PROVIDERS: [(&str, &str); 3] = [
    ("cpu", "ORT_DYLIB_PATH"),
    ("openvino", "AUTOTUNE_OPENVINO_DYLIB_PATH"),
    ("cuda", "AUTOTUNE_CUDA_DYLIB_PATH"),
];

/// A library that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    pub path: PathBuf,
    /// Who says that it's this one, for people.
    pub origin: String,
    /// What must be loaded before it, since the system's loader doesn't find it.
    pub needs: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    provider: String,
    system: String,
    library: String,
    wheel: Wheel,
    #[serde(default)]
    needs: Vec<Wheel>,
}

#[derive(Deserialize)]
struct Table {
    library: Vec<Pin>,
}

// A test reads the table, so it can't be wrong in a program that passed its tests.
static PINS: LazyLock<Vec<Pin>> = LazyLock::new(|| {
    toml::from_str::<Table>(include_str!("onnxruntime.toml")).map(|table| table.library).unwrap_or_default()
});

/// The library for a provider, fetched if it isn't here yet, with all that it needs.
pub fn library(provider: &str) -> Result<Library, Missing> {
    let or_set = |error: WheelError| {
        let missing = Missing::from(error);
        Missing { remedy: format!("{}; or {}", missing.remedy, set_the_variable(provider)), ..missing }
    };
    let fetch = |wheel: &Wheel| {
        let placed = Cache::of_user()?.place(&key(wheel), |folder| wheel.fetch(folder));
        placed.map(Some).map_err(or_set)
    };
    resolve(provider, fetch)?.ok_or_else(|| not_yet(provider))
}

/// The library for a provider if it's here already, or else what brings it. Fetches nothing.
pub fn here(provider: &str) -> Result<Library, Missing> {
    resolve(provider, |wheel| Ok(Cache::of_user()?.find(&key(wheel))))?.ok_or_else(|| not_yet(provider))
}

fn not_yet(provider: &str) -> Missing {
    let wheels = pin(provider, &system()).map(Pin::requirements).unwrap_or_default();
    let why = "not here yet".to_owned();
    Missing {
        why,
        remedy: format!(
            "the first run that needs it has pip fetch {wheels}; or {}",
            set_the_variable(provider)
        ),
    }
}

/// The settings of the backend `ort`: for each provider the path of its library, or why there is none.
pub fn settings(find: impl Fn(&str) -> Result<Library, Missing>) -> serde_json::Value {
    let place = |provider: &str| match find(provider) {
        Ok(library) => json!({ "path": library.path }),
        Err(missing) => json!({ "missing": missing.to_string() }),
    };
    let mut places: serde_json::Map<_, _> =
        PROVIDERS.iter().map(|(provider, _)| ((*provider).to_owned(), place(provider))).collect();
    let needs = find("cuda").map(|library| library.needs).unwrap_or_default();
    places.insert("cuda_needs".to_owned(), json!(needs));
    json!({ "libraries": places })
}

/// The library and what it needs, as far as `get` has the folders of wheels; an error says that it can't be had either.
fn resolve(
    provider: &str,
    get: impl Fn(&Wheel) -> Result<Option<PathBuf>, Missing>,
) -> Result<Option<Library>, Missing> {
    let set = |variable| std::env::var_os(variable).filter(|given| !given.is_empty());
    let pin = pin(provider, &system());
    let library = match variable(provider).and_then(|variable| Some((variable, set(variable)?))) {
        Some((variable, given)) => given_library(variable, given)?,
        None => {
            let pin = pin.as_ref().map_err(Clone::clone)?;
            match get(&pin.wheel)? {
                Some(folder) => pin.in_folder(&folder),
                None => return Ok(None),
            }
        }
    };
    let wheels = pin.map(|pin| pin.needs.as_slice()).unwrap_or_default();
    let folder = set(CUDA_LIBRARIES).map(PathBuf::from);
    let needs = needs::find(wheels, folder.as_deref(), needs::loads, get)?;
    Ok(needs.map(|needs| Library { needs, ..library }))
}

/// Under which a wheel's files lie in the cache. Those of another system or machine are others.
fn key(wheel: &Wheel) -> String {
    format!("libraries/{}-{}-{}", wheel.package, wheel.version, system())
}

impl Pin {
    fn in_folder(&self, folder: &Path) -> Library {
        let origin = format!("wheel {}", self.wheel.requirement());
        Library { path: folder.join(&self.library), origin, needs: Vec::new() }
    }

    /// All that pip is asked for, for people.
    fn requirements(&self) -> String {
        let all = std::iter::once(&self.wheel).chain(&self.needs);
        all.map(Wheel::requirement).collect::<Vec<_>>().join(", ")
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
        return Ok(Library { path, origin: variable.to_owned(), needs: Vec::new() });
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
            let machine = pin.system.rsplit('-').next().unwrap();
            for wheel in std::iter::once(&pin.wheel).chain(&pin.needs) {
                assert_eq!(wheel.sha256.len(), 64);
                assert!(wheel.file.contains(&wheel.version) && !wheel.members.is_empty());
                assert!(wheel.file.contains(machine), "{}", wheel.file);
            }
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
        assert_eq!(missing.remedy, "choose one of cpu, openvino, cuda");
    }

    #[test]
    fn the_settings_say_where_each_library_is_or_why_it_is_not() {
        let find = |provider: &str| match provider {
            "cpu" => Ok(Library { path: "/a.so".into(), origin: "here".into(), needs: vec![] }),
            "cuda" => {
                Ok(Library { path: "/c.so".into(), origin: "here".into(), needs: vec!["/n.so".into()] })
            }
            _ => Err(Missing { why: "gone".into(), remedy: "look".into() }),
        };
        let expected = json!({ "libraries": {
            "cpu": { "path": "/a.so" },
            "openvino": { "missing": "gone; look" },
            "cuda": { "path": "/c.so" },
            "cuda_needs": ["/n.so"],
        } });
        assert_eq!(settings(find), expected);
    }

    #[test]
    fn what_was_placed_is_found_and_a_wrong_path_of_the_user_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().to_owned());
        let pin = pin("cpu", "linux-x86_64").unwrap();
        let find = || cache.find(&key(&pin.wheel)).map(|folder| pin.in_folder(&folder));
        assert_eq!(find(), None);
        cache.place(&key(&pin.wheel), |folder| std::fs::write(folder.join(&pin.library), b"")).unwrap();
        let library = find().unwrap();
        assert!(library.path.is_file());
        assert_eq!(library.origin, "wheel onnxruntime==1.31.1");

        let given = |path: &Path| given_library("ORT_DYLIB_PATH", path.as_os_str().to_owned());
        assert_eq!(given(&library.path).unwrap().origin, "ORT_DYLIB_PATH");
        assert!(given(Path::new("libonnxruntime.so")).is_ok());
        assert!(given(Path::new("/no/where.so")).unwrap_err().why.contains("/no/where.so"));
    }

    /// A backend that is told nothing looks for the same.
    #[test]
    fn what_cuda_needs_is_what_the_engine_loads() {
        let pin = pin("cuda", "linux-x86_64").unwrap();
        let members: Vec<&String> = pin.needs.iter().flat_map(|wheel| &wheel.members).collect();
        assert_eq!(members, crate::backend::ort::CUDA_NEEDS);
        assert!(pin.requirements().starts_with("onnxruntime-gpu==1.31.1, nvidia-cuda-runtime==13."));
    }

    /// Some 740 MB: `cargo test --release -- --ignored the_wheels_of_cuda`, with a package index at hand.
    #[test]
    #[ignore = "fetches 740 MB: cargo test --release -- --ignored the_wheels_of_cuda"]
    fn the_wheels_of_cuda_are_what_was_pinned() {
        let pin = pin("cuda", "linux-x86_64").unwrap();
        let folder = tempfile::tempdir().unwrap();
        for wheel in std::iter::once(&pin.wheel).chain(&pin.needs) {
            let into = folder.path().join(&wheel.package);
            wheel.fetch(&into).unwrap();
            for member in &wheel.members {
                assert!(into.join(member).is_file(), "{member}");
            }
        }
        // What isn't linked against the driver loads without one, in its order.
        for wheel in &pin.needs {
            for path in wheel.members.iter().map(|member| folder.path().join(&wheel.package).join(member)) {
                assert!(needs::loads(path.to_str().unwrap()), "{}", path.display());
            }
        }
    }
}
