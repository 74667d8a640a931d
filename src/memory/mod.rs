//! What models take: each is loaded, run and unloaded, round after round, by each backend in each precision on each device.
//!
//! Knows the rooms that it joins; what the figures mean is `analysis`'s.

mod place;
mod question;
mod subject;

use std::path::PathBuf;

use crate::addon::Setup;
use crate::analysis::MemoryReport;
use crate::backend::DTYPE;
use crate::hardware::Machine;
use crate::knob::{Applies, Candidate, Value};
use crate::pipeline::{BATCH_SIZE, MAX_TOKENS};
use crate::record::{Failure, Footprint, Status};
use crate::runner::{Course, Interrupt};
use crate::suite::{self, ChosenBackend};
use crate::telemetry::Watch;
use crate::units::did_you_mean;
use crate::worker::protocol::{Load, ONE_MODEL, Slot};

pub use question::Question;

use place::Place;
use subject::Subject;

/// All that is to be measured.
pub struct Plan {
    question: Question,
    /// Each with its backend.
    candidates: Vec<(ChosenBackend, Candidate)>,
}

impl Plan {
    /// Or why the question can't be answered.
    pub fn of(question: Question) -> Result<Plan, String> {
        let candidates = candidates(&question)?;
        Ok(Plan { question, candidates })
    }

    /// Measures a row for each configuration. Whoever stops it keeps those that are finished.
    pub fn measure(&self, setup: Setup, interrupt: &Interrupt) -> anyhow::Result<MemoryReport> {
        let Question { models, devices, batch, rounds, .. } = &self.question;
        let mut report = MemoryReport { batch_size: *batch, rounds: *rounds, rows: Vec::new() };
        let machine = Machine::here();
        let all: Vec<&Candidate> = self.candidates.iter().map(|(_, candidate)| candidate).collect();
        let places: Vec<Place> = devices
            .iter()
            .map(|device| Place::find(device, &machine, &all, setup))
            .collect::<anyhow::Result<_>>()?;
        for name in models {
            let subject = Subject::find(name, &self.question)?;
            for place in &places {
                let device = place.target.as_ref().ok().and_then(|target| target.device.as_deref());
                let mut watch = Watch::over(&machine, device);
                for (backend, candidate) in &self.candidates {
                    let footprint = match self.course(&subject, place, backend, candidate) {
                        Err(failure) => Footprint { failure: Some(failure), ..Footprint::default() },
                        Ok(course) => {
                            let dtype = candidate.word(DTYPE);
                            setup.tell.say(&format!("{name} on {}: {} {dtype}", place.device, backend.name));
                            match course.run(&mut watch, interrupt, |_| ()) {
                                Ok(footprint) => footprint,
                                Err(_) => return Ok(report),
                            }
                        }
                    };
                    report.rows.push(subject.row(&place.device, candidate.clone(), footprint));
                }
            }
        }
        Ok(report)
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
            prompt: None,
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
            rounds: self.question.rounds,
        })
    }
}

/// Every backend in every precision, whether it has that or not.
fn candidates(question: &Question) -> Result<Vec<(ChosenBackend, Candidate)>, String> {
    let known = suite::built_in_backends();
    let mut candidates = Vec::new();
    for name in &question.backends {
        let backend = known.iter().find(|backend| backend.name == *name).ok_or_else(|| {
            let names = known.iter().map(|backend| backend.name.as_str());
            format!("--backend: unknown backend {name:?}{}", did_you_mean(name, names))
        })?;
        for dtype in &question.dtypes {
            let mut candidate = backend.default_candidate();
            let mut set = |knob: &str, value: Value| candidate.knobs.insert(knob.to_owned(), value);
            set(DTYPE, Value::Text(dtype.clone()));
            set(BATCH_SIZE.name, Value::Integer(i64::from(question.batch)));
            if let Some(tokens) = question.max_tokens {
                set(MAX_TOKENS.name, Value::Integer(i64::from(tokens)));
            }
            candidates.push((backend.clone(), candidate));
        }
    }
    Ok(candidates)
}
