//! `autotune counts`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::exit;
use super::output::{self, note};
use super::present;
use crate::analysis::counts::{Change, Counts, Finding, changes, worst};
use crate::counts::{Order, read};
use crate::emit;

const HELP: &str = "Counts have no noise, so a difference of one is a finding. Exit codes with --beside: 0 equal or fewer, 5 more of \
     anything, 6 not comparable.";

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// A suite's name (see `autotune list`) or file [default: that of --config, or minilm]
    #[arg(long, value_name = "NAME|FILE")]
    suite: Option<String>,
    /// Count the winner of this run instead of the suite's default configuration
    #[arg(long, value_name = "RUN")]
    config: Option<PathBuf>,
    /// Use made-up tokenizers of the models' kind: no model is needed, and tokens are only like the real ones
    #[arg(long)]
    replica: bool,
    /// Print one JSON document, which --beside takes
    #[arg(long)]
    json: bool,
    /// Compare with the counts in FILE, and fail if there is more of anything
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    counts: &'a Counts,
    /// With `--beside`.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a [Change]>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let Arguments { suite, config, replica, json, beside } = arguments;
    let base = beside.as_deref().map(|file| read("--beside", file)).transpose()?;
    let order = Order { suite: suite.clone(), config: config.clone(), replica: *replica };
    let counts = order.count(note)?;
    let changes = base.map(|base| changes(&base, &counts));
    if *json {
        output::print_json(&Document { counts: &counts, changes: changes.as_deref() })?;
    } else {
        let style = present::style();
        output::print(&match &changes {
            None => emit::counts::render(&counts, style),
            Some(changes) => emit::counts::render_changes(changes, style),
        })?;
    }
    Ok(match changes.as_deref().and_then(worst) {
        None | Some(Finding::Aside | Finding::Fewer) => exit::DONE,
        Some(Finding::More) => exit::REGRESSION,
        Some(Finding::NotComparable) => exit::CANNOT_TELL,
    })
}
