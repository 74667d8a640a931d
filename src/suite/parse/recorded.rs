//! The knobs of a run that another version of the program has made: what its candidates were recorded with, whatever this
//! version has besides or no longer has.

use std::collections::{BTreeMap, BTreeSet};

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
        // The configuration that sets nothing is always recorded, so what nobody has wasn't the default then.
        if let Some(most_common) = most_common(&values).filter(|_| !values.contains(&&spec.default)) {
            spec.default = most_common.clone();
        }
    }
    for knob in first.knobs.keys() {
        let values = values(knob);
        if let Some(default) = most_common(&values)
            && backend.knobs.iter().all(|spec| spec.name != *knob)
        {
            let help = "a knob of another version of autotune";
            backend.knobs.push(KnobSpec::new(knob, Applies::Load, kind_of(&values), default.clone(), help));
        }
    }
}

/// A kind that takes all of them.
fn kind_of(values: &[&Value]) -> Kind {
    let words = || {
        Kind::Choice(
            values.iter().map(|value| value.to_string()).collect::<BTreeSet<_>>().into_iter().collect(),
        )
    };
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
        words()
    }
}

fn most_common<'v>(values: &[&'v Value]) -> Option<&'v Value> {
    let mut counts: BTreeMap<String, (usize, &Value)> = BTreeMap::new();
    for value in values {
        counts.entry(value.to_string()).or_insert((0, value)).0 += 1;
    }
    counts.into_values().max_by_key(|(count, _)| *count).map(|(_, value)| value)
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
