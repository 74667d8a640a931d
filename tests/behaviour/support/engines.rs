//! The engines that networks are checked on.

use std::path::PathBuf;

use autotune::backend::{self, Backend, Monotonic, Session};
use autotune::knob::{Candidate, Value};
use autotune::pipeline::{self, Settings};
use autotune::provision::models::{self, Replica};
use autotune::provision::{Missing, onnxruntime};
use autotune::task::{Answer, Document, Task};
use serde_json::Value as Json;

pub struct Engine {
    pub name: &'static str,
    settings: Json,
}

impl Engine {
    pub fn open(&self) -> Box<dyn Backend> {
        backend::open(self.name, self.settings.clone()).unwrap()
    }

    /// The precisions below fp32, and the least cosine that each promises.
    pub fn precisions(&self) -> Vec<(&'static str, f32)> {
        match self.name {
            "candle" => vec![("fp16", 0.999), ("int8", 0.995)],
            _ => vec![("fp16", 0.999), ("int8-weights", 0.995), ("int8", 0.97)],
        }
    }
}

/// Both engines. Without ONNX Runtime's library, and without pip to fetch it, candle alone.
pub fn all() -> Vec<Engine> {
    let mut engines = vec![Engine { name: "candle", settings: Json::Null }];
    if had(onnxruntime::library("cpu")).is_some() {
        engines.push(Engine { name: "ort", settings: onnxruntime::settings(onnxruntime::here) });
    }
    engines
}

/// The folder of the real MiniLM.
pub fn minilm() -> Option<PathBuf> {
    had(models::resolve("minilm", Replica::Never)).map(|home| home.folder)
}

/// What could be had. Where `AUTOTUNE_NEED_ORT` is set everything must be, so that nobody takes a part of the tests for
/// all of them.
fn had<T>(found: Result<T, Missing>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(missing) if std::env::var_os("AUTOTUNE_NEED_ORT").is_some() => panic!("{missing}"),
        Err(missing) => {
            eprintln!("left out: {missing}");
            None
        }
    }
}

/// One way through the documents.
pub fn pass(
    session: &mut dyn Session,
    task: Task,
    documents: &[Document],
    knobs: &[(&str, Value)],
) -> Vec<Answer> {
    let knobs = knobs.iter().map(|(knob, value)| (knob.to_string(), value.clone())).collect();
    let settings = Settings::of(&Candidate { backend: String::new(), knobs }).unwrap();
    pipeline::pass(session, &Monotonic, task, documents, &settings).unwrap().1
}
