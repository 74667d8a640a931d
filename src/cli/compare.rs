//! `autotune compare RUN RUN`.

use std::path::PathBuf;

use clap::Args;

use super::exit::BadUsage;
use super::present;
use crate::analysis;
use crate::emit;
use crate::report;
use crate::store::Run;

#[derive(Args)]
pub struct Arguments {
    /// The folder of the earlier run
    #[arg(value_name = "THEN")]
    then: PathBuf,
    /// The folder of the later run
    #[arg(value_name = "NOW")]
    now: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let (then, now) = (Run::read(&arguments.then)?, Run::read(&arguments.now)?);
    let (before, after) = (report::judged(&then)?, report::judged(&now)?);
    let comparison = analysis::compare((&before, &then.header), (&after, &now.header)).map_err(BadUsage)?;
    if arguments.json {
        super::output::print_json(&comparison)?;
    } else {
        super::output::print(&emit::comparison::render(&comparison, present::style()))?;
    }
    Ok(super::exit::DONE)
}
