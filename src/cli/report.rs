//! `autotune report RUN`.

use std::path::PathBuf;

use clap::Args;

use super::present::{self, View};
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
    #[command(flatten)]
    view: View,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let run = Run::read(&arguments.run)?;
    if let Some(torn) = &run.torn {
        super::output::note(&format!(
            "warning: line {} of the journal is incomplete, or is still being written",
            torn.line
        ));
    }
    let mut suite = report::suite_of(&run)?;
    if let Some(dialect) = &arguments.dialect {
        suite = report::in_dialect(suite, &run, dialect)?;
    }
    let report = Report::write(&suite, &run)?;
    present::show(&report, &arguments.view, &arguments.run)?;
    if let Some(file) = &arguments.env_file {
        present::write_settings(&report, file)?;
    }
    Ok(if report.analysis.complete() { super::exit::DONE } else { super::exit::NO_CANDIDATE })
}
