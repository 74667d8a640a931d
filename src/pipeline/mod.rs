//! Documents through a session: truncate, order, tokenise, pad, run, and make answers of the output.
//!
//! One piece of code for every backend that runs in our worker. Knows sessions, and no process and no file.

mod batching;
mod finish;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, Clock, Session};
use crate::knob::{Applies, Candidate, Kind, KnobSpec, NO_LIMIT, Value};
use crate::task::{Answer, Document, Task};

/// The knobs of the pipeline, which every built-in backend has besides its own.
pub fn knobs() -> Vec<KnobSpec> {
    let run = |name: &str, kind, default: Value, reference: Value, help: &str| KnobSpec {
        name: name.to_owned(),
        applies: Applies::Run,
        kind,
        default,
        reference,
        help: help.to_owned(),
    };
    let word = |word: &str| Value::Text(word.to_owned());
    vec![
        run(
            "batch_size",
            Kind::Integer { least: 1, most: 65_536 },
            // What sentence-transformers does that is told nothing.
            Value::Integer(32),
            Value::Integer(8),
            "documents in a batch",
        ),
        run("max_tokens", Kind::Limit, word(NO_LIMIT), word(NO_LIMIT), "tokens after which a text is cut"),
        run("max_chars", Kind::Limit, word(NO_LIMIT), word(NO_LIMIT), "characters after which a text is cut"),
        run(
            "order",
            Kind::Choice(vec!["arrival".into(), "length".into()]),
            word("arrival"),
            word("arrival"),
            "which documents share a batch: as they come, or of like length",
        ),
    ]
}

/// The values of the pipeline's knobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub batch_size: usize,
    pub max_tokens: Option<usize>,
    pub max_chars: Option<usize>,
    pub by_length: bool,
}

impl Settings {
    /// Reads the knobs that [`knobs`] states. Values were checked against their kinds when the suite was read,
    /// and again here, because a worker must not trust who talks to it.
    pub fn of(candidate: &Candidate) -> Result<Settings, BackendError> {
        let mut values = Vec::new();
        for spec in knobs() {
            let given = candidate.knobs.get(&spec.name).unwrap_or(&spec.default);
            let value = spec
                .kind
                .accept(given)
                .map_err(|why| BackendError::Refused(format!("{}: {why}", spec.name)))?;
            values.push(value);
        }
        let count = |value: &Value| match value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        Ok(Settings {
            batch_size: count(&values[0]).unwrap_or(1),
            max_tokens: count(&values[1]),
            max_chars: count(&values[2]),
            by_length: values[3] == Value::Text("length".into()),
        })
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
    let start = clock.now();
    let mut pass = Pass { documents: documents.len() as u64, ..Pass::default() };
    let mut answers: Vec<Option<Answer>> = vec![None; documents.len()];
    for members in batching::plan(documents, settings) {
        let mut lap = Lap::start(clock);
        let encodings: Vec<_> = members
            .iter()
            .map(|&index| session.encode(&batching::text(&documents[index], settings), settings.max_tokens))
            .collect();
        pass.split.tokenise += lap.next();
        let batch = batching::pad(&encodings);
        pass.split.pad += lap.next();
        let output = session.run(&batch)?;
        let engine = lap.next();
        let copies = output.to_device + output.from_device;
        pass.split.to_device += output.to_device.as_secs_f64();
        pass.split.from_device += output.from_device.as_secs_f64();
        // What the engine didn't account for is compute: launching, waiting, its own bookkeeping.
        pass.split.compute += (engine - copies.as_secs_f64()).max(0.0);
        for ((index, row), encoding) in members.iter().zip(output.rows).zip(&encodings) {
            answers[*index] =
                Some(finish::answer(task, row, encoding, batching::query_bytes(&documents[*index])));
        }
        pass.split.finish += lap.next();
        pass.tokens += batch.lengths.iter().sum::<usize>() as u64;
        pass.padded_tokens += batch.ids.len() as u64;
        pass.batch_seconds.push(lap.total());
    }
    pass.seconds = (clock.now() - start).as_secs_f64();
    // A session that returns too few rows leaves gaps; fewer answers than documents are then reported as wrong.
    Ok((pass, answers.into_iter().flatten().collect()))
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
