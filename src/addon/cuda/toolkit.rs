//! CUDA toolkits: which of them here can build the worker for a driver, and the one that the carried script makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::addon::cache::Cache;
use crate::addon::{Missing, command};
use crate::target::{CudaVersion, Driver};

/// The script, and the pins of what it fetches.
pub const SCRIPT: &str = include_str!("../../../scripts/cuda-toolkit.sh");
pub const PINS: &str = include_str!("../../../scripts/cuda-toolkit.txt");

/// The CUDA of the toolkit that it makes, and the folder below the cache where it puts it.
const MADE: CudaVersion = CudaVersion { major: 13, minor: 0 };
const MADE_FOLDER: &str = "toolkits/cuda-13.0";

/// The oldest that the kernels are written for.
const OLDEST: CudaVersion = CudaVersion { major: 12, minor: 0 };

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
        let output = Command::new(home.join("bin/nvcc")).arg("--version").output().ok()?;
        let version = release(&String::from_utf8_lossy(&output.stdout))?;
        let toolkit = Toolkit { home: home.to_owned(), version, to_make: false };
        let is_linked = |name: &str| toolkit.folders().iter().any(|folder| folder.join(name).exists());
        ["libcudart.so", "libcublas.so", "libcurand.so"].into_iter().all(is_linked).then_some(toolkit)
    }

    /// Where its libraries may lie.
    pub fn folders(&self) -> [PathBuf; 3] {
        ["lib64", "lib", "targets/x86_64-linux/lib"].map(|folder| self.home.join(folder))
    }
}

/// The version in `Cuda compilation tools, release 12.4, V12.4.131`.
fn release(text: &str) -> Option<CudaVersion> {
    text.split("release ").nth(1)?.split(',').next()?.parse().ok()
}

/// The toolkit that the worker for a driver is built with: the first installed one that isn't newer than the driver, or the
/// one that is made. Code of a newer CUDA is rejected by the driver.
pub fn find(driver: Option<&Driver>) -> Result<Toolkit, Missing> {
    let made = Cache::of_user()?.root().join(MADE_FOLDER);
    let installed: Vec<Toolkit> = installed().iter().filter_map(|home| Toolkit::at(home)).collect();
    choose(driver, &installed, made)
}

fn choose(driver: Option<&Driver>, installed: &[Toolkit], made: PathBuf) -> Result<Toolkit, Missing> {
    let latest = driver.and_then(|driver| driver.cuda);
    let fits = |version: CudaVersion| version >= OLDEST && latest.is_none_or(|latest| version <= latest);
    if let Some(toolkit) = installed.iter().find(|toolkit| fits(toolkit.version)) {
        return Ok(toolkit.clone());
    }
    if fits(MADE) {
        let to_make = !made.join("bin/nvcc").is_file();
        return Ok(Toolkit { home: made, version: MADE, to_make });
    }
    let can = latest.map_or_else(|| "none".to_owned(), |latest| latest.to_string());
    Err(Missing {
        why: format!(
            "candle on NVIDIA GPUs needs driver 580 or later, or a toolkit of CUDA 12 no newer than the driver; this is {}",
            driver.map_or_else(|| "an unknown driver".to_owned(), Driver::line)
        ),
        remedy: format!(
            "update NVIDIA's driver to 580 or later; or install a toolkit of CUDA {OLDEST} to {can}, set CUDA_HOME to it, and \
             {}",
            command("cuda")
        ),
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
    let made = Cache::of_user().ok().map(|cache| cache.root().join(MADE_FOLDER).join("lib"));
    made.filter(|folder| folder.is_dir()).into_iter().collect()
}

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
            choose(Some(&Driver::new(driver, None)), &installed, "/made".into())
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
        assert!(missing.why.ends_with("this is driver 535.129, which can CUDA 12.2"), "{missing}");
        assert!(missing.remedy.contains("a toolkit of CUDA 12.0 to 12.2, set CUDA_HOME"), "{missing}");
        assert_eq!(choose(None, &[], "/made".into()).unwrap().home, Path::new("/made"));
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
