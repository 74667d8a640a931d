//! From knobs and their values to candidates.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::backend::ChosenBackend;
use crate::knob::{Candidate, Value};

/// More than this can't be meant: at a second a trial it would take a day.
pub const MOST_CANDIDATES: usize = 100_000;

/// A knob of the suite and the values that it is given.
pub struct Axis {
    pub knob: String,
    pub values: Vec<Value>,
}

/// Why some value of an axis is not for one of the backends.
pub struct Unfit {
    pub candidates: usize,
    pub because: String,
}

/// How many candidates `axes` make on one backend, or nothing if that can't even be counted.
pub fn size(backend: &ChosenBackend, axes: &[Axis]) -> Option<usize> {
    axes.iter()
        .filter(|axis| backend.knobs.iter().any(|spec| spec.name == axis.knob))
        .try_fold(1usize, |size, axis| size.checked_mul(axis.values.len()))
}

/// Every combination of the axes that `backend` has, later axes turning fastest. Values that its knobs refuse are
/// left out and reported.
pub fn candidates(backend: &ChosenBackend, axes: &[Axis]) -> (Vec<Candidate>, Vec<Unfit>) {
    let mut candidates = vec![backend.default_candidate()];
    let mut unfit = Vec::new();
    for spec in &backend.knobs {
        let Some(axis) = axes.iter().find(|axis| axis.knob == spec.name) else { continue };
        let mut fitting = Vec::new();
        for value in &axis.values {
            match spec.kind.accept(value) {
                Ok(value) => fitting.push(value),
                Err(why) => {
                    let because = format!("{} has no {}={value}: {why}", backend.name, spec.name);
                    unfit.push(Unfit { candidates: candidates.len(), because });
                }
            }
        }
        candidates = candidates
            .iter()
            .flat_map(|candidate| fitting.iter().map(|value| with(candidate, &spec.name, value.clone())))
            .collect();
    }
    (candidates, unfit)
}

pub fn with(candidate: &Candidate, knob: &str, value: Value) -> Candidate {
    let mut knobs: IndexMap<String, Value> = candidate.knobs.clone();
    knobs.insert(knob.to_owned(), value);
    Candidate { backend: candidate.backend.clone(), knobs }
}

/// Drops what occurs again, and puts `first` in front.
pub fn distinct(first: &Candidate, candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut seen = HashSet::new();
    let all = std::iter::once(first.clone()).chain(candidates);
    all.filter(|candidate| seen.insert(candidate.id())).collect()
}
