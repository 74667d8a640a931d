//! How much of the budget a stage may spend, and when it's spent.

use crate::record::Recording;
use crate::search::Observation;
use crate::suite::{Budget, Stage, Suite};

/// Candidates that a budget of time begins with.
const FIRST_OF_A_TIME: usize = 8;

pub struct StageBudget<'a> {
    stage: &'a Stage,
    rounds: u32,
    allowance: Budget,
}

impl<'a> StageBudget<'a> {
    /// The share of the stage at `place`: what earlier stages left, split evenly among it and those after it.
    pub fn of(suite: &'a Suite, place: usize, recordings: &[Recording]) -> Self {
        let stage = &suite.stages[place];
        let before = &suite.stages[..place];
        let earlier =
            || recordings.iter().filter(|recording| before.iter().any(|stage| stage.name == recording.stage));
        let stages = suite.stages.len() - place;
        let allowance = match suite.budget {
            Budget::Whole => Budget::Whole,
            Budget::Trials(trials) => {
                let left = trials.saturating_sub(earlier().count() as u32);
                // What later stages can't use at all, this one may.
                let later: usize = suite.stages[place + 1..].iter().map(|stage| stage.space.len()).sum();
                let later = u32::try_from(later).unwrap_or(u32::MAX).saturating_mul(suite.rounds);
                // The remainder goes to the earlier stages, so that none of a small budget is lost.
                Budget::Trials(left.div_ceil(stages as u32).max(left.saturating_sub(later)))
            }
            Budget::Time(time) => Budget::Time(time.saturating_sub(spent(earlier())) / stages as u32),
        };
        StageBudget { stage, rounds: suite.rounds, allowance }
    }

    /// The stage's own trials.
    fn own<'r>(&self, recordings: &'r [Recording]) -> impl Iterator<Item = &'r Recording> {
        recordings.iter().filter(|recording| recording.stage == self.stage.name)
    }

    pub fn is_of_time(&self) -> bool {
        matches!(self.allowance, Budget::Time(_))
    }

    /// How many candidates there is room for in all rounds: those tried, and as many as fit into what they leave.
    pub fn room(&self, recordings: &[Recording], seen: &[Observation]) -> usize {
        let trials = match self.allowance {
            Budget::Whole => return usize::MAX,
            // Nobody knows how many fit into the time. So a few are tried first, from all over the space, and then as many
            // again and again: were the whole space begun load by load, the time might end within the first load.
            Budget::Time(_) if self.allows(0, recordings) => return (2 * seen.len()).max(FIRST_OF_A_TIME),
            Budget::Time(_) => return seen.len().max(1),
            Budget::Trials(trials) => trials,
        };
        // Who can't win needs no more rounds.
        let outstanding: usize = seen
            .iter()
            .filter(|seen| seen.may_win())
            .map(|seen| seen.candidate.id())
            .map(|id| {
                (self.rounds as usize)
                    .saturating_sub(self.own(recordings).filter(|recording| recording.id == id).count())
            })
            .sum();
        let left = (trials as usize).saturating_sub(self.own(recordings).count() + outstanding);
        (seen.len() + left / self.rounds as usize).max(1)
    }

    /// Whether a trial in this round may begin. Of a time budget each round has its share, so that what is measured at
    /// all is measured more than once.
    pub fn allows(&self, round: u32, recordings: &[Recording]) -> bool {
        match self.allowance {
            Budget::Whole => true,
            Budget::Trials(trials) => self.own(recordings).count() < trials as usize,
            Budget::Time(time) => spent(self.own(recordings)) < time * (round + 1) / self.rounds,
        }
    }

    /// The most trials that the budget still allows, as far as it counts trials.
    pub fn left(&self, recordings: &[Recording]) -> usize {
        let own = self.own(recordings).count();
        match self.allowance {
            Budget::Trials(trials) => (trials as usize).saturating_sub(own),
            _ => usize::MAX,
        }
    }
}

fn spent<'r>(recordings: impl Iterator<Item = &'r Recording>) -> std::time::Duration {
    let seconds: f64 = recordings.map(|recording| recording.wall_seconds).sum();
    std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
