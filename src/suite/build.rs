//! From the shapes of a file to a valid suite, or to the first problem with its place and the nearest valid name.

use std::ops::Range;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::corpus::{Source, Synthetic};
use super::figure::{Figure, Limit};
use super::problem::{Problem, Text, did_you_mean};
use super::source::{Folder, SuiteSource};
use super::space::{self, Axis, MOST_CANDIDATES};
use super::wire::{WireCorpus, WireStage, WireSuite, WireSynthetic};
use super::{
    Budget, ChosenBackend, Corpus, Effort, Engine, Exclusion, Overrides, SearchKind, Stage, Suite, Timeouts,
};
use crate::backend::{self, declared, exec, fake};
use crate::knob::{BACKEND, Candidate, KnobSpec, Value};
use crate::pipeline;
use crate::units::parse_duration;

/// Repeats of each candidate, unless the suite says otherwise: the fewest that show whether they agree.
const ROUNDS: u32 = 3;

/// Bounds what a suite may ask for, so that a slip of the keyboard isn't a run of a year.
const MOST_ROUNDS: u32 = 1000;

/// Turns a suite's text and what the command line changes in it into a valid suite.
pub fn parse(source: &SuiteSource, overrides: &Overrides, dialects: &[&str]) -> Result<Suite, Problem> {
    let text = Text { name: &source.file, text: &source.text };
    let reader = |error: toml::de::Error| text.reader_problem(&error);
    let mut table = DeTable::parse(&source.text).map_err(reader)?;
    let backends = table.get_mut().remove("backends");
    let wire = WireSuite::deserialize(toml::de::Deserializer::from(table)).map_err(reader)?;
    let catalogue = catalogue(text, backends)?;
    let builder = Builder { text, overrides, catalogue };
    builder.suite(source, wire, dialects)
}

struct Builder<'a> {
    text: Text<'a>,
    overrides: &'a Overrides,
    catalogue: Vec<ChosenBackend>,
}

type Settings = IndexMap<Spanned<String>, Spanned<Value>>;

impl Builder<'_> {
    fn suite(&self, source: &SuiteSource, wire: WireSuite, dialects: &[&str]) -> Result<Suite, Problem> {
        let overrides = self.overrides;
        let corpus = self.corpus(&wire.corpus, &source.folder)?;
        let objective = match (&overrides.objective, &wire.objective) {
            (Some(given), _) => given.parse().map_err(flag("--objective"))?,
            (None, Some(given)) => self.read(given, |text| text.parse())?,
            (None, None) => Figure::Throughput,
        };
        let mut limits = self.limits(&wire.limits)?;
        for limit in &overrides.limits {
            limits.push(limit.parse().map_err(flag("--limit"))?);
        }
        let budget = match (&overrides.budget, &wire.budget) {
            (Some(given), _) => budget(given).map_err(flag("--budget"))?,
            (None, Some(given)) => self.read(given, budget)?,
            (None, None) => Budget::Whole,
        };
        let search = match (&overrides.search, &wire.search) {
            (Some(given), _) => search(given).map_err(flag("--search"))?,
            (None, Some(given)) => self.read(given, search)?,
            (None, None) => SearchKind::Grid,
        };
        let rounds = self.within(wire.rounds.as_ref(), ROUNDS, 1..=MOST_ROUNDS, "rounds")?;
        let effort = Effort {
            time: self.duration(wire.measure.time.as_ref(), Duration::from_secs(1))?,
            passes: self.within(wire.measure.passes.as_ref(), 2, 1..=10_000, "passes")?,
        };
        let timeouts = Timeouts {
            load: self.duration(wire.timeouts.load.as_ref(), Duration::from_secs(300))?,
            answer: self.duration(wire.timeouts.answer.as_ref(), Duration::from_secs(300))?,
            measure: self
                .duration(wire.timeouts.measure.as_ref(), effort.time * 20 + Duration::from_secs(60))?,
        };
        let dialect = |name: &str| {
            let unknown = || {
                let hint = did_you_mean(name, dialects.iter().copied());
                format!("no dialect is called {name:?}; there are {}{hint}", dialects.join(", "))
            };
            dialects.contains(&name).then(|| name.to_owned()).ok_or_else(unknown)
        };
        let dialect = match (&overrides.dialect, &wire.dialect) {
            (Some(given), _) => dialect(given).map_err(flag("--dialect"))?,
            (None, Some(given)) => self.read(given, dialect)?,
            (None, None) => dialects.first().copied().unwrap_or_default().to_owned(),
        };
        let price_per_hour = self.positive(wire.price_per_hour.as_ref(), "price_per_hour")?;
        let stages = self.stages(&wire.stages, &limits)?;
        self.check_cost(objective, &stages, price_per_hour)?;
        let used = |backend: &&ChosenBackend| {
            stages.iter().any(|stage| {
                stage.reference.backend == backend.name
                    || stage.candidates.iter().any(|candidate| candidate.backend == backend.name)
            })
        };
        Ok(Suite {
            name: source.name.clone(),
            description: wire.description,
            corpus,
            backends: self.catalogue.iter().filter(used).cloned().collect(),
            stages,
            objective,
            budget,
            search,
            seed: overrides.seed.or(wire.seed).unwrap_or(0),
            rounds,
            effort,
            timeouts,
            dialect,
            price_per_hour,
        })
    }

    fn corpus(&self, wire: &Spanned<WireCorpus>, folder: &Folder) -> Result<Corpus, Problem> {
        let (span, wire) = (wire.span(), wire.get_ref());
        let source = match (&wire.file, &wire.synthetic) {
            (Some(file), None) => {
                let missing =
                    |why| self.text.problem(file.span(), format!("the corpus {:?}: {why}", file.get_ref()));
                folder.read(file.get_ref()).map_err(missing)?;
                Source::File(file.get_ref().clone())
            }
            (None, Some(synthetic)) => Source::Synthetic(self.synthetic(synthetic)?),
            _ => return Err(self.text.problem(span, "a corpus is either a `file` or `synthetic`")),
        };
        let first = match &wire.first {
            Some(first) if *first.get_ref() == 0 => {
                return Err(self.text.problem(first.span(), "`first = 0` leaves no document to measure on"));
            }
            first => first.as_ref().map(|first| *first.get_ref()),
        };
        Ok(Corpus { source, first, place: self.text.place(span) })
    }

    fn synthetic(&self, wire: &Spanned<WireSynthetic>) -> Result<Synthetic, Problem> {
        let problem = |message: &str| self.text.problem(wire.span(), message);
        let made = wire.get_ref();
        let synthetic = Synthetic {
            documents: made.documents,
            median_words: made.median_words.unwrap_or(55.0),
            spread: made.spread.unwrap_or(0.6),
            most_words: made.most_words.unwrap_or(400),
            queries: made.queries.unwrap_or(0),
            seed: made.seed.unwrap_or(1),
        };
        if !(1..=1_000_000).contains(&synthetic.documents) {
            return Err(problem("`documents` must be from 1 to 1000000"));
        }
        if !(1..=100_000).contains(&synthetic.most_words)
            || synthetic.documents.saturating_mul(synthetic.most_words) > 100_000_000
        {
            return Err(problem(
                "`most_words` must be from 1 to 100000, and a hundred million words in all at most",
            ));
        }
        if !(1.0..=1e5).contains(&synthetic.median_words) || !(0.0..=5.0).contains(&synthetic.spread) {
            return Err(problem("`median_words` must be from 1 to 100000 and `spread` from 0 to 5"));
        }
        if synthetic.queries > synthetic.documents {
            return Err(problem("there can't be more `queries` than `documents`"));
        }
        Ok(synthetic)
    }

    fn stages(
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
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let span = wire.get_ref().name.as_ref().map_or(wire.span(), Spanned::span);
            if name.is_empty() || !name.chars().all(plain) {
                // It becomes a part of file names.
                let why = format!("{name:?} is no name for a stage: letters, digits, - and _ only");
                return Err(self.text.problem(span, why));
            }
            if stages.iter().any(|stage| stage.name == name) {
                return Err(self.text.problem(span, format!("a second stage called {name:?}")));
            }
            stages.push(self.stage(name, wire, limits)?);
        }
        if stages.is_empty() {
            return Err(self.text.problem(wire.span(), "no stages: there is nothing to measure"));
        }
        let takes = |stage: &Stage, knob: &str| {
            let names = stage.candidates.iter().flat_map(|candidate| candidate.knobs.keys());
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
            return Err(Problem::new("--model", "this suite has several stages, each with its own model"));
        }
        Ok(stages)
    }

    fn stage(&self, name: String, wire: &Spanned<WireStage>, limits: &[Limit]) -> Result<Stage, Problem> {
        let (span, wire) = (wire.span(), wire.get_ref());
        let backends = self.chosen(&wire.backends)?;
        let axes = self.axes(&name, wire, &backends)?;
        let sizes = backends.iter().map(|backend| space::size(backend, &axes));
        let total = sizes.into_iter().try_fold(0usize, |sum, size| sum.checked_add(size?));
        if total.is_none_or(|total| total > MOST_CANDIDATES) {
            return Err(self
                .text
                .problem(span, format!("the space has more than {MOST_CANDIDATES} candidates")));
        }
        let mut exclusions = Vec::new();
        let mut candidates = Vec::new();
        for backend in &backends {
            let (fitting, unfit) = space::candidates(backend, &axes);
            candidates.extend(fitting);
            let unfit = unfit.into_iter();
            exclusions.extend(
                unfit.map(|unfit| Exclusion { candidates: unfit.candidates, because: unfit.because }),
            );
        }
        for rule in &wire.exclude {
            let count = candidates.len();
            self.know(rule.get_ref().when.0.keys(), &backends, rule.span())?;
            candidates.retain(|candidate| !rule.get_ref().when.holds(candidate));
            let because = rule.get_ref().because.clone();
            exclusions.push(Exclusion { candidates: count - candidates.len(), because });
        }
        if candidates.is_empty() {
            return Err(self.text.problem(span, format!("stage {name:?} has no candidate left to measure")));
        }
        let baseline = self.fixed(wire.baseline.as_ref(), &backends, |spec| spec.default.clone())?;
        let reference = self
            .fixed(wire.reference.as_ref(), &self.starting_with(&backends), |spec| spec.reference.clone())?;
        let metric = self.metric(wire)?;
        let mut limits = limits.to_vec();
        limits.extend(self.limits(&wire.limits)?);
        if let Some(least) = wire.quality.as_ref().and_then(|quality| quality.get_ref().at_least.as_ref()) {
            if !(-1.0..=1.0).contains(least.get_ref()) {
                return Err(self
                    .text
                    .problem(least.span(), "`at_least` must be from -1 to 1: 1 is full agreement"));
            }
            limits.push(Limit { figure: Figure::Quality, at_most: false, bound: *least.get_ref() });
        }
        Ok(Stage {
            name,
            task: wire.task,
            model: self.overrides.model.clone().unwrap_or_else(|| wire.model.get_ref().clone()),
            baseline_in_space: candidates.contains(&baseline),
            candidates: space::distinct(&baseline, candidates),
            baseline,
            reference,
            swept: axes.iter().filter(|axis| axis.values.len() > 1).map(|axis| axis.knob.clone()).collect(),
            exclusions,
            metric,
            limits,
        })
    }

    /// The backends of a stage, in its order.
    fn chosen(&self, wire: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<ChosenBackend>, Problem> {
        let find = |name: &str| {
            let names = || self.catalogue.iter().map(|backend| backend.name.as_str());
            self.catalogue.iter().find(|backend| backend.name == name).cloned().ok_or_else(|| {
                let hint = did_you_mean(name, names());
                format!(
                    "no backend is called {name:?}; there are {}{hint}",
                    names().collect::<Vec<_>>().join(", ")
                )
            })
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
            axes.push(axis(knob.get_ref(), values.get_ref().as_slice().to_vec(), backends).map_err(problem)?);
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
        for (name, value) in settings.iter().filter(|(name, _)| name.get_ref() == BACKEND) {
            let wanted = value.get_ref().to_string();
            backend = backends.iter().find(|backend| backend.name == wanted).ok_or_else(|| {
                let names: Vec<_> = backends.iter().map(|backend| backend.name.as_str()).collect();
                let hint = did_you_mean(&wanted, names.iter().copied());
                self.text.problem(
                    name.span(),
                    format!("no backend {wanted:?} here; there are {}{hint}", names.join(", ")),
                )
            })?;
        }
        let mut candidate = space::candidate_of(backend, value);
        for (name, value) in settings.iter().filter(|(name, _)| name.get_ref() != BACKEND) {
            self.know([name.get_ref()], std::slice::from_ref(backend), name.span())?;
            for spec in backend.knobs.iter().filter(|spec| spec.name == *name.get_ref()) {
                let value =
                    spec.kind.accept(value.get_ref()).map_err(|why| self.text.problem(value.span(), why))?;
                candidate = space::with(&candidate, &spec.name, value);
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

    fn metric(&self, wire: &WireStage) -> Result<crate::task::Metric, Problem> {
        let possible = wire.task.metrics();
        match wire.quality.as_ref().and_then(|quality| quality.get_ref().metric.as_ref()) {
            None => Ok(possible[0]),
            Some(metric) if possible.contains(metric.get_ref()) => Ok(*metric.get_ref()),
            Some(metric) => {
                let names: Vec<_> = possible.iter().map(|metric| metric.name()).collect();
                let (given, task) = (metric.get_ref().name(), wire.task.name());
                let why = format!("{given:?} can't judge the task {task:?}; there are {}", names.join(", "));
                Err(self.text.problem(metric.span(), why))
            }
        }
    }

    fn check_cost(&self, objective: Figure, stages: &[Stage], price: Option<f64>) -> Result<(), Problem> {
        let limits = stages.iter().flat_map(|stage| &stage.limits);
        let wanted =
            objective == Figure::Cost || limits.into_iter().any(|limit| limit.figure == Figure::Cost);
        if wanted && price.is_none() {
            return Err(Problem::new(
                self.text.name,
                "the figure `cost` needs `price_per_hour` in the suite",
            ));
        }
        Ok(())
    }

    fn limits(&self, wire: &[Spanned<String>]) -> Result<Vec<Limit>, Problem> {
        wire.iter().map(|limit| self.read(limit, |text| text.parse())).collect()
    }

    fn read<T>(
        &self,
        from: &Spanned<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Problem> {
        parse(from.get_ref()).map_err(|why| self.text.problem(from.span(), why))
    }

    fn duration(&self, wire: Option<&Spanned<String>>, default: Duration) -> Result<Duration, Problem> {
        let Some(wire) = wire else { return Ok(default) };
        let duration = self.read(wire, |text| parse_duration(text).map_err(|error| error.to_string()))?;
        // An hour for one request: more is a slip.
        if duration.is_zero() || duration > Duration::from_secs(3600) {
            return Err(self
                .text
                .problem(wire.span(), "must be longer than nothing and no longer than an hour"));
        }
        Ok(duration)
    }

    fn within(
        &self,
        wire: Option<&Spanned<u32>>,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
        name: &str,
    ) -> Result<u32, Problem> {
        let Some(wire) = wire else { return Ok(default) };
        if range.contains(wire.get_ref()) {
            Ok(*wire.get_ref())
        } else {
            let why = format!("`{name}` must be from {} to {}", range.start(), range.end());
            Err(self.text.problem(wire.span(), why))
        }
    }

    fn positive(&self, wire: Option<&Spanned<f64>>, name: &str) -> Result<Option<f64>, Problem> {
        match wire {
            Some(wire) if !(wire.get_ref().is_finite() && *wire.get_ref() > 0.0) => {
                Err(self.text.problem(wire.span(), format!("`{name}` must be a number above 0")))
            }
            wire => Ok(wire.map(|wire| *wire.get_ref())),
        }
    }
}

/// Blames a flag of the command line.
fn flag(name: &str) -> impl Fn(String) -> Problem {
    move |why| Problem::new(name, why)
}

/// An axis whose values are not empty, not repeated, and each fit for some backend.
fn axis(knob: &str, values: Vec<Value>, backends: &[ChosenBackend]) -> Result<Axis, String> {
    if values.is_empty() {
        return Err(format!("{knob} has no values, so the space is empty"));
    }
    for (place, value) in values.iter().enumerate() {
        if values[..place].contains(value) {
            return Err(format!("{knob}: {value} is there twice"));
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

fn budget(text: &str) -> Result<Budget, String> {
    let wrong = || format!("{text:?} is not a budget such as \"10m\" or \"40trials\"");
    if let Some(count) = text.trim().strip_suffix("trials") {
        let count: u32 = count.trim().parse().map_err(|_| wrong())?;
        if count == 0 {
            Err("a budget of no trials measures nothing".to_owned())
        } else {
            Ok(Budget::Trials(count))
        }
    } else {
        let time = parse_duration(text).map_err(|_| wrong())?;
        if time.is_zero() {
            Err("a budget of no time measures nothing".to_owned())
        } else {
            Ok(Budget::Time(time))
        }
    }
}

fn search(text: &str) -> Result<SearchKind, String> {
    let names = SearchKind::ALL.map(|(name, _)| name);
    SearchKind::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind).ok_or_else(|| {
        format!("no search is called {text:?}; there are {}{}", names.join(", "), did_you_mean(text, names))
    })
}

/// Every backend that a stage may name: the built-in ones, and those that the suite describes.
fn catalogue(text: Text, wire: Option<Spanned<DeValue>>) -> Result<Vec<ChosenBackend>, Problem> {
    let mut catalogue = Vec::new();
    for name in backend::BUILT_IN.into_iter().filter(|name| *name != fake::NAME) {
        catalogue.push(built_in(name));
    }
    let Some(wire) = wire else { return Ok(catalogue) };
    let span = wire.span();
    let DeValue::Table(tables) = wire.into_inner() else {
        return Err(text.problem(span, "`backends` must be tables: [backends.NAME]"));
    };
    for (name, value) in tables {
        let place = name.span();
        let name = name.into_inner().into_owned();
        if name == "candle" || name == "ort" {
            return Err(text.problem(place, format!("{name:?} is built in and has no settings")));
        }
        catalogue.push(described(text, name, place, value)?);
    }
    Ok(catalogue)
}

/// A built-in backend that needs no settings.
pub fn built_in(name: &str) -> ChosenBackend {
    let own = backend::open(name, serde_json::Value::Null).map(|backend| backend.knobs()).unwrap_or_default();
    ChosenBackend {
        name: name.to_owned(),
        kind: name.to_owned(),
        engine: Engine::BuiltIn { settings: serde_json::Value::Null },
        knobs: pipeline::knobs().into_iter().chain(own).collect(),
    }
}

/// A backend that the suite describes: a command, or a fake with its script.
fn described(
    text: Text,
    name: String,
    place: Range<usize>,
    value: Spanned<DeValue>,
) -> Result<ChosenBackend, Problem> {
    let problem = |why: String| text.problem(place.clone(), format!("backend {name:?}: {why}"));
    let reader = |error: toml::de::Error| text.reader_problem(&error);
    let span = value.span();
    let DeValue::Table(mut table) = value.into_inner() else {
        return Err(problem("it must be a table".into()));
    };
    let kind = match table.remove("kind") {
        Some(kind) => String::deserialize(kind.into_deserializer()).map_err(reader)?,
        None => name.clone(),
    };
    let value = Spanned::new(span, DeValue::Table(table));
    let declared =
        |knobs| declared::specs(knobs).map_err(|(knob, why)| problem(format!("knob {knob:?}: {why}")));
    let (engine, knobs) = match kind.as_str() {
        exec::NAME => {
            let exec = exec::Exec::deserialize(value.into_deserializer()).map_err(reader)?;
            if exec.command.first().is_none_or(String::is_empty) {
                return Err(problem("`command` is empty: there is no program to start".into()));
            }
            let settings = serde_json::Value::Object(exec.settings);
            (Engine::Command { command: exec.command, settings }, declared(&exec.knobs)?)
        }
        fake::NAME => {
            let script = fake::Script::deserialize(value.into_deserializer()).map_err(reader)?;
            let mut knobs = pipeline::knobs();
            let own = declared(&script.knobs)?;
            if let Some(twice) = own.iter().find(|own| knobs.iter().any(|spec| spec.name == own.name)) {
                return Err(problem(format!("knob {:?}: every built-in backend has it already", twice.name)));
            }
            knobs.extend(own);
            script.validate(|name| knobs.iter().any(|spec| spec.name == name)).map_err(problem)?;
            let settings = serde_json::to_value(&script).map_err(|error| problem(error.to_string()))?;
            (Engine::BuiltIn { settings }, knobs)
        }
        other => {
            let kinds = [exec::NAME, fake::NAME];
            let hint = did_you_mean(other, kinds);
            return Err(problem(format!(
                "no kind of backend is called {other:?}; write `kind = \"exec\"` or `kind = \"fake\"`{hint}"
            )));
        }
    };
    if let Some(reserved) = knobs.iter().find(|spec| spec.name == BACKEND || spec.name.is_empty()) {
        return Err(problem(format!("a knob can't be called {:?}", reserved.name)));
    }
    Ok(ChosenBackend { name, kind, engine, knobs })
}
