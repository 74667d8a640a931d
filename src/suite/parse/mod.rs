//! From the shapes of a file to a valid suite, or to the first problem with its place and the nearest valid name.
//!
//! `catalogue.rs` knows the backends, `corpus.rs` the documents, `stage.rs` what each stage may try, `recorded.rs` what knobs a
//! run of another version had.

mod catalogue;
mod corpus;
mod recorded;
mod service;
mod stage;

pub use catalogue::built_in_backends;

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use super::figure::Figure;
use super::limit::Limit;
use super::problem::{Problem, Text, unknown};
use super::source::{Folder, SuiteSource};
use super::wire::WireSuite;
use super::{Budget, ChosenBackend, Effort, Overrides, SearchKind, Suite, Timeouts};
use crate::knob::Candidate;
use crate::units::parse_duration;

/// Repeats of each candidate, unless the suite says otherwise: the fewest that show whether they agree.
const ROUNDS: u32 = 3;

/// Bounds what a suite may ask for, so that a slip of the keyboard isn't a run of a year.
const MOST_ROUNDS: u32 = 1000;

/// Turns a suite's text and what the command line changes in it into a valid suite.
pub fn parse(source: &SuiteSource, overrides: &Overrides, dialects: &[&str]) -> Result<Suite, Problem> {
    parse_recorded(source, overrides, dialects, &[])
}

/// The same as the version of the program read it that has recorded these candidates.
pub fn parse_recorded(
    source: &SuiteSource,
    overrides: &Overrides,
    dialects: &[&str],
    candidates: &[&Candidate],
) -> Result<Suite, Problem> {
    let text = Text { name: &source.file, text: &source.text };
    let reader = |error: toml::de::Error| text.reader_problem(&error);
    let mut table = DeTable::parse(&source.text).map_err(reader)?;
    // Their shape depends on their kind, so they are read apart from the rest.
    let backends = table.get_mut().remove("backends");
    let wire = WireSuite::deserialize(toml::de::Deserializer::from(table)).map_err(reader)?;
    let mut catalogue = catalogue::read(text, backends)?;
    catalogue.iter_mut().for_each(|backend| recorded::as_recorded(backend, candidates));
    let builder = Builder { text, overrides, catalogue };
    builder.suite(source, wire, dialects)
}

struct Builder<'a> {
    text: Text<'a>,
    overrides: &'a Overrides,
    /// Every backend that a stage may name.
    catalogue: Vec<ChosenBackend>,
}

impl Builder<'_> {
    fn suite(&self, source: &SuiteSource, wire: WireSuite, dialects: &[&str]) -> Result<Suite, Problem> {
        let overrides = self.overrides;
        let corpus = self.corpus(&wire.corpus)?;
        let objective =
            self.choose("--objective", &overrides.objective, &wire.objective, Figure::Throughput)?;
        let mut limits = self.limits(&wire.limits)?;
        for limit in &overrides.limits {
            limits.push(limit.parse().map_err(flag("--limit"))?);
        }
        let budget = self.choose("--budget", &overrides.budget, &wire.budget, Budget::Whole)?;
        let search = self.choose("--search", &overrides.search, &wire.search, SearchKind::Guided)?;
        let rounds = match overrides.rounds {
            Some(rounds) => rounds,
            None => self.within(wire.rounds.as_ref(), ROUNDS, 1..=MOST_ROUNDS, "rounds")?,
        };
        let effort = Effort {
            time: self.duration(wire.measure.time.as_ref(), Duration::from_secs(1))?,
            passes: self.within(wire.measure.passes.as_ref(), 2, 1..=10_000, "passes")?,
        };
        let timeouts = Timeouts {
            load: self.duration(wire.timeouts.load.as_ref(), Duration::from_secs(300))?,
            answer: self.duration(wire.timeouts.answer.as_ref(), Duration::from_secs(300))?,
            measure: self.optional_duration(wire.timeouts.measure.as_ref())?,
        };
        let dialect = |name: &str| {
            let unknown = || unknown("dialect", name, dialects.iter().copied());
            dialects.contains(&name).then(|| name.to_owned()).ok_or_else(unknown)
        };
        let dialect = match (&overrides.dialect, &wire.dialect) {
            (Some(given), _) => dialect(given).map_err(flag("--dialect"))?,
            (None, Some(given)) => self.read(given, dialect)?,
            (None, None) => dialects.first().copied().unwrap_or_default().to_owned(),
        };
        let price_per_hour = self.positive(wire.price_per_hour.as_ref(), "price_per_hour")?;
        let mut stages = self.stages(&wire.stages, &limits)?;
        if let (None, Folder::Disk(folder)) = (&overrides.model, &source.folder) {
            // Like every path in a suite, a model's starts at the folder of the suite's file.
            for stage in &mut stages {
                let beside = folder.join(&stage.model);
                if crate::model::is_model(&beside) {
                    stage.model = beside.display().to_string();
                }
            }
        }
        let used = |backend: &&ChosenBackend| {
            stages.iter().any(|stage| {
                stage.reference.backend == backend.name
                    || stage.space.backends().contains(backend.name.as_str())
            })
        };
        Ok(Suite {
            name: source.name.clone(),
            description: wire.description,
            corpus,
            backends: self.catalogue.iter().filter(used).cloned().collect(),
            service: self.service(wire.service.as_ref(), &stages, &source.folder)?,
            promises: self.promises(&wire.promises, &stages)?,
            stages,
            objective,
            budget,
            search,
            seed: overrides.seed.or(wire.seed).unwrap_or(0),
            rounds,
            confirm: wire.confirm.unwrap_or(true) && !overrides.no_confirm,
            effort,
            timeouts,
            dialect,
            price_per_hour,
            digest: source.digest(overrides),
        })
    }

    /// What the command line says, or else the file, or else `default`.
    fn choose<T: FromStr<Err = String>>(
        &self,
        flag_name: &str,
        given: &Option<String>,
        written: &Option<Spanned<String>>,
        default: T,
    ) -> Result<T, Problem> {
        match (given, written) {
            (Some(given), _) => given.parse().map_err(flag(flag_name)),
            (None, Some(written)) => self.read(written, str::parse),
            (None, None) => Ok(default),
        }
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
        self.optional_duration(wire).map(|duration| duration.unwrap_or(default))
    }

    fn optional_duration(&self, wire: Option<&Spanned<String>>) -> Result<Option<Duration>, Problem> {
        let Some(wire) = wire else { return Ok(None) };
        let duration = self.read(wire, |text| parse_duration(text).map_err(|error| error.to_string()))?;
        // An hour for one request: more is a slip.
        if duration.is_zero() || duration > Duration::from_secs(3600) {
            let why = "must be more than 0 and at most one hour";
            return Err(self.text.problem(wire.span(), why));
        }
        Ok(Some(duration))
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
