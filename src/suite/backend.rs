//! A backend that a suite may name, with its knobs.

use indexmap::IndexMap;

use crate::backend::fake;
use crate::knob::{Applies, Candidate, KnobSpec, Value};

#[derive(Debug, Clone, PartialEq)]
pub struct ChosenBackend {
    pub name: String,
    pub kind: String,
    pub engine: Engine,
    pub knobs: Vec<KnobSpec>,
}

/// What runs a backend's worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Engine {
    BuiltIn { settings: serde_json::Value },
    Command { command: Vec<String>, settings: serde_json::Value },
}

impl ChosenBackend {
    /// Whether it runs a model out of a folder that we find for it.
    pub fn reads_models(&self) -> bool {
        matches!(&self.engine, Engine::BuiltIn { .. }) && self.kind != fake::NAME
    }

    /// A candidate's knobs that apply then, in the order in which the backend has them.
    pub fn knobs_of(&self, candidate: &Candidate, applies: Applies) -> IndexMap<String, Value> {
        let specs = self.knobs.iter().filter(|spec| spec.applies == applies);
        specs.filter_map(|spec| Some((spec.name.clone(), candidate.knobs.get(&spec.name)?.clone()))).collect()
    }

    /// The candidate that sets nothing.
    pub fn default_candidate(&self) -> Candidate {
        self.candidate_of(|spec| spec.default.clone())
    }

    /// The candidate that sets nothing, by `value`: the defaults, or the reference's values.
    pub fn candidate_of(&self, value: impl Fn(&KnobSpec) -> Value) -> Candidate {
        let knobs = self.knobs.iter().map(|spec| (spec.name.clone(), value(spec))).collect();
        Candidate { backend: self.name.clone(), knobs }
    }
}
