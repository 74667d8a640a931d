//! Documents through a session: truncate, order, tokenise, pad, run, and make answers of the output.
//!
//! One piece of code for every backend that runs in our worker. Knows sessions, and no process and no file.

mod batching;
mod finish;
mod prepare;

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{
    BackendError, Batch, Clock, Legend, Output, Overlapped, Session, TRANSFERS, Transfers, VirtualClock,
};
use crate::knob::{Applies, Candidate, Kind, KnobSpec, NO_LIMIT, Value};
use crate::model::Tokenise;
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
            TRANSFERS,
            choice(&Transfers::NAMES.map(|(name, _)| name)),
            word("blocking"),
            "how batches reach the device: from ordinary memory, from pinned memory, or from pinned memory while the \
             batch before computes; on the processor, where nothing is copied, the last of them prepares ahead",
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
    pub transfers: Transfers,
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
            transfers: Transfers::Blocking,
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
            TRANSFERS => self.transfers = Transfers::named(&value.to_string()).unwrap_or_default(),
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
    let legend = session.legend();
    // From here on everything counts: putting documents in order is a part of the work.
    let mut run = Run::start(legend, clock, task, documents.len());
    let tokeniser = session.tokeniser(settings.max_tokens)?;
    let preparer = Preparer::new(documents, settings, &*tokeniser, clock);
    if settings.transfers == Transfers::NonBlocking {
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
            match session.overlapped() {
                Some(engine) => run.ahead(engine, batches.into_iter()),
                None => run.ahead(&mut Alone { session, output: None }, batches.into_iter()),
            }
        })?;
    } else {
        run.one_by_one(session, preparer)?;
    }
    Ok(run.finish())
}

/// Runs the longest documents in one batch, as they may come together in service whatever the order is here: memory that
/// holds for them holds for everything.
pub fn stress(
    session: &mut dyn Session,
    documents: &[Document],
    settings: &Settings,
) -> Result<(), BackendError> {
    let tokeniser = session.tokeniser(settings.max_tokens)?;
    match longest_batch(documents, settings, &*tokeniser).map_err(BackendError::Failed)? {
        Some(batch) => session.run(&batch).map(|_| ()),
        None => Ok(()),
    }
}

/// The batch that [`stress`] runs.
pub fn longest_batch(
    documents: &[Document],
    settings: &Settings,
    tokeniser: &dyn Tokenise,
) -> Result<Option<Batch>, String> {
    let settings = Settings { order: Order::Length, ..settings.clone() };
    let clock = VirtualClock::default();
    let prepared = Preparer::new(documents, &settings, tokeniser, &clock).next().transpose()?;
    Ok(prepared.map(|prepared| prepared.batch))
}

/// The batches of a pass, one after the other, that nobody runs.
pub fn batches(
    documents: &[Document],
    settings: &Settings,
    tokeniser: &dyn Tokenise,
    mut take: impl FnMut(&Batch),
) -> Result<(), String> {
    let clock = VirtualClock::default();
    for prepared in Preparer::new(documents, settings, tokeniser, &clock) {
        take(&prepared?.batch);
    }
    Ok(())
}

/// A pass that is under way.
struct Run<'a> {
    legend: Legend,
    clock: &'a dyn Clock,
    task: Task,
    start: Duration,
    pass: Pass,
    answers: Vec<Option<Answer>>,
}

impl<'a> Run<'a> {
    fn start(legend: Legend, clock: &'a dyn Clock, task: Task, documents: usize) -> Self {
        let pass = Pass { documents: documents as u64, ..Pass::default() };
        Run { legend, clock, task, start: clock.now(), pass, answers: vec![None; documents] }
    }

    /// Prepares a batch, runs it, and prepares the next.
    fn one_by_one(&mut self, session: &mut dyn Session, mut batches: Preparer) -> Result<(), BackendError> {
        loop {
            let mut lap = Lap::start(self.clock);
            let Some(prepared) = batches.next() else { return Ok(()) };
            let prepared = prepared.map_err(BackendError::Failed)?;
            lap.next();
            self.pass.split.tokenise += prepared.tokenise_seconds;
            self.pass.split.pad += prepared.pad_seconds;
            let output = session.run(&prepared.batch)?;
            self.account(&output, lap.next());
            self.take(&prepared, output);
            self.pass.split.finish += lap.next();
            self.pass.batch_seconds.push(lap.total());
        }
    }

    /// Runs batches that somebody else prepares. Of what goes on meanwhile only the time that we wait for it is ours.
    fn ahead(
        &mut self,
        engine: &mut dyn Overlapped,
        mut batches: impl Iterator<Item = Result<Prepared, String>>,
    ) -> Result<(), BackendError> {
        // With when each began, and what it took to submit.
        let mut under_way: VecDeque<(Prepared, Duration, f64)> = VecDeque::new();
        let mut more = true;
        loop {
            while more && !engine.is_full() {
                let mut lap = Lap::start(self.clock);
                let prepared = batches.next().transpose().map_err(BackendError::Failed)?;
                self.pass.split.tokenise += lap.next();
                let Some(prepared) = prepared else {
                    more = false;
                    break;
                };
                engine.submit(&prepared.batch)?;
                under_way.push_back((prepared, lap.start, lap.next()));
            }
            let Some((prepared, began, submitting)) = under_way.pop_front() else { return Ok(()) };
            let mut lap = Lap::start(self.clock);
            let output = engine.collect()?;
            self.account(&output, submitting + lap.next());
            self.take(&prepared, output);
            self.pass.split.finish += lap.next();
            self.pass.batch_seconds.push((self.clock.now() - began).as_secs_f64());
        }
    }

    /// Shares out the time that the engine took.
    fn account(&mut self, output: &Output, engine: f64) {
        let split = &mut self.pass.split;
        // What was copied while the host did something else cost it nothing.
        let from_device = output.from_device.as_secs_f64().min(engine);
        let to_device = output.to_device.as_secs_f64().min(engine - from_device);
        split.to_device += to_device;
        split.from_device += from_device;
        // What the engine didn't account for is compute: launching, waiting, its own bookkeeping.
        split.compute += engine - to_device - from_device;
    }

    fn take(&mut self, prepared: &Prepared, output: Output) {
        for ((index, row), encoding) in prepared.members.iter().zip(output.rows).zip(&prepared.encodings) {
            self.answers[*index] = Some(finish::answer(self.task, row, encoding, &self.legend));
        }
        self.pass.tokens += prepared.batch.lengths.iter().sum::<usize>() as u64;
        self.pass.padded_tokens += prepared.batch.ids.len() as u64;
    }

    fn finish(mut self) -> (Pass, Vec<Answer>) {
        self.pass.seconds = (self.clock.now() - self.start).as_secs_f64();
        // A session that returns too few rows leaves gaps; fewer answers than documents are then reported as wrong.
        (self.pass, self.answers.into_iter().flatten().collect())
    }
}

/// A session that has room for one batch: it's done when it's taken on.
struct Alone<'a> {
    session: &'a mut dyn Session,
    output: Option<Output>,
}

impl Overlapped for Alone<'_> {
    fn is_full(&self) -> bool {
        self.output.is_some()
    }

    fn submit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        self.output = Some(self.session.run(batch)?);
        Ok(())
    }

    fn collect(&mut self) -> Result<Output, BackendError> {
        self.output.take().ok_or_else(|| BackendError::Failed("no batch is under way".into()))
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
