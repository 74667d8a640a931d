//! The best of a stage, measured again once the search is done: in fresh processes, beside the default configuration and in turn with
//! it, on documents that nobody was chosen by. Then whoever stands is checked for what figures don't tell (`checks.rs`).

use std::time::Duration;

use super::TuneError;
use super::budget::spent;
use super::sweep::Tuning;
use crate::analysis;
use crate::backend::host_memory;
use crate::knob::Candidate;
use crate::pipeline::Stretch;
use crate::quality::References;
use crate::record::{Confirmation, Finalists, MOST_CONFIRMING_ROUNDS, Outcome, Recording};
use crate::runner::{Documents, Runner, Stopped, Trial};
use crate::search;
use crate::store::Entry;
use crate::suite::{self, Budget, Engine, Stage};

/// Rounds that are worth beginning for: of fewer the interval is wide, however little they differ.
const LEAST_ROUNDS: u32 = 6;

/// Where trials take as long as they take, confirming takes a third of what the search took, and this at least.
const LEAST_TIME: Duration = Duration::from_secs(10);

/// Processes are started beside what they load.
const START: Duration = Duration::from_millis(100);

/// Rounds are numbered from here for whatever draws noise, so that nobody draws what the search has drawn.
const FIRST_DRAW: u32 = 1_000_000;

/// More turns in a round aren't taken, however short they are.
const MOST_TURNS: u32 = 10_000;

/// What the confirmation of a stage may take.
#[derive(Debug, Clone, Copy)]
enum Allowance {
    Time(Duration),
    Trials(u32),
}

impl Allowance {
    /// Whether `more` trials, which take so long each, may follow those that there are.
    fn has_room(self, confirmation: &Confirmation, more: usize, each: Duration) -> bool {
        match self {
            Allowance::Time(time) => {
                let so_far = Duration::try_from_secs_f64(confirmation.seconds()).unwrap_or_default();
                so_far + each * more as u32 <= time
            }
            Allowance::Trials(trials) => confirmation.recordings.len() + more <= trials as usize,
        }
    }

    /// How many of those who are to be confirmed there is room for.
    fn arms(self, each: Duration) -> usize {
        let trials = match self {
            Allowance::Time(time) => time.as_secs_f64() / each.as_secs_f64(),
            Allowance::Trials(trials) => f64::from(trials),
        };
        (trials / f64::from(LEAST_ROUNDS)) as usize
    }
}

impl Tuning<'_> {
    /// Confirms each stage's best. Returns the signal if one came.
    pub(super) fn confirm(&mut self) -> Result<Option<u8>, TuneError> {
        for stage in &self.suite.stages {
            if let Some(signal) = self.confirm_stage(stage)? {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    fn confirm_stage(&mut self, stage: &Stage) -> Result<Option<u8>, TuneError> {
        // A limit on what only the winner is checked for is kept however short the time.
        if stage.stability.is_some()
            && let Some(signal) = self.check_until_stable(stage)?
        {
            return Ok(Some(signal));
        }
        if !self.suite.confirms() {
            return Ok(None);
        }
        let known = self.confirmations.get(&stage.name);
        let best = analysis::finalists(self.suite, stage, &self.recordings, known);
        if best.is_empty() {
            return Ok(None);
        }
        let measured =
            self.parts.get(&stage.name).map_or(self.material.documents.len(), |part| part.documents);
        let fresh = !self.material.fresh.is_empty();
        let items = suite::part(self.material.confirming(), measured);
        let allowance = self.allowance();
        self.choose(stage, &best, allowance, items.len(), fresh)?;
        let path = self.folder.keep_part(&format!("{}-confirmed", stage.name), &items)?;
        let before = self.runner.measures(&stage.name, Documents { items, path });
        let ended = self.rounds_of(stage, &best, allowance);
        self.runner.returns_to(&stage.name, before);
        let ended = match ended? {
            None => self.check_best(stage, &best, allowance)?,
            signal => signal,
        };
        self.keep_answers(stage, 1);
        Ok(ended)
    }

    /// Checks whoever stands first, unless that would take longer than all of its confirmation may.
    fn check_best(
        &mut self,
        stage: &Stage,
        best: &[Candidate],
        allowance: Allowance,
    ) -> Result<Option<u8>, TuneError> {
        let standing =
            self.confirmations.get(&stage.name).map(|known| analysis::standing(self.suite, stage, known));
        let first = standing.and_then(|standing| standing.into_iter().next());
        match best.iter().find(|one| Some(one.id()) == first) {
            Some(winner) if stage.stability.is_none() => {
                let too_long = match allowance {
                    Allowance::Time(time) => self.checks_take(stage, winner) > time,
                    Allowance::Trials(_) => false,
                };
                if too_long { Ok(None) } else { self.keep_checks(stage, winner) }
            }
            Some(_) => self.check_until_stable(stage),
            None => Ok(None),
        }
    }

    /// What a stage's confirmation may take.
    fn allowance(&self) -> Allowance {
        let stages = self.suite.stages.len().max(1) as u32;
        let so_far = spent(self.recordings.iter()) + self.references_took;
        match (self.suite.budget, self.suite.budget.of_confirmation()) {
            (Budget::Time(time), Some(Budget::Time(kept))) => {
                Allowance::Time(kept.min(time.saturating_sub(so_far)) / stages)
            }
            (_, Some(Budget::Trials(trials))) => Allowance::Trials(trials / stages),
            _ => Allowance::Time((so_far / 3).max(LEAST_TIME) / stages),
        }
    }

    /// Decides who is measured again, unless an earlier process has begun with the same.
    fn choose(
        &mut self,
        stage: &Stage,
        best: &[Candidate],
        allowance: Allowance,
        documents: usize,
        fresh: bool,
    ) -> Result<(), TuneError> {
        let ids: Vec<String> = best.iter().map(Candidate::id).collect();
        let begun = self.confirmations.get(&stage.name).map(|known| &known.finalists);
        let same = |known: &Finalists| {
            !known.ids.is_empty()
                && ids.starts_with(&known.ids)
                && (known.documents, known.fresh) == (documents, fresh)
        };
        if begun.is_some_and(same) {
            return Ok(());
        }
        let each = best.iter().map(|one| self.expected_afresh(stage, one)).max().unwrap_or(START);
        // The default configuration is one more.
        let room = allowance.arms(each).saturating_sub(1).max(1);
        let ids = ids.into_iter().take(room).collect();
        let finalists = Finalists { ids, documents, fresh };
        let stage = stage.name.clone();
        self.folder.append(Entry::Finalists { stage: stage.clone(), finalists: finalists.clone() })?;
        self.confirmations.entry(stage).or_default().begin(finalists);
        Ok(())
    }

    /// How long a trial in a fresh process may be expected to take.
    fn expected_afresh(&self, stage: &Stage, candidate: &Candidate) -> Duration {
        let key = self.suite.load_key(stage, candidate);
        let same_load = |recording: &&Recording| {
            recording.stage == stage.name && self.suite.load_key(stage, &recording.candidate) == key
        };
        let loads = self.recordings.iter().filter(same_load);
        let load = loads.filter_map(|recording| Some(recording.loaded.as_ref()?.seconds)).fold(0.0, f64::max);
        START + Duration::try_from_secs_f64(load).unwrap_or_default() + self.runner.expected(stage, candidate)
    }

    /// Measures the finalists beside the default configuration, as long as that tells more and there is room.
    fn rounds_of(
        &mut self,
        stage: &Stage,
        best: &[Candidate],
        allowance: Allowance,
    ) -> Result<Option<u8>, TuneError> {
        for round in 0..MOST_CONFIRMING_ROUNDS {
            let Some(confirmation) = self.confirmations.get(&stage.name) else { return Ok(None) };
            if round >= analysis::rounds_wanted(self.suite, stage, confirmation) {
                return Ok(None);
            }
            let arms = arms(stage, best, confirmation);
            let todo: Vec<&Candidate> = in_turn(&arms, self.suite.seed, round)
                .filter(|arm| !was_in(confirmation, arm, round))
                .collect();
            let begun = todo.len() < arms.len();
            let walls = confirmation.recordings.iter().map(|recording| recording.wall_seconds);
            let seen = Duration::try_from_secs_f64(walls.fold(0.0, f64::max)).unwrap_or_default();
            let expected = arms.iter().map(|arm| self.expected_afresh(stage, arm)).max().unwrap_or_default();
            // What was seen is better than what was expected.
            let each = if seen.is_zero() { expected } else { seen };
            if arms.len() < 2 || !(begun || allowance.has_room(confirmation, todo.len(), each)) {
                return Ok(None);
            }
            if self.fit_together(stage, &arms) {
                if let Some(signal) = self.measure_in_turns(stage, &todo, round)? {
                    return Ok(Some(signal));
                }
                continue;
            }
            for candidate in todo {
                if let Some(signal) = self.interrupt.signal() {
                    return Ok(Some(signal));
                }
                if let Some(signal) = self.measure_again(stage, candidate, round)? {
                    return Ok(Some(signal));
                }
            }
        }
        Ok(None)
    }

    fn measure_again(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        round: u32,
    ) -> Result<Option<u8>, TuneError> {
        let label = stage.label(candidate);
        self.progress.began(&format!("{}: confirming {label}, round {}", stage.name, round + 1));
        self.runner.end();
        let trial = Trial { stage, candidate, round: FIRST_DRAW + round, stretch: Stretch::WHOLE };
        let recording = match afresh(&mut self.runner, &trial, &self.references) {
            Ok(recording) => recording,
            Err(stopped) => return self.stopped(stopped).map(Some),
        };
        self.keep_confirmed(stage, Recording { round, ..recording })?;
        Ok(None)
    }

    fn keep_confirmed(&mut self, stage: &Stage, recording: Recording) -> Result<(), TuneError> {
        // What isn't here any more says nothing of whom it's for, and may be here another time.
        if !recording.was_not_available() {
            self.folder.append(Entry::Confirmed(Box::new(recording.clone())))?;
        }
        if let Some(confirmation) = self.confirmations.get_mut(&stage.name) {
            confirmation.recordings.push(recording);
        }
        Ok(())
    }

    /// Whether these may be loaded at the same time: engines of ours on a processor that has memory for all of them, and whose speed
    /// is real. Models share a processor's memory in peace, and a card's not always.
    fn fit_together(&self, stage: &Stage, arms: &[Candidate]) -> bool {
        let is_own = |arm: &Candidate| {
            let backend = self.suite.backend(&arm.backend);
            backend.is_some_and(|backend| matches!(backend.engine, Engine::BuiltIn { .. }))
        };
        let own = || self.recordings.iter().filter(|recording| recording.stage == stage.name);
        let peak = |arm: &Candidate| {
            let id = arm.id();
            own()
                .filter(|recording| recording.id == id)
                .filter_map(|recording| recording.peak_rss_bytes)
                .max()
        };
        let simulated =
            own().filter_map(|recording| recording.loaded.as_ref()).any(|loaded| loaded.simulated);
        let together: Option<u64> = arms.iter().map(peak).sum();
        let half = host_memory().map(|bytes| bytes / 2);
        let is_room = together.zip(half).is_some_and(|(together, half)| together <= half);
        arms.iter().all(is_own) && !simulated && !self.runner.is_on_gpu() && is_room
    }

    /// Measures each in a fresh process of its own, a little at a time, in a random order and in the opposite one: what the machine
    /// does meanwhile it does to all of them.
    fn measure_in_turns(
        &mut self,
        stage: &Stage,
        todo: &[&Candidate],
        round: u32,
    ) -> Result<Option<u8>, TuneError> {
        let count = todo.len();
        self.progress.began(&format!(
            "{}: confirming {count} configurations in turns, round {}",
            stage.name,
            round + 1
        ));
        self.runner.end();
        let mut arms: Vec<(&Candidate, Runner, Option<Recording>)> =
            todo.iter().map(|candidate| (*candidate, self.runner.beside().in_turns(), None)).collect();
        for turn in 0..MOST_TURNS {
            for (candidate, runner, so_far) in &mut arms {
                if let Some(signal) = self.interrupt.signal() {
                    return Ok(Some(signal));
                }
                if so_far.as_ref().is_some_and(|so_far| so_far.failure().is_some()) {
                    continue;
                }
                let draw = FIRST_DRAW + round * MOST_TURNS + turn;
                let trial = Trial { stage, candidate, round: draw, stretch: Stretch::WHOLE };
                let recording = match afresh(runner, &trial, &self.references) {
                    Ok(recording) => recording,
                    Err(stopped) => return self.stopped(stopped).map(Some),
                };
                match so_far {
                    Some(so_far) => so_far.go_on(recording),
                    None => *so_far = Some(recording),
                }
            }
            if arms
                .iter()
                .all(|(_, _, so_far)| so_far.as_ref().is_some_and(|so_far| self.is_enough(stage, so_far)))
            {
                break;
            }
            arms.reverse();
        }
        for (_, mut runner, recording) in arms {
            runner.end();
            if let Some(recording) = recording {
                self.keep_confirmed(stage, Recording { round, ..recording })?;
            }
        }
        Ok(None)
    }

    /// Whether a trial has measured as much as the suite asks for, or has failed.
    fn is_enough(&self, stage: &Stage, recording: &Recording) -> bool {
        let effort = self.suite.effort;
        let seconds: f64 = recording.passes().iter().map(|pass| pass.seconds).sum();
        let batches: usize = recording.passes().iter().map(|pass| pass.batch_seconds.len()).sum();
        let enough = recording.passes().len() >= effort.passes as usize
            && seconds >= effort.time.as_secs_f64()
            && batches as u64 >= self.suite.batches_of_trial(stage);
        enough || recording.failure().is_some()
    }
}

/// A trial; who can't be loaded any more can't win, and the others go on.
fn afresh(runner: &mut Runner, trial: &Trial, references: &References) -> Result<Recording, Stopped> {
    match runner.trial(trial, references) {
        Err(Stopped::LoadBroke(failure)) => {
            Ok(Recording::of(&trial.stage.name, trial.candidate, trial.round, Outcome::from(failure)))
        }
        other => other,
    }
}

/// Who is measured in the next round: the finalists and the default configuration, as far as none has failed.
fn arms(stage: &Stage, best: &[Candidate], confirmation: &Confirmation) -> Vec<Candidate> {
    let chosen = best.iter().take(confirmation.finalists.ids.len());
    let baseline =
        std::iter::once(&stage.baseline).filter(|baseline| chosen.clone().all(|one| one != *baseline));
    let failed = |arm: &&Candidate| {
        confirmation.trials(&arm.id()).iter().any(|recording| recording.failure().is_some())
    };
    chosen.clone().chain(baseline).filter(|arm| !failed(arm)).cloned().collect()
}

/// In a random order, and in the next round in the opposite one: a machine that slows down harms all of them as much.
fn in_turn(arms: &[Candidate], seed: u64, round: u32) -> impl Iterator<Item = &Candidate> {
    let ids: Vec<String> = arms.iter().map(Candidate::id).collect();
    let mut order = search::order(&ids, None, seed.wrapping_add(u64::from(round / 2)));
    if round % 2 == 1 {
        order.reverse();
    }
    order.into_iter().map(|place| &arms[place])
}

fn was_in(confirmation: &Confirmation, arm: &Candidate, round: u32) -> bool {
    confirmation.trials(&arm.id()).iter().any(|recording| recording.round == round)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_round_is_in_the_opposite_order() {
        let arms = ["a", "b", "c", "d"]
            .map(|backend| Candidate { backend: backend.to_owned(), knobs: Default::default() });
        let order =
            |round| -> Vec<&str> { in_turn(&arms, 3, round).map(|arm| arm.backend.as_str()).collect() };
        let mut opposite = order(1);
        opposite.reverse();
        assert_eq!(order(0), opposite);
        assert!((0..6).any(|round| order(2 * round) != order(0)), "always the same");
    }

    #[test]
    fn six_rounds_have_room_for_so_many() {
        let each = Duration::from_secs(2);
        assert_eq!(Allowance::Time(Duration::from_secs(60)).arms(each), 5);
        assert_eq!(Allowance::Trials(13).arms(each), 2);
        let confirmation = Confirmation::default();
        assert!(Allowance::Time(Duration::from_secs(4)).has_room(&confirmation, 2, each));
        assert!(!Allowance::Time(Duration::from_secs(3)).has_room(&confirmation, 2, each));
        assert!(!Allowance::Trials(1).has_room(&confirmation, 2, each));
    }
}
