//! The space of a stage: axes, what is excluded, and candidates that are made as they are asked for.
//!
//! Nothing here grows with the number of candidates: a space of ten million is as small as one of ten.

use std::collections::{BTreeSet, HashSet};

use super::backend::ChosenBackend;
use crate::knob::{Applies, Candidate, Condition, Kind, Value};

/// A knob and the values that it may have.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub knob: String,
    pub values: Vec<Value>,
}

/// How the values of an axis lie beside one another, for searches that ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AxisKind {
    /// Twice as much is a step: batches, threads.
    LogInteger,
    Number,
    /// Whole numbers, and behind them all of them "none".
    Limit,
    /// In no order.
    Category,
}

impl AxisKind {
    pub fn of(kind: &Kind) -> AxisKind {
        match kind {
            Kind::Integer { .. } => AxisKind::LogInteger,
            Kind::Number { .. } => AxisKind::Number,
            Kind::Limit => AxisKind::Limit,
            Kind::Switch | Kind::Choice(_) => AxisKind::Category,
        }
    }
}

/// Why some value of an axis is not for one of the backends.
pub struct Unfit {
    pub candidates: usize,
    pub because: String,
}

/// The candidates of one backend.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    /// The backend's name and the values of the knobs that aren't varied.
    defaults: Candidate,
    /// In the backend's order, each with its values that fit it.
    axes: Vec<PartAxis>,
}

#[derive(Debug, Clone, PartialEq)]
struct PartAxis {
    axis: Axis,
    kind: AxisKind,
    applies: Applies,
}

/// Every candidate that may be tried. The first of them is the baseline, whether the axes make it or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    baseline: Candidate,
    parts: Vec<Part>,
    excluded: Vec<Condition>,
}

/// Beyond this many places nothing is counted any more.
pub const MOST_PLACES: usize = 1 << 62;

impl Space {
    /// Of the axes on each backend that has them. What doesn't fit a backend is reported.
    pub fn new(baseline: Candidate, backends: &[ChosenBackend], axes: &[Axis]) -> (Space, Vec<Unfit>) {
        let mut unfit = Vec::new();
        // One that is named twice has its candidates once.
        let first =
            |place: &usize| backends[..*place].iter().all(|other| other.name != backends[*place].name);
        let backends = (0..backends.len()).filter(first).map(|place| &backends[place]);
        let parts = backends.map(|backend| Part::new(backend, axes, &mut unfit)).collect();
        (Space { baseline, parts, excluded: Vec::new() }, unfit)
    }

    /// Leaves out what a condition holds for, and says how many candidates that are.
    pub fn exclude(&mut self, condition: Condition) -> usize {
        let before = self.of_axes();
        self.excluded.push(condition);
        before - self.of_axes()
    }

    pub fn baseline(&self) -> &Candidate {
        &self.baseline
    }

    /// Whether the axes make the baseline, too.
    pub fn makes_baseline(&self) -> bool {
        self.parts.iter().any(|part| part.makes(&self.baseline))
    }

    /// How many candidates there are, without making them.
    pub fn len(&self) -> usize {
        self.of_axes() + usize::from(!self.makes_baseline())
    }

    pub fn is_empty(&self) -> bool {
        self.of_axes() == 0
    }

    /// Candidates of the axes that aren't excluded.
    fn of_axes(&self) -> usize {
        let left = |part: &Part| part.size().saturating_sub(part.excluded(&self.excluded));
        self.parts.iter().map(left).fold(0, usize::saturating_add)
    }

    /// Places from 0 on, at each of which the axes may have a candidate: [`Space::at`].
    pub fn places(&self) -> usize {
        self.parts.iter().map(Part::size).fold(0, usize::saturating_add)
    }

    /// The candidate at a place, later axes turning fastest. Nothing where it's excluded, or the baseline, which comes before
    /// all places.
    pub fn at(&self, mut place: usize) -> Option<Candidate> {
        for part in &self.parts {
            if place < part.size() {
                return Some(part.at(place))
                    .filter(|candidate| *candidate != self.baseline && !self.excludes(candidate));
            }
            place -= part.size();
        }
        None
    }

    fn excludes(&self, candidate: &Candidate) -> bool {
        self.excluded.iter().any(|condition| condition.holds(candidate))
    }

    /// All candidates, the baseline first, made one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Candidate> + '_ {
        let of_axes = (0..self.places()).filter_map(|place| self.at(place));
        std::iter::once(self.baseline.clone()).chain(of_axes)
    }

    pub fn contains(&self, candidate: &Candidate) -> bool {
        *candidate == self.baseline
            || (self.parts.iter().any(|part| part.makes(candidate)) && !self.excludes(candidate))
    }

    /// One candidate for each load: of those that differ only in what applies at a run, the first. The baseline comes first, and
    /// its load again in its turn.
    pub fn loads(&self) -> impl Iterator<Item = Candidate> + '_ {
        let own = std::iter::once(self.baseline.clone());
        own.chain(self.parts.iter().flat_map(|part| part.loads(&self.excluded)))
    }

    /// The names of the backends that have candidates.
    pub fn backends(&self) -> BTreeSet<&str> {
        let has = |part: &&Part| part.size() > part.excluded(&self.excluded);
        let of_axes = self.parts.iter().filter(has).map(|part| part.defaults.backend.as_str());
        of_axes.chain([self.baseline.backend.as_str()]).collect()
    }

    /// The knobs that its candidates have.
    pub fn knobs(&self) -> BTreeSet<&str> {
        let all = self.parts.iter().map(|part| &part.defaults).chain([&self.baseline]);
        all.flat_map(|candidate| candidate.knobs.keys().map(String::as_str)).collect()
    }

    /// The varied knobs that are set when a model is loaded.
    pub fn load_knobs(&self) -> BTreeSet<&str> {
        let axes = self.parts.iter().flat_map(|part| &part.axes);
        axes.filter(|axis| axis.applies == Applies::Load).map(|axis| axis.axis.knob.as_str()).collect()
    }

    /// The axes of a backend with how their values lie.
    pub fn axes_of(&self, backend: &str) -> impl Iterator<Item = (&Axis, AxisKind)> + '_ {
        let backend = backend.to_owned();
        let part = self.parts.iter().filter(move |part| part.defaults.backend == backend);
        part.flat_map(|part| part.axes.iter().map(|axis| (&axis.axis, axis.kind)))
    }

    /// The values that a knob has in some candidate, in order.
    pub fn values(&self, knob: &str) -> Vec<Value> {
        let of_part = |part: &Part| match part.axes.iter().find(|axis| axis.axis.knob == knob) {
            Some(axis) => axis.axis.values.clone(),
            None => part.defaults.knobs.get(knob).cloned().into_iter().collect(),
        };
        let own = self.baseline.knobs.get(knob).cloned();
        let mut values: Vec<Value> = Vec::new();
        for value in self.parts.iter().flat_map(of_part).chain(own) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let order = |left: &Value, right: &Value| {
            left.number().partial_cmp(&right.number()).unwrap_or(std::cmp::Ordering::Equal)
        };
        values.sort_by(order);
        values
    }
}

impl Part {
    fn new(backend: &ChosenBackend, axes: &[Axis], unfit: &mut Vec<Unfit>) -> Part {
        let mut part = Part { defaults: backend.default_candidate(), axes: Vec::new() };
        let mut refused = Vec::new();
        for spec in &backend.knobs {
            let Some(axis) = axes.iter().find(|axis| axis.knob == spec.name) else { continue };
            let (mut values, mut seen) = (Vec::new(), HashSet::new());
            for value in &axis.values {
                match spec.kind.accept(value) {
                    // 1 and 1.0 are one value where numbers are taken.
                    Ok(value) if !seen.insert(value.to_string()) => {}
                    Ok(value) => values.push(value),
                    Err(why) => refused.push((spec.name.clone(), value.clone(), why)),
                }
            }
            let axis = Axis { knob: spec.name.clone(), values };
            part.axes.push(PartAxis { axis, kind: AxisKind::of(&spec.kind), applies: spec.applies });
        }
        for (knob, value, why) in refused {
            let others = part.axes.iter().filter(|axis| axis.axis.knob != knob);
            let candidates = others.map(|axis| axis.axis.values.len()).fold(1, usize::saturating_mul);
            let because = format!("{} doesn't support {knob}={value}: {why}", backend.name);
            unfit.push(Unfit { candidates, because });
        }
        part
    }

    fn size(&self) -> usize {
        self.axes.iter().map(|axis| axis.axis.values.len()).fold(1, usize::saturating_mul)
    }

    fn at(&self, mut place: usize) -> Candidate {
        let mut candidate = self.defaults.clone();
        for PartAxis { axis, .. } in self.axes.iter().rev() {
            candidate.knobs.insert(axis.knob.clone(), axis.values[place % axis.values.len()].clone());
            place /= axis.values.len();
        }
        candidate
    }

    fn makes(&self, candidate: &Candidate) -> bool {
        candidate.backend == self.defaults.backend
            && candidate.knobs.len() == self.defaults.knobs.len()
            && candidate.knobs.iter().all(|(knob, value)| {
                match self.axes.iter().find(|axis| axis.axis.knob == *knob) {
                    Some(axis) => axis.axis.values.contains(value),
                    None => self.defaults.knobs.get(knob) == Some(value),
                }
            })
    }

    /// How many candidates some of the conditions hold for. A condition holds for a box within the space, and so do several
    /// together: their boxes are counted in, those of pairs out again, and so on.
    fn excluded(&self, conditions: &[Condition]) -> usize {
        let whole: Vec<Vec<bool>> = self.axes.iter().map(|axis| vec![true; axis.axis.values.len()]).collect();
        let boxes: Vec<Vec<Vec<bool>>> =
            conditions.iter().filter_map(|condition| self.within(&whole, condition)).collect();
        usize::try_from(covered(&boxes, &whole)).unwrap_or(usize::MAX)
    }

    /// The values of each axis for which a condition holds, within a box; nothing if there are none.
    fn within(&self, within: &[Vec<bool>], condition: &Condition) -> Option<Vec<Vec<bool>>> {
        let mut inner = within.to_vec();
        for (knob, wanted) in &condition.0 {
            let wanted: Vec<String> = wanted.as_slice().iter().map(ToString::to_string).collect();
            match self.axes.iter().position(|axis| axis.axis.knob == *knob) {
                Some(place) => {
                    let values = &self.axes[place].axis.values;
                    for (kept, value) in inner[place].iter_mut().zip(values) {
                        *kept &= wanted.contains(&value.to_string());
                    }
                }
                None if wanted.contains(&self.defaults.word(knob)) => {}
                None => return None,
            }
        }
        (volume(&inner) > 0).then_some(inner)
    }

    fn loads<'s>(&'s self, excluded: &'s [Condition]) -> impl Iterator<Item = Candidate> + 's {
        let at_load = |axis: &PartAxis| axis.applies == Applies::Load;
        // With the axes of a load turning slowest, the first that isn't excluded stands for its load.
        let (slow, fast): (Vec<PartAxis>, Vec<PartAxis>) = self.axes.iter().cloned().partition(at_load);
        let turned = Part {
            defaults: self.defaults.clone(),
            axes: slow.iter().cloned().chain(fast.iter().cloned()).collect(),
        };
        let runs = Part { defaults: self.defaults.clone(), axes: fast }.size();
        let loads = turned.size().checked_div(runs).unwrap_or(0);
        (0..loads).filter_map(move |load| {
            let mut of_load = (0..runs).map(|run| turned.at(load * runs + run));
            of_load.find(|candidate| !excluded.iter().any(|condition| condition.holds(candidate)))
        })
    }
}

fn volume(sides: &[Vec<bool>]) -> i128 {
    sides.iter().map(|side| side.iter().filter(|kept| **kept).count() as i128).product()
}

/// How much of `within` the boxes cover together.
fn covered(boxes: &[Vec<Vec<bool>>], within: &[Vec<bool>]) -> i128 {
    let Some((first, others)) = boxes.split_first() else { return 0 };
    let both: Vec<Vec<bool>> = first
        .iter()
        .zip(within)
        .map(|(left, right)| left.iter().zip(right).map(|(left, right)| *left && *right).collect())
        .collect();
    let own = volume(&both);
    // What the first one covers needn't be covered again.
    let again = if own == 0 { 0 } else { covered(others, &both) };
    own + covered(others, within) - again
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::built_in_backends;

    fn axis(knob: &str, values: &[i64]) -> Axis {
        Axis { knob: knob.into(), values: values.iter().copied().map(Value::Integer).collect() }
    }

    fn word_axis(knob: &str, values: &[&str]) -> Axis {
        Axis { knob: knob.into(), values: values.iter().map(|value| Value::Text((*value).into())).collect() }
    }

    fn space(axes: &[Axis]) -> (Space, Vec<Unfit>) {
        let backends: Vec<ChosenBackend> =
            built_in_backends().into_iter().filter(|backend| backend.name == "candle").collect();
        Space::new(backends[0].default_candidate(), &backends, axes)
    }

    fn condition(text: &str) -> Condition {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn candidates_are_made_as_asked_for_each_once_and_the_baseline_first() {
        let (mut space, unfit) = space(&[
            axis("batch_size", &[8, 16, 32]),
            word_axis("order", &["arrival", "length"]),
            word_axis("dtype", &["fp32", "fp16", "fp7"]),
        ]);
        assert_eq!((unfit.len(), unfit[0].candidates), (1, 6));
        let all: Vec<Candidate> = space.iter().collect();
        assert_eq!((all.len(), space.len(), &all[0]), (12, 12, space.baseline()));
        let ids: BTreeSet<String> = all.iter().map(Candidate::id).collect();
        assert_eq!(ids.len(), 12);
        // Conditions that overlap are counted once.
        assert_eq!(space.exclude(condition("batch_size = [8, 16]\ndtype = \"fp16\"")), 4);
        assert_eq!(space.exclude(condition("order = \"length\"\ndtype = \"fp16\"")), 1);
        assert_eq!(space.exclude(condition("backend = \"ort\"")), 0);
        assert_eq!((space.len(), space.iter().count()), (7, 7));
        assert!(
            all.iter()
                .all(|candidate| space.contains(candidate) == space.iter().any(|one| one == *candidate))
        );
        assert_eq!(
            space.loads().map(|load| load.word("dtype")).collect::<Vec<_>>(),
            ["fp32", "fp32", "fp16"]
        );
        assert_eq!(space.values("batch_size"), [8, 16, 32].map(Value::Integer));
    }

    #[test]
    fn what_is_named_twice_is_there_once() {
        let one = || built_in_backends().into_iter().find(|backend| backend.name == "candle").unwrap();
        let numbers =
            Axis { knob: "memory_fraction".into(), values: vec![Value::Integer(1), Value::Number(1.0)] };
        let (space, _) =
            Space::new(one().default_candidate(), &[one(), one()], &[numbers, axis("batch_size", &[8])]);
        assert_eq!((space.len(), space.iter().count()), (2, 2));
    }

    #[test]
    fn a_baseline_beside_the_axes_is_one_more() {
        let (space, _) = space(&[axis("batch_size", &[8, 16])]);
        assert_eq!((space.makes_baseline(), space.len(), space.iter().count()), (false, 3, 3));
    }

    #[test]
    fn ten_million_candidates_are_counted_and_found_without_being_made() {
        let numbers: Vec<i64> = (1..=250).collect();
        let (mut space, _) = space(&[
            axis("batch_size", &numbers),
            axis("max_tokens", &numbers),
            axis("num_workers", &(1..=40).collect::<Vec<_>>()),
            word_axis("dtype", &["fp32", "fp16", "int8", "bf16"]),
        ]);
        assert_eq!(space.len(), 250 * 250 * 40 * 4 + 1);
        assert_eq!(space.exclude(condition("dtype = \"bf16\"")), 250 * 250 * 40);
        let somewhere = space.at(5_000_000).unwrap();
        assert!(space.contains(&somewhere));
        assert_eq!(space.loads().count(), 4);
        let kinds: Vec<AxisKind> = space.axes_of("candle").map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [AxisKind::LogInteger, AxisKind::Limit, AxisKind::LogInteger, AxisKind::Category]);
    }
}
