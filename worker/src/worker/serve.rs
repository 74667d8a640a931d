//! The worker's loop: a request in, an event out, until the harness hangs up.

use std::collections::HashMap;
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use indexmap::IndexMap;

use super::heap;
use super::protocol::{
    self, Answered, Ask, Asked, Event, FailureKind, Load, Loaded, Measure, Measured, Request, Slot, What,
};
use super::timer::{self, Effort};
use crate::answer::{self, Answer};
use crate::backend::{self, BackendError, Clock, Device, LoadRequest, Session};
use crate::item::Item;
use crate::knob::{Candidate, Value};
use crate::pipeline::{self, Pass, Settings, Stretch};
use crate::task::Task;

const EVENT_BYTES: usize = 1 << 16;

/// Serves requests until `requests` ends.
pub fn serve(requests: impl BufRead, events: impl Write) -> anyhow::Result<()> {
    // Without a buffer each number is a call to the system.
    let mut events = BufWriter::with_capacity(EVENT_BYTES, events);
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
        let what = match perform(&mut models, request.ask) {
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
/// That may take so long, however little is to be measured.
const LEAST_HEAT: Duration = Duration::from_millis(100);

/// A loaded model with all that later requests need.
struct Model {
    session: Box<dyn Session>,
    clock: Rc<dyn Clock>,
    task: Task,
    candidate: Candidate,
    documents: Rc<[Item]>,
    /// Whether there is memory of a real device to run out of.
    on_device: bool,
    /// Since the load.
    batches: u64,
    /// Whether the time to get warm in was used: who measures a little, often, doesn't wait for it each time.
    heated: bool,
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
    fn stress(&mut self, documents: &[Item], settings: &Settings) -> Result<(), BackendError> {
        if self.on_device { pipeline::stress(&mut *self.session, documents, settings) } else { Ok(()) }
    }

    fn pass(
        &mut self,
        documents: &[Item],
        settings: &Settings,
        stretch: Stretch,
    ) -> Result<(Pass, Vec<Answer>), BackendError> {
        let done = pipeline::pass(&mut *self.session, &*self.clock, self.task, documents, settings, stretch)?;
        self.batches += done.0.batch_seconds.len() as u64;
        Ok(done)
    }

    /// Runs the batches in which engines are cold: a cold start that outlasts a measurement looks as flat as a steady state,
    /// and whoever comes first after a load would pay for it. The shortest text alone is a batch, so that they cost next to
    /// nothing.
    fn heat(&mut self, settings: &Settings, most: Duration, seed: u64) -> Result<(), BackendError> {
        let bytes = |document: &&Item| document.text.len() + document.query.as_ref().map_or(0, String::len);
        let Some(shortest) = self.documents.iter().min_by_key(bytes) else { return Ok(()) };
        if self.batches >= COLD_BATCHES || std::mem::replace(&mut self.heated, true) {
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

fn perform(models: &mut Models, ask: Ask) -> Result<What, BackendError> {
    match ask {
        Ask::Load(load) => {
            // What was in the slot is dropped first, so that the two never share the memory.
            models.remove(&load.slot);
            let slot = load.slot.clone();
            let (loaded, ready) = open(*load)?;
            models.insert(slot, ready);
            Ok(What::Loaded(loaded))
        }
        Ask::Answer(asked) => answer(loaded(models, &asked.slot)?, asked).map(What::Answered),
        Ask::Measure(request) => measure(loaded(models, &request.slot)?, request).map(What::Measured),
        Ask::Unload { slot } => {
            models.remove(&slot);
            heap::trim();
            Ok(What::Unloaded)
        }
    }
}

fn answer(model: &mut Model, asked: Asked) -> Result<Answered, BackendError> {
    let settings = model.settle(asked.knobs, 0)?;
    let documents = match &asked.corpus {
        Some(corpus) => read_corpus(corpus)?.into(),
        None => model.documents.clone(),
    };
    model.stress(&documents, &settings)?;
    let (_, answers) = model.pass(&documents, &settings, Stretch::WHOLE)?;
    let Some(into) = asked.into else { return Ok(Answered { answers, ..Answered::default() }) };
    let written = answer::write(Path::new(&into), &answers);
    let (file, digest) = written.map_err(|error| BackendError::Failed(format!("writing {into}: {error}")))?;
    Ok(Answered { answers: Vec::new(), file: Some(file.display().to_string()), digest: Some(digest) })
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
            "autotune needs version {} of the protocol, but this worker supports up to {}",
            load.protocol,
            protocol::VERSION
        )));
    }
    let documents = read_corpus(&load.corpus)?.into();
    let backend = backend::open(&load.kind, load.settings)?;
    let candidate = Candidate { backend: load.backend, knobs: load.knobs };
    let model = load.folder.unwrap_or(load.model);
    let device = load.device.as_deref().map(str::parse::<Device>).transpose()?.unwrap_or_default();
    let device_bytes = load.device_memory;
    let (task, prompt) = (load.task, load.prompt);
    let request = LoadRequest { task, prompt, model, candidate: candidate.clone(), device, device_bytes };
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
        independent_rows: session.has_independent_rows(),
    };
    let on_device = device != Device::Processor && !loaded.simulated;
    Ok((
        loaded,
        Model { session, clock, task: load.task, candidate, documents, on_device, batches: 0, heated: false },
    ))
}

fn read_corpus(path: &str) -> Result<Vec<Item>, BackendError> {
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
    let clock = model.clock.clone();
    let start = clock.now();
    model.heat(&settings, time.saturating_mul(timer::MOST_TIMES).max(LEAST_HEAT), request.seed)?;
    let documents = model.documents.clone();
    model.stress(&documents, &settings)?;
    if request.stretch.range(documents.len(), settings.batch_size).is_empty() {
        return Err(BackendError::Refused(format!("there is nothing in stretch {:?}", request.stretch)));
    }
    let timed =
        timer::measure(&*clock, effort, || Ok(model.pass(&documents, &settings, request.stretch)?.0))?;
    let memory = model.session.device_memory();
    Ok(Measured {
        passes: timed.passes,
        warmup_passes: timed.warmup_passes,
        timed_seconds: Some(timed.timed.as_secs_f64()),
        steady: Some(timed.steady),
        busy_seconds: (clock.now() - start).as_secs_f64(),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What a worker says to these requests, on a corpus of three texts.
    fn events(requests: &[Value]) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let corpus = folder.path().join("corpus.jsonl");
        let text = |words: usize| format!("{}\n", json!({ "text": vec!["word"; words].join(" ") }));
        std::fs::write(&corpus, [text(5), text(2), text(3)].concat()).unwrap();
        let line = |(id, request): (usize, &Value)| {
            let mut request = request.clone();
            request["id"] = json!(id);
            if request["do"] == "load" {
                request["corpus"] = json!(corpus);
            }
            format!("{request}\n")
        };
        let lines: String = requests.iter().enumerate().map(line).collect();
        let mut said = Vec::new();
        serve(lines.as_bytes(), &mut said).unwrap();
        said.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    fn load(protocol: u32, slot: Option<&str>, batch_ms: f64) -> Value {
        let mut request = json!({
            "do": "load", "protocol": protocol, "backend": "fake", "kind": "fake", "task": "embed", "model": "m",
            "knobs": { "batch_size": 1 }, "settings": { "batch_ms": batch_ms }
        });
        if let Some(slot) = slot {
            request["slot"] = json!(slot);
        }
        request
    }

    fn measure(slot: Option<&str>, batches: u64) -> Value {
        let mut request = json!({ "do": "measure", "knobs": {}, "seconds": 0.001, "passes": 1, "seed": 0, "batches": batches });
        if let Some(slot) = slot {
            request["slot"] = json!(slot);
        }
        request
    }

    #[test]
    fn models_in_slots_are_measured_and_freed_one_by_one() {
        let said = events(&[
            load(2, Some("embed"), 1.0),
            load(2, Some("rerank"), 20.0),
            measure(Some("embed"), 0),
            measure(Some("rerank"), 0),
            json!({ "do": "unload", "slot": "embed" }),
            measure(Some("rerank"), 0),
            measure(Some("embed"), 0),
            measure(None, 0),
        ]);
        let names: Vec<&str> = said.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            ["loaded", "loaded", "measured", "measured", "unloaded", "measured", "failed", "failed"]
        );
        let seconds = |place: usize| said[place]["passes"][0]["seconds"].as_f64().unwrap();
        assert!((seconds(2) - 0.003).abs() < 1e-9 && (seconds(3) - 0.060).abs() < 1e-9, "{said:?}");
        assert_eq!(said[6]["message"], "nothing is loaded in slot \"embed\"");
    }

    #[test]
    fn requests_of_version_1_have_the_slot_without_a_name() {
        let said = events(&[load(1, None, 1.0), measure(None, 0), load(6, None, 1.0)]);
        assert_eq!((&said[0]["event"], &said[0]["protocol"]), (&json!("loaded"), &json!(5)));
        assert_eq!((&said[1]["event"], &said[1]["steady"]), (&json!("measured"), &json!(true)));
        assert_eq!((&said[2]["event"], &said[2]["kind"]), (&json!("failed"), &json!("refused")));
    }

    #[test]
    fn stretches_of_a_pass_are_measured_alone() {
        let stretch = |index: u32, of: u32| {
            let mut request = measure(None, 0);
            request["stretch"] = json!([index, of]);
            request
        };
        let said =
            events(&[load(1, None, 1.0), stretch(0, 2), stretch(1, 2), stretch(0, 5), measure(None, 0)]);
        let pass = |place: usize| {
            let pass = &said[place]["passes"][0];
            (pass["documents"].as_u64().unwrap(), pass["tokens"].as_u64().unwrap())
        };
        // A document a batch, in the corpus's order.
        assert_eq!((pass(1).0, pass(2).0, pass(4).0), (1, 2, 3));
        assert_eq!(pass(1).1 + pass(2).1, pass(4).1);
        assert_eq!(said[3]["kind"], "refused");
    }

    #[test]
    fn as_many_batches_are_measured_as_are_wanted() {
        let said = events(&[load(2, None, 1.0), measure(None, 130)]);
        // Three a pass.
        assert_eq!(said[1]["passes"].as_array().unwrap().len(), 44);
        assert!((said[1]["timed_seconds"].as_f64().unwrap() - 44.0 * 0.003).abs() < 1e-9);
    }

    #[test]
    fn a_cold_start_is_over_before_anything_is_measured() {
        let mut cold = load(2, None, 1.0);
        cold["settings"] = json!({ "batch_ms": 1.0, "cold_batches": 64, "cold_factor": 5.0 });
        let mut first = measure(None, 0);
        first["seconds"] = json!(1.0);
        let said = events(&[cold, first]);
        assert_eq!(said[1]["passes"][0]["seconds"], json!(0.003));
    }

    #[test]
    fn another_corpus_is_answered_into_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let corpus = folder.path().join("judged.jsonl");
        std::fs::write(&corpus, "{\"text\":\"one\"}\n{\"text\":\"two three\"}\n").unwrap();
        let into = folder.path().join("answers");
        let said = events(&[
            load(1, None, 1.0),
            json!({ "do": "answer", "knobs": {} }),
            json!({ "do": "answer", "knobs": {}, "corpus": corpus, "into": into }),
            json!({ "do": "answer", "knobs": {}, "into": folder.path().join("nowhere/answers") }),
        ]);
        assert_eq!(said[1]["answers"].as_array().unwrap().len(), 3);
        let file = folder.path().join("answers.safetensors");
        assert_eq!((&said[2]["file"], &said[2].get("answers")), (&json!(file), &None));
        let answers = crate::answer::AnswerFile::open(&file).unwrap();
        assert_eq!(answers.count(), 2);
        assert_eq!(said[2]["digest"], json!(crate::answer::digest_of(&file).unwrap()));
        assert_eq!(said[3]["event"], "failed");
    }
}
