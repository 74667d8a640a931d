//! ONNX Runtime's libraries, one for each provider: a path that the user gives, or a pinned wheel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::json;

use super::cache::Cache;
use super::cuda::toolkit;
use super::needs::{self, CUDA_LIBRARIES};
use super::pip::Pip;
use super::wheel::{Wheel, WheelError};
use super::{AddOn, Missing, Receipt, Tell, command};
use crate::hardware::{Driver, Machine, Provenance, Target};

/// What may run a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// As the knob `provider` has it.
    pub word: &'static str,
    /// As `autotune setup` takes the library that has it.
    pub name: &'static str,
    title: &'static str,
    /// The variable that names a library of the user's.
    variable: &'static str,
}

pub const PROVIDERS: [Provider; 3] = [
    Provider {
        word: "cpu",
        name: "onnxruntime",
        title: "ONNX Runtime for the processor",
        variable: "ORT_DYLIB_PATH",
    },
    Provider {
        word: "cuda",
        name: "onnxruntime-cuda",
        title: "ONNX Runtime for NVIDIA GPUs",
        variable: "AUTOTUNE_CUDA_DYLIB_PATH",
    },
    Provider {
        word: "openvino",
        name: "onnxruntime-openvino",
        title: "ONNX Runtime with OpenVINO",
        variable: "AUTOTUNE_OPENVINO_DYLIB_PATH",
    },
];

/// The library of one provider, on a machine with some driver.
pub struct OnnxRuntime {
    provider: Provider,
    pin: Result<&'static Pin, Missing>,
    obstacle: Option<Missing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    provider: String,
    system: String,
    /// The generation of CUDA that it's built for.
    #[serde(default)]
    cuda: Option<u32>,
    /// The newest compute capability that it has code for, where newer ones exist.
    #[serde(default)]
    newest_capability: Option<(u32, u32)>,
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

impl OnnxRuntime {
    /// The library that has a provider, for a device of this machine.
    pub fn of(word: &str, machine: &Machine, target: &Target) -> OnnxRuntime {
        let device = target.device.as_deref();
        let provider = PROVIDERS.iter().find(|known| known.word == word).copied().unwrap_or(PROVIDERS[0]);
        let pin = pin(provider, &system(), machine.driver.as_ref());
        let gpu = device.filter(|_| provider.word == "cuda").and_then(|device| machine.gpu(device));
        let none = || {
            let hangs = machine.no_cuda.clone().filter(|_| machine.driver_hangs);
            hangs.unwrap_or_else(|| Missing {
                why: "no NVIDIA GPU was found".to_owned(),
                remedy: "`autotune doctor` shows what was found; --gpu cpu tunes for the processor"
                    .to_owned(),
            })
        };
        let obstacle = match (provider.word, gpu) {
            // For a card that isn't here it may be provided ahead of time.
            ("cuda", None) if target.provenance == Provenance::Predicted => None,
            ("cuda", None) => Some(none()),
            ("cuda", Some(gpu)) => device.and_then(|device| machine.obstacle(device)).or_else(|| {
                // A library of the user's has code for whatever it has.
                std::env::var_os(provider.variable).is_none().then_some(())?;
                let (newest, own) = (pin.as_ref().ok()?.newest_capability?, gpu.capability()?);
                (own > newest).then(|| Missing {
                    why: format!(
                        "{} has compute capability {}.{}; this driver supports CUDA 12, and ONNX Runtime for CUDA 12 \
                         has code up to {}.{} only",
                        gpu.name, own.0, own.1, newest.0, newest.1
                    ),
                    remedy: "update NVIDIA's driver to 580 or later".to_owned(),
                })
            }),
            _ => None,
        };
        OnnxRuntime { provider, pin, obstacle }
    }

    /// The library and what it needs, as far as `get` has the folders of wheels.
    fn resolve(
        &self,
        get: impl Fn(&Wheel) -> Result<Option<PathBuf>, Missing>,
    ) -> Result<Option<Receipt>, Missing> {
        let set = |variable| std::env::var_os(variable).filter(|given| !given.is_empty());
        let library = match set(self.provider.variable) {
            Some(given) => given_library(self.provider.variable, given)?,
            None => {
                let pin = self.pin.as_ref().map_err(Clone::clone)?;
                match get(&pin.wheel)? {
                    Some(folder) => pin.in_folder(&folder),
                    None => return Ok(None),
                }
            }
        };
        let wheels = self.pin.as_ref().map(|pin| pin.needs.as_slice()).unwrap_or_default();
        let folder = set(CUDA_LIBRARIES).map(PathBuf::from);
        let needs = needs::find(wheels, folder.as_deref(), &toolkit::library_folders(), needs::loads, get)?;
        Ok(needs.map(|needs| Receipt { needs, ..library }))
    }

    /// Why a wheel can't be had, and what helps: that, or a library of the user's.
    fn or_set(&self, error: WheelError) -> Missing {
        let missing = Missing::from(error);
        let remedy = format!(
            "{}; then {}; or {}",
            missing.remedy,
            command(self.provider.name),
            self.provider.set_the_variable()
        );
        Missing { remedy, ..missing }
    }

    fn not_yet(&self) -> Missing {
        Missing {
            why: "not downloaded yet".to_owned(),
            remedy: format!("{}, or {}", command(self.provider.name), self.provider.set_the_variable()),
        }
    }
}

impl AddOn for OnnxRuntime {
    fn name(&self) -> &'static str {
        self.provider.name
    }

    fn title(&self) -> &'static str {
        self.provider.title
    }

    fn here(&self) -> Result<Receipt, Missing> {
        self.resolve(|wheel| Ok(Cache::of_user()?.find(&key(wheel))))?.ok_or_else(|| self.not_yet())
    }

    fn obstacle(&self) -> Option<Missing> {
        self.obstacle.clone()
    }

    fn lacks(&self) -> Option<Missing> {
        let pin = self.pin.as_ref().ok().filter(|_| Pip::find().is_none())?;
        Some(self.or_set(WheelError::NoPip { wheel: pin.wheel.requirement() }))
    }

    fn takes(&self) -> String {
        let wheels = self.pin.as_ref().map(|pin| pin.wheels().collect::<Vec<_>>()).unwrap_or_default();
        let megabytes: u64 = wheels.iter().map(|wheel| wheel.megabytes).sum();
        let names: Vec<String> = wheels.iter().map(|wheel| wheel.requirement()).collect();
        format!("at most {megabytes} MB to download by pip ({})", names.join(", "))
    }

    fn provide(&self, tell: &dyn Tell) -> Result<Receipt, Missing> {
        let fetch = |wheel: &Wheel| {
            let placed = Cache::of_user()?.place(&key(wheel), |folder| {
                let told = |megabytes: u64| {
                    tell.step(&format!("{}: {megabytes} of {} MB", wheel.requirement(), wheel.megabytes));
                };
                wheel.fetch(folder, &told, &|| tell.is_stopped())
            });
            placed.map(Some).map_err(|error| self.or_set(error))
        };
        self.resolve(fetch)?.ok_or_else(|| self.not_yet())
    }
}

/// Folders of the cache with CUDA's libraries that were fetched for this one.
pub fn library_folders(cache: &Cache) -> Vec<PathBuf> {
    let wheels = PINS.iter().flat_map(|pin| &pin.needs);
    wheels.filter_map(|wheel| cache.find(&key(wheel))).collect()
}

/// The settings of the backend `ort`: for each provider the path of its library, or why there is none.
pub fn settings(find: impl Fn(&str) -> Result<Receipt, Missing>) -> serde_json::Value {
    let place = |found: &Result<Receipt, Missing>| match found {
        Ok(library) => json!({ "path": library.path }),
        Err(missing) => json!({ "missing": missing }),
    };
    let found = PROVIDERS.map(|provider| (provider.word, find(provider.word)));
    let mut places: serde_json::Map<_, _> =
        found.iter().map(|(name, found)| ((*name).to_owned(), place(found))).collect();
    let cuda = found.iter().find(|(name, _)| *name == "cuda").and_then(|(_, found)| found.as_ref().ok());
    places.insert("cuda_needs".to_owned(), json!(cuda.map(|library| &library.needs[..]).unwrap_or_default()));
    json!({ "libraries": places })
}

/// Under which a wheel's files lie in the cache. Those of another system or machine are others.
fn key(wheel: &Wheel) -> String {
    format!("libraries/{}-{}-{}", wheel.package, wheel.version, system())
}

impl Pin {
    fn in_folder(&self, folder: &Path) -> Receipt {
        let version = self.wheel.requirement();
        let origin = format!("wheel {version}");
        Receipt { path: folder.join(&self.library), version, origin, needs: Vec::new() }
    }

    /// All that is fetched at most.
    fn wheels(&self) -> impl Iterator<Item = &Wheel> {
        std::iter::once(&self.wheel).chain(&self.needs)
    }
}

impl Provider {
    fn set_the_variable(&self) -> String {
        let with = if self.word == "cpu" { String::new() } else { format!(" with {}", self.word) };
        format!("set {} to the path of a libonnxruntime{with}", self.variable)
    }
}

/// That of the newest CUDA that the driver can; of an unknown driver it's tried.
fn pin(provider: Provider, system: &str, driver: Option<&Driver>) -> Result<&'static Pin, Missing> {
    let runs = |pin: &&Pin| pin.cuda.is_none_or(|cuda| driver.is_none_or(|driver| driver.can(cuda)));
    let own = PINS.iter().filter(|pin| pin.provider == provider.word && pin.system == system);
    own.filter(runs).max_by_key(|pin| pin.cuda).ok_or_else(|| Missing {
        why: format!("autotune has no ONNX Runtime library with {} for {system}", provider.word),
        remedy: provider.set_the_variable(),
    })
}

/// A library of another C library can't be loaded, so it's another system.
fn system() -> String {
    let library = if cfg!(target_env = "musl") { "-musl" } else { "" };
    format!("{}-{}{library}", std::env::consts::OS, std::env::consts::ARCH)
}

/// What the user names counts, and is not replaced in silence if it's wrong.
fn given_library(variable: &str, given: OsString) -> Result<Receipt, Missing> {
    let path = PathBuf::from(given);
    // A bare name is looked up by the system's loader.
    if path.is_file() || path.components().count() == 1 {
        let version = path.display().to_string();
        return Ok(Receipt { path, version, origin: variable.to_owned(), needs: Vec::new() });
    }
    Err(Missing {
        why: format!("{variable} is {}, and there is no such file", path.display()),
        remedy: format!("correct {variable}, or unset it so that autotune fetches a library"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(name: &str) -> Provider {
        *PROVIDERS.iter().find(|provider| provider.word == name).unwrap()
    }

    fn target(device: &str) -> Target {
        Target { device: Some(device.to_owned()), ..Target::default() }
    }

    fn pin(name: &str, system: &str) -> Result<&'static Pin, Missing> {
        super::pin(provider(name), system, None)
    }

    #[test]
    fn the_table_reads_and_every_provider_has_a_library_here() {
        let table: Table = toml::from_str(include_str!("onnxruntime.toml")).unwrap();
        for pin in &table.library {
            assert!(PROVIDERS.iter().any(|provider| provider.word == pin.provider), "{}", pin.provider);
            assert_eq!(pin.cuda.is_some(), pin.provider == "cuda");
            assert!(pin.wheel.members.contains(&pin.library), "{}", pin.library);
            let machine = pin.system.rsplit('-').next().unwrap();
            for wheel in pin.wheels() {
                assert_eq!(wheel.sha256.len(), 64);
                assert!(wheel.file.contains(&wheel.version) && !wheel.members.is_empty());
                assert!(wheel.file.contains(machine) && wheel.megabytes > 0, "{}", wheel.file);
            }
        }
        for provider in PROVIDERS {
            assert!(pin(provider.word, "linux-x86_64").is_ok());
        }
        assert!(pin("cpu", "linux-aarch64").is_ok());
    }

    #[test]
    fn the_library_is_the_newest_that_the_driver_can() {
        let version = |driver: &str| {
            let driver = Driver::new(driver, None);
            let pin = super::pin(provider("cuda"), "linux-x86_64", Some(&driver));
            pin.map(|pin| pin.wheel.version.as_str()).ok()
        };
        assert_eq!(version("580.65.06"), Some("1.31.1"));
        assert_eq!(version("535.129.03"), Some("1.26.0"));
        assert_eq!(version("470.223.02"), None);
        assert_eq!(pin("cuda", "linux-x86_64").unwrap().wheel.version, "1.31.1");
    }

    #[test]
    fn a_card_that_is_newer_than_the_library_needs_a_newer_driver() {
        let machine = |capability: &str, driver: &str| Machine {
            gpus: vec![crate::hardware::Gpu {
                name: "GeForce".into(),
                compute_capability: Some(capability.into()),
                ..Default::default()
            }],
            driver: Some(Driver::new(driver, None)),
            ..Machine::default()
        };
        let obstacle = |capability: &str, driver: &str| {
            OnnxRuntime::of("cuda", &machine(capability, driver), &target("cuda:0")).obstacle()
        };
        for (capability, driver) in [("7.5", "535.1"), ("9.0", "570.1"), ("12.0", "580.1"), ("8.6", "580.1")]
        {
            assert_eq!(obstacle(capability, driver), None, "{capability} {driver}");
        }
        assert!(obstacle("12.0", "570.1").unwrap().remedy.contains("580"));
        for (capability, driver) in [("6.1", "580.1"), ("8.6", "470.1")] {
            assert!(obstacle(capability, driver).is_some(), "{capability} {driver}");
        }
        assert!(OnnxRuntime::of("cuda", &Machine::default(), &target("cpu")).obstacle().is_some());
        assert!(OnnxRuntime::of("cpu", &Machine::default(), &target("cpu")).obstacle().is_none());
    }

    #[test]
    fn a_machine_without_a_library_is_told_what_to_set() {
        let missing = pin("cpu", "plan9-mips").err().unwrap();
        assert!(missing.to_string().contains("plan9-mips") && missing.remedy.contains("ORT_DYLIB_PATH"));
        let library = OnnxRuntime::of("openvino", &Machine::default(), &target("cpu"));
        assert_eq!(library.name(), "onnxruntime-openvino");
        assert_eq!(library.takes(), "at most 84 MB to download by pip (onnxruntime-openvino==1.24.1)");
    }

    #[test]
    fn the_settings_say_where_each_library_is_or_why_it_is_not() {
        let receipt = |path: &str, needs: Vec<PathBuf>| Receipt {
            path: path.into(),
            version: "1".into(),
            origin: "here".into(),
            needs,
        };
        let find = |provider: &str| match provider {
            "cpu" => Ok(receipt("/a.so", vec![])),
            "cuda" => Ok(receipt("/c.so", vec!["/n.so".into()])),
            _ => Err(Missing { why: "gone".into(), remedy: "look".into() }),
        };
        let expected = json!({ "libraries": {
            "cpu": { "path": "/a.so" },
            "openvino": { "missing": { "why": "gone", "remedy": "look" } },
            "cuda": { "path": "/c.so" },
            "cuda_needs": ["/n.so"],
        } });
        let settings = settings(find);
        assert_eq!(settings, expected);
        assert!(crate::backend::open("ort", settings).is_ok());
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

    /// A backend that is given no settings looks for the same.
    #[test]
    fn what_cuda_needs_is_what_the_engine_loads() {
        let needs = |driver: &str| -> Vec<&String> {
            let pin = super::pin(provider("cuda"), "linux-x86_64", Some(&Driver::new(driver, None))).unwrap();
            pin.needs.iter().flat_map(|wheel| &wheel.members).collect()
        };
        assert_eq!(needs("580.1"), crate::backend::ort::CUDA_NEEDS);
        assert_eq!(needs("535.1"), crate::backend::ort::CUDA_12_NEEDS);
    }

    /// Some 2.6 GB, with a package index at hand.
    #[test]
    #[ignore = "fetches 2.6 GB: cargo test --release -- --ignored the_wheels_of_cuda"]
    fn the_wheels_of_cuda_are_what_was_pinned() {
        for driver in ["580.1", "535.1"] {
            let pin = super::pin(provider("cuda"), "linux-x86_64", Some(&Driver::new(driver, None))).unwrap();
            let folder = tempfile::tempdir().unwrap();
            for wheel in pin.wheels() {
                let into = folder.path().join(&wheel.package);
                wheel.fetch(&into, &|_| (), &|| false).unwrap();
                for member in wheel.members.iter().chain(&wheel.beside) {
                    assert!(into.join(member).is_file(), "{member}");
                }
            }
            // What isn't linked against the driver loads without one, in its order.
            for wheel in &pin.needs {
                for path in wheel.members.iter().map(|member| folder.path().join(&wheel.package).join(member))
                {
                    assert!(needs::loads(path.to_str().unwrap()), "{}", path.display());
                }
            }
        }
    }
}
