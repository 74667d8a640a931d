//! `autotune report RUN`.

use std::path::PathBuf;

use clap::Args;

use super::output;
use super::present::{self, View};
use crate::analysis::{self, Analysis, Decisions};
use crate::emit;
use crate::report::{self, Report};
use crate::store::Run;

#[derive(Args)]
pub struct Arguments {
    /// The folder of a run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Write the settings in this dialect instead of the suite's
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,
    /// Also write the settings to FILE
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Instead of the outcome, show why each candidate was tried, and why it was measured no further
    #[arg(long)]
    decisions: bool,
    #[command(flatten)]
    view: View,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let run = Run::read(&arguments.run)?;
    if let Some(torn) = &run.torn {
        output::note(&format!(
            "warning: line {} of the journal is incomplete, or is still being written",
            torn.line
        ));
    }
    let mut suite = report::suite_of(&run)?;
    if let Some(dialect) = &arguments.dialect {
        suite = report::in_dialect(suite, &run, dialect)?;
    }
    let report = Report::write(&suite, &run)?;
    if arguments.decisions {
        show_decisions(&report.analysis, &run, arguments.view.json)?;
    } else {
        present::show(&report, &arguments.view, &arguments.run)?;
    }
    if let Some(file) = &arguments.env_file {
        present::write_settings(&report, file)?;
    }
    Ok(if report.analysis.complete() { super::exit::DONE } else { super::exit::NO_CANDIDATE })
}

fn show_decisions(analysis: &Analysis, run: &Run, json: bool) -> anyhow::Result<()> {
    let of = |stage| analysis::decisions(stage, analysis.objective, run);
    let decisions: Vec<Decisions> = analysis.stages.iter().map(of).collect();
    match json {
        true => output::print_json(&decisions),
        false => output::print(&emit::decisions::render(analysis, &decisions, present::style())),
    }
}
