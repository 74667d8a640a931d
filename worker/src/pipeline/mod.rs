//! Documents through a session: truncate, order, tokenise, pad, run, and make answers of the output.
//!
//! One piece of code for every backend that runs in our worker. Knows sessions, and no process and no file.

mod batching;
mod finish;
mod lap;
mod pass;
mod prepare;
mod settings;
mod spans;
mod stretch;

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Duration;

use crate::answer::Answer;
use crate::backend::{
    BackendError, Batch, Clock, Legend, Output, Overlapped, Session, Transfers, VirtualClock,
};
use crate::item::Item;
use crate::model::Tokenise;
use crate::task::Task;
use lap::Lap;
use prepare::{Prepared, Preparer};

pub use pass::{Pass, Split};
pub use settings::{BATCH_SIZE, BATCH_TOKENS, MAX_CHARS, MAX_TOKENS, Order, Settings, knobs, overlap_knobs};
pub use stretch::Stretch;

/// Batches that are prepared ahead of the one that computes: enough that neither side waits for the other's hiccups.
const BATCHES_AHEAD: usize = 2;

/// Takes every document of a stretch through `session` once.
pub fn pass(
    session: &mut dyn Session,
    clock: &dyn Clock,
    task: Task,
    documents: &[Item],
    settings: &Settings,
    stretch: Stretch,
) -> Result<(Pass, Vec<Answer>), BackendError> {
    let legend = session.legend();
    // From here on everything counts: putting documents in order is a part of the work.
    let mut run = Run::start(legend, clock, task, documents.len());
    let tokeniser = session.tokeniser(settings.max_tokens)?;
    let preparer = Preparer::new(documents, settings, &*tokeniser, clock).only(stretch);
    if stretch.index() > 0 {
        // …of the first stretch.
        run.start = clock.now();
    }
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
    documents: &[Item],
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
    documents: &[Item],
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
    documents: &[Item],
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
        Run { legend, clock, task, start: clock.now(), pass: Pass::default(), answers: vec![None; documents] }
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
        self.pass.documents += prepared.members.len() as u64;
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
