//! The bare command: tune.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::exit::{self, BadUsage, NothingReal};
use super::output::note;
use super::present::{self, View};
use super::progress::{Bars, Narrator};
use crate::addon::Setup;
use crate::backend::fake;
use crate::emit::env;
use crate::hardware::{Card, Machine, Provenance, Target, TargetError};
use crate::item::Item;
use crate::predict::Forecast;
use crate::provision;
use crate::record::{Recording, References};
use crate::runner::{Interrupt, Runner};
use crate::store::{Entry, Run, RunFolder, RunHeader, StoreError, corpus_lines};
use crate::suite::{self, Engine, Folder, Overrides, Suite, SuiteSource};
use crate::telemetry::{Address, Watch};
use crate::tune::{self, Ending, Expected, Tuning};

/// The suite that is tuned when none is named, on the processor…
const DEFAULT_SUITE: &str = "minilm";
/// …and on a GPU, or for one.
const GPU_SUITE: &str = "minilm-gpu";

#[derive(Args)]
pub struct Arguments {
    /// The target: auto, cpu, cuda:0, mps, or a card such as rtx3090; for a card that isn't here it's predicted
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub gpu: String,
    /// Use only so much of the GPU's memory, as a smaller card would have: a size, or a card's name
    #[arg(long, value_name = "SIZE|CARD")]
    pub emulate_vram: Option<String>,
    /// A suite's name (see `autotune list`) or file [default: minilm; of a GPU minilm-gpu]
    #[arg(long, value_name = "NAME|FILE")]
    pub suite: Option<String>,
    #[command(flatten)]
    pub changes: Changes,
    /// Put the run here [default: results/runs/<time>-<suite>-<target>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in DIR; only --budget may change
    #[arg(long, value_name = "DIR", conflicts_with_all = ["gpu", "emulate_vram", "measured", "suite", "out", "model", "backend", "dtype", "set", "objective", "limit", "search", "seed", "dialect", "replica"])]
    pub resume: Option<PathBuf>,
    /// Write the settings to FILE too
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Provide nothing: engines that would have to be downloaded or built are left out (see `autotune setup`)
    #[arg(long)]
    pub no_setup: bool,
    /// Refuse anything but a measurement on the target itself
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
    /// Use this model instead of the suite's
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Use these backends instead of the suite's
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    backend: Option<Vec<String>>,
    /// Use these precisions instead of the suite's; short for --set dtype=…
    #[arg(long, value_name = "fp32,…")]
    dtype: Option<String>,
    /// Use these values of a knob, or of a stage's knob by STAGE.KNOB, instead of the suite's
    #[arg(long, value_name = "KNOB=v1,v2")]
    set: Vec<String>,
    /// What to make best: a figure of `autotune list`
    #[arg(long, value_name = "FIGURE")]
    objective: Option<String>,
    /// A limit besides the suite's, such as "vram<=8GiB"
    #[arg(long, value_name = "LIMIT")]
    limit: Vec<String>,
    /// How much to measure, such as 10m or 40trials
    #[arg(long, value_name = "BUDGET")]
    budget: Option<String>,
    /// How to choose what to try: grid or random
    #[arg(long, value_name = "NAME")]
    search: Option<String>,
    /// For everything that is drawn at random
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The words in which the settings are written: a dialect of `autotune list`
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,
    /// Make up the weights of the models, at full size: throughput and memory are real, quality isn't
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
        Ok(Overrides {
            model: self.model.clone(),
            backends: self.backend.clone(),
            set: set.collect::<Result<_, _>>()?,
            objective: self.objective.clone(),
            limits: self.limit.clone(),
            budget: self.budget.clone(),
            search: self.search.clone(),
            seed: self.seed,
            dialect: self.dialect.clone(),
            replica: self.replica,
        })
    }
}

pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    if let Some(file) = &arguments.env_file {
        // Better now than after an hour of measuring.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() || file.is_dir() {
            return Err(BadUsage(format!("--env-file {}: it can't be written there", file.display())).into());
        }
    }
    let mut ready = match &arguments.resume {
        Some(folder) => resume(&arguments, folder)?,
        None => begin(&arguments)?,
    };
    if let Some(torn) = ready.before.as_ref().and_then(|run| run.torn.as_ref()) {
        note(&format!(
            "warning: line {} of the journal was cut short and is dropped; its trial is measured again",
            torn.line
        ));
    }
    // What wasn't available is tried again: the remedy may have been followed.
    let nothing_left =
        ready.before.as_ref().is_some_and(|run| !has_more(run)) && arguments.changes.budget.is_none();
    let ending = match ready.target.provenance {
        _ if nothing_left => Ok(Ending::Finished),
        Provenance::Predicted => predict(&arguments, &mut ready, interrupt),
        Provenance::Measured | Provenance::Simulated => tune(&arguments, &mut ready, interrupt),
    };
    let run = Run::read(ready.folder.path())?;
    let shown = || {
        let outcome = present::write(&ready.suite, &run)?;
        present::show(&outcome, &arguments.view, ready.folder.path())?;
        anyhow::Ok(outcome)
    };
    let (ending, outcome) = match ending {
        Ok(ending) => (ending, shown()?),
        Err(error) => {
            // What was measured before is reported as far as it can be; the error is what the user must hear.
            if !run.recordings.is_empty() {
                let _ = shown();
            }
            return Err(error);
        }
    };
    if let Some(file) = &arguments.env_file {
        present::write_env_file(&outcome, file)?;
    }
    Ok(match ending {
        Ending::Interrupted { signal } => exit::interrupted(signal),
        Ending::Finished if outcome.analysis.complete() => exit::DONE,
        Ending::Finished => exit::NO_CANDIDATE,
    })
}

/// Everything that a tuning needs, new or taken up again.
struct Ready {
    suite: Suite,
    target: Target,
    machine: Machine,
    documents: Vec<Item>,
    source_folder: Folder,
    folder: RunFolder,
    before: Option<Run>,
}

/// Whether there is anything left to try of a run: it was broken off, or something wasn't available then.
fn has_more(run: &Run) -> bool {
    let lacked = || run.recordings.iter().any(Recording::was_not_available);
    !run.finished() || (run.header.target.device.is_some() && lacked())
}

fn begin(arguments: &Arguments) -> anyhow::Result<Ready> {
    let machine = super::machine::here();
    let source = SuiteSource::find(arguments.suite.as_deref().unwrap_or_else(|| {
        // A target that isn't one is refused below.
        let is_gpu = Target::resolve(&arguments.gpu, &machine).is_ok_and(|target| target.is_gpu());
        if is_gpu { GPU_SUITE } else { DEFAULT_SUITE }
    }))?;
    let overrides = arguments.changes.overrides()?;
    let mut suite = suite::parse(&source, &overrides, &env::names())?;
    let documents = suite.documents(&source.folder)?;
    let mut target = target(arguments, &suite, &machine)?;
    if target.device.is_some() && !arguments.view.quiet {
        let choice = match arguments.gpu.as_str() {
            "auto" => target.choice(&machine),
            _ => format!("{}, {}", target.device.as_deref().unwrap_or_default(), target.description),
        };
        let choice = format!("target: {choice}");
        note(present::style().paragraph(&choice).trim_end());
    }
    if suite.lacks_price() {
        target.price_per_hour = target.card().and_then(|card| card.price_per_hour);
    }
    let started = jiff::Timestamp::now();
    let folder = arguments.out.clone().unwrap_or_else(|| {
        let time = started.strftime("%Y%m%d-%H%M%S");
        PathBuf::from(format!("results/runs/{time}-{}-{}", suite.name, target.name))
    });
    // Absolute: the worker reads the corpus in it from wherever the worker is started.
    let folder = std::path::absolute(folder)?;
    let header = RunHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: env!("AUTOTUNE_REVISION").to_owned(),
        command_line: command_line(),
        suite_digest: suite.digest.clone(),
        corpus_digest: suite::digest(&corpus_lines(&documents)),
        source,
        overrides,
        target,
        machine: machine.clone(),
    };
    let (source_folder, target) = (header.source.folder.clone(), header.target.clone());
    suite.take_price(target.price_per_hour);
    suite.check_price(&header.source.file)?;
    let folder = RunFolder::create(&folder, header, &documents)?;
    Ok(Ready { suite, target, machine, documents, source_folder, folder, before: None })
}

fn resume(arguments: &Arguments, folder: &Path) -> anyhow::Result<Ready> {
    let (mut folder, run) = RunFolder::resume(&std::path::absolute(folder)?)?;
    let mut suite = present::suite_of(&run)?;
    let header = &run.header;
    // A run in which nothing real is measured asks no driver.
    let machine =
        if header.target.device.is_some() { super::machine::here() } else { header.machine.clone() };
    if header.target.device.is_some()
        && let Some(why) = header.machine.differs_from(&machine)
    {
        let why =
            format!("this run was begun on another machine: {why}. Figures of two machines make no verdict");
        return Err(StoreError::Changed { file: run.path.display().to_string(), why }.into());
    }
    let changed = arguments.changes.budget.clone();
    if let Some(budget) = changed.clone().or_else(|| run.budget.clone()) {
        let overrides = Overrides { budget: Some(budget), ..header.overrides.clone() };
        suite.budget = suite::parse(&header.source, &overrides, &env::names())?.budget;
    }
    let documents = run.documents()?;
    if has_more(&run) || changed.is_some() {
        folder.append(Entry::Resumed { revision: env!("AUTOTUNE_REVISION").to_owned(), budget: changed })?;
    }
    let (target, source_folder) = (header.target.clone(), header.source.folder.clone());
    Ok(Ready { suite, target, machine, documents, source_folder, folder, before: Some(run) })
}

fn tune(arguments: &Arguments, ready: &mut Ready, interrupt: Interrupt) -> anyhow::Result<Ending> {
    let (recordings, references) = match &ready.before {
        Some(run) => {
            let mut recordings = run.recordings.clone();
            recordings.retain(|recording| !recording.was_not_available());
            (recordings, ready.folder.references(run))
        }
        None => (Vec::new(), References::new()),
    };
    let corpus = ready.folder.corpus();
    let narrator = Narrator::new(arguments.view.quiet, &interrupt);
    let setup = Setup { allowed: !arguments.no_setup, named: false, tell: &narrator };
    let device = ready.target.device.as_deref();
    let mut supplies = provision::supplies(&ready.suite, &ready.machine, &ready.target, setup);
    narrator.finish();
    if let Some(signal) = interrupt.signal() {
        // While something was provided: nothing was tried, and nothing is to blame.
        ready.folder.append(Entry::Interrupted { signal })?;
        return Ok(Ending::Interrupted { signal });
    }
    supplies.program = std::env::current_exe()?;
    let mut runner = Runner::new(
        &ready.suite,
        &ready.target,
        &ready.source_folder,
        &ready.documents,
        &corpus,
        &supplies,
        interrupt.clone(),
    )
    .watching(watch(&ready.machine, device));
    runner.remember(&recordings);
    let on_card = device.is_some_and(|device| device.starts_with("cuda"));
    let expected = on_card.then(|| Expected {
        forecast: Forecast::new(&ready.suite, &ready.documents, supplies.folders.clone()),
        capability: ready.target.card().and_then(Card::capability),
    });
    let mut bars = Bars::new(arguments.view.quiet);
    let tuning = Tuning {
        suite: &ready.suite,
        folder: &mut ready.folder,
        runner,
        interrupt,
        progress: &mut bars,
        recordings,
        references,
        expected,
    };
    let ending = tuning.run();
    bars.finish();
    Ok(ending?)
}

/// Watches a card, where the target is one.
pub fn watch(machine: &Machine, device: Option<&str>) -> Watch {
    let address = device.and_then(|device| Address::of(machine, device));
    match (&machine.no_nvml, address) {
        (Some(why), Some(_)) if machine.driver_hangs => Watch::impossible(why.clone()),
        (_, address) => Watch::of(address),
    }
}

fn predict(arguments: &Arguments, ready: &mut Ready, interrupt: Interrupt) -> anyhow::Result<Ending> {
    let card = ready.target.card().with_context(|| {
        format!(
            "the table of GPUs of this version doesn't have {:?}, which the run is for",
            ready.target.name
        )
    })?;
    let folders = provision::outlines(&ready.suite, |what| {
        if !arguments.view.quiet {
            note(what);
        }
    });
    let mut forecast = Forecast::new(&ready.suite, &ready.documents, folders);
    let before = ready.before.as_ref().map_or(&[][..], |run| &run.recordings);
    let mut bars = Bars::new(arguments.view.quiet);
    let (suite, folder) = (&ready.suite, &mut ready.folder);
    let ending = tune::predict(suite, folder, &mut forecast, card, before, &interrupt, &mut bars);
    bars.finish();
    Ok(ending?)
}

/// The target of a new run. A suite that measures nothing real needs no GPU, and gets no name of a real one but as a label.
fn target(arguments: &Arguments, suite: &Suite, machine: &Machine) -> anyhow::Result<Target> {
    if arguments.predicted {
        // A card that is hidden can be predicted like any other.
        let gpus = machine.gpus.iter().filter(|gpu| !gpu.name.contains(" MIG ")).cloned().collect();
        let machine = Machine { hidden: Vec::new(), gpus, ..machine.clone() };
        return Ok(Target::resolve(&arguments.gpu, &machine)?.to_predict()?);
    }
    let target = any_target(arguments, suite, machine)?;
    Ok(match &arguments.emulate_vram {
        Some(wanted) => target.with_emulated_vram(wanted)?,
        None => target,
    })
}

fn any_target(arguments: &Arguments, suite: &Suite, machine: &Machine) -> anyhow::Result<Target> {
    let scripts: Vec<_> = suite.backends.iter().filter(|backend| backend.kind == fake::NAME).collect();
    if scripts.len() < suite.backends.len() {
        let target = Target::resolve(&arguments.gpu, machine)?;
        if arguments.measured && target.provenance == Provenance::Predicted {
            return Err(TargetError::NotMeasurable {
                name: target.title().to_owned(),
                here: machine.gpu_line(),
            }
            .into());
        }
        return Ok(target);
    }
    if arguments.measured {
        return Err(NothingReal.into());
    }
    let version = |engine: &Engine| match engine {
        Engine::BuiltIn { settings } => settings["version"].as_str().unwrap_or_default().to_owned(),
        Engine::Command { .. } => String::new(),
    };
    let versions: Vec<String> = scripts.iter().map(|backend| version(&backend.engine)).collect();
    Ok(Target::simulated(Some(&arguments.gpu), &versions.join(", ")))
}

/// The command as a person would type it again.
fn command_line() -> Vec<String> {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        *program = "autotune".to_owned();
    }
    words
}
