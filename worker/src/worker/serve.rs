//! The worker's loop: a request in, an event out, until the harness hangs up.

use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::Duration;

use indexmap::IndexMap;

use super::protocol::{self, Ask, Event, FailureKind, Load, Loaded, Measure, Measured, Request, What};
use super::{heap, timer};
use crate::backend::{self, BackendError, Clock, Device, LoadRequest, Session};
use crate::knob::{Candidate, Value};
use crate::pipeline::{self, Pass, Settings};
use crate::task::{Answer, Document, Task};

/// Serves requests until `requests` ends.
pub fn serve(requests: impl BufRead, mut events: impl Write) -> anyhow::Result<()> {
    let mut model = None;
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
        let what = match answer(&mut model, request.ask) {
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

/// A loaded model with all that later requests need.
struct Model {
    session: Box<dyn Session>,
    clock: Rc<dyn Clock>,
    task: Task,
    candidate: Candidate,
    documents: Vec<Document>,
    /// Whether there is memory of a real device to run out of.
    on_device: bool,
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
        pipeline::pass(&mut *self.session, &*self.clock, self.task, &self.documents, settings)
    }
}

fn answer(model: &mut Option<Model>, ask: Ask) -> Result<What, BackendError> {
    match ask {
        Ask::Load(load) => {
            // Dropped first, so that two models never share the memory.
            *model = None;
            let (loaded, ready) = open(*load)?;
            *model = Some(ready);
            Ok(What::Loaded(loaded))
        }
        Ask::Answer { knobs } => {
            let model = loaded(model)?;
            let settings = model.settle(knobs, 0)?;
            model.stress(&settings)?;
            let (_, answers) = model.pass(&settings)?;
            Ok(What::Answered { answers })
        }
        Ask::Measure(request) => measure(loaded(model)?, request).map(What::Measured),
        Ask::Unload => {
            *model = None;
            heap::trim();
            Ok(What::Unloaded)
        }
    }
}

fn loaded(model: &mut Option<Model>) -> Result<&mut Model, BackendError> {
    model.as_mut().ok_or_else(|| BackendError::Failed("nothing is loaded".into()))
}

fn open(load: Load) -> Result<(Loaded, Model), BackendError> {
    if load.protocol != protocol::VERSION {
        return Err(BackendError::Refused(format!(
            "the harness speaks version {} of the protocol, this worker version {}",
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
    Ok((loaded, Model { session, clock, task: load.task, candidate, documents, on_device }))
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
    let least = Duration::try_from_secs_f64(request.seconds)
        .map_err(|error| BackendError::Refused(format!("seconds: {error}")))?;
    model.stress(&settings)?;
    let clock = model.clock.clone();
    let timed = timer::measure(&*clock, least, request.passes, || Ok(model.pass(&settings)?.0))?;
    let memory = model.session.device_memory();
    Ok(Measured {
        passes: timed.passes,
        warmup_passes: timed.warmup_passes,
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
