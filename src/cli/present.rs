//! How a run is shown: a table, or JSON.

use std::io::IsTerminal;
use std::path::Path;

use clap::Args;

use super::output::note;
use crate::emit::style::Style;
use crate::emit::table;
use crate::report::Report;

/// How a run is shown.
#[derive(Args)]
pub struct View {
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub json: bool,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

/// Writes the settings where a service reads them, and says so where it doesn't.
pub fn write_settings(report: &Report, file: &Path) -> anyhow::Result<()> {
    if !report.write_settings(file)? {
        note(&format!("{} is unchanged: not every stage has a winner", file.display()));
    }
    Ok(())
}

/// Prints a report: a table, or one document of JSON.
pub fn show(report: &Report, view: &View, folder: &Path) -> anyhow::Result<()> {
    if view.json {
        super::output::print_json(&report.analysis)?;
    } else {
        super::output::print(&table::render(&report.analysis, style()))?;
    }
    if !view.quiet {
        note(&format!("{}", shown_path(folder).display()));
        let plots = if folder.join("plots").is_dir() { "  plots/" } else { "" };
        note(&format!("  .env.optimized  best.json  trials.csv  report.html{plots}"));
    }
    Ok(())
}

/// As short as it can be typed from here.
fn shown_path(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path)
}

/// A name, and what there is to say of it beside it, within the width.
pub fn entry(name: &str, text: &str) -> String {
    /// The longest name of an add-on, with its mark.
    const COLUMN: usize = 24;
    let padding = COLUMN.saturating_sub(name.chars().count());
    style().indented(&format!("{name}{}", " ".repeat(padding)), &" ".repeat(COLUMN), text)
}

/// As wide as the terminal, or as a page where there is none.
pub fn style() -> Style {
    let terminal = std::io::stdout().is_terminal();
    let width = comfy_table::Table::new().width().filter(|_| terminal).unwrap_or(120);
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Style { width, colour }
}
