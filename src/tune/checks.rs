//! Checks of a stage's winner for what its figures don't tell: whether its answers depend on their company, whether vectors that are
//! stored already may be kept, and what the longest documents take.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::TuneError;
use super::sweep::Tuning;
use crate::analysis;
use crate::answer::{self, Answer, AnswerFile};
use crate::hardware::Provenance;
use crate::item::Item;
use crate::knob::{Candidate, Changes, Kind, KnobSpec, Value};
use crate::pipeline::{BATCH_SIZE, Stretch};
use crate::quality::{Question, Reference};
use crate::record::{Checks, Failure, Status, Variation, WorstBatch};
use crate::runner::{Documents, Stopped, Trial};
use crate::store::Entry;
use crate::suite::{self, Stage};
use crate::task::Metric;

/// The most documents that are answered in each variation…
const MOST: usize = 200;
/// …and the fewest, however slow they are.
const LEAST: usize = 16;

/// Answering one list of documents may be expected to take so long. There are some ten of them.
const SECONDS_OF_A_LIST: f64 = 1.0;

/// A round of its own, in which nobody is judged.
const ROUND: u32 = 2_000_000;

/// The same documents in other company.
struct Arrangement {
    what: String,
    candidate: Candidate,
    /// Which document stands at each place.
    documents: Vec<usize>,
    /// At which place each document is looked for.
    places: Vec<usize>,
}

impl Tuning<'_> {
    /// Checks whoever would win until one meets the stage's limit on stability.
    pub(super) fn check_until_stable(&mut self, stage: &Stage) -> Result<Option<u8>, TuneError> {
        loop {
            let known = self.confirmations.get(&stage.name);
            let Some(next) = analysis::unchecked(self.suite, stage, &self.recordings, known) else {
                return Ok(None);
            };
            if let Some(signal) = self.keep_checks(stage, &next)? {
                return Ok(Some(signal));
            }
        }
    }

    /// Checks a candidate, unless that was done.
    pub(super) fn keep_checks(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
    ) -> Result<Option<u8>, TuneError> {
        let id = candidate.id();
        if self.confirmations.get(&stage.name).is_some_and(|known| known.checks.contains_key(&id)) {
            return Ok(None);
        }
        if let Some(signal) = self.interrupt.signal() {
            return Ok(Some(signal));
        }
        let start = Instant::now();
        let checks = match self.check(stage, candidate) {
            Ok(checks) => checks,
            Err(stopped) => return self.stopped(stopped).map(Some),
        };
        let (stage, seconds) = (stage.name.clone(), start.elapsed().as_secs_f64());
        let own = self.confirmations.entry(stage.clone()).or_default();
        own.checks.insert(id.clone(), checks.clone());
        own.checks_seconds += seconds;
        self.folder.append(Entry::Checked { stage, id, checks, seconds })?;
        Ok(None)
    }

    fn check(&mut self, stage: &Stage, candidate: &Candidate) -> Result<Checks, Stopped> {
        let label = stage.label(candidate);
        self.progress.began(&format!("{}: checking the answers of {label}", stage.name));
        let items = self.asked_of(stage, candidate);
        let answers = self.suite.answers_key(stage, candidate, true);
        let mut checks = Checks { answers, documents: items.len(), ..Checks::default() };
        let plain = Arrangement::plain("as configured", candidate.clone(), items.len());
        let own = match self.answers_in(stage, &plain, &items, "check-own")? {
            Ok(own) => Reference::new(own),
            Err(failure) => {
                checks.variations.push(failed(&plain, &failure));
                return Ok(checks);
            }
        };
        for arrangement in self.arrangements(candidate, &items) {
            let variation = match self.answers_in(stage, &arrangement, &items, "check-other")? {
                Ok(other) => Variation {
                    what: arrangement.what.clone(),
                    agreements: agreements(stage, &items, &own, &other),
                    failed: None,
                },
                Err(failure) => failed(&arrangement, &failure),
            };
            checks.variations.push(variation);
        }
        if *candidate != stage.baseline {
            let default = Arrangement::plain("the default", stage.baseline.clone(), items.len());
            let answers = self.answers_in(stage, &default, &items, "check-default")?.ok();
            checks.beside_default =
                answers.map(|answers| agreements(stage, &items, &Reference::new(answers), own.file()));
        }
        checks.worst_batch = Some(self.worst_batch(stage, candidate)?);
        Ok(checks)
    }

    /// Documents to ask in each variation: as many as a candidate that was measured answers in a short time.
    fn asked_of(&self, stage: &Stage, candidate: &Candidate) -> Vec<Item> {
        let room = (SECONDS_OF_A_LIST / self.seconds_each(stage, candidate)) as usize;
        suite::part(self.material.confirming(), room.clamp(LEAST, MOST))
    }

    /// What a candidate that was measured takes for a document.
    pub(super) fn seconds_each(&self, stage: &Stage, candidate: &Candidate) -> f64 {
        let own = self.recordings.iter().filter(|recording| recording.stage == stage.name);
        own.filter(|recording| recording.candidate == *candidate)
            .flat_map(|recording| recording.passes())
            .map(|pass| pass.seconds / pass.documents.max(1) as f64)
            .fold(f64::INFINITY, f64::min)
    }

    /// How long the checks of a candidate may be expected to take, its loads apart.
    pub(super) fn checks_take(&self, stage: &Stage, candidate: &Candidate) -> Duration {
        // A script's seconds aren't the clock's.
        if self.recordings.iter().any(|recording| recording.provenance() == Some(Provenance::Simulated)) {
            return Duration::ZERO;
        }
        let items = self.asked_of(stage, candidate);
        // Besides the variations: as configured, as by default, and the longest batch.
        let lists = self.arrangements(candidate, &items).len() + 3;
        let seconds = self.seconds_each(stage, candidate) * (lists * items.len()) as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// All ways in which the company of a document can be changed.
    fn arrangements(&self, candidate: &Candidate, items: &[Item]) -> Vec<Arrangement> {
        let count = items.len();
        let specs = self.suite.backend(&candidate.backend).map_or(&[][..], |backend| &backend.knobs);
        let company = |spec: &&KnobSpec| spec.changes == Changes::Batches || spec.name == BATCH_SIZE.name;
        let mut arrangements = Vec::new();
        for spec in specs.iter().filter(company) {
            for value in others(spec, candidate.knobs.get(&spec.name)) {
                let mut other = candidate.clone();
                other.knobs.insert(spec.name.clone(), value.clone());
                arrangements.push(Arrangement::plain(&format!("{} = {value}", spec.name), other, count));
            }
        }
        arrangements.push(Arrangement {
            what: "in the opposite order".to_owned(),
            candidate: candidate.clone(),
            documents: (0..count).rev().collect(),
            places: (0..count).rev().collect(),
        });
        let longest = (0..count).max_by_key(|place| items[*place].text.len()).unwrap_or(0);
        arrangements.push(Arrangement {
            what: "each beside the longest".to_owned(),
            candidate: candidate.clone(),
            documents: (0..count).flat_map(|place| [place, longest]).collect(),
            places: (0..count).map(|place| 2 * place).collect(),
        });
        arrangements
    }

    /// The answers to all documents, in their own order.
    fn answers_in(
        &mut self,
        stage: &Stage,
        arrangement: &Arrangement,
        items: &[Item],
        name: &str,
    ) -> Result<Result<AnswerFile, Failure>, Stopped> {
        let failed = |why: String| Failure::new(Status::Failed, why);
        let arranged: Vec<Item> = arrangement.documents.iter().map(|place| items[*place].clone()).collect();
        let path = match self.folder.keep_part(&format!("{}-checked", stage.name), &arranged) {
            Ok(path) => path,
            Err(error) => return Ok(Err(failed(error.to_string()))),
        };
        let documents = Documents { items: arranged, path };
        let answered = self.runner.answers_to(stage, &arrangement.candidate, &documents, name)?;
        Ok(answered.and_then(|file| {
            if arrangement.is_plain() {
                return Ok(file);
            }
            picked(&file, &arrangement.places).map_err(|error| failed(error.to_string()))
        }))
    }

    /// Measures a batch of the longest documents of the whole corpus, in a process that has seen no other.
    fn worst_batch(&mut self, stage: &Stage, candidate: &Candidate) -> Result<WorstBatch, Stopped> {
        let size = candidate.knobs.get(BATCH_SIZE.name).and_then(Value::number).unwrap_or(1.0) as usize;
        let mut all: Vec<&Item> = self.material.documents.iter().chain(&self.material.fresh).collect();
        all.sort_by_key(|item| std::cmp::Reverse(item.text.len()));
        let items: Vec<Item> = all.into_iter().take(size.max(1)).cloned().collect();
        let documents = items.len();
        let nothing =
            |why: String| WorstBatch { documents, peak_bytes: None, of_bytes: None, failed: Some(why) };
        let path = match self.folder.keep_part(&format!("{}-longest", stage.name), &items) {
            Ok(path) => path,
            Err(error) => return Ok(nothing(error.to_string())),
        };
        let before = self.runner.measures(&stage.name, Documents { items, path });
        let trial = Trial { stage, candidate, round: ROUND, stretch: Stretch::WHOLE };
        let recorded = self.runner.trial(&trial, &self.references);
        self.runner.returns_to(&stage.name, before);
        let recording = match recorded {
            Ok(recording) => recording,
            Err(Stopped::LoadBroke(failure)) => return Ok(nothing(failure.in_words())),
            Err(stopped) => return Err(stopped),
        };
        if let Some(failure) = recording.failure() {
            return Ok(nothing(failure.in_words()));
        }
        let on_device = recording.peak_vram_bytes();
        let device = recording.measured().and_then(|measured| measured.device_memory);
        Ok(WorstBatch {
            documents,
            peak_bytes: on_device.or(recording.peak_rss_bytes),
            of_bytes: device.map(|memory| memory.total_bytes).filter(|_| on_device.is_some()),
            failed: None,
        })
    }
}

impl Arrangement {
    /// The documents as they are.
    fn plain(what: &str, candidate: Candidate, count: usize) -> Arrangement {
        let places: Vec<usize> = (0..count).collect();
        Arrangement { what: what.to_owned(), candidate, documents: places.clone(), places }
    }

    fn is_plain(&self) -> bool {
        self.documents.iter().enumerate().all(|(place, document)| place == *document)
    }
}

/// Other values of a knob than its own: of a batch one document and twice as many, of a choice all others.
fn others(spec: &KnobSpec, own: Option<&Value>) -> Vec<Value> {
    let tried: Vec<Value> = match &spec.kind {
        Kind::Integer { .. } => {
            let own = own.and_then(Value::number).unwrap_or(1.0) as i64;
            vec![Value::Integer(1), Value::Integer(own.saturating_mul(2))]
        }
        Kind::Choice(choices) => choices.iter().cloned().map(Value::Text).collect(),
        Kind::Switch => vec![Value::Switch(false), Value::Switch(true)],
        Kind::Number { .. } | Kind::Limit => Vec::new(),
    };
    let is_other = |value: &Value| Some(value) != own && spec.kind.accept(value).is_ok();
    tried.into_iter().filter(is_other).collect()
}

fn failed(arrangement: &Arrangement, failure: &Failure) -> Variation {
    Variation {
        what: arrangement.what.clone(),
        agreements: IndexMap::new(),
        failed: Some(failure.in_words()),
    }
}

/// How answers agree with others to the same documents; nothing where they can't be compared.
fn agreements(stage: &Stage, items: &[Item], own: &Reference, other: &AnswerFile) -> IndexMap<Metric, f64> {
    let question = Question { task: stage.task, items, gold: None };
    let judged = own.judge(stage.task.agreements()[0], question, other).unwrap_or_default();
    judged.into_iter().map(|(metric, judged)| (metric, judged.value)).collect()
}

/// The answers at some places of a file, in a file of their own in its place.
fn picked(file: &AnswerFile, places: &[usize]) -> std::io::Result<AnswerFile> {
    let answers: Vec<Answer> = file.answers()?.collect::<Result<_, _>>()?;
    let chosen: Vec<Answer> = places.iter().filter_map(|place| answers.get(*place).cloned()).collect();
    let base: PathBuf = file.path().with_extension("picked");
    AnswerFile::open(&answer::write(&base, &chosen)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knob::Applies;

    #[test]
    fn the_company_of_a_document_is_changed_in_every_way() {
        let of = |kind: Kind, own: Value| {
            let spec = KnobSpec::new("knob", Applies::Run, kind, own.clone(), "");
            others(&spec, Some(&own)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(Kind::Integer { least: 1, most: 64 }, Value::Integer(8)), ["1", "16"]);
        assert_eq!(of(Kind::Integer { least: 1, most: 64 }, Value::Integer(64)), ["1"]);
        assert_eq!(of(Kind::Integer { least: 1, most: 64 }, Value::Integer(1)), ["2"]);
        let choices = Kind::Choice(vec!["arrival".to_owned(), "length".to_owned()]);
        assert_eq!(of(choices, Value::Text("arrival".to_owned())), ["length"]);
        assert_eq!(of(Kind::Switch, Value::Switch(true)), ["false"]);
    }

    #[test]
    fn answers_are_picked_by_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let answers: Vec<Answer> = (0..4).map(|place| Answer::Score(place as f32)).collect();
        let (path, _) = answer::write(&folder.path().join("all"), &answers).unwrap();
        let picked = picked(&AnswerFile::open(&path).unwrap(), &[2, 0]).unwrap();
        let picked: Vec<Answer> = picked.answers().unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(picked, [Answer::Score(2.0), Answer::Score(0.0)]);
    }
}
