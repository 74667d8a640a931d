//! `autotune counts`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::exit::{self, BadUsage};
use super::output::{self, note};
use super::present;
use crate::analysis::counts::{Change, Counts, FORMAT, Finding, changes, worst};
use crate::counts::Order;
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
    let base = beside.as_deref().map(read).transpose()?;
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

/// Counts that were taken before.
fn read(file: &Path) -> Result<Counts, BadUsage> {
    let wrong = |why: String| BadUsage(format!("--beside {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let no_document = |error| wrong(format!("not a document of `autotune counts --json`: {error}"));
    let counts: Counts = serde_json::from_str(&text).map_err(no_document)?;
    if counts.format != FORMAT {
        let why = format!(
            "counts of format {}, and this version takes format {FORMAT}: take them again with this version",
            counts.format
        );
        return Err(wrong(why));
    }
    // One that holds only reasons would let everything pass.
    if counts.entries.iter().all(|entry| entry.groups.is_empty()) {
        return Err(wrong("there are no counts in it".to_owned()));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_counts_is_bad_usage() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("base.json");
        let refused = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file).unwrap_err().0
        };
        assert!(refused("").contains("not a document"));
        assert!(refused("{\"format\": 1, \"suite\": \"s\"").contains("not a document"));
        assert!(refused("[]").contains("not a document"));
        let with = |format: u32| {
            format!(
                "{{\"format\": {format}, \"suite\": \"s\", \"corpus_digest\": \"\", \"processor\": \"\", \"entries\": []}}"
            )
        };
        assert!(refused(&with(FORMAT)).contains("no counts"));
        assert!(refused(&with(FORMAT + 1)).contains("take them again"));
        assert!(read(&folder.path().join("nowhere")).unwrap_err().0.contains("nowhere"));
    }
}
