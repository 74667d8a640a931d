//! CUDA toolkits: which of them here can build the worker for a driver, and the one that the carried script makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::addon::cache::Cache;
use crate::addon::{Missing, command, version};
use crate::hardware::{CudaVersion, Driver};

/// The script, and the pins of what it fetches.
pub const SCRIPT: &str = include_str!("../../../scripts/cuda-toolkit.sh");
pub const PINS: &str = include_str!("../../../scripts/cuda-toolkit.txt");

/// The CUDA of the toolkit that it makes, and the folder below the cache where it puts it.
const MADE: CudaVersion = CudaVersion { major: 13, minor: 0 };
const MADE_FOLDER: &str = "toolkits/cuda-13.0";

/// The oldest that has code for a card and those after it: CUDA Toolkit Release Notes. The kernels are written for 12.0.
const OLDEST: [((u32, u32), CudaVersion); 6] = [
    ((12, 1), CudaVersion { major: 12, minor: 9 }),
    ((12, 0), CudaVersion { major: 12, minor: 8 }),
    ((11, 0), CudaVersion { major: 13, minor: 0 }),
    ((10, 3), CudaVersion { major: 12, minor: 9 }),
    ((10, 0), CudaVersion { major: 12, minor: 8 }),
    ((0, 0), CudaVersion { major: 12, minor: 0 }),
];

/// The newest that candle's bindings know (cudarc 0.19).
const NEWEST: CudaVersion = CudaVersion { major: 13, minor: 4 };

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolkit {
    pub home: PathBuf,
    pub version: CudaVersion,
    /// Whether it's still to be made.
    pub to_make: bool,
}

impl Toolkit {
    /// A toolkit in a folder, if it's one that can build: with a compiler, and with the libraries that are linked.
    fn at(home: &Path) -> Option<Toolkit> {
        let version = release(&version::stated(Command::new(home.join("bin/nvcc"))).ok()?)?;
        let toolkit = Toolkit { home: home.to_owned(), version, to_make: false };
        let is_linked = |name: &str| toolkit.folders().iter().any(|folder| folder.join(name).exists());
        ["libcudart.so", "libcublas.so", "libcurand.so"].into_iter().all(is_linked).then_some(toolkit)
    }

    /// Where its libraries may lie.
    pub fn folders(&self) -> [PathBuf; 3] {
        LIBRARY_FOLDERS.map(|folder| self.home.join(folder))
    }
}

/// The version in `Cuda compilation tools, release 12.4, V12.4.131`.
fn release(text: &str) -> Option<CudaVersion> {
    text.split("release ").nth(1)?.split(',').next()?.parse().ok()
}

/// The toolkit that the worker for a driver is built with: the first installed one that isn't newer than the driver, or the
/// one that is made. Code of a newer CUDA is rejected by the driver.
pub fn find(driver: Option<&Driver>, capability: (u32, u32)) -> Result<Toolkit, Missing> {
    let made = Cache::of_user()?.root().join(MADE_FOLDER);
    let installed: Vec<Toolkit> = installed().iter().filter_map(|home| Toolkit::at(home)).collect();
    choose(driver, capability, &installed, made).map_err(|missing| match unusable(driver) {
        Some(why) => Missing { why: format!("{} ({why})", missing.why), ..missing },
        None => missing,
    })
}

/// Why the toolkit that `CUDA_HOME` names isn't used.
fn unusable(driver: Option<&Driver>) -> Option<String> {
    let home = PathBuf::from(std::env::var_os("CUDA_HOME").filter(|home| !home.is_empty())?);
    let why = match Toolkit::at(&home) {
        None => "has no bin/nvcc, or lacks libcudart, libcublas or libcurand".to_owned(),
        Some(toolkit) => {
            let latest = driver.and_then(|driver| driver.cuda)?;
            format!("is CUDA {}, and the driver supports up to {latest}", toolkit.version)
        }
    };
    Some(format!("CUDA_HOME, {}, {why}", home.display()))
}

fn choose(
    driver: Option<&Driver>,
    capability: (u32, u32),
    installed: &[Toolkit],
    made: PathBuf,
) -> Result<Toolkit, Missing> {
    let latest = driver.and_then(|driver| driver.cuda);
    let oldest = OLDEST.iter().find(|(from, _)| capability >= *from).map_or(MADE, |(_, oldest)| *oldest);
    let fits = |version: CudaVersion| {
        version >= oldest && version <= NEWEST && latest.is_none_or(|latest| version <= latest)
    };
    if let Some(toolkit) = installed.iter().find(|toolkit| fits(toolkit.version)) {
        return Ok(toolkit.clone());
    }
    if fits(MADE) {
        let to_make = !made.join("bin/nvcc").is_file();
        return Ok(Toolkit { home: made, version: MADE, to_make });
    }
    let range = match latest {
        Some(latest) if latest > oldest => format!("{oldest} to {latest}"),
        _ => oldest.to_string(),
    };
    let build = match latest {
        Some(latest) if latest < oldest => String::new(),
        _ => format!("; or install a toolkit of CUDA {range}, set CUDA_HOME to it, and {}", command("cuda")),
    };
    Err(Missing {
        why: format!(
            "candle on NVIDIA GPUs needs driver 580 or later, or a CUDA 12 toolkit that is not newer than the \
             driver; this machine has {}",
            driver.map_or_else(|| "an unknown driver".to_owned(), Driver::line)
        ),
        remedy: format!("update NVIDIA's driver to 580 or later{build}"),
    })
}

/// Where people have toolkits: what they name, what is on their path, and NVIDIA's own place.
fn installed() -> Vec<PathBuf> {
    let named = std::env::var_os("CUDA_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&paths).map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file());
    let of_nvcc = on_path.and_then(|nvcc| Some(fs::canonicalize(nvcc).ok()?.parent()?.parent()?.to_owned()));
    let usual = Path::new("/usr/local/cuda");
    named.into_iter().chain(of_nvcc).chain(usual.is_dir().then(|| usual.to_owned())).collect()
}

/// Folders with CUDA's libraries that are here anyway, for whoever is linked against some of them.
pub fn library_folders() -> Vec<PathBuf> {
    let made = Cache::of_user().ok().map(|cache| cache.root().join(MADE_FOLDER));
    let homes = made.into_iter().chain(installed());
    let folders = homes.flat_map(|home| LIBRARY_FOLDERS.map(|folder| home.join(folder)));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// Below a toolkit's home.
const LIBRARY_FOLDERS: [&str; 3] = ["lib64", "lib", "targets/x86_64-linux/lib"];

#[cfg(test)]
mod tests {
    use super::*;

    fn toolkit(version: &str) -> Toolkit {
        Toolkit { home: format!("/cuda-{version}").into(), version: version.parse().unwrap(), to_make: false }
    }

    #[test]
    fn the_toolkit_is_an_installed_one_no_newer_than_the_driver_or_the_one_that_is_made() {
        let chosen = |driver: &str, installed: &[&str]| {
            let installed: Vec<Toolkit> = installed.iter().map(|version| toolkit(version)).collect();
            choose(Some(&Driver::new(driver, None)), (8, 6), &installed, "/made".into())
        };
        let home = |driver: &str, installed: &[&str]| {
            chosen(driver, installed).map(|toolkit| toolkit.home.display().to_string())
        };
        assert_eq!(home("580.65", &[]), Ok("/made".into()));
        assert_eq!(home("580.65", &["12.4"]), Ok("/cuda-12.4".into()));
        assert_eq!(home("580.65", &["13.1"]), Ok("/made".into()));
        assert_eq!(home("580.65", &["11.8", "12.9"]), Ok("/cuda-12.9".into()));
        assert_eq!(home("535.129", &["12.4", "12.2"]), Ok("/cuda-12.2".into()));
        assert!(chosen("580.65", &[]).unwrap().to_make);
        let missing = chosen("535.129", &["12.4"]).unwrap_err();
        assert!(
            missing.why.ends_with("this machine has driver 535.129, which supports CUDA 12.2"),
            "{missing}"
        );
        assert!(missing.remedy.contains("a toolkit of CUDA 12.0 to 12.2, set CUDA_HOME"), "{missing}");
        assert_eq!(choose(None, (8, 6), &[], "/made".into()).unwrap().home, Path::new("/made"));
        // Blackwell's code begins with 12.8.
        let for_blackwell = |driver: &str, installed: &str| {
            choose(Some(&Driver::new(driver, None)), (12, 0), &[toolkit(installed)], "/made".into())
        };
        assert_eq!(for_blackwell("580.65", "12.4").unwrap().home, Path::new("/made"));
        assert_eq!(for_blackwell("570.1", "12.8").unwrap().home, Path::new("/cuda-12.8"));
        assert!(for_blackwell("570.1", "12.4").unwrap_err().remedy.contains("CUDA 12.8, set CUDA_HOME"));
        assert_eq!(
            for_blackwell("550.1", "12.4").unwrap_err().remedy,
            "update NVIDIA's driver to 580 or later"
        );
    }

    #[test]
    fn a_compiler_states_its_release() {
        let text = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 12.4, V12.4.131\nBuild x\n";
        assert_eq!(release(text).unwrap().to_string(), "12.4");
        assert_eq!(release("nvcc: none"), None);
        assert_eq!(Toolkit::at(Path::new("/nowhere")), None);
    }

    #[test]
    fn the_script_makes_what_is_stated_here() {
        assert!(SCRIPT.contains(MADE_FOLDER));
        assert!(PINS.contains(&format!("nvidia-cuda-nvcc=={MADE}.")));
    }
}
