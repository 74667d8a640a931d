//! The engines that networks are checked on.

use autotune::backend::{self, Backend, Monotonic, Session};
use autotune::knob::{Candidate, Value};
use autotune::pipeline::{self, Settings};
use autotune::provision::onnxruntime;
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

/// Both engines. Without ONNX Runtime's library, and without pip to fetch it, candle alone; where `AUTOTUNE_NEED_ORT` is
/// set that is a failure, so that nobody takes half of the tests for all of them.
pub fn all() -> Vec<Engine> {
    let mut engines = vec![Engine { name: "candle", settings: Json::Null }];
    match onnxruntime::library("cpu") {
        Ok(_) => engines.push(Engine { name: "ort", settings: onnxruntime::settings(onnxruntime::here) }),
        Err(missing) if std::env::var_os("AUTOTUNE_NEED_ORT").is_some() => panic!("{missing}"),
        Err(missing) => eprintln!("ONNX Runtime is left out: {missing}"),
    }
    engines
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
