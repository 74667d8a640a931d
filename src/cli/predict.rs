//! `autotune predict --gpu NAME`: the bare command, but that nothing is measured even where it could be.

use std::path::PathBuf;

use clap::Args;

use super::present::View;
use super::tune::{self, Changes};

#[derive(Args)]
pub struct Arguments {
    /// A card of `autotune list`, or one in this machine by its place, such as cuda:0
    #[arg(long, value_name = "NAME")]
    gpu: String,
    /// A suite's name (see `autotune list`) or file [default: minilm-gpu]
    #[arg(long, value_name = "NAME|FILE")]
    suite: Option<String>,
    #[command(flatten)]
    changes: Changes,
    /// Put the run here [default: results/runs/<time>-<suite>-<target>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the settings to FILE too
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    #[command(flatten)]
    view: View,
}

pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let Arguments { gpu, suite, changes, out, env_file, view } = arguments;
    tune::run(tune::Arguments {
        gpu,
        suite,
        changes,
        out,
        env_file,
        view,
        emulate_vram: None,
        resume: None,
        measured: false,
        no_setup: false,
        predicted: true,
    })
}
