//! The bare command: tune.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{self, BadUsage};
use super::output::note;
use super::present::{self, View};
use super::progress::{Bars, Narrator};
use crate::addon::Setup;
use crate::runner::Interrupt;
use crate::suite::Overrides;
use crate::tune::{Ending, Job, Order};

#[derive(Args)]
pub struct Arguments {
    /// The target: auto, cpu, cuda:0, mps, or a card such as rtx3090; a card that is not in this machine is predicted
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub gpu: String,
    /// Limit the GPU memory to that of a smaller card: a size, or a card's name
    #[arg(long, value_name = "SIZE|CARD")]
    pub emulate_vram: Option<String>,
    /// A suite's name (see `autotune list`) or file [default: minilm; on a GPU minilm-gpu]
    #[arg(long, value_name = "NAME|FILE")]
    pub suite: Option<String>,
    #[command(flatten)]
    pub changes: Changes,
    /// Start with what another run found, on another device or of another model
    #[arg(long, value_name = "RUN")]
    pub prior: Option<PathBuf>,
    /// The run's folder [default: results/runs/<time>-<suite>-<target>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue the run in DIR; only --budget may change
    #[arg(long, value_name = "DIR", conflicts_with_all = ["gpu", "emulate_vram", "measured", "suite", "out", "model", "corpus", "text", "backend", "dtype", "set", "objective", "limit", "no_confirm", "search", "seed", "dialect", "replica", "prior"])]
    pub resume: Option<PathBuf>,
    /// Also write the settings to FILE
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Download and build nothing: skip engines that are not set up yet (see `autotune setup`)
    #[arg(long)]
    pub no_setup: bool,
    /// Fail unless the target itself can be measured
    #[arg(long)]
    pub measured: bool,
    #[command(flatten)]
    pub view: View,
    /// Predict, even if the target is in this machine: the verb `predict`.
    #[arg(skip)]
    pub predicted: bool,
}

/// What the command line changes in a suite.
#[derive(Args)]
pub struct Changes {
    /// Use this model instead of the suite's; of a suite with several stages, `STAGE=MODEL`
    #[arg(long, value_name = "NAME|DIR")]
    model: Vec<String>,
    /// Use these documents instead of the suite's: a file (.jsonl, .csv, .tsv, .txt, .md, also .gz), a BEIR folder, or a folder of texts
    #[arg(long, value_name = "FILE|DIR")]
    corpus: Option<String>,
    /// The field or column of --corpus that has the text, or several to join [default: text]
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',', requires = "corpus")]
    text: Vec<String>,
    /// What the files of --corpus are written in: latin1, utf-16le, … [default: UTF-8]
    #[arg(long, value_name = "NAME", requires = "corpus")]
    encoding: Option<String>,
    /// Use these backends instead of the suite's
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    backend: Option<Vec<String>>,
    /// Use these precisions instead of the suite's; short for --set dtype=…
    #[arg(long, value_name = "fp32,…")]
    dtype: Option<String>,
    /// Use these values of a knob, or of a stage's knob by STAGE.KNOB, instead of the suite's
    #[arg(long, value_name = "KNOB=v1,v2")]
    set: Vec<String>,
    /// The figure to optimise, from `autotune list`
    #[arg(long, value_name = "FIGURE")]
    objective: Option<String>,
    /// A limit in addition to the suite's, such as "vram<=8GiB"
    #[arg(long, value_name = "LIMIT")]
    limit: Vec<String>,
    /// How much to measure, such as 30s, 10m or 40trials; with --resume the total, what was measured before included
    #[arg(long, value_name = "BUDGET")]
    budget: Option<String>,
    /// How often to measure each candidate that can still win, in turn with the others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Leave out the confirmation of the best, which takes a quarter of the budget
    #[arg(long)]
    no_confirm: bool,
    /// How to choose what to try: guided, grid or random
    #[arg(long, value_name = "NAME")]
    search: Option<String>,
    /// Seed of all random choices
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Which service's settings to write: a dialect from `autotune list`
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,
    /// Use random weights, at the models' full size: throughput and memory are real, quality is not
    #[arg(long)]
    replica: bool,
}

impl Changes {
    pub fn overrides(&self) -> Result<Overrides, BadUsage> {
        let dtype = self.dtype.iter().map(|values| format!("dtype={values}"));
        let set = self.set.iter().cloned().chain(dtype).map(|text| {
            let (knob, values) = text
                .split_once('=')
                .ok_or_else(|| BadUsage(format!("--set {text}: write KNOB=value or KNOB=value,value")))?;
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            Ok((knob.trim().to_owned(), values))
        });
        // Absolute: the run may be taken up from another folder.
        let corpus = self.corpus.as_ref().map(std::path::absolute).transpose();
        let corpus = corpus.map_err(|error| BadUsage(format!("--corpus: {error}")))?;
        Ok(Overrides {
            model: self.model.iter().find(|model| of_stage(model).is_none()).cloned(),
            models: self.model.iter().filter_map(|model| of_stage(model)).collect(),
            corpus: corpus.map(|path| path.display().to_string()),
            text: self.text.clone(),
            encoding: self.encoding.clone(),
            backends: self.backend.clone(),
            set: set.collect::<Result<_, _>>()?,
            objective: self.objective.clone(),
            limits: self.limit.clone(),
            budget: self.budget.clone(),
            rounds: self.rounds,
            no_confirm: self.no_confirm,
            search: self.search.clone(),
            seed: self.seed,
            dialect: self.dialect.clone(),
            replica: self.replica,
        })
    }
}

impl Arguments {
    fn order(&self) -> Result<Order, BadUsage> {
        Ok(Order {
            gpu: self.gpu.clone(),
            emulate_vram: self.emulate_vram.clone(),
            suite: self.suite.clone(),
            overrides: self.changes.overrides()?,
            out: self.out.clone(),
            measured: self.measured,
            predicted: self.predicted,
            prior: self.prior.clone(),
            command_line: command_line(),
        })
    }
}

pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    if let Some(file) = &arguments.env_file {
        // Better now than after an hour of measuring.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() || file.is_dir() {
            return Err(BadUsage(format!("--env-file {}: this file can't be written", file.display())).into());
        }
    }
    let narrator = Narrator::new(arguments.view.quiet, &interrupt);
    let budget = arguments.changes.budget.as_deref();
    let mut job = match &arguments.resume {
        Some(folder) => Job::resume(folder, budget)?,
        None => arguments.order()?.begin(&narrator)?,
    };
    if let Some(line) = job.torn_line() {
        note(&format!(
            "warning: line {line} of the journal was cut short and is dropped; its trial is measured again"
        ));
    }
    let mut bars = Bars::new(arguments.view.quiet);
    let ending = if job.has_more() || budget.is_some() {
        let setup = Setup { allowed: !arguments.no_setup, named: false, tell: &narrator };
        job.run(setup, &interrupt, &mut bars)
    } else {
        Ok(Ending::Finished)
    };
    bars.finish();
    let report = job.report();
    let ending = match ending {
        Ok(ending) => ending,
        Err(error) => {
            // What was measured before is reported as far as it can be; the error is what the user must hear.
            if let Some(report) = report.ok().filter(|report| !report.analysis.is_empty()) {
                let _ = present::show(&report, &arguments.view, job.folder());
            }
            return Err(error);
        }
    };
    let report = report?;
    present::show(&report, &arguments.view, job.folder())?;
    if let Some(file) = &arguments.env_file {
        present::write_settings(&report, file)?;
    }
    Ok(match ending {
        Ending::Interrupted { signal } => exit::interrupted(signal),
        Ending::Finished if report.analysis.complete() => exit::DONE,
        Ending::Finished => exit::NO_CANDIDATE,
    })
}

/// The command as a person would type it again.
fn command_line() -> Vec<String> {
    let mut words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(program) = words.first_mut() {
        *program = "autotune".to_owned();
    }
    words
}
/// `STAGE=MODEL`, where it's that and no path.
fn of_stage(model: &str) -> Option<(String, String)> {
    let (stage, model) = model.split_once('=').filter(|(stage, _)| !stage.contains('/'))?;
    Some((stage.to_owned(), model.to_owned()))
}
