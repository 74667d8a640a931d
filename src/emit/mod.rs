//! What people and programs get to see. Renders; decides nothing.
//!
//! One file for each form: the terminal's table, `.env.optimized`, the charts, the page, and cards that are watched.

mod certificate;
mod columns;
pub mod comparison;
pub mod counts;
pub mod decisions;
pub mod dialect;
pub mod env;
pub mod gate;
pub mod gpus;
mod html;
pub mod memory;
pub mod monitor;
pub mod plots;
pub mod prometheus;
pub mod replay;
mod service;
pub mod style;
pub mod table;
pub mod trials;

pub use html::page;

use crate::analysis::{Estimate, Interval, StageAnalysis};
use crate::suite::Figure;

/// A figure with the interval that it lies in, its unit said once: `703 docs/s [691, 708]`.
fn interval(figure: Figure, estimate: Estimate) -> String {
    let value = figure.print(estimate.value);
    let Some(Interval { low, high }) = estimate.interval else { return value + " [–, one round]" };
    if low == high {
        return value;
    }
    let (low, high) = (figure.print(low), figure.print(high));
    let unit = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_owned());
    let same = unit(&low) == unit(&value) && unit(&high) == unit(&value);
    let shown = |text: &str| match text.split_once(' ') {
        Some((number, _)) if same => number.to_owned(),
        _ => text.to_owned(),
    };
    format!("{value} [{}, {}]", shown(&low), shown(&high))
}

/// How the winner compares with the default configuration, if that can be said.
fn gain(stage: &StageAnalysis) -> Option<String> {
    let winner = stage.winner()?;
    if winner.summary.id == stage.baseline_id {
        return Some("the default configuration itself".to_owned());
    }
    let gain = stage.gain?;
    Some(format!("{:.2} × the default's {}", gain.value, bracket(gain, 2)))
}

/// The interval of a ratio, to so many places: `[1.05, 1.12]`; a dash where one round gives none.
fn bracket(ratio: Estimate, places: usize) -> String {
    match ratio.interval {
        Some(Interval { low, high }) => format!("[{low:.places$}, {high:.places$}]"),
        None => "[–, one round]".to_owned(),
    }
}

/// Templates in which a line that holds only a tag leaves no empty line behind.
fn line_syntax() -> Result<minijinja::syntax::SyntaxConfig, minijinja::Error> {
    minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}
