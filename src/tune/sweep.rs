//! The loop: the search says what, the runner tries it, the store keeps it, until the budget is spent.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use super::budget::{Share, StageBudget};
use super::prior;
use super::reference;
use super::{Ending, Progress, TuneError};
use crate::analysis;
use crate::hardware::Card;
use crate::knob::Candidate;
use crate::pipeline::Stretch;
use crate::predict::Forecast;
use crate::quality::References;
use crate::record::{Confirmation, Leaving, Part, Prior, Recording, Stop, Told, Why};
use crate::runner::{Interrupt, Runner, Stopped, Trial};
use crate::search::{self, Observation, Search};
use crate::store::{Entry, RunFolder};
use crate::suite::{Material, SearchKind, Stage, Suite};

pub struct Tuning<'a> {
    pub suite: &'a Suite,
    pub material: &'a Material,
    pub folder: &'a mut RunFolder,
    pub runner: Runner<'a>,
    pub interrupt: Interrupt,
    pub progress: &'a mut dyn Progress,
    /// What earlier processes have done of this run.
    pub recordings: Vec<Recording>,
    pub references: References,
    /// What finding them has taken.
    pub references_took: Duration,
    /// Stages that are measured on a part of the corpus, by their names.
    pub parts: HashMap<String, Part>,
    /// What was seen of stages' best once they were found, by the stages' names.
    pub confirmations: HashMap<String, Confirmation>,
    /// Whether the service was looked at already.
    pub served: bool,
    /// Says how much memory of the card was to be expected, where candle is measured on one.
    pub expected: Option<Expected<'a>>,
    /// What a recorded run has told.
    pub prior: Option<&'a Prior>,
}

/// What was decided about a stage's candidates, by their ids, as the journal is to say it.
#[derive(Default)]
struct Decided {
    tried: HashMap<String, Why>,
    /// Those that are measured no further.
    left: HashSet<String>,
    /// Whether there was no time for some that were chosen.
    late: bool,
}

/// A forecast for the card that is measured.
pub struct Expected<'a> {
    pub forecast: Forecast<'a>,
    /// The card, as far as the table of GPUs has it.
    pub card: Option<&'a Card>,
}

impl Tuning<'_> {
    /// Measures until the search has no more questions or the budget is spent.
    pub fn run(mut self) -> Result<Ending, TuneError> {
        let signal = match self.stages()? {
            ControlFlow::Break(signal) => Some(signal),
            ControlFlow::Continue(()) => match self.confirm()? {
                Some(signal) => Some(signal),
                None => self.serve()?,
            },
        };
        match signal {
            Some(signal) => {
                self.folder.append(Entry::Interrupted { signal })?;
                Ok(Ending::Interrupted { signal })
            }
            None => {
                self.folder.append(Entry::Finished)?;
                Ok(Ending::Finished)
            }
        }
    }

    /// Tunes all stages. Breaks with the signal if one came.
    fn stages(&mut self) -> Result<ControlFlow<u8>, TuneError> {
        let looks = StageBudget::looks_first(self.suite);
        let mut gains = Vec::new();
        for place in 0..self.suite.stages.len() {
            match self.stage(place, if looks { Share::FirstLook } else { Share::Even })? {
                ControlFlow::Break(signal) => return Ok(ControlFlow::Break(signal)),
                ControlFlow::Continue(gain) => gains.push((place, gain)),
            }
        }
        if looks {
            // The one with the most to gain first: what it leaves is the others'.
            gains.sort_by(|left, right| right.1.total_cmp(&left.1));
            let mut others: f64 = gains.iter().map(|(_, gain)| gain).sum();
            for (place, gain) in gains {
                let share = Share::OfTheRest(gain / others);
                others -= gain;
                if let ControlFlow::Break(signal) = self.stage(place, share)? {
                    return Ok(ControlFlow::Break(signal));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Tunes one stage. Breaks with the signal if one came; or else what more time may gain, as a share of its objective.
    fn stage(&mut self, place: usize, share: Share) -> Result<ControlFlow<u8, f64>, TuneError> {
        let stage = &self.suite.stages[place];
        let even = StageBudget::of(self.suite, place, Share::Even, &self.recordings, self.references_took);
        if let Some(signal) = self.shorten(stage, &even)? {
            return Ok(ControlFlow::Break(signal));
        }
        if let Some(signal) = self.reference(stage)? {
            return Ok(ControlFlow::Break(signal));
        }
        let budget = StageBudget::of(self.suite, place, share, &self.recordings, self.references_took);
        let mut budget =
            budget.going_on(&self.recordings, &analysis::observe(self.suite, stage, &self.recordings));
        let kind = budget.search();
        let mut decided = Decided::default();
        let told = if kind == SearchKind::Guided { self.told(stage) } else { Vec::new() };
        let mut search = search::start(kind, &stage.space, &told, self.suite.seed);
        let guided = kind == SearchKind::Guided;
        loop {
            let before = self.recordings.len();
            // A generation is screened in one round, and grows by what its failures leave of the budget.
            let mut generation = Vec::new();
            loop {
                let seen = analysis::observe(self.suite, stage, &self.recordings);
                let stays =
                    |seen: &Observation| search.leaves(seen, seen.candidate == stage.baseline).is_none();
                let room = budget.room(&self.recordings, &seen, stays);
                let more = search.next(&seen, room);
                if more.is_empty() {
                    break;
                }
                let known = self.recordings.len();
                decided.tried.extend(more.iter().map(|choice| (choice.candidate.id(), choice.why)));
                let more: Vec<Candidate> = more.into_iter().map(|choice| choice.candidate).collect();
                if let Some(signal) = self.round(stage, &budget, &more, 0, &mut decided)? {
                    return Ok(ControlFlow::Break(signal));
                }
                generation.extend(more);
                // A search that goes by what was seen would ask for the same again.
                if guided && self.recordings.len() == known {
                    break;
                }
            }
            if guided {
                // All that were seen race, those of earlier processes as well.
                let seen = analysis::observe(self.suite, stage, &self.recordings);
                generation = seen.into_iter().map(|seen| seen.candidate).collect();
            }
            // A guided search looks at more before it looks again more often than it has to.
            let looks_on = guided && budget.is_of_time() && self.recordings.len() > before;
            let rounds =
                if budget.is_of_time() && !looks_on { self.suite.most_rounds() } else { self.suite.rounds };
            for round in 1..rounds {
                let racing = self.racing(&*search, stage, &budget, &generation, round, &mut decided)?;
                // Beyond the suite's rounds there must be something left to tell apart.
                if guided && round >= self.suite.rounds && racing.len() < 2 {
                    break;
                }
                if let Some(signal) = self.round(stage, &budget, &racing, round, &mut decided)? {
                    return Ok(ControlFlow::Break(signal));
                }
            }
            if looks_on {
                budget = budget.anew(&self.recordings);
            }
            if self.recordings.len() == before {
                let seen = analysis::observe(self.suite, stage, &self.recordings);
                let why = match search.stop() {
                    _ if seen.len() >= stage.space.len() => Stop::AllTried,
                    Stop::AllTried if decided.late => Stop::Spent,
                    why => why,
                };
                self.folder.note(Entry::Stopped { stage: stage.name.clone(), why })?;
                self.keep_answers(stage, 1);
                return Ok(ControlFlow::Continue(search.to_gain(&seen)));
            }
        }
    }

    /// Sees that the stage's right answers are there, as far as any configuration gives some. Where none does, each trial is a
    /// row with its own reason.
    fn reference(&mut self, stage: &Stage) -> Result<Option<u8>, TuneError> {
        if self.references.contains_key(&stage.name) {
            return Ok(None);
        }
        let start = std::time::Instant::now();
        let progress = &mut *self.progress;
        let found = reference::find(&mut self.runner, self.suite, stage, |candidate, device| {
            progress
                .began(&format!("{}: reference answers of {} on {device}", stage.name, candidate.backend));
        });
        match found {
            Err(stopped) => self.stopped(stopped).map(Some),
            Ok(Err(failure)) => {
                self.runner.judges_nobody(&stage.name, failure);
                Ok(None)
            }
            Ok(Ok((reference, digest, origin))) => {
                self.folder.keep_reference(&reference)?;
                let version = self.runner.loaded().map(|loaded| loaded.version.clone()).unwrap_or_default();
                let took = start.elapsed();
                self.references_took += took;
                self.folder.append(Entry::Reference {
                    stage: stage.name.clone(),
                    version,
                    digest,
                    seconds: took.as_secs_f64(),
                    origin: Some(origin),
                })?;
                self.references.insert(stage.name.clone(), reference);
                Ok(None)
            }
        }
    }

    /// The signal that stopped a trial, or the error that did.
    pub(super) fn stopped(&self, stopped: Stopped) -> Result<u8, TuneError> {
        match stopped {
            Stopped::Interrupted => Ok(self.interrupt.signal().unwrap_or_default()),
            Stopped::LoadBroke(failure) => Err(TuneError::LoadBroke(failure)),
        }
    }

    /// Measures candidates, once each, in an order of their own.
    fn round(
        &mut self,
        stage: &Stage,
        budget: &StageBudget,
        candidates: &[Candidate],
        round: u32,
        decided: &mut Decided,
    ) -> Result<Option<u8>, TuneError> {
        let done = self.done(stage, round);
        let todo: Vec<&Candidate> =
            candidates.iter().filter(|candidate| !done.contains(&candidate.id())).collect();
        let later = self.suite.rounds.saturating_sub(round + 1) as usize * (todo.len() + done.len());
        let keys: Vec<String> = todo.iter().map(|candidate| self.suite.load_key(stage, candidate)).collect();
        let seed = self.suite.seed.wrapping_mul(1000).wrapping_add(u64::from(round));
        let mut order = search::order(&keys, self.runner.loaded_key(), seed);
        let baseline = order.iter().position(|&index| *todo[index] == stage.baseline);
        if let Some(place) = baseline.filter(|_| budget.is_of_time()) {
            // Time may run out within the round, and the one to beat must be in it. This costs one load more at most.
            order = if budget.search() == SearchKind::Guided && round == 0 {
                // The search has put first what must be seen first.
                (0..todo.len()).collect()
            } else {
                search::order(&keys, Some(&keys[order[place]]), seed)
            };
            let own = order.iter().position(|&index| *todo[index] == stage.baseline).unwrap_or(0);
            order[..=own].rotate_right(1);
        }
        for (count, &index) in order.iter().enumerate() {
            if let Some(signal) = self.interrupt.signal() {
                return Ok(Some(signal));
            }
            self.progress.expect(&stage.name, budget.left(&self.recordings).min(order.len() - count + later));
            // Without the one to beat there is nothing to compare with, so it's measured once, whatever the budget. And of each
            // engine one is tried whatever the time, so that none is left out without a row.
            let to_beat = round == 0 && *todo[index] == stage.baseline;
            let first = round == 0 && budget.is_of_time() && !self.was_tried(stage, &todo[index].backend);
            let expected = self.runner.expected(stage, todo[index]);
            let has_time = budget.allows(round, &self.recordings) && budget.fits(expected, &self.recordings);
            if !has_time && !to_beat && !first {
                decided.late |= round == 0;
                continue;
            }
            let trial = Trial { stage, candidate: todo[index], round, stretch: Stretch::WHOLE };
            self.progress.began(&stage.label(trial.candidate));
            let id = trial.candidate.id();
            let why = decided.tried.get(&id).copied().filter(|_| round == 0);
            self.folder.note(Entry::Began { stage: stage.name.clone(), id, round, why })?;
            let mut recording = match self.runner.trial(&trial, &self.references) {
                Ok(recording) => recording,
                Err(stopped) => return self.stopped(stopped).map(Some),
            };
            recording.predicted_vram_bytes = self.expected_bytes(stage, trial.candidate);
            self.folder.append(Entry::Trial(Box::new(recording.clone())))?;
            self.progress.recorded(&recording);
            self.recordings.push(recording);
            if round == 0 {
                self.keep_answers(stage, usize::MAX);
            }
        }
        Ok(None)
    }

    /// Keeps the answers of so many of a stage's candidates, the best first: of those that may win.
    pub(super) fn keep_answers(&self, stage: &Stage, most: usize) {
        let mut seen = analysis::observe(self.suite, stage, &self.recordings);
        seen.retain(Observation::may_win);
        seen.sort_by(|left, right| right.value().total_cmp(&left.value()));
        let judged_as = |id: String| {
            let own =
                self.recordings.iter().find(|recording| recording.stage == stage.name && recording.id == id);
            own.and_then(|recording| recording.judged_as.clone()).unwrap_or(id)
        };
        let ids: Vec<String> = seen.iter().take(most).map(|seen| judged_as(seen.candidate.id())).collect();
        self.folder.keep_answers(&stage.name, &ids);
    }

    /// Worked out between trials, so that nothing measured shares the processor with it.
    fn expected_bytes(&mut self, stage: &Stage, candidate: &Candidate) -> Option<u64> {
        let Expected { forecast, card } = self.expected.as_mut()?;
        forecast.memory(stage, candidate, card.and_then(Card::capability)).map(|memory| memory.peak.value)
    }

    /// What is known of a stage's candidates before any is measured: of another run, or else what is predicted for the card.
    fn told(&mut self, stage: &Stage) -> Vec<Told> {
        if let Some(told) = self.prior.and_then(|prior| prior.told.get(&stage.name)) {
            return told.clone();
        }
        let Some(Expected { forecast, card: Some(card) }) = &mut self.expected else { return Vec::new() };
        prior::of_forecast(self.suite, stage, forecast, card)
    }

    /// Those of a generation that are measured once more: whom the search wants to see again and, where it's guided and the time
    /// is short, the best of these. Why the others aren't is kept.
    fn racing(
        &mut self,
        search: &dyn Search,
        stage: &Stage,
        budget: &StageBudget,
        generation: &[Candidate],
        round: u32,
        decided: &mut Decided,
    ) -> Result<Vec<Candidate>, TuneError> {
        let seen = analysis::observe(self.suite, stage, &self.recordings);
        let mut racing: Vec<&Observation> = Vec::new();
        let mut leaving: Vec<(String, Leaving)> = Vec::new();
        let by_id: HashMap<String, &Observation> =
            seen.iter().map(|seen| (seen.candidate.id(), seen)).collect();
        for own in generation.iter().filter_map(|candidate| by_id.get(&candidate.id()).copied()) {
            match search.leaves(own, own.candidate == stage.baseline) {
                None => racing.push(own),
                Some(why) => leaving.push((own.candidate.id(), why)),
            }
        }
        if budget.search() == SearchKind::Guided {
            let late = self.without_time(stage, budget, &mut racing, round);
            leaving.extend(late.into_iter().map(|id| (id, Leaving::NoTime)));
        }
        for own in &racing {
            decided.left.remove(&own.candidate.id());
        }
        // Of an earlier generation a candidate may have been in this round already.
        let done = self.done(stage, round);
        for (id, why) in leaving.into_iter().filter(|(id, _)| !done.contains(id)) {
            if decided.left.insert(id.clone()) {
                self.folder.note(Entry::Left { stage: stage.name.clone(), id, round, why })?;
            }
        }
        Ok(racing.into_iter().map(|own| own.candidate.clone()).collect())
    }

    /// Takes away whom there is no time for in the rounds to come, the worst first, and returns who they are.
    fn without_time(
        &self,
        stage: &Stage,
        budget: &StageBudget,
        racing: &mut Vec<&Observation>,
        round: u32,
    ) -> Vec<String> {
        let Some(mut left) = budget.time_left(&self.recordings) else { return Vec::new() };
        let rounds = self.suite.rounds.saturating_sub(round).max(1);
        let is_baseline = |seen: &Observation| seen.candidate == stage.baseline;
        racing.sort_by(|left, right| {
            is_baseline(right).cmp(&is_baseline(left)).then(right.value().total_cmp(&left.value()))
        });
        let (mut place, mut late) = (0, Vec::new());
        racing.retain(|seen| {
            let cost = self.runner.expected(stage, &seen.candidate) * rounds;
            // The baseline and the best are measured as far as the time goes.
            let kept = place < 2 || cost <= left;
            (place, left) = (place + 1, left.saturating_sub(cost));
            if !kept {
                late.push(seen.candidate.id());
            }
            kept
        });
        late
    }

    fn was_tried(&self, stage: &Stage, backend: &str) -> bool {
        let own =
            |recording: &Recording| recording.stage == stage.name && recording.candidate.backend == backend;
        self.recordings.iter().any(own)
    }

    fn done(&self, stage: &Stage, round: u32) -> HashSet<String> {
        let own = self
            .recordings
            .iter()
            .filter(|recording| recording.stage == stage.name && recording.round == round);
        own.map(|recording| recording.id.clone()).collect()
    }
}
