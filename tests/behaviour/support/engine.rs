//! An engine that networks are checked on, and what is asked of it. Shared with worker/tests/card.rs.

use std::path::PathBuf;

use autotune::answer::Answer;
use autotune::backend::{self, Backend, Device, Monotonic, Session};
use autotune::item::Item;
use autotune::knob::{Candidate, Value};
use autotune::pipeline::{self, Settings};
use autotune::task::Task;
use serde_json::Value as Json;

/// Asked for when the tests run: they may have been built elsewhere, for a machine with a GPU and without Rust.
pub fn fixtures_folder() -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    // Those of the package `worker` are the project's, too.
    let below =
        |folder: &std::path::Path| Some(folder.join("tests/fixtures")).filter(|folder| folder.is_dir());
    std::path::Path::new(&root).ancestors().find_map(below).expect("tests/fixtures")
}

pub struct Engine {
    pub name: &'static str,
    pub device: Device,
    pub settings: Json,
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

/// One way through the documents.
pub fn pass(
    session: &mut dyn Session,
    task: Task,
    documents: &[Item],
    knobs: &[(&str, Value)],
) -> Vec<Answer> {
    let knobs = knobs.iter().map(|(knob, value)| (knob.to_string(), value.clone())).collect();
    let candidate = Candidate { backend: String::new(), knobs };
    let settings = Settings::of(&candidate).unwrap();
    session.configure(&candidate, 0).unwrap();
    pipeline::pass(session, &Monotonic, task, documents, &settings, pipeline::Stretch::WHOLE).unwrap().1
}
