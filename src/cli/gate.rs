//! `autotune gate`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::exit::{self, BadUsage};
use super::output::{self, note};
use super::present::{self, View};
use super::progress::Narrator;
use crate::addon::Setup;
use crate::analysis::gate::{Rule, Verdict};
use crate::emit;
use crate::gate::{self, NoBase, Order, Program};
use crate::runner::Interrupt;
use crate::units::parse_duration;

const HELP: &str = "Each pair is measured in fresh processes, in the order base, new, new, base or the other way round, and then \
     another process of the base is measured in the same way: from that the gate knows how often it would give a false alarm here, \
     and which slowdown it would miss. Exit codes: 0 pass or improved, 5 regression, 6 ambiguous or invalid.";

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    #[command(flatten)]
    base: Base,
    /// The change: another build of autotune [default: this program]
    #[arg(long, value_name = "FILE", conflicts_with = "new_worker")]
    new_bin: Option<PathBuf>,
    /// The change: a program that speaks the worker protocol, in place of the suite's command
    #[arg(long, value_name = "COMMAND", requires = "base_worker")]
    new_worker: Option<String>,
    /// Run the winner of this run instead of the suite's default configuration
    #[arg(long, value_name = "RUN")]
    config: Option<PathBuf>,
    /// A suite's name (see `autotune list`) or file [default: that of --config, or minilm]
    #[arg(long, value_name = "NAME|FILE")]
    suite: Option<String>,
    /// The device: auto, cpu, cuda:0, …
    #[arg(long, value_name = "NAME", default_value = "auto")]
    gpu: String,
    /// A slowdown up to this is none
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percent)]
    margin: f64,
    /// The most false alarms
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percent)]
    error: f64,
    /// How long to take pairs, beyond the first twelve
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = parse_duration)]
    time: Duration,
    /// Also write a summary in Markdown to FILE, as for $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also write the result as JUnit XML to FILE
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Download and build nothing: skip engines that are not set up yet (see `autotune setup`)
    #[arg(long)]
    no_setup: bool,
    #[command(flatten)]
    view: View,
}

/// What the change is compared with: one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Base {
    /// The base: another build of autotune
    #[arg(long, value_name = "FILE")]
    base_bin: Option<PathBuf>,
    /// The base: a revision of the git repository that you are in, built in a worktree of its own
    #[arg(long, value_name = "GIT-REF")]
    base_ref: Option<String>,
    /// The base: a program that speaks the worker protocol, in place of the suite's command
    #[arg(long, value_name = "COMMAND", requires = "new_worker")]
    base_worker: Option<String>,
}

/// A share, written as a percentage with or without its sign.
fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .trim()
        .trim_end_matches('%')
        .trim_end()
        .parse()
        .map_err(|_| format!("{text:?} is not a percentage such as 1%"))?;
    match number {
        number if number > 0.0 && number < 50.0 => Ok(number / 100.0),
        _ => Err("give more than 0% and less than 50%".to_owned()),
    }
}

/// A command as a shell would split it.
fn command(text: &str, flag: &str) -> Result<Program, BadUsage> {
    let words = shlex::split(text).filter(|words| !words.is_empty());
    words.map(Program::Worker).ok_or_else(|| BadUsage(format!("{flag}: {text:?} is not a command")))
}

impl Arguments {
    fn order(&self) -> Result<Order, BadUsage> {
        let program = |file: &Option<PathBuf>, worker: &Option<String>, flag| match (file, worker) {
            (Some(file), _) => Ok(Program::File(file.clone())),
            (None, Some(worker)) => command(worker, flag),
            (None, None) => Ok(Program::This),
        };
        Ok(Order {
            gpu: self.gpu.clone(),
            suite: self.suite.clone(),
            config: self.config.clone(),
            base: match &self.base.base_ref {
                Some(reference) => gate::Base::Revision(reference.clone()),
                None => gate::Base::Program(program(
                    &self.base.base_bin,
                    &self.base.base_worker,
                    "--base-worker",
                )?),
            },
            new: program(&self.new_bin, &self.new_worker, "--new-worker")?,
            rule: Rule { margin: self.margin, error: self.error },
            time: self.time,
        })
    }
}

pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    let narrator = Narrator::new(arguments.view.quiet, &interrupt);
    let gate = arguments.order()?.begin()?;
    if !arguments.view.quiet {
        note(present::style().paragraph(&gate.title()).trim_end());
    }
    let setup = Setup { allowed: !arguments.no_setup, named: false, tell: &narrator };
    let ended = gate.run(setup, &interrupt);
    setup.tell.done();
    let ended = match ended {
        Err(error) if matches!(error.downcast_ref(), Some(NoBase::Stopped)) => {
            return Ok(exit::interrupted(interrupt.signal().unwrap_or_default()));
        }
        other => other?,
    };
    let report = &ended.report;
    for (file, text) in
        [(&arguments.markdown, emit::gate::markdown(report)), (&arguments.junit, emit::gate::junit(report))]
    {
        if let Some(file) = file {
            std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    if arguments.view.json {
        output::print_json(report)?;
    } else if !report.stages.is_empty() {
        output::print(&emit::gate::render(report, present::style()))?;
    }
    Ok(match (ended.signal, report.verdict()) {
        (Some(signal), _) => exit::interrupted(signal),
        (None, Verdict::Pass | Verdict::Improved) => exit::DONE,
        (None, Verdict::Regression) => exit::REGRESSION,
        (None, Verdict::Ambiguous | Verdict::Invalid) => exit::CANNOT_TELL,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_with_and_without_their_sign() {
        assert_eq!((percent("2%"), percent("2"), percent(" 0.5 %")), (Ok(0.02), Ok(0.02), Ok(0.005)));
        for wrong in ["", "%", "0", "-1%", "50%", "one"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_is_split_as_a_shell_does() {
        let program = command("python3 'my worker.py' --fast", "--base-worker").unwrap();
        assert_eq!(program, Program::Worker(["python3", "my worker.py", "--fast"].map(String::from).into()));
        assert!(command("'open", "--base-worker").is_err() && command(" ", "--base-worker").is_err());
    }
}
