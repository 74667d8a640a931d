//! Documents through a session: truncate, order, tokenise, pad, run, and make answers of the output.
//!
//! One piece of code for every backend that runs in our worker. Knows sessions, and no process and no file.

mod batching;
mod finish;
mod prepare;

use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, Clock, Session};
use crate::knob::{Applies, Candidate, Kind, KnobSpec, NO_LIMIT, Value};
use crate::task::{Answer, Document, Task};
use prepare::{Prepared, Preparer};

/// Batches that are prepared ahead of the one that computes: enough that neither side waits for the other's hiccups.
const BATCHES_AHEAD: usize = 2;

/// The knobs of the pipeline, which every built-in backend has besides its own.
pub fn knobs() -> Vec<KnobSpec> {
    vec![
        // 32 is what sentence-transformers does that is told nothing.
        run(
            "batch_size",
            Kind::Integer { least: 1, most: 65_536 },
            Value::Integer(32),
            "documents in a batch",
        )
        .with_reference(Value::Integer(8)),
        run(
            "batch_tokens",
            Kind::Limit,
            word(NO_LIMIT),
            "tokens in a batch, padding included, beyond which it's closed",
        ),
        run("max_tokens", Kind::Limit, word(NO_LIMIT), "tokens after which a text is cut"),
        run("max_chars", Kind::Limit, word(NO_LIMIT), "characters after which a text is cut"),
        run(
            "order",
            choice(&["arrival", "buckets", "length"]),
            word("arrival"),
            "which documents share a batch: as they come, of a like length as they come, or sorted by length",
        ),
        run(
            "padding",
            choice(&["padded", "packed"]),
            word("padded"),
            "how the texts of a batch lie: filled up to the longest, or one behind the other",
        ),
    ]
}

/// Knobs of backends that compute while threads of ours prepare. A simulated clock has no two things at once.
pub fn overlap_knobs() -> Vec<KnobSpec> {
    vec![
        run(
            "non_blocking",
            Kind::Switch,
            Value::Switch(false),
            "prepare the next batch while this one computes",
        ),
        run(
            "num_workers",
            Kind::Integer { least: 1, most: 64 },
            Value::Integer(1),
            "threads that tokenise a batch",
        ),
    ]
}

/// A knob that applies at a run, and costs no quality at its default.
fn run(name: &str, kind: Kind, default: Value, help: &str) -> KnobSpec {
    KnobSpec::new(name, Applies::Run, kind, default, help)
}

fn word(word: &str) -> Value {
    Value::Text(word.to_owned())
}

fn choice(words: &[&str]) -> Kind {
    Kind::Choice(words.iter().map(|word| word.to_string()).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Arrival,
    Buckets,
    Length,
}

/// The values of the pipeline's knobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub batch_size: usize,
    pub batch_tokens: Option<usize>,
    pub max_tokens: Option<usize>,
    pub max_chars: Option<usize>,
    pub order: Order,
    pub packed: bool,
    pub non_blocking: bool,
    pub num_workers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            batch_size: 32,
            batch_tokens: None,
            max_tokens: None,
            max_chars: None,
            order: Order::Arrival,
            packed: false,
            non_blocking: false,
            num_workers: 1,
        }
    }
}

impl Settings {
    /// Reads the knobs that [`knobs`] and [`overlap_knobs`] state. Values were checked against their kinds when the
    /// suite was read, and again here, because a worker must not trust who talks to it.
    pub fn of(candidate: &Candidate) -> Result<Settings, BackendError> {
        let mut settings = Settings::default();
        for spec in knobs().into_iter().chain(overlap_knobs()) {
            let given = candidate.knobs.get(&spec.name).unwrap_or(&spec.default);
            let value = spec
                .kind
                .accept(given)
                .map_err(|why| BackendError::Refused(format!("{}: {why}", spec.name)))?;
            settings.set(&spec.name, &value);
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &Value) {
        let count = match value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        let is = |word: &str| *value == Value::Text(word.to_owned());
        match name {
            "batch_size" => self.batch_size = count.unwrap_or(1),
            "batch_tokens" => self.batch_tokens = count,
            "max_tokens" => self.max_tokens = count,
            "max_chars" => self.max_chars = count,
            "order" if is("length") => self.order = Order::Length,
            "order" if is("buckets") => self.order = Order::Buckets,
            "padding" => self.packed = is("packed"),
            "non_blocking" => self.non_blocking = *value == Value::Switch(true),
            "num_workers" => self.num_workers = count.unwrap_or(1),
            _ => {}
        }
    }
}

/// One way through the whole corpus, as the clock saw it. All times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    pub seconds: f64,
    pub documents: u64,
    /// Tokens that went into the network, padding not counted.
    #[serde(default)]
    pub tokens: u64,
    /// Tokens that went into the network, padding counted.
    #[serde(default)]
    pub padded_tokens: u64,
    /// End to end, for each batch.
    #[serde(default)]
    pub batch_seconds: Vec<f64>,
    #[serde(default)]
    pub split: Split,
}

/// Where the seconds of a pass went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    pub tokenise: f64,
    pub pad: f64,
    pub to_device: f64,
    pub compute: f64,
    pub from_device: f64,
    pub finish: f64,
}

impl Split {
    pub const NAMES: [&str; 6] = ["tokenise", "pad", "to_device", "compute", "from_device", "finish"];

    pub fn parts(&self) -> [f64; 6] {
        [self.tokenise, self.pad, self.to_device, self.compute, self.from_device, self.finish]
    }
}

/// Takes every document through `session` once.
pub fn pass(
    session: &mut dyn Session,
    clock: &dyn Clock,
    task: Task,
    documents: &[Document],
    settings: &Settings,
) -> Result<(Pass, Vec<Answer>), BackendError> {
    let tokeniser = session.tokeniser(settings.max_tokens)?;
    let preparer = Preparer::new(documents, settings, &*tokeniser, clock);
    let mut run = Run::start(session, clock, task, documents.len());
    if settings.non_blocking {
        std::thread::scope(|scope| {
            let (sender, batches) = mpsc::sync_channel(BATCHES_AHEAD);
            scope.spawn(move || {
                for prepared in preparer {
                    // Nobody receives any more: the run has failed.
                    if sender.send(prepared).is_err() {
                        break;
                    }
                }
            });
            run.batches(batches.into_iter(), true)
        })?;
    } else {
        run.batches(preparer, false)?;
    }
    Ok(run.finish())
}

/// A pass that is under way.
struct Run<'a> {
    session: &'a mut dyn Session,
    clock: &'a dyn Clock,
    task: Task,
    start: Duration,
    pass: Pass,
    answers: Vec<Option<Answer>>,
}

impl<'a> Run<'a> {
    fn start(session: &'a mut dyn Session, clock: &'a dyn Clock, task: Task, documents: usize) -> Self {
        let pass = Pass { documents: documents as u64, ..Pass::default() };
        Run { session, clock, task, start: clock.now(), pass, answers: vec![None; documents] }
    }

    /// Runs batches as they come. Of those prepared ahead only the time that we wait for them is ours.
    fn batches(
        &mut self,
        mut batches: impl Iterator<Item = Result<Prepared, String>>,
        ahead: bool,
    ) -> Result<(), BackendError> {
        let legend = self.session.legend();
        loop {
            let mut lap = Lap::start(self.clock);
            let Some(prepared) = batches.next() else { return Ok(()) };
            let prepared = prepared.map_err(BackendError::Failed)?;
            let waited = lap.next();
            let split = &mut self.pass.split;
            if ahead {
                split.tokenise += waited;
            } else {
                split.tokenise += prepared.tokenise_seconds;
                split.pad += prepared.pad_seconds;
            }
            let output = self.session.run(&prepared.batch)?;
            let engine = lap.next();
            let copies = output.to_device + output.from_device;
            split.to_device += output.to_device.as_secs_f64();
            split.from_device += output.from_device.as_secs_f64();
            // What the engine didn't account for is compute: launching, waiting, its own bookkeeping.
            split.compute += (engine - copies.as_secs_f64()).max(0.0);
            for ((index, row), encoding) in prepared.members.iter().zip(output.rows).zip(&prepared.encodings)
            {
                self.answers[*index] = Some(finish::answer(self.task, row, encoding, &legend));
            }
            self.pass.split.finish += lap.next();
            self.pass.tokens += prepared.batch.lengths.iter().sum::<usize>() as u64;
            self.pass.padded_tokens += prepared.batch.ids.len() as u64;
            self.pass.batch_seconds.push(lap.total());
        }
    }

    fn finish(mut self) -> (Pass, Vec<Answer>) {
        self.pass.seconds = (self.clock.now() - self.start).as_secs_f64();
        // A session that returns too few rows leaves gaps; fewer answers than documents are then reported as wrong.
        (self.pass, self.answers.into_iter().flatten().collect())
    }
}

/// Laps of one batch on one clock.
struct Lap<'a> {
    clock: &'a dyn Clock,
    start: Duration,
    last: Duration,
}

impl<'a> Lap<'a> {
    fn start(clock: &'a dyn Clock) -> Self {
        let now = clock.now();
        Lap { clock, start: now, last: now }
    }

    fn next(&mut self) -> f64 {
        let now = self.clock.now();
        let lap = now - self.last;
        self.last = now;
        lap.as_secs_f64()
    }

    fn total(&self) -> f64 {
        (self.last - self.start).as_secs_f64()
    }
}
