//! How much of the budget a stage may spend, and when it's spent.

use std::time::Duration;

use crate::record::Recording;
use crate::search::Observation;
use crate::suite::{Budget, SearchKind, Stage, Suite};

/// Candidates that a budget of time begins with.
const FIRST_OF_A_TIME: usize = 8;

/// The part of a time that a guided search may spend on candidates it hasn't seen; the rest is for those that can win.
const LOOKING: f64 = 0.6;

/// A trial that would exceed the time by more than this share isn't begun.
const OVER: f64 = 1.05;

/// What a stage gets of a time that several share.
#[derive(Debug, Clone, Copy)]
pub enum Share {
    /// As much as each of those after it.
    Even,
    /// A first look, after which it's known what each has to gain. All of them together take half of the time.
    FirstLook,
    /// This part of what is left after all.
    OfTheRest(f64),
}

pub struct StageBudget<'a> {
    stage: &'a Stage,
    rounds: u32,
    allowance: Budget,
    search: SearchKind,
    /// What earlier budgets have spent on this stage, where they finished what they began.
    before: Duration,
}

impl<'a> StageBudget<'a> {
    /// Whether stages share a time by what they have to gain, which a guided search can tell.
    pub fn looks_first(suite: &Suite) -> bool {
        suite.stages.len() > 1
            && suite.search == SearchKind::Guided
            && matches!(suite.budget, Budget::Time(_))
    }

    /// The share of the stage at `place`. Of trials it's what earlier stages left, split evenly among it and those after it.
    ///
    /// `references` is what the reference answers have taken.
    pub fn of(
        suite: &'a Suite,
        place: usize,
        share: Share,
        recordings: &[Recording],
        references: Duration,
    ) -> Self {
        let stage = &suite.stages[place];
        let before = &suite.stages[..place];
        let earlier =
            || recordings.iter().filter(|recording| before.iter().any(|stage| stage.name == recording.stage));
        let stages = suite.stages.len() - place;
        let allowance = match suite.search_budget() {
            Budget::Whole => Budget::Whole,
            Budget::Trials(trials) => {
                let left = trials.saturating_sub(earlier().count() as u32);
                // What later stages can't use at all, this one may.
                let later: usize = suite.stages[place + 1..].iter().map(|stage| stage.space.len()).sum();
                let later = u32::try_from(later).unwrap_or(u32::MAX).saturating_mul(suite.rounds);
                // The remainder goes to the earlier stages, so that none of a small budget is lost.
                Budget::Trials(left.div_ceil(stages as u32).max(left.saturating_sub(later)))
            }
            Budget::Time(time) => Budget::Time(match share {
                Share::Even => {
                    time.saturating_sub(spent(earlier())).saturating_sub(references) / stages as u32
                }
                Share::FirstLook => time.saturating_sub(references) / (2 * suite.stages.len() as u32),
                Share::OfTheRest(part) => {
                    let own = spent(recordings.iter().filter(|recording| recording.stage == stage.name));
                    let left = time.saturating_sub(spent(recordings.iter())).saturating_sub(references);
                    own + left.mul_f64(part.clamp(0.0, 1.0))
                }
            }),
        };
        // What can be measured whole needs no search.
        let whole = match allowance {
            Budget::Whole => true,
            Budget::Trials(trials) => {
                stage.space.len().saturating_mul(suite.rounds as usize) <= trials as usize
            }
            Budget::Time(_) => false,
        };
        let search =
            if whole && suite.search == SearchKind::Guided { SearchKind::Grid } else { suite.search };
        StageBudget { stage, rounds: suite.rounds, allowance, search, before: Duration::ZERO }
    }

    /// Whether every candidate of a suite is measured anyway, so that nobody asks what is expected of it.
    pub fn measures_all(suite: &Suite) -> bool {
        let is_grid = |place| {
            StageBudget::of(suite, place, Share::Even, &[], Duration::ZERO).search == SearchKind::Grid
        };
        (0..suite.stages.len()).all(is_grid)
    }

    /// How the stage is searched.
    pub fn search(&self) -> SearchKind {
        self.search
    }

    /// A larger budget than that which was used up: what was finished has its rounds, and the rest of the time is divided anew.
    pub fn going_on(self, recordings: &[Recording], seen: &[Observation]) -> Self {
        let has_all = |seen: &&Observation| seen.rounds >= self.rounds as usize;
        let mut able = seen.iter().filter(|seen| seen.may_win()).peekable();
        if able.peek().is_some() && able.all(|seen| has_all(&seen)) { self.anew(recordings) } else { self }
    }

    /// What is left of a time, divided as if it were all.
    pub fn anew(mut self, recordings: &[Recording]) -> Self {
        self.before = spent(self.own(recordings));
        self
    }

    /// The stage's own trials.
    fn own<'r>(&self, recordings: &'r [Recording]) -> impl Iterator<Item = &'r Recording> {
        recordings.iter().filter(|recording| recording.stage == self.stage.name)
    }

    pub fn is_of_time(&self) -> bool {
        matches!(self.allowance, Budget::Time(_))
    }

    /// How many candidates there is room for in all rounds: those tried, and as many as fit into what they leave.
    /// Whoever doesn't `stay` needs no more rounds.
    pub fn room(
        &self,
        recordings: &[Recording],
        seen: &[Observation],
        mut stays: impl FnMut(&Observation) -> bool,
    ) -> usize {
        let trials = match self.allowance {
            Budget::Whole => return usize::MAX,
            // Nobody knows how many fit into the time. So a few are tried first, from all over the space, and then as many
            // again and again: were the whole space begun load by load, the time might end within the first load.
            Budget::Time(_) if self.allows(0, recordings) => return (2 * seen.len()).max(FIRST_OF_A_TIME),
            Budget::Time(_) => return seen.len().max(1),
            Budget::Trials(trials) => trials,
        };
        let outstanding: usize = seen
            .iter()
            .filter(|seen| stays(seen))
            .map(|seen| seen.candidate.id())
            .map(|id| {
                (self.rounds as usize)
                    .saturating_sub(self.own(recordings).filter(|recording| recording.id == id).count())
            })
            .sum();
        let left = (trials as usize).saturating_sub(self.own(recordings).count() + outstanding);
        // A search that goes by what it sees may see a last candidate in fewer rounds; a grid is measured evenly.
        let more = match self.search {
            SearchKind::Guided => left.div_ceil(self.rounds as usize),
            SearchKind::Grid | SearchKind::Random => left / self.rounds as usize,
        };
        (seen.len() + more).max(1)
    }

    /// Whether a trial in this round may begin. Of a time budget each round has its share, so that what is measured at
    /// all is measured more than once.
    pub fn allows(&self, round: u32, recordings: &[Recording]) -> bool {
        match self.allowance {
            Budget::Whole => true,
            Budget::Trials(trials) => self.own(recordings).count() < trials as usize,
            Budget::Time(time) => {
                let spent = spent(self.own(recordings)).saturating_sub(self.before);
                spent < time.saturating_sub(self.before).mul_f64(self.share(round))
            }
        }
    }

    /// The part of the time that is over when a round ends.
    fn share(&self, round: u32) -> f64 {
        match (self.search, self.rounds) {
            (SearchKind::Guided, 2..) => {
                (LOOKING + (1.0 - LOOKING) * f64::from(round) / f64::from(self.rounds - 1)).min(1.0)
            }
            _ => (f64::from(round + 1) / f64::from(self.rounds)).min(1.0),
        }
    }

    /// Whether so long a trial ends within the time, or little beyond.
    pub fn fits(&self, expected: Duration, recordings: &[Recording]) -> bool {
        match self.allowance {
            Budget::Time(time) => spent(self.own(recordings)) + expected <= time.mul_f64(OVER),
            Budget::Whole | Budget::Trials(_) => true,
        }
    }

    /// What is left of a time.
    pub fn time_left(&self, recordings: &[Recording]) -> Option<Duration> {
        match self.allowance {
            Budget::Time(time) => Some(time.saturating_sub(spent(self.own(recordings)))),
            Budget::Whole | Budget::Trials(_) => None,
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

pub fn spent<'r>(recordings: impl Iterator<Item = &'r Recording>) -> Duration {
    let seconds: f64 = recordings.map(|recording| recording.wall_seconds).sum();
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::env;
    use crate::knob::Candidate;
    use crate::record::{Failure, Status};
    use crate::suite::{Overrides, SuiteSource, parse};

    /// Three stages of the demonstration's kind, and a minute for them.
    fn suite() -> Suite {
        let source = SuiteSource::find("demo").unwrap();
        let overrides = Overrides { budget: Some("1m".to_owned()), ..Overrides::default() };
        let mut suite = parse(&source, &overrides, &env::names()).unwrap();
        let first = suite.stages[0].clone();
        suite.stages = ["a", "b", "c"].map(|name| Stage { name: name.to_owned(), ..first.clone() }).into();
        suite.search = SearchKind::Guided;
        suite.confirm = false;
        suite
    }

    fn spending(stage: &str, seconds: f64) -> Recording {
        let candidate = Candidate { backend: "fake".to_owned(), knobs: Default::default() };
        let nothing = Failure::new(Status::Failed, "never mind").into();
        Recording { wall_seconds: seconds, ..Recording::of(stage, &candidate, 0, nothing) }
    }

    fn seconds(suite: &Suite, place: usize, share: Share, spent: &[Recording]) -> f64 {
        let budget = StageBudget::of(suite, place, share, spent, Duration::from_secs(6));
        let Budget::Time(time) = budget.allowance else { panic!("{:?}", budget.allowance) };
        time.as_secs_f64()
    }

    #[test]
    fn a_time_is_divided_evenly_or_by_what_there_is_to_gain() {
        let suite = suite();
        assert!(StageBudget::looks_first(&suite));
        // 54 seconds are left of the minute.
        let near = |own: f64, right: f64| assert!((own - right).abs() < 1e-6, "{own} and {right}");
        near(seconds(&suite, 0, Share::Even, &[]), 18.0);
        for place in 0..3 {
            near(seconds(&suite, place, Share::FirstLook, &[]), 9.0);
        }
        let spent = ["a", "b", "c"].map(|stage| spending(stage, 8.0));
        // 30 are left after the first looks; half of them beyond the 8 that the stage has spent.
        near(seconds(&suite, 1, Share::OfTheRest(0.5), &spent), 23.0);
        near(seconds(&suite, 2, Share::OfTheRest(1.0), &spent), 38.0);
        let whole = Suite { budget: Budget::Whole, ..suite };
        assert!(!StageBudget::looks_first(&whole) && StageBudget::measures_all(&whole));
    }
}
