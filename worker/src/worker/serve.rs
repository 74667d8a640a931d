//! The worker's loop: a request in, an event out, until the harness hangs up.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::Duration;

use indexmap::IndexMap;

use super::heap;
use super::protocol::{self, Ask, Event, FailureKind, Load, Loaded, Measure, Measured, Request, Slot, What};
use super::timer::{self, Effort};
use crate::backend::{self, BackendError, Clock, Device, LoadRequest, Session};
use crate::knob::{Candidate, Value};
use crate::pipeline::{self, Pass, Settings};
use crate::task::{Answer, Document, Task};

/// Serves requests until `requests` ends.
pub fn serve(requests: impl BufRead, mut events: impl Write) -> anyhow::Result<()> {
    let mut models = Models::new();
    for line in requests.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let request: Request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => {
                // Without its id it can't be answered, so the harness would wait for ever: it must see us end.
                anyhow::bail!("not a request: {error}: {}", line.chars().take(200).collect::<String>());
            }
        };
        let what = match answer(&mut models, request.ask) {
            Ok(what) => what,
            Err(BackendError::Garbage(bytes)) => {
                events.write_all(&bytes)?;
                events.flush()?;
                continue;
            }
            Err(error) => failed(error),
        };
        serde_json::to_writer(&mut events, &Event { id: request.id, what })?;
        events.write_all(b"\n")?;
        events.flush()?;
    }
    Ok(())
}

/// What is loaded.
type Models = HashMap<Slot, Model>;

/// An engine is cold as long as it has run fewer batches since the load: kernels are chosen, profiles taken and arenas grown
/// in the first of them.
const COLD_BATCHES: u64 = 64;

/// A loaded model with all that later requests need.
struct Model {
    session: Box<dyn Session>,
    clock: Rc<dyn Clock>,
    task: Task,
    candidate: Candidate,
    documents: Vec<Document>,
    /// Whether there is memory of a real device to run out of.
    on_device: bool,
    /// Since the load.
    batches: u64,
}

impl Model {
    /// Applies the run knobs of a request over those of the load.
    fn settle(&mut self, knobs: IndexMap<String, Value>, seed: u64) -> Result<Settings, BackendError> {
        self.candidate.knobs.extend(knobs);
        self.session.configure(&self.candidate, seed)?;
        Settings::of(&self.candidate)
    }

    /// A device's memory is tried with the worst batch before anything else: a limit that holds at the start and not under
    /// load is none. The processor's isn't, where the batch takes longest and memory is least scarce.
    fn stress(&mut self, settings: &Settings) -> Result<(), BackendError> {
        if self.on_device { pipeline::stress(&mut *self.session, &self.documents, settings) } else { Ok(()) }
    }

    fn pass(&mut self, settings: &Settings) -> Result<(Pass, Vec<Answer>), BackendError> {
        let done = pipeline::pass(&mut *self.session, &*self.clock, self.task, &self.documents, settings)?;
        self.batches += done.0.batch_seconds.len() as u64;
        Ok(done)
    }

    /// Runs the batches in which engines are cold: a cold start that outlasts a measurement looks as flat as a steady state,
    /// and whoever comes first after a load would pay for it. The shortest text alone is a batch, so that they cost next to
    /// nothing.
    fn heat(&mut self, settings: &Settings, most: Duration, seed: u64) -> Result<(), BackendError> {
        let bytes =
            |document: &&Document| document.text.len() + document.query.as_ref().map_or(0, String::len);
        let Some(shortest) = self.documents.iter().min_by_key(bytes) else { return Ok(()) };
        if self.batches >= COLD_BATCHES {
            return Ok(());
        }
        let start = self.clock.now();
        while self.batches < COLD_BATCHES && self.clock.now() - start < most {
            pipeline::stress(&mut *self.session, std::slice::from_ref(shortest), settings)?;
            self.batches += 1;
        }
        // What was drawn and counted meanwhile is none of the measurement's.
        self.session.configure(&self.candidate, seed)
    }
}

fn answer(models: &mut Models, ask: Ask) -> Result<What, BackendError> {
    match ask {
        Ask::Load(load) => {
            // What was in the slot is dropped first, so that the two never share the memory.
            models.remove(&load.slot);
            let slot = load.slot.clone();
            let (loaded, ready) = open(*load)?;
            models.insert(slot, ready);
            Ok(What::Loaded(loaded))
        }
        Ask::Answer { slot, knobs } => {
            let model = loaded(models, &slot)?;
            let settings = model.settle(knobs, 0)?;
            model.stress(&settings)?;
            let (_, answers) = model.pass(&settings)?;
            Ok(What::Answered { answers })
        }
        Ask::Measure(request) => measure(loaded(models, &request.slot)?, request).map(What::Measured),
        Ask::Unload { slot } => {
            models.remove(&slot);
            heap::trim();
            Ok(What::Unloaded)
        }
    }
}

fn loaded<'a>(models: &'a mut Models, slot: &Slot) -> Result<&'a mut Model, BackendError> {
    let nothing = || match slot.is_unnamed() {
        true => "nothing is loaded".to_owned(),
        false => format!("nothing is loaded in slot {:?}", slot.0),
    };
    models.get_mut(slot).ok_or_else(|| BackendError::Failed(nothing()))
}

fn open(load: Load) -> Result<(Loaded, Model), BackendError> {
    if load.protocol > protocol::VERSION {
        return Err(BackendError::Refused(format!(
            "the harness needs version {} of the protocol, and this worker knows up to {}",
            load.protocol,
            protocol::VERSION
        )));
    }
    let documents = read_corpus(&load.corpus)?;
    let backend = backend::open(&load.kind, load.settings)?;
    let candidate = Candidate { backend: load.backend, knobs: load.knobs };
    let model = load.folder.unwrap_or(load.model);
    let device = load.device.as_deref().map(str::parse::<Device>).transpose()?.unwrap_or_default();
    let device_bytes = load.device_memory;
    let request = LoadRequest { task: load.task, model, candidate: candidate.clone(), device, device_bytes };
    let clock = backend.clock();
    let start = clock.now();
    let session = backend.load(&request)?;
    let seconds = (clock.now() - start).as_secs_f64();
    heap::trim();
    // Which library was loaded may depend on the candidate, so it's asked last.
    let version = backend.version()?;
    let loaded = Loaded {
        protocol: protocol::VERSION,
        version,
        device: session.device(),
        seconds,
        simulated: backend.simulated(),
    };
    let on_device = device != Device::Processor && !loaded.simulated;
    Ok((loaded, Model { session, clock, task: load.task, candidate, documents, on_device, batches: 0 }))
}

fn read_corpus(path: &str) -> Result<Vec<Document>, BackendError> {
    let failed = |why: String| BackendError::Failed(format!("the corpus {path}: {why}"));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    text.lines()
        .enumerate()
        .map(|(line, text)| {
            serde_json::from_str(text).map_err(|error| failed(format!("line {}: {error}", line + 1)))
        })
        .collect()
}

fn measure(model: &mut Model, request: Measure) -> Result<Measured, BackendError> {
    let settings = model.settle(request.knobs, request.seed)?;
    let time = Duration::try_from_secs_f64(request.seconds)
        .map_err(|error| BackendError::Refused(format!("seconds: {error}")))?;
    let effort = Effort { time, passes: request.passes, batches: request.batches };
    model.heat(&settings, time * timer::MOST_TIMES, request.seed)?;
    model.stress(&settings)?;
    let clock = model.clock.clone();
    let timed = timer::measure(&*clock, effort, || Ok(model.pass(&settings)?.0))?;
    let memory = model.session.device_memory();
    Ok(Measured {
        passes: timed.passes,
        warmup_passes: timed.warmup_passes,
        timed_seconds: Some(timed.timed.as_secs_f64()),
        steady: Some(timed.steady),
        busy_seconds: timed.busy.as_secs_f64(),
        peak_vram_bytes: memory.map(|memory| memory.peak_bytes()),
        device_memory: memory,
    })
}

fn failed(error: BackendError) -> What {
    let (kind, message, remedy) = match error {
        BackendError::OutOfMemory(why) => (FailureKind::OutOfMemory, why, None),
        BackendError::NotAvailable(why) => (FailureKind::NotAvailable, why, None),
        BackendError::Missing(missing) => (FailureKind::NotAvailable, missing.why, Some(missing.remedy)),
        BackendError::Refused(why) => (FailureKind::Refused, why, None),
        BackendError::Failed(why) => (FailureKind::Failed, why, None),
        BackendError::Garbage(_) => (FailureKind::Failed, "garbage".to_owned(), None),
    };
    What::Failed { kind, message, remedy }
}
