//! `autotune gate`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::exit::{self, BadUsage};
use super::output::{self, note};
use super::present::{self, View};
use super::progress::Narrator;
use crate::addon::{Setup, Tell};
use crate::analysis::gate::{GateReport, Rule, Trend, Verdict};
use crate::counts;
use crate::emit;
use crate::gate::{self, History, NoBase, Order, Program, counted};
use crate::runner::Interrupt;
use crate::units::parse_duration;

const HELP: &str = "Each pair is measured in fresh processes: the base, the new arm and another process of the base, which take short turns, in a \
     random order and in the opposite one. From the base beside itself the gate knows how often it would give a false alarm here, and which \
     slowdown it would miss. Exit codes: 0 pass or improved, 5 regression, 6 ambiguous or invalid.";

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    #[command(flatten)]
    base: Base,
    /// The change: another build of autotune [default: this program]
    #[arg(long, value_name = "FILE", conflicts_with = "new_worker")]
    new_bin: Option<PathBuf>,
    /// The change: a program that speaks the worker protocol, in place of the suite's command
    #[arg(long, value_name = "COMMAND")]
    new_worker: Option<String>,
    /// The change: the winner of this run as the configuration, with the same program
    #[arg(long, value_name = "RUN", conflicts_with_all = ["new_bin", "new_worker"])]
    candidate: Option<PathBuf>,
    /// Compare what both programs do in exact counts instead of timing them: operations, kernels, nodes, weights, padding
    #[arg(long, conflicts_with_all = ["base_worker", "new_worker", "candidate", "history", "svg", "bencher", "benchmark", "gpu", "margin", "error", "time", "other_load"])]
    counts: bool,
    /// Use made-up weights and tokenizers of the models' kind and size, so that no model is needed
    #[arg(long)]
    replica: bool,
    /// Keep this program's figures in FILE, for a later --baseline
    #[arg(long, value_name = "FILE", conflicts_with_all = ["base_bin", "base_ref", "base_worker"])]
    save: Option<PathBuf>,
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
    #[arg(long, value_name = "TIME", default_value = "150s", value_parser = parse_duration)]
    time: Duration,
    /// Set a pair aside if other programs, the hypervisor or a container's quota took more of the processor than this, or heat slowed it; 100% takes every pair. Work that a worker leaves to processes that it hasn't started is others' work. Linux only
    #[arg(long, value_name = "PERCENT", default_value = "25%", value_parser = share)]
    other_load: f64,
    /// Remember this gate in a folder, and show how the gates of this machine and suite went; alone, show what is in it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["save", "baseline"])]
    history: Option<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// Download and build nothing: skip engines that are not set up yet (see `autotune setup`)
    #[arg(long)]
    no_setup: bool,
    #[command(flatten)]
    view: View,
}

/// Where CI and its services read the result.
#[derive(Args)]
struct Files {
    /// Print annotations for GitHub, and append a summary to $GITHUB_STEP_SUMMARY
    #[arg(long)]
    github: bool,
    /// Also write a summary in Markdown to FILE
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also write the result as JUnit XML to FILE
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also write metrics for Bencher to FILE (its format `json`)
    #[arg(long, value_name = "FILE")]
    bencher: Option<PathBuf>,
    /// Also write metrics for github-action-benchmark to FILE (its tool `customSmallerIsBetter`)
    #[arg(long, value_name = "FILE")]
    benchmark: Option<PathBuf>,
    /// Also draw the pairs to FILE; of several stages to FILE-STAGE
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Files {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.markdown, &self.junit, &self.bencher, &self.benchmark, &self.svg].into_iter().flatten()
    }

    /// Before anything is measured: a result that can't be written would be lost. `kept` is what `--save` names.
    fn check(&self, kept: Option<&PathBuf>) -> Result<(), BadUsage> {
        for file in self.all().chain(kept) {
            let is_new = !file.exists();
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
            opened.map_err(|error| BadUsage(format!("can't write {}: {error}", file.display())))?;
            // An empty one, left by whatever goes wrong from here on, would be read as a result.
            if is_new {
                let _ = std::fs::remove_file(file);
            }
        }
        Ok(())
    }

    fn write(&self, report: &GateReport) -> anyhow::Result<()> {
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
        let texts = [
            (&self.markdown, emit::gate::markdown(report)),
            (&self.junit, emit::gate::junit(report)),
            (&self.bencher, pretty(&emit::gate::bencher(report))),
            (&self.benchmark, pretty(&emit::gate::benchmark(report))),
        ];
        for (file, text) in texts {
            if let Some(file) = file {
                write(file, &text)?;
            }
        }
        if let Some(file) = &self.svg {
            draw(file, report)?;
        }
        if self.github {
            note(emit::gate::annotations(report).trim_end());
            if let Some(summary) = std::env::var_os("GITHUB_STEP_SUMMARY") {
                let opened = std::fs::OpenOptions::new().create(true).append(true).open(&summary);
                let written =
                    opened.and_then(|mut file| file.write_all(emit::gate::markdown(report).as_bytes()));
                written.map_err(|error| unwritten(Path::new(&summary), &error))?;
            }
        }
        Ok(())
    }
}

/// Draws the pairs of each stage that has some.
fn draw(file: &Path, report: &GateReport) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    for stage in report.stages.iter().filter(|stage| !stage.pairs.is_empty()) {
        let plot = emit::plots::pairs(stage, report, scratch.path())?;
        let own = match report.stages.len() {
            1 => file.to_owned(),
            _ => {
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                file.with_file_name(format!("{stem}-{}.svg", stage.stage))
            }
        };
        write(&own, &plot.svg)?;
    }
    Ok(())
}

/// What the change is compared with: one of these.
#[derive(Args)]
#[group(multiple = false)]
struct Base {
    /// The base: another build of autotune
    #[arg(long, value_name = "FILE")]
    base_bin: Option<PathBuf>,
    /// The base: a revision of autotune's own git repository, which you are in, built in a worktree of its own
    #[arg(long, value_name = "GIT-REF")]
    base_ref: Option<String>,
    /// The base: a program that speaks the worker protocol, in place of the suite's command
    #[arg(long, value_name = "COMMAND", requires = "new_worker")]
    base_worker: Option<String>,
    /// The base: figures that --save has kept, of the same machine and suite
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// A number that is written as a percentage, with or without its sign.
fn of_percent(text: &str) -> Option<f64> {
    text.trim().trim_end_matches('%').trim_end().parse().ok()
}

/// A margin or an error, as a share.
fn percent(text: &str) -> Result<f64, String> {
    match of_percent(text) {
        None => Err(format!("{text:?} is not a percentage such as 1%")),
        Some(number) if number > 0.0 && number < 50.0 => Ok(number / 100.0),
        Some(_) => Err("give more than 0% and less than 50%".to_owned()),
    }
}

/// A share of all there is.
fn share(text: &str) -> Result<f64, String> {
    match of_percent(text) {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(number / 100.0),
        _ => Err(format!("{text:?} is not a percentage from 0% to 100%")),
    }
}

/// Writes a file that somebody has named, or says which one can't be written.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).map_err(|error| unwritten(file, &error).into())
}

fn unwritten(file: &Path, error: &dyn std::fmt::Display) -> BadUsage {
    BadUsage(format!("writing {}: {error}", file.display()))
}

/// What is measured on one side: a file, a command, or else this program.
fn program(file: &Option<PathBuf>, worker: &Option<String>, flag: &str) -> Result<Program, BadUsage> {
    match (file, worker) {
        (Some(file), _) => Ok(Program::File(file.clone())),
        (None, Some(worker)) => command(worker, flag),
        (None, None) => Ok(Program::This),
    }
}

/// A command as a shell would split it.
fn command(text: &str, flag: &str) -> Result<Program, BadUsage> {
    let words = shlex::split(text).filter(|words| !words.is_empty());
    words.map(Program::Worker).ok_or_else(|| BadUsage(format!("{flag}: {text:?} is not a command")))
}

impl Arguments {
    fn order(&self) -> Result<Order, BadUsage> {
        Ok(Order {
            gpu: self.gpu.clone(),
            suite: self.suite.clone(),
            config: self.config.clone(),
            candidate: self.candidate.clone(),
            replica: self.replica,
            base: self.base()?,
            new: program(&self.new_bin, &self.new_worker, "--new-worker")?,
            rule: Rule { margin: self.margin, error: self.error },
            time: self.time,
            others: self.other_load,
            history: self.history.clone(),
        })
    }
}

impl Arguments {
    /// Whether nothing is named that could be compared.
    fn only_shows(&self) -> bool {
        let Base { base_bin, base_ref, base_worker, baseline } = &self.base;
        let named = base_bin.is_some() || base_ref.is_some() || base_worker.is_some() || baseline.is_some();
        let new = self.candidate.is_some() || self.new_bin.is_some() || self.new_worker.is_some();
        // Whoever names a suite or a file to write means a gate, and has forgotten the base.
        let gated = self.suite.is_some() || self.config.is_some() || self.files.github;
        !named && !new && !gated && self.files.all().next().is_none()
    }

    fn base(&self) -> Result<gate::Base, BadUsage> {
        let Base { base_bin, base_ref, base_worker, baseline } = &self.base;
        if let Some(reference) = base_ref {
            return Ok(gate::Base::Revision(reference.clone()));
        }
        if let Some(file) = baseline {
            return Ok(gate::Base::Kept(file.clone()));
        }
        let named = base_bin.is_some() || base_worker.is_some();
        match (named, &self.save, &self.candidate) {
            (true, ..) | (false, None, Some(_)) => {
                Ok(gate::Base::Program(program(base_bin, base_worker, "--base-worker")?))
            }
            (false, Some(_), _) => Ok(gate::Base::Nothing),
            (false, None, None) => {
                let why = "what is the change compared with? Name it with --base-ref, --base-bin, --base-worker or \
                           --baseline; or a configuration with --candidate";
                Err(BadUsage(why.to_owned()))
            }
        }
    }
}

pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    if let (Some(folder), true) = (&arguments.history, arguments.only_shows()) {
        return show(&History::open(folder)?, &arguments);
    }
    let interrupt = Interrupt::listen()?;
    let narrator = Narrator::new(arguments.view.quiet, &interrupt);
    if arguments.counts {
        return count(&arguments, &narrator, &interrupt);
    }
    let gate = arguments.order()?.begin()?;
    arguments.files.check(arguments.save.as_ref())?;
    if !arguments.view.quiet {
        note(present::style().paragraph(&gate.title()).trim_end());
    }
    let setup = Setup { allowed: !arguments.no_setup, named: false, tell: &narrator };
    let ended = gate.run(setup, &interrupt);
    setup.tell.done();
    let ended = match stopped(&ended, &interrupt) {
        Some(code) => return Ok(code),
        None => ended?,
    };
    let report = &ended.report;
    // What was found comes first: a file that can't be written must not hide it.
    let code = tell(report, &arguments, ended.signal)?;
    if let (Some(file), Some(stored)) = (&arguments.save, &ended.stored) {
        stored.write(file).map_err(|error| BadUsage(format!("{error:#}")))?;
        note(&format!("kept in {}", file.display()));
    }
    if let Some(error) = ended.lost {
        return Err(error.context("the gate was not remembered"));
    }
    if let Some(folder) = &arguments.history {
        draw_trends(folder, &report.trends)?;
    }
    Ok(code)
}

/// Prints and writes what was found, and says how it ended.
fn tell(report: &GateReport, arguments: &Arguments, signal: Option<u8>) -> anyhow::Result<u8> {
    if report.stages.is_empty() && signal.is_none() {
        return Ok(exit::DONE);
    }
    if arguments.view.json {
        output::print_json(report)?;
    } else if !report.stages.is_empty() {
        output::print(&emit::gate::render(report, present::style()))?;
    }
    arguments.files.write(report)?;
    Ok(match (signal, report.verdict()) {
        (Some(signal), _) => exit::interrupted(signal),
        (None, Verdict::Pass | Verdict::Improved) => exit::DONE,
        (None, Verdict::Regression) => exit::REGRESSION,
        (None, Verdict::Ambiguous | Verdict::Invalid) => exit::CANNOT_TELL,
    })
}

/// `--counts`.
fn count(arguments: &Arguments, narrator: &Narrator, interrupt: &Interrupt) -> anyhow::Result<u8> {
    arguments.files.check(arguments.save.as_ref())?;
    let order = counts::Order {
        suite: arguments.suite.clone(),
        config: arguments.config.clone(),
        replica: arguments.replica,
    };
    let new = program(&arguments.new_bin, &None, "--new-worker")?;
    let compared = counted::compare(&order, &arguments.base()?, &new, narrator);
    narrator.done();
    let compared = match stopped(&compared, interrupt) {
        Some(code) => return Ok(code),
        None => compared?,
    };
    let code = tell(&compared.report, arguments, interrupt.signal())?;
    if let (Some(file), Some(counts)) = (&arguments.save, &compared.counts) {
        let text = serde_json::to_string_pretty(counts)? + "\n";
        write(file, &text)?;
        note(&format!("kept in {}", file.display()));
    }
    Ok(code)
}

/// The exit code, if somebody stopped us while the base was built.
fn stopped<T>(ended: &anyhow::Result<T>, interrupt: &Interrupt) -> Option<u8> {
    let error = ended.as_ref().err()?;
    let stopped = matches!(error.downcast_ref(), Some(NoBase::Stopped));
    stopped.then(|| exit::interrupted(interrupt.signal().unwrap_or_default()))
}

/// Prints the trends of a history, and draws them.
fn show(history: &History, arguments: &Arguments) -> anyhow::Result<u8> {
    let trends = history.trends();
    draw_trends(history.folder(), &trends)?;
    if arguments.view.json {
        output::print_json(&trends)?;
    } else if trends.is_empty() {
        note("no gate is remembered there yet");
    } else {
        output::print(&emit::gate::render_trends(&trends, present::style()))?;
    }
    Ok(exit::DONE)
}

/// Draws trends into the folder of the history: the last one of a stage by the stage's name.
fn draw_trends(folder: &Path, trends: &[Trend]) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    for trend in trends.iter().filter(|trend| !trend.levels.is_empty()) {
        let plot = emit::plots::trend(trend, scratch.path())?;
        write(&folder.join(format!("{}.svg", plot.name)), &plot.svg)?;
    }
    Ok(())
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
