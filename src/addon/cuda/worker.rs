//! The worker as an add-on: whether it's here, what it takes, and for which card.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::make::{self, NAME, PROGRAM, REVISION};
use super::toolkit::{self, Toolkit};
use crate::addon::cache::Cache;
use crate::addon::{AddOn, Missing, Receipt, Tell, command, version};
use crate::backend::candle;
use crate::hardware::{Card, CudaVersion, Driver, Machine, Target};

/// Names a worker of the user's.
const VARIABLE: &str = "AUTOTUNE_CUDA_WORKER";
/// Names a compute capability, such as 86, where there is no card to ask.
const CAPABILITY_VARIABLE: &str = "CUDA_COMPUTE_CAP";

/// From Turing to Blackwell, as NVIDIA has made them: others are slips.
const KNOWN_CAPABILITIES: [u32; 12] = [75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121];

/// What building takes, measured with two cores (results/README.md).
const MINUTES_OF_TWO_CORES: usize = 8;

/// The worker for one card of a machine.
pub struct CudaWorker {
    driver: Option<Driver>,
    /// What the kernels are built for, such as (8, 6).
    capability: Option<(u32, u32)>,
    obstacle: Option<Missing>,
}

impl CudaWorker {
    /// For a device of this machine, or without one for the capability that the environment names.
    pub fn of(machine: &Machine, target: &Target) -> CudaWorker {
        let device = target.device.as_deref();
        let gpu = device.and_then(|device| machine.gpu(device));
        let obstacle = match gpu.and(device) {
            Some(device) => machine.obstacle(device),
            None => None,
        };
        let named = || parse_capability(&std::env::var(CAPABILITY_VARIABLE).ok()?);
        // Of a card that isn't here it's the table's: the worker may be built ahead of time.
        let of_table = || target.card().filter(|_| gpu.is_none()).and_then(Card::capability);
        let capability = gpu.and_then(|gpu| gpu.capability()).or_else(of_table).or_else(named);
        let hangs = (gpu.is_none() && machine.driver_hangs).then(|| machine.no_cuda.clone()).flatten();
        CudaWorker { driver: machine.driver.clone(), capability, obstacle: obstacle.or(hangs) }
    }

    /// Without a card at hand: for one of this compute capability.
    pub fn for_capability(machine: &Machine, capability: &str) -> Option<CudaWorker> {
        let capability = Some(parse_capability(capability)?);
        Some(CudaWorker { driver: machine.driver.clone(), capability, obstacle: None })
    }

    fn capability(&self) -> Result<(u32, u32), Missing> {
        self.capability.ok_or_else(|| Missing {
            why: "no NVIDIA GPU was found, so the compute capability to build for is not known".to_owned(),
            remedy: format!(
                "`autotune setup {NAME} --capability 8.6` builds it for an RTX 3090 or an A10G, ahead of time"
            ),
        })
    }

    fn toolkit(&self) -> Result<Toolkit, Missing> {
        toolkit::find(self.driver.as_ref(), self.capability()?)
    }

    /// Under which one that was built with a toolkit lies in the cache.
    fn key(&self, version: CudaVersion) -> Result<String, Missing> {
        let (major, minor) = self.capability()?;
        Ok(format!("cuda-worker/{REVISION}-cuda{version}-sm{major}{minor}"))
    }

    /// That which the user names, if it's of this revision.
    fn given(&self, path: PathBuf) -> Result<Receipt, Missing> {
        let wrong = |why: String| Missing {
            why: format!("{VARIABLE} is {}, but {why}", path.display()),
            remedy: format!("correct {VARIABLE}, or unset it; {} builds the right one", command(NAME)),
        };
        if !path.is_file() {
            return Err(wrong("there is no such file".to_owned()));
        }
        let printed = version::stated(Command::new(&path)).map_err(wrong)?;
        let receipt: candle::Receipt = printed.parse().map_err(wrong)?;
        if receipt.revision != REVISION {
            return Err(wrong(format!(
                "its revision is {}, and this autotune needs {REVISION}",
                receipt.revision
            )));
        }
        Ok(Receipt { path, version: receipt.to_string(), origin: VARIABLE.to_owned(), needs: Vec::new() })
    }

    /// The newest in the cache that the driver can run.
    fn cached(&self, cache: &Cache) -> Result<Option<Receipt>, Missing> {
        let (major, minor) = self.capability()?;
        let (start, end) = (format!("{REVISION}-cuda"), format!("-sm{major}{minor}"));
        let latest = self.driver.as_ref().and_then(|driver| driver.cuda);
        let folders = fs::read_dir(cache.root().join("cuda-worker")).into_iter().flatten().flatten();
        let built = folders.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version: CudaVersion = name.strip_prefix(&start)?.strip_suffix(&end)?.parse().ok()?;
            let program = entry.path().join(PROGRAM);
            let runs = latest.is_none_or(|latest| version <= latest) && program.is_file();
            runs.then_some((version, program))
        });
        let Some((version, path)) = built.max_by_key(|(version, _)| *version) else { return Ok(None) };
        let folder = path.parent().unwrap_or(Path::new("."));
        let lacking = make::link_libraries(folder, version);
        if !lacking.is_empty() {
            return Err(Missing {
                why: format!(
                    "the CUDA worker is built, but its libraries were not found: {}",
                    lacking.join(", ")
                ),
                remedy: format!(
                    "set AUTOTUNE_CUDA_LIBRARIES to a folder that has them; or run `rm -r {}`, then {}",
                    folder.display(),
                    command(NAME)
                ),
            });
        }
        let receipt = candle::Receipt {
            revision: REVISION.to_owned(),
            cuda: version.to_string(),
            capability: format!("{major}.{minor}"),
        };
        let origin = "built here".to_owned();
        Ok(Some(Receipt { path, version: receipt.to_string(), origin, needs: Vec::new() }))
    }
}

/// 8.6 of `8.6`, `86` or `sm_86`.
fn parse_capability(text: &str) -> Option<(u32, u32)> {
    let digits: String = text.trim().trim_start_matches("sm_").chars().filter(|c| *c != '.').collect();
    let number: u32 = digits.parse().ok()?;
    KNOWN_CAPABILITIES.contains(&number).then_some((number / 10, number % 10))
}

impl AddOn for CudaWorker {
    fn name(&self) -> &'static str {
        NAME
    }

    fn title(&self) -> &'static str {
        "candle for NVIDIA GPUs (the CUDA worker)"
    }

    fn here(&self) -> Result<Receipt, Missing> {
        if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            return self.given(path.into());
        }
        self.cached(&Cache::of_user()?)?
            .ok_or_else(|| Missing { why: "not built yet".to_owned(), remedy: command(NAME) })
    }

    /// A card that no engine can use, or a driver that no toolkit here serves; what is built already needs no toolkit.
    fn obstacle(&self) -> Option<Missing> {
        let obstacle = || self.obstacle.clone().or_else(|| self.capability().err());
        obstacle().or_else(|| {
            if self.here().is_ok() {
                return None;
            }
            self.toolkit().err()
        })
    }

    fn lacks(&self) -> Option<Missing> {
        let to_make = self.toolkit().is_ok_and(|toolkit| toolkit.to_make);
        make::lacks(to_make)
    }

    fn takes(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let minutes = (MINUTES_OF_TWO_CORES * 2).div_ceil(cores.max(2));
        let toolkit = match self.toolkit() {
            Ok(Toolkit { to_make: true, .. }) => {
                "a CUDA toolkit (700 MB to download, 1.2 GB on the disk), and "
            }
            _ => "",
        };
        format!(
            "{toolkit}about {minutes} minutes to build, with 1 GB on the disk during the build and 60 MB after it"
        )
    }

    fn provide(&self, tell: &dyn Tell) -> Result<Receipt, Missing> {
        let toolkit = self.toolkit()?;
        let key = self.key(toolkit.version)?;
        let cache = Cache::of_user()?;
        make::worker(&cache, &key, &toolkit, self.capability()?, tell)?;
        self.cached(&cache)?.ok_or_else(|| Missing {
            why: "the build succeeded, but the worker is not in the cache".to_owned(),
            remedy: format!("check `ls {}`, then {}", cache.root().join(key).display(), command(NAME)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Gpu;

    fn machine(capability: Option<&str>, driver: &str) -> Machine {
        let gpu =
            Gpu { name: "Card".into(), compute_capability: capability.map(Into::into), ..Gpu::default() };
        Machine { gpus: vec![gpu], driver: Some(Driver::new(driver, None)), ..Machine::default() }
    }

    fn target() -> Target {
        Target { device: Some("cuda:0".into()), ..Target::default() }
    }

    /// A worker in a cache, as it was built with a CUDA for a capability.
    fn place(cache: &Cache, revision: &str, cuda: &str, capability: &str) {
        let key = format!("cuda-worker/{revision}-cuda{cuda}-sm{capability}");
        cache
            .place(&key, |folder| {
                fs::create_dir(folder.join("lib"))?;
                for library in make::libraries(cuda.parse().unwrap()) {
                    fs::write(folder.join("lib").join(library), b"")?;
                }
                fs::write(folder.join(PROGRAM), b"")
            })
            .unwrap();
    }

    #[test]
    fn a_worker_is_found_by_its_revision_its_cuda_and_its_capability() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().to_owned());
        place(&cache, REVISION, "12.2", "86");
        place(&cache, REVISION, "13.0", "86");
        place(&cache, "000000000000", "13.0", "75");
        let found = |capability: &str, driver: &str| {
            let worker = CudaWorker::of(&machine(Some(capability), driver), &target());
            worker.cached(&cache).unwrap().map(|receipt| receipt.version)
        };
        assert_eq!(
            found("8.6", "580.1").unwrap(),
            format!("autotune-cuda-worker {REVISION}, CUDA 13.0, compute capability 8.6")
        );
        assert!(found("8.6", "535.1").unwrap().contains("CUDA 12.2"));
        assert_eq!((found("8.9", "580.1"), found("7.5", "580.1")), (None, None));
    }

    #[test]
    fn one_that_the_user_names_must_be_of_this_revision() {
        let folder = tempfile::tempdir().unwrap();
        let worker = CudaWorker::of(&machine(Some("8.6"), "580.1"), &target());
        let given = |script: &str| {
            let path = folder.path().join("worker");
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, mode).unwrap();
            worker.given(path)
        };
        let own = format!("echo 'autotune-cuda-worker {REVISION}, CUDA 13.0, compute capability 8.6'");
        assert!(given(&own).unwrap().version.starts_with("autotune-cuda-worker"));
        let other =
            given("echo 'autotune-cuda-worker 0123456789ab, CUDA 13.0, compute capability 8.6'").unwrap_err();
        assert!(other.why.contains("its revision is 0123456789ab, and this autotune needs"), "{other}");
        for (script, why) in [
            (
                "echo 'libcublas.so.13: cannot open shared object file' >&2; exit 127",
                "libcublas.so.13: cannot open",
            ),
            ("echo hello", "is not the version of a CUDA worker"),
        ] {
            let missing = given(script).unwrap_err();
            assert!(missing.why.contains(why) && missing.remedy.contains("autotune setup cuda"), "{missing}");
        }
        assert!(worker.given("/no/worker".into()).unwrap_err().why.contains("there is no such file"));
    }

    #[test]
    fn capabilities_are_read_as_people_write_them() {
        for text in ["8.6", "86", "sm_86", " 8.6\n"] {
            assert_eq!(parse_capability(text), Some((8, 6)), "{text:?}");
        }
        assert_eq!(parse_capability("120"), Some((12, 0)));
        for text in ["", "8", "ampere", "86a", "1000", "6.1", "8.65", "13.0"] {
            assert_eq!(parse_capability(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_card_that_is_too_old_or_unknown_stands_in_the_way() {
        let obstacle = |capability: Option<&str>, driver: &str| {
            CudaWorker::of(&machine(capability, driver), &target()).obstacle()
        };
        assert!(obstacle(Some("6.1"), "580.1").unwrap().why.contains("compute capability 6.1"));
        assert!(obstacle(Some("8.6"), "470.223.02").unwrap().remedy.contains("580 or later"));
        assert!(obstacle(Some("8.6"), "535.129.03").unwrap().remedy.contains("CUDA_HOME"));
    }
}
