//! A trial: a candidate, applied to a stage, in one round.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::interrupt::Interrupt;
use super::memory;
use super::paths::Paths;
use super::process::{WorkerProcess, unexpected};
use super::supplies::Supplies;
use super::trouble::{Stopped, Trouble};
use crate::answer::{self, AnswerFile};
use crate::hardware::Target;
use crate::item::Item;
use crate::knob::{Applies, Candidate};
use crate::pipeline::{Pass, Stretch};
use crate::quality::{Question, Reference, References, Wrong};
use crate::record::{Failure, Judged, Outcome, Recording, Status};
use crate::suite::{
    Budget, ChosenBackend, Effort, Engine, Figure, Folder, Material, SearchKind, Stage, Suite,
};
use crate::task::Metric;
use crate::telemetry::{Sample, Watch};
use crate::worker::MOST_WARMUP_PASSES;
use crate::worker::protocol::{
    Answered, Ask, Asked, FILES, Load, Loaded, Measure, Measured, PROMPTS, Slot, What,
};

/// Who takes so many times as long as the quickest can't be the fastest: machines drift by a factor of two.
const HOPELESS: u32 = 3;

/// Of several that are measured in turns each measures so much at a time, or one pass: a machine's speed changes several times a second,
/// and whoever takes longer turns than that compares its moods.
pub const TURN: Duration = Duration::from_millis(10);

/// Nobody is given up sooner.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

pub struct Trial<'a> {
    pub stage: &'a Stage,
    pub candidate: &'a Candidate,
    pub round: u32,
    /// What is measured of each pass.
    pub stretch: Stretch,
}

/// Runs trials, one at a time, on at most one worker at a time.
pub struct Runner<'a> {
    suite: &'a Suite,
    target: &'a Target,
    material: &'a Material,
    paths: Paths,
    supplies: &'a Supplies,
    folder: PathBuf,
    interrupt: Interrupt,
    watch: Watch,
    worker: Option<Ready>,
    /// What a trial measures at least.
    effort: Effort,
    /// Whether that is a turn of several.
    takes_turns: bool,
    /// The processor as a target, for right answers.
    processor: Target,
    /// Why there are no right answers, by the names of the stages that have none.
    unjudged: HashMap<String, Failure>,
    /// Loads that failed, by their key. A load that failed once isn't tried for each candidate that needs it.
    failed_loads: HashMap<String, Failure>,
    /// Keys of loads that worked. When such a one fails, it isn't the candidate that has changed.
    good_loads: HashSet<String>,
    /// The slowest pass seen of candidates that do the same work in whatever batches, by [`Suite::answers_key`]: what a
    /// measurement's time-out must allow for.
    slowest_pass: HashMap<String, f64>,
    /// Stages that are measured on a part of the corpus, by their names.
    parts: HashMap<String, Documents>,
    /// The shortest time in which a stage was answered, by its name.
    quickest_answers: HashMap<String, Duration>,
    /// What was judged already, by [`Suite::answers_key`].
    judged: HashMap<String, Judgement>,
}

/// Where a configuration is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Target,
    /// The machine's processor, by name, for right answers that the target has nobody for. Nothing is timed there.
    Processor,
}

/// Which corpus a worker is given at its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Corpus {
    Timed,
    /// What answers are judged on, for workers that can't be given another one later.
    Judged,
}

/// What a stage is measured on in place of the whole corpus.
#[derive(Debug, Clone)]
pub struct Documents {
    pub items: Vec<Item>,
    /// The file that has them.
    pub path: PathBuf,
}

/// Answers in a file, with its digest.
struct Given {
    file: AnswerFile,
    digest: String,
}

/// What is known of a candidate's answers.
#[derive(Clone)]
struct Judgement {
    agreements: IndexMap<Metric, Judged>,
    digest: Option<String>,
    /// The candidate that gave the answers.
    id: String,
}

/// A worker with a model in it.
struct Ready {
    key: String,
    process: WorkerProcess,
    loaded: Loaded,
    /// The card before the process was started.
    before: Option<Sample>,
}

/// How a worker is started.
struct Started {
    command: Vec<String>,
    folder: PathBuf,
    /// What it's given at the load.
    settings: serde_json::Value,
    /// What it must state of itself, where it's a program of ours.
    receipt: Option<String>,
}

impl<'a> Runner<'a> {
    pub fn new(
        suite: &'a Suite,
        target: &'a Target,
        folder: &Folder,
        material: &'a Material,
        paths: Paths,
        supplies: &'a Supplies,
        interrupt: Interrupt,
    ) -> Self {
        let folder = folder.path();
        Runner {
            suite,
            target,
            material,
            paths,
            supplies,
            folder,
            interrupt,
            watch: Watch::off(),
            worker: None,
            effort: suite.effort,
            takes_turns: false,
            processor: Target::processor(),
            unjudged: HashMap::new(),
            failed_loads: HashMap::new(),
            good_loads: HashSet::new(),
            slowest_pass: HashMap::new(),
            parts: HashMap::new(),
            quickest_answers: HashMap::new(),
            judged: HashMap::new(),
        }
    }

    /// Watches the card while workers measure.
    pub fn watching(self, watch: Watch) -> Self {
        Runner { watch, ..self }
    }

    /// Measures a little at a time, in turn with others.
    pub fn in_turns(self) -> Self {
        let effort = Effort { time: self.effort.time.min(TURN), passes: 1 };
        Runner { effort, takes_turns: true, ..self }
    }

    /// Another one for the same run, which knows what this one does and has no worker yet.
    pub fn beside(&self) -> Self {
        Runner {
            suite: self.suite,
            target: self.target,
            material: self.material,
            paths: self.paths.clone(),
            supplies: self.supplies,
            folder: self.folder.clone(),
            interrupt: self.interrupt.clone(),
            watch: Watch::off(),
            worker: None,
            effort: self.effort,
            takes_turns: self.takes_turns,
            processor: self.processor.clone(),
            unjudged: self.unjudged.clone(),
            failed_loads: self.failed_loads.clone(),
            good_loads: self.good_loads.clone(),
            slowest_pass: self.slowest_pass.clone(),
            parts: self.parts.clone(),
            quickest_answers: self.quickest_answers.clone(),
            judged: self.judged.clone(),
        }
    }

    /// Whether trials are on a GPU.
    pub fn is_on_gpu(&self) -> bool {
        self.target.is_gpu()
    }

    /// Takes up what earlier processes of the same run have seen.
    pub fn remember(&mut self, recordings: &[Recording]) {
        for recording in recordings {
            if let Some(stage) = self.suite.stage(&recording.stage) {
                let key = self.suite.load_key(stage, &recording.candidate);
                self.good_loads.extend(recording.loaded.as_ref().map(|_| key));
                for pass in recording.measured().iter().flat_map(|measured| &measured.passes) {
                    self.saw_pass(stage, &recording.candidate, pass.seconds);
                }
                self.saw_judged(stage, recording);
            }
        }
    }

    fn saw_pass(&mut self, stage: &Stage, candidate: &Candidate, seconds: f64) {
        let slowest = self.slowest_pass.entry(self.suite.answers_key(stage, candidate, true)).or_default();
        *slowest = slowest.max(seconds);
    }

    /// Remembers what was judged in a trial, for candidates that give the same answers.
    fn saw_judged(&mut self, stage: &Stage, recording: &Recording) {
        let Some(loaded) = recording.loaded.as_ref().filter(|_| !recording.agreements.is_empty()) else {
            return;
        };
        let key = self.suite.answers_key(stage, &recording.candidate, loaded.independent_rows);
        self.judged.entry(key).or_insert_with(|| Judgement {
            agreements: recording.agreements.clone(),
            digest: recording.answers_digest.clone(),
            id: recording.judged_as.clone().unwrap_or_else(|| recording.id.clone()),
        });
    }

    /// How many seconds the stage's default configuration takes for a document, of those in a file; nothing where that can't be
    /// told without measuring: it fails, its figures are a script's, or it answers its own corpus alone.
    pub fn seconds_each(
        &mut self,
        stage: &Stage,
        documents: &Path,
        count: usize,
    ) -> Result<Option<f64>, Stopped> {
        let asked = self.answered_twice(stage, documents);
        match asked {
            Ok(seconds) => Ok(seconds.map(|seconds| seconds / count.max(1) as f64)),
            Err(Trouble::Failure(failure)) => {
                self.lose_worker(failure);
                Ok(None)
            }
            Err(Trouble::Stopped(stopped)) => Err(stopped),
        }
    }

    /// What the stage's default configuration takes to answer some documents for the second time.
    fn answered_twice(&mut self, stage: &Stage, documents: &Path) -> Result<Option<f64>, Trouble> {
        let candidate = &stage.baseline;
        let (interrupt, timeout) = (self.interrupt.clone(), self.suite.timeouts.answer);
        let knobs = self.suite.knobs_of(candidate, Applies::Run);
        let worker = self.load(stage, candidate, Place::Target, Corpus::Timed)?;
        if worker.loaded.protocol < FILES || worker.loaded.simulated {
            return Ok(None);
        }
        let corpus = Some(documents.display().to_string());
        let asked = Asked { slot: Slot::default(), knobs, corpus, into: None };
        worker.process.ask(Ask::Answer(asked.clone()), timeout, &interrupt)?;
        let start = Instant::now();
        worker.process.ask(Ask::Answer(asked), timeout, &interrupt)?;
        Ok(Some(start.elapsed().as_secs_f64()))
    }

    /// From here on a stage is measured on these documents. Returns on which it was before, if they weren't the corpus.
    pub fn measures(&mut self, stage: &str, documents: Documents) -> Option<Documents> {
        // A worker has loaded what it measures on.
        self.end();
        self.parts.insert(stage.to_owned(), documents)
    }

    /// From here on a stage is measured on these again, or on the whole corpus.
    pub fn returns_to(&mut self, stage: &str, documents: Option<Documents>) {
        self.end();
        match documents {
            Some(documents) => self.parts.insert(stage.to_owned(), documents),
            None => self.parts.remove(stage),
        };
    }

    /// What a configuration answers to these documents, into a file with this name; or why it doesn't.
    pub fn answers_to(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        documents: &Documents,
        name: &str,
    ) -> Result<Result<AnswerFile, Failure>, Stopped> {
        let knows_files = match self.load(stage, candidate, Place::Target, Corpus::Timed) {
            Ok(worker) => worker.loaded.protocol >= FILES,
            Err(trouble) => return self.without_answers(trouble),
        };
        // One that can't be given another corpus later is loaded with it.
        let before = (!knows_files).then(|| self.measures(&stage.name, documents.clone()));
        let asked = self.asked(stage, candidate, documents, name, knows_files);
        if let Some(before) = before {
            self.returns_to(&stage.name, before);
        }
        match asked {
            Ok(file) => Ok(Ok(file)),
            Err(trouble) => self.without_answers(trouble),
        }
    }

    fn without_answers<T>(&mut self, trouble: Trouble) -> Result<Result<T, Failure>, Stopped> {
        match trouble {
            Trouble::Failure(failure) => Ok(Err(self.lose_worker(failure))),
            Trouble::Stopped(Stopped::LoadBroke(failure)) => Ok(Err(failure)),
            Trouble::Stopped(stopped) => Err(stopped),
        }
    }

    fn asked(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        documents: &Documents,
        name: &str,
        knows_files: bool,
    ) -> Result<AnswerFile, Trouble> {
        let into = self.answers_file(stage, name)?;
        let (interrupt, timeout) = (self.interrupt.clone(), self.suite.timeouts.answer);
        let text = |path: &Path| knows_files.then(|| path.display().to_string());
        let asked = Asked {
            slot: Slot::default(),
            knobs: self.suite.knobs_of(candidate, Applies::Run),
            corpus: text(&documents.path),
            into: text(&into),
        };
        let worker = self.load(stage, candidate, Place::Target, Corpus::Timed)?;
        let event = worker.process.ask(Ask::Answer(asked), timeout, &interrupt)?;
        let What::Answered(answered) = event else { return Err(unexpected(&event, "answered")) };
        let given = given(answered, &into);
        given.map(|given| given.file).map_err(|why| Trouble::Failure(Failure::new(Status::Garbage, why)))
    }

    /// The path of a file of answers, without its ending, in a folder that is there.
    fn answers_file(&self, stage: &Stage, name: &str) -> Result<PathBuf, Trouble> {
        let failed = |why: String| Trouble::Failure(Failure::new(Status::Failed, why));
        let folder = self.paths.answers.join(&stage.name);
        std::fs::create_dir_all(&folder).map_err(|error| failed(format!("{}: {error}", folder.display())))?;
        Ok(folder.join(name))
    }

    /// What a stage is measured on.
    fn documents(&self, stage: &Stage) -> &[Item] {
        self.parts.get(&stage.name).map_or(&self.material.documents, |part| &part.items)
    }

    /// How long another trial of a candidate may be expected to take; nothing for what was never seen.
    pub fn expected(&self, stage: &Stage, candidate: &Candidate) -> Duration {
        let slowest = self.slowest_pass.get(&self.suite.answers_key(stage, candidate, true));
        let pass = Duration::try_from_secs_f64(slowest.copied().unwrap_or_default()).unwrap_or_default();
        // One pass warms up.
        (pass * (self.suite.effort.passes + 1)).max(self.suite.effort.time.min(pass * 1000))
    }

    /// How long a measurement may take: what the suite says, or else enough for warm-up and passes as slow as any seen.
    fn measure_timeout(&self, stage: &Stage, candidate: &Candidate, request: &Measure) -> Duration {
        let effort = self.effort;
        self.suite.timeouts.measure.unwrap_or_else(|| {
            let key = self.suite.answers_key(stage, candidate, true);
            let slowest = self.slowest_pass.get(&key).copied().unwrap_or_default();
            // A batch a pass, at worst.
            let passes = f64::from(request.passes + MOST_WARMUP_PASSES + 1) + request.batches as f64;
            // Twice, since a machine drifts by as much.
            effort.time * 20 + Duration::from_secs(60) + Duration::from_secs_f64(2.0 * passes * slowest)
        })
    }

    /// Ends the worker that is up, if one is: the next trial has a fresh one.
    pub fn end(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.process.end();
        }
    }

    /// The load key of the worker that is up, if one is.
    pub fn loaded_key(&self) -> Option<&str> {
        self.worker.as_ref().map(|worker| worker.key.as_str())
    }

    /// What the worker that is up has loaded.
    pub fn loaded(&self) -> Option<&Loaded> {
        self.worker.as_ref().map(|worker| &worker.loaded)
    }

    /// What a configuration answers at a place, as right answers for its stage, with their digest; or why it can't be the one
    /// that gives them.
    pub fn right_answers(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        place: Place,
    ) -> Result<Result<(Reference, String), Failure>, Stopped> {
        let mut answers = self.answers(stage, candidate, place, RIGHT);
        if matches!(&answers, Err(Trouble::Failure(failure)) if failure.status == Status::Killed) {
            self.worker = None;
            answers = self.answers(stage, candidate, place, RIGHT);
        }
        let Given { file, digest } = match answers {
            Ok(answers) => answers,
            Err(Trouble::Failure(failure)) => return Ok(Err(self.lose_worker(failure))),
            // It has answered nothing yet, and no trial is to blame.
            Err(Trouble::Stopped(Stopped::LoadBroke(failure))) => {
                self.good_loads.remove(&self.key(stage, candidate, place, Corpus::Timed));
                return Ok(Err(failure));
            }
            Err(Trouble::Stopped(stopped)) => return Err(stopped),
        };
        let reference = Reference::new(file);
        if let Err(why) = reference.check(stage.metric, self.question(stage)) {
            return Ok(Err(wrong(why)));
        }
        if place == Place::Target {
            self.judge_itself(stage, candidate, &reference, &digest);
        }
        Ok(Ok((reference, digest)))
    }

    /// Whoever gives the same answers as the reference needn't be asked for them again.
    fn judge_itself(&mut self, stage: &Stage, candidate: &Candidate, reference: &Reference, digest: &str) {
        if !self.worker.as_ref().is_some_and(|worker| worker.loaded.independent_rows) {
            return;
        }
        let key = self.suite.answers_key(stage, candidate, true);
        if let Ok(agreements) = reference.judge(stage.metric, self.question(stage), reference.file()) {
            let (digest, id) = (Some(digest.to_owned()), RIGHT.to_owned());
            self.judged.insert(key, Judgement { agreements, digest, id });
        }
    }

    /// What answers of a stage are answers to.
    fn question(&self, stage: &Stage) -> Question<'_> {
        let judging = self.material.judging.get(&stage.name);
        Question {
            task: stage.task,
            items: judging.map_or(self.documents(stage), |judging| &judging.items),
            gold: judging.map(|judging| &judging.gold),
        }
    }

    /// From here on nobody's answers can be judged in a stage, for this reason.
    pub fn judges_nobody(&mut self, stage: &str, why: Failure) {
        self.unjudged.insert(stage.to_owned(), why);
    }

    /// Whether a configuration's engine is here for the target, as far as that is known without starting it.
    pub fn has_engine(&self, candidate: &Candidate) -> bool {
        let engine = self
            .suite
            .backend(&candidate.backend)
            .and_then(|backend| self.supplies.engine(&backend.kind, self.target.device.as_deref()));
        engine.is_none_or(|engine| engine.is_here())
    }

    /// As workers call a place.
    pub fn device(&self, place: Place) -> &str {
        self.at(place).device.as_deref().unwrap_or("simulated")
    }

    fn at(&self, place: Place) -> &Target {
        match place {
            Place::Target => self.target,
            Place::Processor => &self.processor,
        }
    }

    /// What is loaded where. Candidates with the same key can share a worker.
    fn key(&self, stage: &Stage, candidate: &Candidate, place: Place, corpus: Corpus) -> String {
        let mut key = self.suite.load_key(stage, candidate);
        if place == Place::Processor {
            key.push_str(" on the processor");
        }
        match corpus {
            Corpus::Judged => key.push_str(" to be judged"),
            Corpus::Timed if self.parts.contains_key(&stage.name) => key.push_str(" on a part"),
            Corpus::Timed => {}
        }
        key
    }

    /// Runs a trial.
    pub fn trial(&mut self, trial: &Trial, references: &References) -> Result<Recording, Stopped> {
        let start = Instant::now();
        let killed = |recording: &Recording| {
            recording.failure().filter(|failure| failure.status == Status::Killed).cloned()
        };
        let mut recording = self.attempt(trial, references)?;
        if killed(&recording).is_some() {
            // A SIGKILL from outside says nothing of the candidate, so it gets a second chance.
            recording = self.attempt(trial, references)?;
            if let Some(killed) = killed(&recording) {
                let failure = killed.killed_again();
                if recording.loaded.is_none() {
                    let key = self.key(trial.stage, trial.candidate, Place::Target, Corpus::Timed);
                    self.failed_loads.insert(key, failure.clone());
                }
                recording.outcome = recording.outcome.fails(failure);
            }
        }
        recording.wall_seconds = start.elapsed().as_secs_f64();
        Ok(recording)
    }

    fn attempt(&mut self, trial: &Trial, references: &References) -> Result<Recording, Stopped> {
        let untried = Failure::new(Status::Failed, "it was never tried");
        let Trial { stage, candidate, round, .. } = *trial;
        let mut recording = Recording::of(&stage.name, candidate, round, untried.into());
        match self.fill(&mut recording, trial, references) {
            Ok(measured) => recording.outcome = Outcome::Measured(measured),
            Err(Trouble::Stopped(stopped)) => {
                self.worker = None;
                return Err(stopped);
            }
            Err(Trouble::Failure(failure)) => recording.outcome = self.lose_worker(failure).into(),
        }
        if let Some(why) = recording.broken_share() {
            let failure = self.lose_worker(Failure::new(Status::OutOfMemory, why));
            recording.outcome = recording.outcome.fails(failure);
        }
        Ok(recording)
    }

    fn fill(
        &mut self,
        recording: &mut Recording,
        trial: &Trial,
        references: &References,
    ) -> Result<Measured, Trouble> {
        let Trial { stage, candidate, round, stretch } = *trial;
        let place = Place::Target;
        let reused = self.loaded_key() == Some(self.key(stage, candidate, place, Corpus::Timed).as_str());
        recording.fresh = !reused;
        let loaded = self.load(stage, candidate, place, Corpus::Timed)?.loaded.clone();
        let independent_rows = loaded.independent_rows;
        recording.loaded = Some(loaded);
        if round == 0 {
            match self.judged.get(&self.suite.answers_key(stage, candidate, independent_rows)).cloned() {
                Some(judgement) => {
                    recording.judged_as = Some(judgement.id).filter(|id| *id != recording.id);
                    recording.answers_digest = judgement.digest;
                    recording.agreements = judgement.agreements;
                }
                None => {
                    self.judge(recording, stage, candidate, references)?;
                    self.saw_judged(stage, recording);
                }
            }
            recording.quality = recording.agreements.get(&stage.metric).map(|judged| judged.value);
        }
        let mut request = Measure {
            slot: Slot::default(),
            knobs: self.suite.knobs_of(candidate, Applies::Run),
            seconds: self.effort.time.as_secs_f64(),
            passes: self.effort.passes,
            // A turn alone tells nothing of percentiles.
            batches: if self.takes_turns { 0 } else { self.suite.batches_of_trial(stage) },
            seed: self.suite.seed.wrapping_add(u64::from(round)),
            stretch,
        };
        let few = self.measure(recording, stage, candidate, request.clone())?;
        // A worker that doesn't look at how many batches are wanted looks at passes. One that tells no batches has no percentiles.
        if !(1..request.batches).contains(&few.batches()) {
            return Ok(few);
        }
        let of_pass = (few.batches() / few.passes.len() as u64).max(1);
        request.passes = u32::try_from(request.batches.div_ceil(of_pass)).unwrap_or(u32::MAX);
        self.measure(recording, stage, candidate, request)
    }

    /// Asks the loaded candidate for answers, and judges them.
    fn judge(
        &mut self,
        recording: &mut Recording,
        stage: &Stage,
        candidate: &Candidate,
        references: &References,
    ) -> Result<(), Trouble> {
        let Given { file, digest } = self.answers(stage, candidate, Place::Target, &candidate.id())?;
        recording.answers_digest = Some(digest);
        let unjudged = || unjudgeable(self.unjudged.get(&stage.name));
        let reference = references.get(&stage.name).ok_or_else(unjudged).map_err(Trouble::Failure)?;
        let judged = reference.judge(stage.metric, self.question(stage), &file);
        recording.agreements = judged.map_err(|why| Trouble::Failure(wrong(why)))?;
        Ok(())
    }

    /// Has the loaded candidate measured, watched from outside.
    fn measure(
        &mut self,
        recording: &mut Recording,
        stage: &Stage,
        candidate: &Candidate,
        request: Measure,
    ) -> Result<Measured, Trouble> {
        let place = Place::Target;
        let timeout = self.measure_timeout(stage, candidate, &request);
        let (passes, stretch) = (request.passes as usize, request.stretch);
        let interrupt = self.interrupt.clone();
        let ready = self.load(stage, candidate, place, Corpus::Timed)?;
        let (pid, before) = (ready.process.pid(), ready.before.clone());
        memory::reset_peak(pid);
        self.watch.begin(before, Box::new(move || memory::family(pid)));
        let asked = Instant::now();
        let ready = self.load(stage, candidate, place, Corpus::Timed)?;
        let event = ready.process.ask(Ask::Measure(request), timeout, &interrupt);
        let waited = asked.elapsed();
        // Simulated time has nothing to do with what the card counted meanwhile.
        let simulated = recording.loaded.as_ref().is_some_and(|loaded| loaded.simulated);
        let timed = match &event {
            Ok(What::Measured(measured)) if !simulated => measured.timed_seconds,
            _ => None,
        };
        recording.telemetry =
            self.watch.end(timed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()));
        let event = event?;
        recording.peak_rss_bytes = memory::peak_bytes(pid);
        let What::Measured(mut measured) = event else { return Err(unexpected(&event, "measured")) };
        if self.takes_turns {
            // A turn is too short to tell.
            measured.steady = None;
        }
        self.check(stage, &measured, stretch, passes, (!simulated).then_some(waited))
            .map_err(|why| Trouble::Failure(Failure::new(Status::Garbage, why)))?;
        Ok(measured)
    }

    /// Has a configuration answer what its stage is judged by, into a file with this name.
    fn answers(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        place: Place,
        name: &str,
    ) -> Result<Given, Trouble> {
        let into = self.answers_file(stage, name)?;
        let judged = self.paths.judged.get(&stage.name).cloned();
        // One that can't be given another corpus later is loaded with it.
        let loaded = &self.load(stage, candidate, place, Corpus::Timed)?.loaded;
        let knows_files = loaded.protocol >= FILES;
        let corpus = if judged.is_some() && !knows_files { Corpus::Judged } else { Corpus::Timed };
        let text = |path: &Path| path.display().to_string();
        let asked = Asked {
            slot: Slot::default(),
            knobs: self.suite.knobs_of(candidate, Applies::Run),
            corpus: judged.as_deref().filter(|_| knows_files).map(text),
            into: knows_files.then(|| text(&into)),
        };
        let interrupt = self.interrupt.clone();
        let patience = self.patience(stage).filter(|_| place == Place::Target);
        let timeout =
            patience.map_or(self.suite.timeouts.answer, |most| most.min(self.suite.timeouts.answer));
        let worker = self.load(stage, candidate, place, corpus)?;
        let start = Instant::now();
        let event =
            worker.process.ask(Ask::Answer(asked), timeout, &interrupt).map_err(|trouble| match trouble {
                Trouble::Failure(failure)
                    if failure.status == Status::TimedOut && patience == Some(timeout) =>
                {
                    Trouble::Failure(too_slow())
                }
                other => other,
            })?;
        if place == Place::Target {
            let quickest = self.quickest_answers.entry(stage.name.clone()).or_insert(Duration::MAX);
            *quickest = start.elapsed().min(*quickest);
        }
        let What::Answered(answered) = event else { return Err(unexpected(&event, "answered")) };
        if place == Place::Target {
            // As long as a pass over as many documents as are timed.
            let share = self.documents(stage).len() as f64 / self.question(stage).items.len().max(1) as f64;
            self.saw_pass(stage, candidate, start.elapsed().as_secs_f64() * share);
        }
        given(answered, &into).map_err(|why| Trouble::Failure(Failure::new(Status::Garbage, why)))
    }

    /// How long answering may take before a candidate can't be the fastest any more: where the search looks for the fastest
    /// within a time, waiting longer is a waste of it.
    fn patience(&self, stage: &Stage) -> Option<Duration> {
        let is_fastest = matches!(self.suite.objective, Figure::Throughput | Figure::Tokens | Figure::Cost);
        let hurried = self.suite.search == SearchKind::Guided && matches!(self.suite.budget, Budget::Time(_));
        let quickest = self.quickest_answers.get(&stage.name).filter(|_| is_fastest && hurried)?;
        Some(quickest.saturating_mul(HOPELESS).max(LEAST_PATIENCE))
    }

    /// The worker that has `candidate` loaded: the one that is up, or a fresh one in its place.
    fn load(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        place: Place,
        corpus: Corpus,
    ) -> Result<&mut Ready, Trouble> {
        let key = self.key(stage, candidate, place, corpus);
        // One that ended by itself between two trials did no harm to the next one, yet.
        self.worker.take_if(|worker| worker.process.has_ended());
        if self.loaded_key() != Some(key.as_str()) {
            if let Some(failure) = self.failed_loads.get(&key) {
                // What isn't here isn't here at any load.
                let reason = match failure.status {
                    Status::NotAvailable => failure.reason.clone(),
                    _ => format!("{} (from an earlier load of the same configuration)", failure.reason),
                };
                return Err(Trouble::Failure(Failure { reason, ..failure.clone() }));
            }
            self.end();
            let mut started = self.start(stage, candidate, place, corpus, &key);
            if matches!(started, Err(Trouble::Failure(_))) && self.good_loads.contains(&key) {
                started = self.start(stage, candidate, place, corpus, &key);
            }
            match started {
                Ok(ready) => self.worker = Some(ready),
                // What isn't available is tried again by a resume, and has its remedy.
                Err(Trouble::Failure(failure))
                    if self.good_loads.contains(&key) && failure.status != Status::NotAvailable =>
                {
                    return Err(Trouble::Stopped(Stopped::LoadBroke(failure)));
                }
                Err(Trouble::Failure(failure)) => {
                    if failure.status != Status::Killed {
                        self.failed_loads.insert(key, failure.clone());
                    }
                    return Err(Trouble::Failure(failure));
                }
                Err(stopped) => return Err(stopped),
            }
            self.good_loads.insert(key);
        }
        let missing = || Trouble::Failure(Failure::new(Status::Failed, "no worker is running"));
        self.worker.as_mut().ok_or_else(missing)
    }

    fn start(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        place: Place,
        corpus: Corpus,
        key: &str,
    ) -> Result<Ready, Trouble> {
        let unknown = || Failure::new(Status::NotAvailable, format!("no backend {:?}", candidate.backend));
        let backend = self.suite.backend(&candidate.backend).ok_or_else(unknown).map_err(Trouble::Failure)?;
        let started = self.started(backend, place).map_err(Trouble::Failure)?;
        let lacks = || self.supplies.engine(&backend.kind, self.at(place).device.as_deref())?.lacks.clone();
        // Who lacks an engine as well hears of that first: a model alone would change nothing.
        let model_folder = self.model_folder(stage, backend);
        let model_folder = model_folder.map_err(|failure| Trouble::Failure(lacks().unwrap_or(failure)))?;
        let Started { command, folder, settings, receipt } = started;
        let before = if place == Place::Target { self.watch.look() } else { None };
        let mut process = WorkerProcess::spawn(&command, &folder).map_err(Trouble::Failure)?;
        let judged = self.paths.judged.get(&stage.name).filter(|_| corpus == Corpus::Judged);
        let part = self.parts.get(&stage.name).map(|part| &part.path);
        let corpus = judged.or(part).unwrap_or(&self.paths.corpus);
        let slot = Slot::default();
        let load = Load {
            protocol: if stage.prompt.is_some() { PROMPTS } else { slot.version() },
            slot,
            backend: backend.name.clone(),
            kind: backend.kind.clone(),
            task: stage.task,
            prompt: stage.prompt.clone(),
            model: stage.model.clone(),
            folder: model_folder,
            device: self.at(place).device.clone(),
            device_memory: self.at(place).device_memory().map(|memory| memory.0),
            knobs: candidate.knobs.clone(),
            settings,
            corpus: corpus.display().to_string(),
        };
        let (target, timeout) = (self.at(place), self.suite.timeouts.load);
        let loaded = process.load(load, target, receipt.as_deref(), timeout, &self.interrupt)?;
        Ok(Ready { key: key.to_owned(), process, loaded, before })
    }

    /// Where the stage's model lies. Only backends that read it must have it; the others find models by themselves.
    fn model_folder(&self, stage: &Stage, backend: &ChosenBackend) -> Result<Option<String>, Failure> {
        match self.supplies.folders.get(&stage.name) {
            Some(Ok(folder)) => Ok(Some(folder.display().to_string())),
            Some(Err(failure)) if backend.reads_models() => Err(failure.clone()),
            _ => Ok(None),
        }
    }

    /// How a backend's worker is started, or why it can't be.
    fn started(&self, backend: &ChosenBackend, place: Place) -> Result<Started, Failure> {
        match &backend.engine {
            Engine::BuiltIn { settings } => {
                let engine = self.supplies.engine(&backend.kind, self.at(place).device.as_deref());
                let worker = engine.and_then(|engine| engine.program.clone()).transpose()?;
                let program = worker.as_ref().map_or(&self.supplies.program, |worker| &worker.path);
                Ok(Started {
                    command: vec![program.display().to_string(), "worker".to_owned()],
                    folder: PathBuf::from("."),
                    settings: engine.and_then(|engine| engine.settings.as_ref()).unwrap_or(settings).clone(),
                    receipt: worker.map(|worker| worker.receipt),
                })
            }
            Engine::Command { command, settings } => Ok(Started {
                command: command.clone(),
                folder: self.folder.clone(),
                settings: settings.clone(),
                receipt: None,
            }),
        }
    }

    /// Refuses figures that can't be, that are of something else than the corpus, or of less than was asked for.
    /// `waited` is how long the answer took, by our own clock; simulated time has nothing to do with it.
    fn check(
        &self,
        stage: &Stage,
        measured: &Measured,
        stretch: Stretch,
        passes: usize,
        waited: Option<Duration>,
    ) -> Result<(), String> {
        if let Some(why) = measured.implausible() {
            return Err(why);
        }
        let documents = self.documents(stage).len() as u64;
        let is_wrong = |pass: &&Pass| match stretch.is_whole() {
            true => pass.documents != documents,
            // How many are in a stretch, the order and the batches decide.
            false => pass.documents > documents,
        };
        if let Some(pass) = measured.passes.iter().find(is_wrong) {
            return Err(format!("a pass over {} documents, but the corpus has {documents}", pass.documents));
        }
        let seconds = self.effort.time.as_secs_f64();
        let total: f64 = measured.passes.iter().map(|pass| pass.seconds).sum();
        // A percent for whoever rounds, here and below.
        if measured.passes.len() < passes || total < seconds * 0.99 {
            let given = measured.passes.len();
            return Err(format!(
                "{given} passes with {total} s in total, but {passes} passes with {seconds} s were requested"
            ));
        }
        match waited.map(|waited| waited.as_secs_f64()) {
            Some(waited) if total > waited * 1.01 => {
                Err(format!("passes with {total} s in total, but the answer came after {waited:.3} s"))
            }
            _ => Ok(()),
        }
    }

    /// After a failure the worker isn't trusted again, and what it said last is kept.
    fn lose_worker(&mut self, failure: Failure) -> Failure {
        match self.worker.take() {
            Some(worker) if failure.stderr.is_empty() => {
                Failure { stderr: worker.process.stderr(), ..failure }
            }
            _ => failure,
        }
    }
}

/// The name of right answers' file, without its ending.
pub const RIGHT: &str = "reference";

fn too_slow() -> Failure {
    let why = format!(
        "answering takes more than {HOPELESS} times as long as with the fastest configuration so far"
    );
    Failure::new(Status::TimedOut, why)
}

/// The file that answers are in, which is made of an event's own.
fn given(answered: Answered, into: &Path) -> Result<Given, String> {
    let Answered { answers, file, digest } = answered;
    let (path, digest) = match (file, digest) {
        (None, _) => answer::write(into, &answers).map_err(|error| format!("{}: {error}", into.display()))?,
        (Some(_), None) => return Err("a file of answers without its digest".to_owned()),
        (Some(file), Some(stated)) => {
            // Where it was asked for, and nowhere else.
            if !file.starts_with(&format!("{}.", into.display())) {
                return Err(format!("answers in {file}, but {}.* was requested", into.display()));
            }
            let path = PathBuf::from(file);
            let digest = answer::digest_of(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            if digest != stated.to_lowercase() {
                return Err(format!(
                    "the digest of {} is not the one that the worker reported",
                    path.display()
                ));
            }
            (path, digest)
        }
    };
    let file = AnswerFile::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Given { file, digest })
}

fn wrong(why: Wrong) -> Failure {
    Failure::new(Status::WrongAnswers, why.to_string())
}

/// What is left to say of answers where there are no right ones.
fn unjudgeable(why: Option<&Failure>) -> Failure {
    let why = why.map(|failure| format!(": {}", failure.in_words())).unwrap_or_default();
    Failure::new(
        Status::Failed,
        format!("its answers can't be judged, because no configuration gives reference answers{why}"),
    )
}
