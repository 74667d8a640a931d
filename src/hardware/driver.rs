//! NVIDIA's driver: which CUDA its version can, and what stands in the way of every engine.

use serde::{Deserialize, Serialize};

pub use crate::backend::gpu::devices::CudaVersion;

/// The first drivers of each generation of CUDA, by the first number of their version: CUDA Toolkit Release Notes, "CUDA
/// Toolkit and Corresponding Driver Versions".
const CUDA_OF_DRIVERS: [(u32, CudaVersion); 17] = [
    (590, cuda(13, 1)),
    (580, cuda(13, 0)),
    (575, cuda(12, 9)),
    (570, cuda(12, 8)),
    (565, cuda(12, 7)),
    (560, cuda(12, 6)),
    (555, cuda(12, 5)),
    (550, cuda(12, 4)),
    (545, cuda(12, 3)),
    (535, cuda(12, 2)),
    (530, cuda(12, 1)),
    (525, cuda(12, 0)),
    (520, cuda(11, 8)),
    (510, cuda(11, 6)),
    (495, cuda(11, 5)),
    (470, cuda(11, 4)),
    (450, cuda(11, 0)),
];

const fn cuda(major: u32, minor: u32) -> CudaVersion {
    CudaVersion { major, minor }
}

/// The oldest compute capability for which the engines have code: Turing's.
pub const OLDEST_CAPABILITY: (u32, u32) = (7, 5);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// As NVIDIA numbers it, such as `535.129.03`; empty where only CUDA's version is known.
    #[serde(default)]
    pub version: String,
    /// The latest CUDA that it can; nothing where neither the driver tells nor its version does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<CudaVersion>,
}

impl Driver {
    /// Of a version and of what the driver itself says of CUDA, which counts: a newer `libcuda` may lie over an older driver.
    pub fn new(version: &str, told: Option<CudaVersion>) -> Driver {
        let first = version.split('.').next().and_then(|number| number.parse::<u32>().ok());
        let of_table = |number: u32| CUDA_OF_DRIVERS.iter().find(|(least, _)| number >= *least);
        let of_version = first.and_then(of_table).map(|(_, cuda)| *cuda);
        Driver { version: version.to_owned(), cuda: told.or(of_version) }
    }

    /// For people: `driver 535.129.03, which supports CUDA 12.2`.
    pub fn line(&self) -> String {
        let version = if self.version.is_empty() { "of unknown version" } else { &self.version };
        match self.cuda {
            Some(cuda) => format!("driver {version}, which supports CUDA {cuda}"),
            None => format!("driver {version}"),
        }
    }

    /// Whether libraries of this generation of CUDA run with it. What isn't known is tried.
    pub fn can(&self, major: u32) -> bool {
        self.cuda.is_none_or(|cuda| cuda.major >= major)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drivers_version_tells_its_cuda() {
        for (version, wanted, can_12, can_13) in [
            ("580.65.06", "13.0", true, true),
            ("581.29", "13.0", true, true),
            ("610.0", "13.1", true, true),
            ("575.57.08", "12.9", true, false),
            ("550.54.15", "12.4", true, false),
            ("535.129.03", "12.2", true, false),
            ("525.60.13", "12.0", true, false),
            ("515.105.01", "11.6", false, false),
            ("470.223.02", "11.4", false, false),
        ] {
            let driver = Driver::new(version, None);
            assert_eq!(driver.cuda.unwrap().to_string(), wanted, "{version}");
            assert_eq!((driver.can(12), driver.can(13)), (can_12, can_13), "{version}");
        }
        // CUDA's compatibility package: a newer library over an older driver.
        let over = Driver::new("535.129.03", Some(cuda(13, 0)));
        assert!(over.can(13) && over.line().ends_with("535.129.03, which supports CUDA 13.0"));
        assert!(Driver::new("", None).can(13) && Driver::new("N/A", None).cuda.is_none());
        assert_eq!(Driver::new("390.157", None).cuda, None);
    }
}
