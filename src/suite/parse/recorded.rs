//! The knobs of a run that another version of the program has made: what its candidates were recorded with, whatever this
//! version has besides or no longer has.

use std::collections::BTreeSet;

use crate::knob::{Applies, Candidate, Kind, KnobSpec, Value};
use crate::suite::ChosenBackend;

/// The backend as it was when these candidates were recorded. One that nobody was recorded of is as it is.
pub(super) fn as_recorded(backend: &mut ChosenBackend, candidates: &[&Candidate]) {
    let own: Vec<&Candidate> =
        candidates.iter().copied().filter(|candidate| candidate.backend == backend.name).collect();
    let Some(first) = own.first() else { return };
    let values =
        |knob: &str| own.iter().filter_map(|candidate| candidate.knobs.get(knob)).collect::<Vec<_>>();
    backend.knobs.retain(|spec| first.knobs.contains_key(&spec.name));
    for spec in &mut backend.knobs {
        let values = values(&spec.name);
        if values.iter().any(|value| spec.kind.accept(value).is_err()) {
            spec.kind = kind_of(&values);
        }
        // The configuration that sets nothing is always recorded, so what nobody has wasn't the default then. It's found by being alone or first.
        if let Some(then) = default_of(&values).filter(|_| !values.contains(&&spec.default)) {
            spec.default = then.clone();
        }
    }
    for knob in first.knobs.keys() {
        let values = values(knob);
        if let Some(default) = default_of(&values)
            && backend.knobs.iter().all(|spec| spec.name != *knob)
        {
            let help = "a knob of another version of autotune";
            backend.knobs.push(KnobSpec::new(knob, Applies::Load, kind_of(&values), default.clone(), help));
        }
    }
}

/// A kind that takes all of them.
fn kind_of(values: &[&Value]) -> Kind {
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| is(value));
    if all(|value| matches!(value, Value::Switch(_))) {
        Kind::Switch
    } else if all(|value| matches!(value, Value::Integer(_))) {
        Kind::Integer { least: i64::MIN, most: i64::MAX }
    } else if all(|value| matches!(value, Value::Integer(_) | Value::Number(_))) {
        Kind::Number { least: f64::NEG_INFINITY, most: f64::INFINITY }
    } else if values.iter().all(|value| Kind::Limit.accept(value).is_ok()) {
        Kind::Limit
    } else {
        let words: BTreeSet<String> = values.iter().map(|value| value.to_string()).collect();
        Kind::Choice(words.into_iter().collect())
    }
}

/// The value of the configuration that sets nothing, as far as that can be told: beside an axis it's alone with its value, and
/// else it's mostly the first that was recorded.
fn default_of<'v>(values: &[&'v Value]) -> Option<&'v Value> {
    let count = |value: &Value| values.iter().filter(|other| **other == value).count();
    let mut alone = values.iter().copied().filter(|value| count(value) == 1);
    let shared: BTreeSet<String> =
        values.iter().filter(|value| count(value) > 1).map(|value| value.to_string()).collect();
    match (alone.next(), alone.next()) {
        (Some(value), None) if shared.len() > 1 => Some(value),
        _ => values.first().copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::built_in_backends;

    /// Candidates as the processor's engine makes them, changed as another version would have them.
    fn recorded(change: impl Fn(usize, &mut Candidate)) -> (ChosenBackend, Vec<Candidate>) {
        let backend = built_in_backends().into_iter().find(|backend| backend.name == "candle").unwrap();
        let candidate = |place: usize| {
            let mut candidate = backend.default_candidate();
            candidate.knobs.insert("batch_size".into(), Value::Integer([32, 8, 16][place]));
            change(place, &mut candidate);
            candidate
        };
        let candidates = (0..3).map(candidate).collect();
        (backend, candidates)
    }

    fn adapted(backend: &ChosenBackend, candidates: &[Candidate]) -> ChosenBackend {
        let mut backend = backend.clone();
        as_recorded(&mut backend, &candidates.iter().collect::<Vec<_>>());
        backend
    }

    #[test]
    fn what_this_version_has_recorded_is_as_it_is() {
        let (backend, candidates) = recorded(|_, _| {});
        assert_eq!(adapted(&backend, &candidates), backend);
        assert_eq!(adapted(&backend, &[]), backend);
    }

    #[test]
    fn a_knob_that_was_added_since_is_left_out_and_one_that_is_gone_is_there() {
        let (backend, candidates) = recorded(|place, candidate| {
            candidate.knobs.shift_remove("threads");
            candidate.knobs.insert("flash".into(), Value::Text(["off", "on", "off"][place].into()));
        });
        let then = adapted(&backend, &candidates);
        assert!(then.knobs.iter().all(|spec| spec.name != "threads"));
        assert_eq!(then.default_candidate().id(), candidates[0].id());
    }

    #[test]
    fn a_default_beside_the_axis_is_found_by_being_alone() {
        // What sets nothing had 7 then, and the axis 8 and 16; this version has 32.
        let (backend, mut candidates) = recorded(|place, candidate| {
            candidate.knobs.insert("batch_size".into(), Value::Integer([7, 8, 16][place]));
        });
        for number in [8, 16] {
            let mut other = candidates[0].clone();
            other.knobs.insert("batch_size".into(), Value::Integer(number));
            other.knobs.insert("order".into(), Value::Text("length".into()));
            candidates.push(other);
        }
        assert_eq!(adapted(&backend, &candidates).default_candidate().id(), candidates[0].id());
    }

    #[test]
    fn a_default_or_a_kind_that_was_another_then_is_that_other() {
        let (backend, candidates) = recorded(|_, candidate| {
            candidate.knobs.insert("order".into(), Value::Text("shuffled".into()));
        });
        let then = adapted(&backend, &candidates);
        assert_eq!(then.default_candidate().id(), candidates[0].id());
        let order = then.knobs.iter().find(|spec| spec.name == "order").unwrap();
        assert!(order.kind.parse("shuffled").is_ok());
    }
}
