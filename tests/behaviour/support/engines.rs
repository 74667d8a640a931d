//! The engines that networks are checked on.

use std::path::PathBuf;

pub use super::engine::*;
use autotune::addon::onnxruntime::{self, OnnxRuntime};
use autotune::addon::{self, AddOn, Missing, Receipt, Setup, Tell};
use autotune::backend::Device;
use autotune::hardware::{Machine, Target};
use autotune::provision::models::{self, Replica};
use serde_json::Value as Json;

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
    let machine = Machine::detect(None);
    if is_wanted("ort") && had(library(provider, &machine)).is_some() {
        let settings =
            onnxruntime::settings(|provider| OnnxRuntime::of(provider, &machine, &target()).here());
        engines.push(Engine { name: "ort", device, settings });
    }
    assert!(!engines.is_empty(), "no engine is called {wanted:?}");
    engines
}

/// ONNX Runtime's library for a provider, provided if it isn't here.
pub fn library(provider: &str, machine: &Machine) -> Result<Receipt, Missing> {
    let setup = Setup { allowed: true, named: true, tell: &Silent };
    addon::ensure(&OnnxRuntime::of(provider, machine, &target()), setup)
}

fn target() -> Target {
    Target { device: Some(device().to_string()), ..Target::default() }
}

struct Silent;

impl Tell for Silent {
    fn say(&self, _: &str) {}
    fn step(&self, _: &str) {}
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
