//! What to measure: TOML shapes in `wire.rs` are turned into a valid [`Suite`] in `parse/`.
//!
//! A suite that exists is valid and is never checked again. Knows the backends' knobs; knows nothing of processes,
//! searches and results.

mod backend;
mod budget;
mod corpus;
mod figure;
mod limit;
mod parse;
mod percentile;
mod problem;
mod service;
mod source;
mod space;
mod wire;

use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::item::Item;
use crate::knob::{Applies, Candidate, Changes, KnobSpec, Value};
use crate::pipeline::BATCH_SIZE;
use crate::task::{Metric, Prompt, Task};

pub use backend::{ChosenBackend, Engine};
pub use budget::{Budget, SearchKind};
pub use corpus::{
    Bm25, Files, Gold, Judging, Labelled, Library, Material, Pair, Pairs, Retrieval, SYLLABLES, Slice,
    Source as CorpusSource, Synthetic, part,
};
pub use figure::Figure;
pub use limit::{Bound, Known, Limit, Subject};
pub use parse::{built_in_backends, parse, parse_recorded};
pub use percentile::{least_batches, promised};
pub use problem::Problem;
pub use service::{Log, Promise, Service, hits_by_size};
pub use source::{Folder, SuiteSource, built_in_names};
pub use space::{Axis, AxisKind, Space};
pub use wire::sections;

#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    pub name: String,
    pub description: String,
    pub corpus: Corpus,
    pub stages: Vec<Stage>,
    /// The service that the stages make together.
    pub service: Option<Service>,
    /// What others say of it.
    pub promises: Vec<Promise>,
    /// The backends that the stages name.
    pub backends: Vec<ChosenBackend>,
    pub objective: Figure,
    pub budget: Budget,
    pub search: SearchKind,
    pub seed: u64,
    pub rounds: u32,
    /// Whether the best are measured again once the search is done.
    pub confirm: bool,
    pub effort: Effort,
    pub timeouts: Timeouts,
    pub dialect: String,
    pub price_per_hour: Option<f64>,
    /// Tells it from others: [`SuiteSource::digest`].
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    pub source: CorpusSource,
    /// Only so many of its documents are timed, from the start.
    pub first: Option<usize>,
    /// These are timed so many times over in each pass, where they're too few for large batches.
    pub repeat: u32,
    /// So much of it judges answers, where people have said what is right…
    pub judged: Slice,
    /// Where in the suite it stands, for what can be wrong with the documents themselves.
    pub place: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    pub name: String,
    pub task: Task,
    /// What the model is asked for in words.
    pub prompt: Option<Prompt>,
    pub model: String,
    /// Whether the model's weights are made up, so that its quality says nothing of the real one's.
    pub replica: bool,
    /// Every candidate, the baseline among them, without what is excluded.
    pub space: Space,
    /// The configuration to beat. It's always measured, the first of the candidates.
    pub baseline: Candidate,
    /// The configuration whose answers are right.
    pub reference: Candidate,
    /// The knobs that the suite gives several values.
    pub swept: Vec<String>,
    pub exclusions: Vec<Exclusion>,
    pub metric: Metric,
    /// The suite's limits, then the stage's own, then its quality.
    pub limits: Vec<Limit>,
    /// What the model's labels stand for, where people's are others.
    pub label_names: IndexMap<String, String>,
    /// How well the winner's answers must agree with themselves in other batches.
    pub stability: Option<f64>,
    /// Limits that can't be checked, because they're on metrics that need labels, and the corpus has none.
    pub unchecked: Vec<Limit>,
}

/// Candidates that the suite leaves out on purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct Exclusion {
    pub candidates: usize,
    pub because: String,
}

/// How long each trial measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    pub time: Duration,
    pub passes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub load: Duration,
    pub answer: Duration,
    /// Where the suite says none, it follows from how slow a candidate's passes are.
    pub measure: Option<Duration>,
}

/// What the command line changes in a suite. Kept in the journal, so that a resumed run is the same run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    pub model: Option<String>,
    /// `(stage, model)`, for suites with several stages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<(String, String)>,
    /// An absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
    /// Its fields that the text is made of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,
    /// What its files are written in, where it isn't UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    pub backends: Option<Vec<String>>,
    /// `(knob, values)`, where a knob may be `stage.knob`.
    pub set: Vec<(String, Vec<String>)>,
    pub objective: Option<String>,
    pub limits: Vec<String>,
    pub budget: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_confirm: bool,
    pub search: Option<String>,
    pub seed: Option<u64>,
    pub dialect: Option<String>,
    pub replica: bool,
}

impl Suite {
    pub fn backend(&self, name: &str) -> Option<&ChosenBackend> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The most rounds in which a candidate may be measured: within a time, a guided search goes on as long as it lasts and there is
    /// something left to tell apart, but no longer than that helps.
    pub fn most_rounds(&self) -> u32 {
        const HELPFUL: u32 = 12;
        match self.search {
            SearchKind::Guided => self.rounds.max(HELPFUL),
            SearchKind::Grid | SearchKind::Random => self.rounds,
        }
    }

    /// Whether a candidate, which may be of another suite, has a backend here, and knobs and values that this one has.
    pub fn can_run(&self, candidate: &Candidate) -> Result<(), String> {
        let name = &candidate.backend;
        let backend = self.backend(name).ok_or_else(|| format!("it has no backend {name:?}"))?;
        for (knob, value) in &candidate.knobs {
            let spec = backend.knobs.iter().find(|spec| spec.name == *knob);
            let spec = spec.ok_or_else(|| format!("its backend {name:?} has no knob {knob:?}"))?;
            spec.kind.accept(value).map_err(|why| format!("{knob}: {why}"))?;
        }
        Ok(())
    }

    /// Candidates with the same key can share a worker: they differ in knobs that apply at a run.
    pub fn load_key(&self, stage: &Stage, candidate: &Candidate) -> String {
        let at_load = self.knobs_of(candidate, Applies::Load);
        let values: String = at_load.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        format!("{} {}{values}", stage.name, candidate.backend)
    }

    /// Candidates with the same key give the same answers, but for the last digits: they differ in knobs that change speed alone
    /// or, where a model's rows are independent, which texts share a batch.
    pub fn answers_key(&self, stage: &Stage, candidate: &Candidate, independent_rows: bool) -> String {
        let specs = self.backend(&candidate.backend).map_or(&[][..], |backend| &backend.knobs);
        let matters = |spec: &&KnobSpec| match spec.changes {
            Changes::Answers => true,
            Changes::Batches => !independent_rows,
            Changes::Speed => false,
        };
        let words =
            specs.iter().filter(matters).map(|spec| format!(" {}={}", spec.name, candidate.word(&spec.name)));
        format!("{} {}{}", stage.name, candidate.backend, words.collect::<String>())
    }

    /// A candidate's knobs that apply then; none of a backend that isn't chosen.
    pub fn knobs_of(&self, candidate: &Candidate, applies: Applies) -> IndexMap<String, Value> {
        self.backend(&candidate.backend)
            .map_or_else(IndexMap::new, |backend| backend.knobs_of(candidate, applies))
    }

    /// Whether it asks for the cost, and says nothing of the price.
    pub fn lacks_price(&self) -> bool {
        let limits = self.stages.iter().flat_map(|stage| &stage.limits);
        let wanted =
            self.objective == Figure::Cost || limits.into_iter().any(|limit| limit.is_on(Figure::Cost));
        wanted && self.price_per_hour.is_none()
    }

    /// Takes the price of whatever it's run on, where it has none of its own.
    pub fn take_price(&mut self, price_per_hour: Option<f64>) {
        self.price_per_hour = self.price_per_hour.or(price_per_hour);
    }

    /// That the cost can be told, if it's asked for.
    pub fn check_price(&self, place: &str) -> Result<(), Problem> {
        let why = "the figure `cost` needs `price_per_hour` in the suite, or a --gpu with a price in `autotune list`";
        if self.lacks_price() { Err(Problem::new(place, why)) } else { Ok(()) }
    }

    /// How many batches a trial must measure, so that the percentiles that the objective or a limit speaks of can be said.
    pub fn batches_of_trial(&self, stage: &Stage) -> u64 {
        let figures = stage.limits.iter().filter_map(Limit::figure).chain([self.objective]);
        let shares = figures.filter_map(Figure::share_of_batches);
        shares.map(least_batches).max().unwrap_or(0) as u64
    }

    /// Configurations of a stage that cost no quality: its reference, and for devices on which that one doesn't run their like
    /// of the stage's other engines.
    pub fn references(&self, stage: &Stage) -> Vec<Candidate> {
        let is_used = |backend: &&ChosenBackend| stage.space.backends().contains(backend.name.as_str());
        let others = self.backends.iter().filter(is_used).filter(|backend| backend.reads_models());
        let others = others.filter(|backend| backend.name != stage.reference.backend);
        let plain = |backend: &ChosenBackend| backend.candidate_of(|spec| spec.reference.clone());
        std::iter::once(stage.reference.clone()).chain(others.map(plain)).collect()
    }

    /// Whether the best are measured again, in pairs, once the search is done.
    pub fn confirms(&self) -> bool {
        self.confirm && self.budget.of_confirmation().is_some()
    }

    /// What the search may spend.
    pub fn search_budget(&self) -> Budget {
        let search = if self.confirms() { self.budget.of_search() } else { self.budget };
        if self.service.is_some() { search.without_service() } else { search }
    }

    /// The largest batch of any stage.
    fn largest_batch(&self) -> usize {
        self.stages.iter().map(Stage::largest_batch).max().unwrap_or(1)
    }

    /// Reads or makes the corpus, and what of it stages are timed on and judged by.
    pub fn material(&self, folder: &Folder) -> Result<Material, Problem> {
        let problem = |message: String| Problem::new(&self.corpus.place, message);
        let library = match &self.corpus.source {
            CorpusSource::Synthetic(synthetic) => Library::of_items(synthetic.documents()),
            CorpusSource::Files(files) => {
                corpus::read(files, folder).map_err(|why| problem(format!("the corpus: {why}")))?
            }
        };
        let reranks = self.stages.iter().any(|stage| stage.task == Task::Rerank);
        let (once, fresh) = match self.confirms() {
            true => corpus::apart(library.timed(None, reranks), self.corpus.first, self.largest_batch()),
            false => (library.timed(self.corpus.first, reranks), Vec::new()),
        };
        let repeated =
            |once: &[Item]| (0..self.corpus.repeat).flat_map(|_| once.iter().cloned()).collect::<Vec<_>>();
        let (documents, fresh) = (repeated(&once), repeated(&fresh));
        let asks = documents.iter().all(|document| document.query.is_some());
        if let Some(stage) = self.stages.iter().find(|stage| stage.task == Task::Rerank && !asks) {
            return Err(problem(format!(
                "stage {:?} reranks, but some documents of the corpus have no query",
                stage.name
            )));
        }
        let slice = if self.budget.is_ample() { Slice::WHOLE } else { self.corpus.judged };
        let judging = |stage: &Stage| {
            Some((stage.name.clone(), library.judging(stage.task, slice, &stage.label_names)?))
        };
        let judging: IndexMap<String, Judging> = self.stages.iter().filter_map(judging).collect();
        Ok(Material { documents, fresh, judging, notes: library.notes })
    }

    /// The documents that are timed.
    pub fn documents(&self, folder: &Folder) -> Result<Vec<Item>, Problem> {
        self.material(folder).map(|material| material.documents)
    }

    /// Gives up what needs labels in stages that have none. A suite that asks for it on a corpus of its own is wrong; where the
    /// corpus is another one, the limits are kept as unchecked.
    pub fn without_labels(&mut self, has_labels: impl Fn(&str) -> bool) -> Result<(), Problem> {
        let place = &self.corpus.place;
        let own_corpus = place != OTHER_CORPUS;
        for stage in self.stages.iter_mut().filter(|stage| !has_labels(&stage.name)) {
            let on_labels = |limit: &mut Limit| limit.metric().is_some_and(Metric::needs_labels);
            let unchecked: Vec<Limit> = stage.limits.extract_if(.., on_labels).collect();
            let asks = unchecked.first().and_then(Limit::metric).or(Some(stage.metric));
            if let Some(metric) = asks.filter(|metric| metric.needs_labels() && own_corpus) {
                let why = format!(
                    "stage {:?} is judged by {}, which needs labels, and the corpus has none for its task: \
                     remove the limits on it, and set quality = {{ metric = {:?} }}",
                    stage.name,
                    metric.name(),
                    stage.task.agreements()[0].name()
                );
                return Err(Problem::new(place, why));
            }
            if stage.metric.needs_labels() {
                stage.metric = stage.task.agreements()[0];
                // A bound on another metric is none on this one.
                let on_quality = |limit: &mut Limit| limit.is_on(Figure::Quality);
                stage.unchecked.extend(stage.limits.extract_if(.., on_quality));
            }
            stage.unchecked.extend(unchecked);
        }
        Ok(())
    }
}

impl Stage {
    /// A candidate by the knobs in which this stage's differ.
    pub fn label(&self, candidate: &Candidate) -> String {
        candidate.label(|knob| !self.swept.iter().any(|swept| swept == knob))
    }

    /// The largest batch that any of its candidates has.
    pub fn largest_batch(&self) -> usize {
        let sizes = self.space.values(BATCH_SIZE.name);
        let own = self.baseline.knobs.get(BATCH_SIZE.name);
        let numbers = sizes.iter().chain(own).filter_map(Value::number).filter(|size| size.is_finite());
        numbers.fold(1.0, f64::max) as usize
    }
}

/// The place of a corpus that isn't the suite's.
const OTHER_CORPUS: &str = "--corpus";

/// The digest of a text, as a run records it.
pub fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// The first 64 bits in hexadecimal: enough to tell apart, short enough to read aloud.
fn hex(digest: &[u8]) -> String {
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
