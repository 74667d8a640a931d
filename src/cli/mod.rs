//! The command line: one file a verb. Arguments in, one call, text out.
//!
//! Data goes to stdout, everything else to stderr.

mod check;
mod compare;
mod counts;
mod doctor;
mod exit;
mod export;
mod gate;
mod list;
mod memory;
mod monitor;
mod output;
mod predict;
mod present;
mod progress;
mod replay;
mod report;
mod setup;
mod tune;

use clap::{Parser, Subcommand};

pub use exit::code;

/// Finds the fastest way to run an NLP, retrieval or vision pipeline on one GPU, and proves it by measuring.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    tune: tune::Arguments,
}

#[derive(Subcommand)]
enum Verb {
    /// Show suites, GPUs, backends, knobs, figures and dialects
    List(list::Arguments),
    /// Validate a suite without measuring; print its space and the space's size
    Check(check::Arguments),
    /// Show what this machine has, what is missing, and the command that fixes it
    Doctor(doctor::Arguments),
    /// Set up an add-on now, such as candle for NVIDIA GPUs; without a name, list all add-ons
    Setup(setup::Arguments),
    /// Predict the best configuration for a GPU from data sheet figures alone; needs no GPU
    Predict(predict::Arguments),
    /// Regenerate the tables, plots and HTML report from a run's folder
    Report(report::Arguments),
    /// Compare two runs
    Compare(compare::Arguments),
    /// Count what a configuration does, exactly and without a GPU; compare with earlier counts
    Counts(counts::Arguments),
    /// Pass or fail a change: two programs run the same suite side by side, in pairs
    Gate(gate::Arguments),
    /// Play searches on a recorded grid: how soon does each come near the best?
    Replay(replay::Arguments),
    /// Watch GPUs: a live view, CSV, and metrics for Prometheus
    Monitor(monitor::Arguments),
    /// Measure the memory of models before, during and after a load, load times, and leaks
    Memory(memory::Arguments),
    /// Write the winning model and its settings, ready to deploy
    Export(export::Arguments),
    /// The measured process; speaks docs/PROTOCOL.md
    #[command(hide = true)]
    Worker,
    /// The process that asks NVIDIA's driver what there is
    #[command(hide = true)]
    Probe,
}

/// Does what the command line says. The exit code is for an outcome that is no error.
pub fn run(cli: Cli) -> anyhow::Result<u8> {
    match cli.verb {
        None => tune::run(cli.tune),
        Some(Verb::List(arguments)) => list::run(&arguments),
        Some(Verb::Check(arguments)) => check::run(&arguments),
        Some(Verb::Doctor(arguments)) => doctor::run(&arguments),
        Some(Verb::Setup(arguments)) => setup::run(&arguments),
        Some(Verb::Predict(arguments)) => predict::run(arguments),
        Some(Verb::Report(arguments)) => report::run(&arguments),
        Some(Verb::Compare(arguments)) => compare::run(&arguments),
        Some(Verb::Counts(arguments)) => counts::run(&arguments),
        Some(Verb::Gate(arguments)) => gate::run(arguments),
        Some(Verb::Replay(arguments)) => replay::run(&arguments),
        Some(Verb::Monitor(arguments)) => monitor::run(&arguments),
        Some(Verb::Memory(arguments)) => memory::run(arguments),
        Some(Verb::Export(arguments)) => export::run(&arguments),
        Some(Verb::Probe) => {
            crate::hardware::probe::answer(std::io::stdout().lock())?;
            Ok(exit::DONE)
        }
        Some(Verb::Worker) => {
            let events = crate::worker::claim_stdout()?;
            crate::worker::serve(std::io::stdin().lock(), events)?;
            Ok(exit::DONE)
        }
    }
}
