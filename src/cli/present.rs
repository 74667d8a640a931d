//! From a run to everything that people get of it: files, table, JSON.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;
use clap::Args;

use super::output::note;
use crate::analysis::{self, Analysis};
use crate::emit::style::Style;
use crate::emit::{self, env, plots, table, trials};
use crate::store::{Run, StoreError};
use crate::suite::{self, Suite};

/// How the outcome is shown.
#[derive(Args)]
pub struct View {
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
}

pub struct Outcome {
    pub analysis: Analysis,
    settings: String,
}

/// The suite of a run, read again from what its journal says: as the version read it that made the run.
pub fn suite_of(run: &Run) -> anyhow::Result<Suite> {
    let header = &run.header;
    let of_this_version = header.revision == env!("AUTOTUNE_REVISION");
    let candidates: Vec<_> = run.recordings.iter().map(|recording| &recording.candidate).collect();
    // Of this version's own runs a knob that isn't there is damage.
    let recorded = if of_this_version { &[] } else { candidates.as_slice() };
    let mut suite = suite::parse_recorded(&header.source, &header.overrides, &env::names(), recorded)?;
    if of_this_version && suite.digest != header.suite_digest {
        let why = "the suite in it isn't the one that the run was begun with".to_owned();
        return Err(StoreError::Changed { file: run.path.display().to_string(), why }.into());
    }
    suite.take_price(header.target.price_per_hour);
    run.check(&suite).map_err(StoreError::from)?;
    Ok(suite)
}

/// Writes every file that is a function of the journal.
pub fn write(suite: &Suite, run: &Run) -> anyhow::Result<Outcome> {
    let analysis = analysis::analyse(suite, run);
    run.write("trials.csv", &trials::csv(suite, &analysis, &run.recordings)?)?;
    let best = serde_json::to_string_pretty(&analysis)? + "\n";
    run.write("best.json", best.as_bytes())?;
    let settings = env::render(&suite.dialect, &analysis, &run.header, &run.started)?;
    run.write(".env.optimized", settings.as_bytes())?;
    let plots = plots::draw(&analysis, &run.recordings, &run.path)?;
    for plot in &plots {
        run.write(&format!("plots/{}.svg", plot.name), plot.svg.as_bytes())?;
        run.write(&format!("plots/{}.png", plot.name), &plot.png)?;
    }
    run.write("report.html", emit::page(&analysis, run, &plots, &settings)?.as_bytes())?;
    Ok(Outcome { analysis, settings })
}

/// Writes the settings where a service reads them, unless that would take away settings that work.
pub fn write_env_file(outcome: &Outcome, file: &Path) -> anyhow::Result<()> {
    if !outcome.analysis.complete() {
        note(&format!("{} is left as it was: not every stage has a winner", file.display()));
        return Ok(());
    }
    std::fs::write(file, &outcome.settings).with_context(|| format!("--env-file {}", file.display()))
}

/// Prints the outcome: a table, or one document of JSON.
pub fn show(outcome: &Outcome, view: &View, folder: &Path) -> anyhow::Result<()> {
    if view.json {
        super::output::print_json(&outcome.analysis)?;
    } else {
        super::output::print(&table::render(&outcome.analysis, style()))?;
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
