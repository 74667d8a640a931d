//! Exit codes, the contract with scripts.

use crate::gate::NoBase;
use crate::hardware::TargetError;
use crate::store::StoreError;
use crate::suite::Problem;
use crate::telemetry::Trouble;

pub const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;
const TARGET_ABSENT: u8 = 3;
pub const NO_CANDIDATE: u8 = 4;
pub const REGRESSION: u8 = 5;
pub const CANNOT_TELL: u8 = 6;

/// There is no card to watch.
#[derive(Debug, thiserror::Error)]
#[error("no GPU can be watched: {}{}", .0.why, .0.remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default())]
pub struct NoCard(pub Trouble);

/// A usage error that clap can't see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadUsage(pub String);

/// Ended by a signal, as shells report it. What was measured is reported all the same.
pub fn interrupted(signal: u8) -> u8 {
    128u8.saturating_add(signal)
}

/// The code for an error.
pub fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Problem>() || error.is::<BadUsage>() {
        return BAD_USAGE;
    }
    // Without a base nothing can be said of the change.
    if error.is::<NoBase>() {
        return CANNOT_TELL;
    }
    // No run where one was named, or a run where none may be.
    if matches!(
        error.downcast_ref(),
        Some(StoreError::NoRun(_) | StoreError::Exists(_) | StoreError::Strange(_))
    ) {
        return BAD_USAGE;
    }
    match error.downcast_ref::<TargetError>() {
        Some(TargetError::Unknown(_) | TargetError::Emulation { .. } | TargetError::Unpredictable { .. }) => {
            BAD_USAGE
        }
        Some(
            TargetError::NoSuchDevice { .. }
            | TargetError::NotMeasurable { .. }
            | TargetError::NotShown { .. }
            | TargetError::NothingReal,
        ) => TARGET_ABSENT,
        None if error.is::<NoCard>() => TARGET_ABSENT,
        None => FAILED,
    }
}
