//! `autotune compare RUN RUN`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::present;
use crate::analysis::{self, Analysis};
use crate::emit;
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
    let comparison = analysis::compare(&judged(&arguments.then)?, &judged(&arguments.now)?);
    if arguments.json {
        super::print_json(&comparison)?;
    } else {
        super::print(&emit::comparison::render(&comparison, present::style()))?;
    }
    Ok(super::exit::DONE)
}

fn judged(folder: &Path) -> anyhow::Result<Analysis> {
    let run = Run::read(folder)?;
    Ok(analysis::analyse(&present::suite_of(&run)?, &run))
}
