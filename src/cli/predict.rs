//! `autotune predict --gpu NAME`: the bare command, but that nothing is measured even where it could be.

use std::path::PathBuf;

use clap::Args;

use super::present::View;
use super::tune::{self, Changes};

#[derive(Args)]
pub struct Arguments {
    /// A card from `autotune list`, or a GPU of this machine, such as cuda:0
    #[arg(long, value_name = "NAME")]
    gpu: String,
    /// A suite's name (see `autotune list`) or file [default: minilm-gpu]
    #[arg(long, value_name = "NAME|FILE")]
    suite: Option<String>,
    #[command(flatten)]
    changes: Changes,
    /// The run's folder [default: results/runs/<time>-<suite>-<target>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write the settings to FILE
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
        prior: None,
        predicted: true,
    })
}
