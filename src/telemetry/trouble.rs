//! What goes wrong when a card is read, and what follows from it.
//!
//! | NVML's error | what it means | what follows |
//! |---|---|---|
//! | `NotSupported`, `VgpuEccNotSupported`, `CorruptedInfoROM` | this card doesn't tell this quantity | absent for good |
//! | `FunctionNotFound`, `FailedToLoadSymbol` | the driver is older than the question | absent for good |
//! | `NoPermission` | this user may not ask | absent for good |
//! | `Timeout`, `InUse`, `InsufficientMemory`, `InsufficientSize`, `Unknown` | the driver was busy, or stumbled | this sample lacks it |
//! | `NoData`, `NotFound` | nothing was sampled yet | this sample lacks it |
//! | `IncorrectBits`, `UnexpectedVariant`, `StringTooLong`, `Utf8Error`, `NulError` | an answer that can't be read | this sample lacks it |
//! | `GpuLost`, `ResetRequired`, `IrqIssue`, `InsufficientPower` | the card is gone, or useless until it's reset | sampling ends, the reason is kept |
//! | `DriverNotLoaded`, `LibraryNotFound`, `LibloadingError`, `LibRmVersionMismatch`, `Uninitialized`, `OperatingSystem`, `InvalidArg` and whatever concerns the library itself | there is no way to the card | sampling ends, the reason is kept |
//!
//! Whatever it is, the run goes on: a figure without telemetry is still a figure, and says that nobody watched.

use nvml_wrapper::error::NvmlError;

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The quantity is never asked for again.
    Never,
    /// The next sample may have it.
    NotNow,
    /// The card itself can't be read any more.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Trouble {
    pub effect: Effect,
    pub why: String,
    /// What mends it, where that is known.
    pub remedy: Option<&'static str>,
}

impl Trouble {
    pub fn gone(why: impl Into<String>) -> Trouble {
        Trouble { effect: Effect::Gone, why: why.into(), remedy: None }
    }
}

impl From<NvmlError> for Trouble {
    #[allow(deprecated)] // Every variant is named, the deprecated one too, so that a new one can't be forgotten.
    fn from(error: NvmlError) -> Trouble {
        use NvmlError::*;
        let effect = match error {
            NotSupported
            | VgpuEccNotSupported
            | CorruptedInfoROM
            | FunctionNotFound
            | FailedToLoadSymbol(_)
            | NoPermission => Effect::Never,
            Timeout
            | InUse
            | InsufficientMemory
            | InsufficientSize(_)
            | Unknown
            | NoData
            | NotFound
            | IncorrectBits(_)
            | UnexpectedVariant(_)
            | StringTooLong { .. }
            | Utf8Error(_)
            | NulError(_) => Effect::NotNow,
            GpuLost | ResetRequired | IrqIssue | InsufficientPower | DriverNotLoaded | LibraryNotFound
            | LibloadingError(_) | LibRmVersionMismatch | Uninitialized | OperatingSystem | InvalidArg
            | AlreadyInitialized | SetReleaseFailed | GetPciInfoFailed | PciInfoToCFailed => Effect::Gone,
        };
        let why = match &error {
            NotSupported => "this card doesn't report it".to_owned(),
            FunctionNotFound | FailedToLoadSymbol(_) => "the driver is too old to report it".to_owned(),
            NoPermission => "this user has no permission to read it".to_owned(),
            GpuLost => "the card fell off the bus".to_owned(),
            ResetRequired => "the card needs a reset".to_owned(),
            LibraryNotFound | LibloadingError(_) => {
                "NVIDIA's library libnvidia-ml.so.1 isn't on this machine, or can't be loaded".to_owned()
            }
            DriverNotLoaded => "NVIDIA's driver isn't loaded".to_owned(),
            LibRmVersionMismatch => "version mismatch between NVIDIA's driver and its library".to_owned(),
            OperatingSystem => {
                "the operating system, or this container, denies access to the card".to_owned()
            }
            Unknown => "the driver reports an unknown error".to_owned(),
            Timeout => "the driver didn't answer in time".to_owned(),
            other => other.to_string(),
        };
        let remedy = match &error {
            LibraryNotFound | LibloadingError(_) | DriverNotLoaded | FailedToLoadSymbol(_) => Some(
                "install NVIDIA's driver, which includes libnvidia-ml.so.1; start a container with --gpus all",
            ),
            OperatingSystem | NoPermission => Some("start the container with --gpus all, or run as root"),
            LibRmVersionMismatch => Some("restart the machine to load the driver's module again"),
            GpuLost | ResetRequired => Some("restart the machine, or try nvidia-smi --gpu-reset"),
            InsufficientPower => Some("connect the card's power cables"),
            _ => None,
        };
        Trouble { effect, why, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_nvml_has_its_consequence() {
        for (effect, errors) in [
            (
                Effect::Never,
                vec![
                    NvmlError::NotSupported,
                    NvmlError::VgpuEccNotSupported,
                    NvmlError::CorruptedInfoROM,
                    NvmlError::FunctionNotFound,
                    NvmlError::FailedToLoadSymbol("nvmlDeviceGetMemoryInfo_v2".into()),
                    NvmlError::NoPermission,
                ],
            ),
            (
                Effect::NotNow,
                vec![
                    NvmlError::Timeout,
                    NvmlError::InUse,
                    NvmlError::InsufficientMemory,
                    NvmlError::InsufficientSize(Some(3)),
                    NvmlError::Unknown,
                    NvmlError::NoData,
                    NvmlError::NotFound,
                    NvmlError::UnexpectedVariant(7),
                    NvmlError::StringTooLong { max_len: 1, actual_len: 2 },
                ],
            ),
            (
                Effect::Gone,
                vec![
                    NvmlError::GpuLost,
                    NvmlError::ResetRequired,
                    NvmlError::IrqIssue,
                    NvmlError::InsufficientPower,
                    NvmlError::DriverNotLoaded,
                    NvmlError::LibraryNotFound,
                    NvmlError::LibRmVersionMismatch,
                    NvmlError::Uninitialized,
                    NvmlError::OperatingSystem,
                    NvmlError::InvalidArg,
                ],
            ),
        ] {
            for error in errors {
                let name = format!("{error:?}");
                let trouble = Trouble::from(error);
                assert_eq!(trouble.effect, effect, "{name}");
                assert!(!trouble.why.is_empty(), "{name}");
            }
        }
    }
}
