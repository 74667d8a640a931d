//! Whether a change makes something slower, and how far that answer can be trusted: by planned pairs of two arms, and of the base
//! with itself.

mod calibration;
mod compare;
mod looks;
mod report;
mod rule;
pub mod trend;
mod verdict;

pub use calibration::{Calibration, calibrate, margin_of, needed};
pub use compare::{Compared, Finding, Gated, compare, compare_with_kept};
pub use looks::Looks;
pub use report::{GateReport, GatedStage, Pair};
pub use rule::{LOOKS, Rule, looks};
pub use trend::{Past, Range, Trend};
pub use verdict::{Verdict, verdict, worse_answers, worse_than_kept};
