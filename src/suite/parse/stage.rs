//! What a stage may try: its backends, its space, its baseline and its reference.

use std::ops::Range;

use indexmap::IndexMap;
use toml::Spanned;

use super::catalogue::is_plain;
use super::{Builder, flag};
use crate::knob::{BACKEND, Candidate, KnobSpec, Value};
use crate::pipeline::MAX_CHARS;
use crate::suite::figure::Figure;
use crate::suite::limit::{Limit, Subject};
use crate::suite::problem::{Problem, unknown};
use crate::suite::space::{Axis, MOST_PLACES, Space};
use crate::suite::wire::WireStage;
use crate::suite::{ChosenBackend, Exclusion, Stage};
use crate::task::{Metric, Prompt, Task};
use crate::units::did_you_mean;

/// How likely a span must be where the stage doesn't say: what GLiNER's package takes.
const LIKELY: f32 = 0.5;

/// A baseline or a reference as the file has it.
type Settings = IndexMap<Spanned<String>, Spanned<Value>>;

impl Builder<'_> {
    pub(super) fn stages(
        &self,
        wire: &Spanned<Vec<Spanned<WireStage>>>,
        limits: &[Limit],
    ) -> Result<Vec<Stage>, Problem> {
        let mut stages: Vec<Stage> = Vec::new();
        for wire in wire.get_ref() {
            let name = match &wire.get_ref().name {
                Some(name) => name.get_ref().clone(),
                None => wire.get_ref().task.name().to_owned(),
            };
            let span = wire.get_ref().name.as_ref().map_or(wire.span(), Spanned::span);
            if !is_plain(&name) {
                // It becomes a part of file names.
                let why =
                    format!("{name:?} is not a valid name for a stage: use letters, digits, - and _ only");
                return Err(self.text.problem(span, why));
            }
            if stages.iter().any(|stage| stage.name == name) {
                return Err(self.text.problem(span, format!("two stages have the name {name:?}")));
            }
            stages.push(self.stage(name, wire, limits)?);
        }
        if stages.is_empty() {
            return Err(self.text.problem(wire.span(), "no stages: there is nothing to measure"));
        }
        let takes = |stage: &Stage, knob: &str| {
            let names = stage.space.knobs();
            names.into_iter().any(|name| name == knob || format!("{}.{name}", stage.name) == knob)
        };
        for (knob, _) in &self.overrides.set {
            if !stages.iter().any(|stage| takes(stage, knob)) {
                let known =
                    self.catalogue.iter().flat_map(|backend| &backend.knobs).map(|spec| spec.name.as_str());
                let hint = did_you_mean(knob, known);
                return Err(Problem::new(
                    format!("--set {knob}"),
                    format!("no chosen backend has a knob {knob:?}{hint}"),
                ));
            }
        }
        if self.overrides.model.is_some() && stages.len() > 1 {
            let (stage, of) = (&stages[0].name, "this suite has several stages, each with its own model");
            return Err(Problem::new("--model", format!("{of}: name one, as in `--model {stage}=NAME`")));
        }
        for (stage, _) in &self.overrides.models {
            if stages.iter().all(|known| known.name != *stage) {
                let names = stages.iter().map(|stage| stage.name.as_str());
                return Err(flag("--model")(unknown("stage", stage, names)));
            }
        }
        Ok(stages)
    }

    fn stage(&self, name: String, wire: &Spanned<WireStage>, limits: &[Limit]) -> Result<Stage, Problem> {
        let (span, wire) = (wire.span(), wire.get_ref());
        let backends = self.chosen(&wire.backends)?;
        let axes = self.axes(&name, wire, &backends)?;
        let baseline = self.fixed(wire.baseline.as_ref(), &backends, |spec| spec.default.clone())?;
        let (mut space, unfit) = Space::new(baseline.clone(), &backends, &axes);
        let unfit = unfit.into_iter();
        let mut exclusions: Vec<Exclusion> =
            unfit.map(|unfit| Exclusion { candidates: unfit.candidates, because: unfit.because }).collect();
        for rule in &wire.exclude {
            if rule.get_ref().when.holds(&baseline) {
                let why =
                    "this excludes the baseline, which is always measured: give the stage another `baseline`";
                return Err(self.text.problem(rule.span(), why));
            }
            self.know(rule.get_ref().when.0.keys(), &backends, rule.span())?;
            let candidates = space.exclude(rule.get_ref().when.clone());
            exclusions.push(Exclusion { candidates, because: rule.get_ref().because.clone() });
        }
        if space.places() > MOST_PLACES {
            let why = format!("the space of stage {name:?} has too many candidates");
            return Err(self.text.problem(span, why));
        }
        if space.is_empty() {
            return Err(self.text.problem(span, format!("stage {name:?} has no candidate left to measure")));
        }
        let reference = self
            .fixed(wire.reference.as_ref(), &self.starting_with(&backends), |spec| spec.reference.clone())?;
        let metric = self.metric(wire)?;
        let fits =
            |limit: &Limit| limit.metric().is_none_or(|metric| wire.task.metrics().any(|one| one == metric));
        // Those of the suite are for the stages that they make sense for.
        let mut limits: Vec<Limit> = limits.iter().filter(|limit| fits(limit)).cloned().collect();
        for (limit, text) in self.limits(&wire.limits)?.into_iter().zip(&wire.limits) {
            if !fits(&limit) {
                return Err(self.text.problem(text.span(), no_judge(limit.on, wire.task)));
            }
            limits.push(limit);
        }
        if let Some(least) = wire.quality.as_ref().and_then(|quality| quality.get_ref().at_least.as_ref()) {
            if !(-1.0..=1.0).contains(least.get_ref()) {
                return Err(self
                    .text
                    .problem(least.span(), "`at_least` must be from -1 to 1: 1 is full agreement"));
            }
            limits.push(Limit::at_least(Subject::Figure(Figure::Quality), *least.get_ref()));
        }
        // What only the winner is checked for rules nobody out before.
        let stability = limits
            .extract_if(.., |limit| limit.on == Subject::Stability)
            .filter_map(|limit| limit.bound(0.0.into()))
            .reduce(f64::max);
        let own = self.overrides.models.iter().find(|(stage, _)| *stage == name).map(|(_, model)| model);
        Ok(Stage {
            name: name.clone(),
            task: wire.task,
            prompt: self.prompt(wire)?,
            model: own.or(self.overrides.model.as_ref()).unwrap_or(wire.model.get_ref()).clone(),
            replica: self.overrides.replica,
            space,
            baseline,
            reference,
            swept: axes.iter().filter(|axis| axis.values.len() > 1).map(|axis| axis.knob.clone()).collect(),
            exclusions,
            metric,
            limits,
            stability,
            label_names: wire
                .quality
                .as_ref()
                .map(|quality| quality.get_ref().labels.clone())
                .unwrap_or_default(),
            unchecked: Vec::new(),
        })
    }

    /// What the model is asked for, where the stage says so.
    fn prompt(&self, wire: &WireStage) -> Result<Option<Prompt>, Problem> {
        let Some(labels) = &wire.labels else {
            return match &wire.threshold {
                Some(threshold) => {
                    Err(self.text.problem(threshold.span(), "`threshold` belongs to `labels`"))
                }
                None => Ok(None),
            };
        };
        let problem = |why: String| Err(self.text.problem(labels.span(), why));
        if !matches!(wire.task, Task::Entities | Task::Classify) {
            let task = wire.task.name();
            return problem(format!("the task {task} isn't asked for labels; entities and classify are"));
        }
        let labels = labels.get_ref();
        if labels.is_empty() {
            return problem("no labels: there is nothing to ask for".into());
        }
        for (place, label) in labels.iter().enumerate() {
            if label.trim().is_empty() {
                return problem("an empty label".into());
            }
            if labels[..place].contains(label) {
                return problem(format!("the label {label:?} twice"));
            }
        }
        let threshold = match &wire.threshold {
            Some(threshold) if !(0.0..1.0).contains(threshold.get_ref()) => {
                return Err(self.text.problem(threshold.span(), "`threshold` must be from 0 to below 1"));
            }
            Some(threshold) => *threshold.get_ref(),
            None => LIKELY,
        };
        if let Some((knob, _)) = wire
            .knobs
            .iter()
            .find(|(knob, _)| wire.task == Task::Classify && knob.get_ref().as_str() == MAX_CHARS.name)
        {
            let why =
                "a text is told by all of it: `max_chars` cuts texts for extraction, in a stage of its own";
            return Err(self.text.problem(knob.span(), why));
        }
        Ok(Some(Prompt { labels: labels.clone(), threshold }))
    }

    /// The backends of a stage, in its order.
    fn chosen(&self, wire: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<ChosenBackend>, Problem> {
        let find = |name: &str| {
            let names = self.catalogue.iter().map(|backend| backend.name.as_str());
            let found = self.catalogue.iter().find(|backend| backend.name == name).cloned();
            found.ok_or_else(|| unknown("backend", name, names))
        };
        let chosen: Vec<ChosenBackend> = match &self.overrides.backends {
            Some(names) => {
                names.iter().map(|name| find(name).map_err(flag("--backend"))).collect::<Result<_, _>>()?
            }
            None => wire.get_ref().iter().map(|name| self.read(name, find)).collect::<Result<_, _>>()?,
        };
        if chosen.is_empty() {
            return Err(self.text.problem(wire.span(), "no backends: there is nothing to measure with"));
        }
        Ok(chosen)
    }

    /// The stage's knobs with the values of the file or of the command line, each known to some backend.
    fn axes(&self, stage: &str, wire: &WireStage, backends: &[ChosenBackend]) -> Result<Vec<Axis>, Problem> {
        let mut axes: Vec<Axis> = Vec::new();
        for (knob, values) in &wire.knobs {
            self.know([knob.get_ref()], backends, knob.span())?;
            let problem = |why: String| self.text.problem(values.span(), why);
            let mut values = values.get_ref().as_slice().to_vec();
            if self.overrides.backends.is_some() {
                // What only the suite's other backends take is left out with them.
                let fits = |value: &Value| {
                    let mut specs = backends.iter().flat_map(|backend| &backend.knobs);
                    specs.any(|spec| spec.name == *knob.get_ref() && spec.kind.accept(value).is_ok())
                };
                let fitting: Vec<Value> = values.iter().filter(|value| fits(value)).cloned().collect();
                values = if fitting.is_empty() { values } else { fitting };
            }
            axes.push(axis(knob.get_ref(), values, backends).map_err(problem)?);
        }
        for (knob, texts) in &self.overrides.set {
            let knob = knob.strip_prefix(&format!("{stage}.")).unwrap_or(knob);
            let specs =
                || backends.iter().flat_map(|backend| &backend.knobs).filter(|spec| spec.name == knob);
            if specs().next().is_none() {
                continue;
            }
            let place = || format!("--set {knob}");
            let parse = |text: &String| {
                let tries = specs().map(|spec| spec.kind.parse(text)).collect::<Vec<_>>();
                tries.iter().find_map(|value| value.clone().ok()).map_or_else(|| tries[0].clone(), Ok)
            };
            let values: Result<Vec<Value>, String> = texts.iter().map(parse).collect();
            let values = values.map_err(|why| Problem::new(place(), why))?;
            let set = axis(knob, values, backends).map_err(|why| Problem::new(place(), why))?;
            axes.retain(|axis| axis.knob != knob);
            axes.push(set);
        }
        Ok(axes)
    }

    /// The baseline or the reference: what the stage sets, over what the specifications give.
    fn fixed(
        &self,
        wire: Option<&Spanned<Settings>>,
        backends: &[ChosenBackend],
        value: impl Fn(&KnobSpec) -> Value,
    ) -> Result<Candidate, Problem> {
        let empty = Settings::new();
        let settings = wire.map_or(&empty, Spanned::get_ref);
        let mut backend = &backends[0];
        for (_, value) in settings.iter().filter(|(name, _)| name.get_ref() == BACKEND) {
            let wanted = value.get_ref().to_string();
            backend = backends.iter().find(|backend| backend.name == wanted).ok_or_else(|| {
                let names = backends.iter().map(|backend| backend.name.as_str());
                self.text.problem(value.span(), unknown("backend", &wanted, names))
            })?;
        }
        let mut candidate = backend.candidate_of(value);
        for (name, value) in settings.iter().filter(|(name, _)| name.get_ref() != BACKEND) {
            self.know([name.get_ref()], std::slice::from_ref(backend), name.span())?;
            for spec in backend.knobs.iter().filter(|spec| spec.name == *name.get_ref()) {
                let value =
                    spec.kind.accept(value.get_ref()).map_err(|why| self.text.problem(value.span(), why))?;
                candidate.knobs.insert(spec.name.clone(), value);
            }
        }
        Ok(candidate)
    }

    /// All backends, `backends` in front: the reference may come from one that isn't being tuned.
    fn starting_with(&self, backends: &[ChosenBackend]) -> Vec<ChosenBackend> {
        let others =
            self.catalogue.iter().filter(|other| backends.iter().all(|backend| backend.name != other.name));
        backends.iter().chain(others).cloned().collect()
    }

    /// Refuses names that are knobs of no backend.
    fn know<'n>(
        &self,
        names: impl IntoIterator<Item = &'n String>,
        backends: &[ChosenBackend],
        span: Range<usize>,
    ) -> Result<(), Problem> {
        let known: Vec<&str> =
            backends.iter().flat_map(|backend| &backend.knobs).map(|spec| spec.name.as_str()).collect();
        for name in names {
            if name != BACKEND && !known.contains(&name.as_str()) {
                let hint = did_you_mean(name, known.iter().copied());
                let chosen: Vec<_> = backends.iter().map(|backend| backend.name.as_str()).collect();
                let why = format!("no knob {name:?} in {}{hint}", chosen.join(", "));
                return Err(self.text.problem(span, why));
            }
        }
        Ok(())
    }

    fn metric(&self, wire: &WireStage) -> Result<Metric, Problem> {
        match wire.quality.as_ref().and_then(|quality| quality.get_ref().metric.as_ref()) {
            None => Ok(wire.task.agreements()[0]),
            Some(metric) if wire.task.metrics().any(|one| one == *metric.get_ref()) => Ok(*metric.get_ref()),
            Some(metric) => {
                let why = no_judge(Subject::Metric(*metric.get_ref()), wire.task);
                Err(self.text.problem(metric.span(), why))
            }
        }
    }
}

fn no_judge(given: Subject, task: Task) -> String {
    let names: Vec<_> = task.metrics().map(Metric::name).collect();
    format!(
        "\"{given}\" doesn't apply to the task {:?}; available metrics: {}",
        task.name(),
        names.join(", ")
    )
}

/// An axis whose values are not empty, not repeated, and each fit for some backend.
fn axis(knob: &str, values: Vec<Value>, backends: &[ChosenBackend]) -> Result<Axis, String> {
    if values.is_empty() {
        return Err(format!("{knob} has no values, so the space is empty"));
    }
    for (place, value) in values.iter().enumerate() {
        if values[..place].contains(value) {
            return Err(format!("{knob}: the value {value} is listed twice"));
        }
        let specs = backends.iter().flat_map(|backend| &backend.knobs).filter(|spec| spec.name == knob);
        let refusals: Vec<String> = specs.clone().filter_map(|spec| spec.kind.accept(value).err()).collect();
        if refusals.len() == specs.count()
            && let Some(why) = refusals.first()
        {
            return Err(format!("{knob}: {why}"));
        }
    }
    Ok(Axis { knob: knob.to_owned(), values })
}
