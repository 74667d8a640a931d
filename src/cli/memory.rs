//! `autotune memory`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::exit::{self, BadUsage};
use super::present::{self, View};
use super::progress::Narrator;
use crate::addon::Setup;
use crate::analysis::{MemoryReport, MemoryRow};
use crate::emit;
use crate::memory::{Plan, Question};
use crate::runner::Interrupt;
use crate::task::Task;

const HELP: &str = "Each backend loads each model in each precision, runs it over one batch and unloads it. \
     It repeats this several times in one process, and autotune watches that process from outside. The first load is \
     cold: the model's files are dropped from the page cache before it, and the libraries are loaded as well. Leaks \
     are detected from seven rounds on. A leak is a finding, not a failure, so the exit code is still 0.";

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Models: names (see `autotune list`), repositories, or folders
    #[arg(long, value_name = "NAME|DIR,…", value_delimiter = ',', default_value = "all-MiniLM-L6-v2")]
    model: Vec<String>,
    /// The task of the models [default: each model's own task, or else embed]
    #[arg(long, value_name = "TASK", value_parser = PossibleValuesParser::new(Task::ALL.map(Task::name)))]
    task: Option<String>,
    /// Devices: auto, cpu, cuda:0, …
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "auto")]
    gpu: Vec<String>,
    /// Backends
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "candle,ort")]
    backend: Vec<String>,
    /// Precisions
    #[arg(long, value_name = "fp32,…", value_delimiter = ',', default_value = "fp32")]
    dtype: Vec<String>,
    /// Documents in the batch
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Tokens of each document [default: the model's maximum]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..))]
    max_tokens: Option<u32>,
    /// Number of loads and unloads of each; 50 are enough to find small leaks
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Use random weights, at the models' full size
    #[arg(long)]
    replica: bool,
    /// Download and build nothing: skip engines that are not set up yet (see `autotune setup`)
    #[arg(long)]
    no_setup: bool,
    /// Write every round to FILE, as CSV
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    view: View,
}

impl Arguments {
    fn question(&self) -> Question {
        let wanted = self.task.as_deref();
        Question {
            models: self.model.clone(),
            task: Task::ALL.into_iter().find(|task| Some(task.name()) == wanted),
            devices: self.gpu.clone(),
            backends: self.backend.clone(),
            dtypes: self.dtype.clone(),
            batch: self.batch,
            max_tokens: self.max_tokens,
            rounds: self.rounds,
            replica: self.replica,
        }
    }
}

pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    let plan = Plan::of(arguments.question()).map_err(BadUsage)?;
    let mut out = arguments.out.as_deref().map(Output::create).transpose()?;
    let narrator = Narrator::new(arguments.view.quiet, &interrupt);
    let setup = Setup { allowed: !arguments.no_setup, named: false, tell: &narrator };
    let report = plan.measure(setup, &interrupt)?;
    if let Some(out) = &mut out {
        out.write(&report)?;
    }
    if arguments.view.json {
        super::output::print_json(&report)?;
    } else if !report.rows.is_empty() {
        super::output::print(&emit::memory::render(&report, present::style()))?;
    }
    Ok(match interrupt.signal() {
        Some(signal) => exit::interrupted(signal),
        None if report.rows.iter().any(MemoryRow::is_ok) => exit::DONE,
        None => exit::NO_CANDIDATE,
    })
}

/// A file that can be written, known before an hour of measuring.
struct Output {
    path: PathBuf,
    file: std::fs::File,
}

impl Output {
    fn create(path: &Path) -> anyhow::Result<Output> {
        let file = std::fs::File::create(path)
            .map_err(|error| BadUsage(format!("--out {}: {error}", path.display())))?;
        Ok(Output { path: path.to_owned(), file })
    }

    fn write(&mut self, report: &MemoryReport) -> anyhow::Result<()> {
        let text = emit::memory::csv(report)?;
        self.file.write_all(&text).with_context(|| format!("--out {}", self.path.display()))
    }
}
