//! The engines that networks are checked on.

use std::path::PathBuf;

use autotune::backend::{self, Backend, Device, Monotonic, Session};
use autotune::knob::{Candidate, Value};
use autotune::pipeline::{self, Settings};
use autotune::provision::models::{self, Replica};
use autotune::provision::{Missing, onnxruntime};
use autotune::task::{Answer, Document, Task};
use serde_json::Value as Json;

pub struct Engine {
    pub name: &'static str,
    pub device: Device,
    settings: Json,
}

impl Engine {
    pub fn open(&self) -> Box<dyn Backend> {
        backend::open(self.name, self.settings.clone()).unwrap()
    }

    /// The ways in which batches may travel.
    pub fn transfers(&self) -> &'static [&'static str] {
        match self.device {
            Device::Processor => &["blocking", "non_blocking"],
            _ => &["blocking", "pinned", "non_blocking"],
        }
    }

    /// The precisions below fp32, and the least cosine that each promises.
    pub fn precisions(&self) -> Vec<(&'static str, f32)> {
        match (self.name, self.device) {
            ("candle", Device::Processor) => vec![("fp16", 0.999), ("int8", 0.995)],
            // Eight bits of a number are left in bf16.
            ("candle", _) => vec![("fp16", 0.999), ("bf16", 0.995), ("int8", 0.995)],
            (_, Device::Cuda(_)) => vec![("fp16", 0.999), ("int8-weights", 0.995)],
            _ => vec![("fp16", 0.999), ("int8-weights", 0.995), ("int8", 0.97)],
        }
    }
}

/// The device that networks are checked on: the processor, or the one that `AUTOTUNE_TEST_DEVICE` names, real or simulated
/// (tests/simulator/README.md).
pub fn device() -> Device {
    std::env::var("AUTOTUNE_TEST_DEVICE").map_or(Device::Processor, |device| device.parse().unwrap())
}

/// Both engines, or those that `AUTOTUNE_TEST_ENGINES` names. Without ONNX Runtime's library, and without pip to fetch it,
/// candle alone.
pub fn all() -> Vec<Engine> {
    let device = device();
    let wanted = std::env::var("AUTOTUNE_TEST_ENGINES").unwrap_or_else(|_| "candle,ort".into());
    let is_wanted = |name: &str| wanted.split(',').any(|wanted| wanted == name);
    let mut engines = Vec::new();
    if is_wanted("candle") {
        engines.push(Engine { name: "candle", device, settings: Json::Null });
    }
    let provider = if device == Device::Processor { "cpu" } else { "cuda" };
    if is_wanted("ort") && had(onnxruntime::library(provider)).is_some() {
        let settings = onnxruntime::settings(onnxruntime::here);
        engines.push(Engine { name: "ort", device, settings });
    }
    assert!(!engines.is_empty(), "no engine is called {wanted:?}");
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
    let candidate = Candidate { backend: String::new(), knobs };
    let settings = Settings::of(&candidate).unwrap();
    session.configure(&candidate, 0).unwrap();
    pipeline::pass(session, &Monotonic, task, documents, &settings).unwrap().1
}
