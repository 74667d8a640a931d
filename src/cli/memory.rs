//! `autotune memory`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::exit::{self, BadUsage};
use super::output::note;
use super::present::{self, View};
use super::progress::Narrator;
use crate::addon::Setup;
use crate::analysis::{self, MemoryReport, MemoryRow};
use crate::backend::DTYPE;
use crate::emit;
use crate::hardware::{Machine, Provenance, Target, TargetError};
use crate::knob::{Applies, Candidate, Value};
use crate::model;
use crate::pipeline::{BATCH_SIZE, MAX_TOKENS};
use crate::provision::models::{self, Replica};
use crate::provision::{self, registry};
use crate::record::{Failure, Footprint, Status};
use crate::runner::{Course, Interrupt, Stopped, Supplies};
use crate::store::corpus_lines;
use crate::suite::{self, ChosenBackend, Synthetic};
use crate::task::Task;
use crate::units::did_you_mean;
use crate::worker::protocol::{Load, ONE_MODEL, Slot};

const HELP: &str = "Each model is loaded, run over one batch and unloaded by each backend in each precision, several times in one process \
     that is watched from outside. The first load is cold: its files are dropped from the page cache before, and libraries \
     are loaded, too. A leak is told from seven rounds on. It's a finding and no failure, so the exit code is 0 all the same.";

#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Models: names (see `autotune list`), repositories, or folders
    #[arg(long, value_name = "NAME|DIR,…", value_delimiter = ',', default_value = "all-MiniLM-L6-v2")]
    model: Vec<String>,
    /// What the models are to do [default: what each is for, or else embed]
    #[arg(long, value_name = "TASK", value_parser = PossibleValuesParser::new(Task::ALL.map(Task::name)))]
    task: Option<String>,
    /// Where they run: auto, cpu, cuda:0, …
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
    /// Tokens of each document [default: as many as the network reads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..))]
    max_tokens: Option<u32>,
    /// Loads and unloads of each; 50 are enough for small leaks
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Make up the weights of the models, at full size
    #[arg(long)]
    replica: bool,
    /// Provide nothing: engines that would have to be downloaded or built are left out
    #[arg(long)]
    no_setup: bool,
    /// Write every round to FILE, as CSV
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    view: View,
}

pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    let candidates = candidates(&arguments)?;
    let machine = super::machine::here();
    let program = std::env::current_exe()?;
    let places = places(&arguments, &machine, &program, &interrupt, &candidates)?;
    let mut out = arguments.out.as_deref().map(Output::create).transpose()?;
    let plan = Plan { arguments: &arguments, machine, places, candidates, interrupt };
    let mut report = MemoryReport { batch_size: arguments.batch, rounds: arguments.rounds, rows: Vec::new() };
    let ending = plan.measure(&mut report)?;
    if let Some(out) = &mut out {
        out.write(&report)?;
    }
    if arguments.view.json {
        super::output::print_json(&report)?;
    } else if !report.rows.is_empty() {
        super::output::print(&emit::memory::render(&report, present::style()))?;
    }
    Ok(match ending {
        Err(_) => exit::interrupted(plan.interrupt.signal().unwrap_or_default()),
        Ok(()) if report.rows.iter().any(MemoryRow::is_ok) => exit::DONE,
        Ok(()) => exit::NO_CANDIDATE,
    })
}

impl Arguments {
    fn tell(&self, what: &str) {
        if !self.view.quiet {
            note(what);
        }
    }
}

/// All that is to be measured, and with what.
struct Plan<'a> {
    arguments: &'a Arguments,
    machine: Machine,
    places: Vec<Place>,
    /// Each with its backend.
    candidates: Vec<(ChosenBackend, Candidate)>,
    interrupt: Interrupt,
}

/// Where models are to run.
struct Place {
    /// As it was asked for, or where that is.
    device: String,
    /// Or why nothing can run there.
    target: Result<Target, Failure>,
    /// What built-in backends need there.
    supplies: Supplies,
}

impl Plan<'_> {
    /// Adds a row for each configuration. Whoever stops it keeps those that are finished.
    fn measure(&self, report: &mut MemoryReport) -> anyhow::Result<Result<(), Stopped>> {
        for name in &self.arguments.model {
            let subject = Subject::find(name, self.arguments)?;
            for place in &self.places {
                let device = place.target.as_ref().ok().and_then(|target| target.device.as_deref());
                let mut watch = super::tune::watch(&self.machine, device);
                for (backend, candidate) in &self.candidates {
                    let footprint = match self.course(&subject, place, backend, candidate) {
                        Err(failure) => Footprint { failure: Some(failure), ..Footprint::default() },
                        Ok(course) => {
                            let dtype = candidate.word(DTYPE);
                            self.arguments
                                .tell(&format!("{name} on {}: {} {dtype}", place.device, backend.name));
                            match course.run(&mut watch, &self.interrupt, |_| ()) {
                                Ok(footprint) => footprint,
                                Err(stopped) => return Ok(Err(stopped)),
                            }
                        }
                    };
                    report.rows.push(subject.row(&place.device, candidate.clone(), footprint));
                }
            }
        }
        Ok(Ok(()))
    }

    /// What a worker is to be taken through, or why it can't be.
    fn course<'a>(
        &self,
        subject: &Subject,
        place: &'a Place,
        backend: &ChosenBackend,
        candidate: &Candidate,
    ) -> Result<Course<'a>, Failure> {
        let target = place.target.as_ref().map_err(Clone::clone)?;
        for spec in backend.knobs.iter().filter(|spec| spec.name == DTYPE) {
            let refused = |why| Failure::new(Status::Refused, format!("{}: {why}", backend.name));
            spec.kind.parse(&candidate.word(DTYPE)).map_err(refused)?;
        }
        let engine = place.supplies.engine(&backend.kind, target.device.as_deref());
        let worker = engine.and_then(|engine| engine.program.clone()).transpose()?;
        let program = worker.as_ref().map_or(&place.supplies.program, |worker| &worker.path);
        let command = vec![program.display().to_string(), "worker".to_owned()];
        let folder = subject.folder.clone()?;
        let load = Load {
            protocol: ONE_MODEL,
            slot: Slot::default(),
            backend: backend.name.clone(),
            kind: backend.kind.clone(),
            task: subject.task,
            model: subject.name.clone(),
            folder: Some(folder.display().to_string()),
            device: target.device.clone(),
            device_memory: target.device_memory().map(|memory| memory.0),
            knobs: candidate.knobs.clone(),
            settings: engine.and_then(|engine| engine.settings.clone()).unwrap_or_default(),
            corpus: subject.corpus.path().display().to_string(),
        };
        Ok(Course {
            command,
            folder: PathBuf::from("."),
            target,
            receipt: worker.map(|worker| worker.receipt),
            load,
            knobs: backend.knobs_of(candidate, Applies::Run),
            rounds: self.arguments.rounds,
        })
    }
}

/// A name that means nothing is a slip and ends it all; what isn't here is a row with that reason.
fn places(
    arguments: &Arguments,
    machine: &Machine,
    program: &Path,
    interrupt: &Interrupt,
    candidates: &[(ChosenBackend, Candidate)],
) -> anyhow::Result<Vec<Place>> {
    let narrator = Narrator::new(arguments.view.quiet, interrupt);
    let setup = Setup { allowed: !arguments.no_setup, named: false, tell: &narrator };
    let absent = |wanted: &String, why: String| {
        let target = Err(Failure::new(Status::NotAvailable, why));
        Ok(Place { device: wanted.clone(), target, supplies: Supplies::default() })
    };
    let place = |wanted: &String| match Target::resolve(wanted, machine) {
        Ok(target) if target.provenance == Provenance::Predicted => absent(wanted, target.description),
        Err(TargetError::NoSuchDevice { device, here }) => {
            absent(wanted, format!("{device} is not in this machine ({here})"))
        }
        Err(error) => Err(error.into()),
        Ok(target) => {
            let all: Vec<&Candidate> = candidates.iter().map(|(_, candidate)| candidate).collect();
            let engines = provision::engines(&all, machine, &target, setup);
            narrator.finish();
            let supplies = Supplies { program: program.to_owned(), engines, ..Supplies::default() };
            let device = target.device.clone().unwrap_or_else(|| target.name.clone());
            Ok(Place { device, target: Ok(target), supplies })
        }
    };
    arguments.gpu.iter().map(place).collect()
}

/// Every backend in every precision, whether it has that or not.
fn candidates(arguments: &Arguments) -> Result<Vec<(ChosenBackend, Candidate)>, BadUsage> {
    let known = suite::built_in_backends();
    let mut candidates = Vec::new();
    for name in &arguments.backend {
        let backend = known.iter().find(|backend| backend.name == *name).ok_or_else(|| {
            let names = known.iter().map(|backend| backend.name.as_str());
            BadUsage(format!("--backend: no backend is called {name:?}{}", did_you_mean(name, names)))
        })?;
        for dtype in &arguments.dtype {
            let mut candidate = backend.default_candidate();
            let mut set = |knob: &str, value: Value| candidate.knobs.insert(knob.to_owned(), value);
            set(DTYPE, Value::Text(dtype.clone()));
            set(BATCH_SIZE.name, Value::Integer(i64::from(arguments.batch)));
            if let Some(tokens) = arguments.max_tokens {
                set(MAX_TOKENS.name, Value::Integer(i64::from(tokens)));
            }
            candidates.push((backend.clone(), candidate));
        }
    }
    Ok(candidates)
}

/// A model, and the documents that fill its batch.
struct Subject {
    name: String,
    task: Task,
    replica: bool,
    folder: Result<PathBuf, Failure>,
    corpus: tempfile::NamedTempFile,
}

/// The words of a document whose model doesn't say how much it reads: as much as BERT does.
const MOST_WORDS: usize = 512;

impl Subject {
    fn find(name: &str, arguments: &Arguments) -> anyhow::Result<Subject> {
        let own = registry::find(name).map_or(Task::Embed, |(_, model)| model.task);
        let wanted = arguments.task.as_deref();
        let task = Task::ALL.into_iter().find(|task| Some(task.name()) == wanted).unwrap_or(own);
        let replica = if arguments.replica { Replica::For(task) } else { Replica::Never };
        let home = models::resolve(name, replica);
        let folder =
            home.as_ref().map(|home| home.folder.clone()).map_err(|missing| Failure::from(missing.clone()));
        let most_tokens = || model::most_tokens(folder.as_ref().ok()?, task).ok();
        let asked = arguments.max_tokens.and_then(|tokens| usize::try_from(tokens).ok());
        // No word is less than a token, so that many words are cut.
        let words = asked.or_else(most_tokens).unwrap_or(MOST_WORDS);
        let documents = Synthetic {
            documents: arguments.batch as usize,
            median_words: words as f64,
            spread: 0.0,
            most_words: words,
            queries: usize::from(task == Task::Rerank),
            seed: 0,
        };
        let mut corpus = tempfile::Builder::new().prefix("autotune-").suffix(".jsonl").tempfile()?;
        corpus.write_all(corpus_lines(&documents.documents()).as_bytes())?;
        let replica = home.is_ok_and(|home| home.replica);
        Ok(Subject { name: name.to_owned(), task, replica, folder, corpus })
    }

    fn row(&self, device: &str, candidate: Candidate, footprint: Footprint) -> MemoryRow {
        let failure = footprint.failure.as_ref();
        MemoryRow {
            model: self.name.clone(),
            task: self.task,
            replica: self.replica,
            device: device.to_owned(),
            candidate,
            status: failure.map_or("ok", |failure| failure.status.name()).to_owned(),
            reason: failure.map(Failure::in_words),
            taken: analysis::taken(&footprint),
            footprint,
        }
    }
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
