//! How much to measure, and how to choose what.

use std::str::FromStr;
use std::time::Duration;

use super::problem::unknown;
use crate::units::parse_duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// As long as it takes.
    Whole,
    Trials(u32),
    Time(Duration),
}

impl Budget {
    /// What the search may spend: all but what is kept for confirming whom it finds.
    pub fn of_search(self) -> Budget {
        match (self, self.of_confirmation()) {
            (Budget::Time(time), Some(Budget::Time(kept))) => Budget::Time(time - kept),
            (Budget::Trials(trials), Some(Budget::Trials(kept))) => Budget::Trials(trials - kept),
            _ => self,
        }
    }

    /// What is kept for confirming the best: a quarter; nothing where that is too little to tell anything. Who may take as long
    /// as it takes keeps nothing, and adds a third of what the search took.
    pub fn of_confirmation(self) -> Option<Budget> {
        match self {
            Budget::Whole => Some(Budget::Whole),
            Budget::Time(time) => (time >= LEAST_TIME).then(|| Budget::Time(time / QUARTER)),
            Budget::Trials(trials) => (trials >= LEAST_TRIALS).then_some(Budget::Trials(trials / QUARTER)),
        }
    }

    /// What is kept for looking at the service that the stages make: a fifth of a time.
    pub fn of_service(self) -> Option<Duration> {
        match self {
            Budget::Time(time) => Some(time / FIFTH),
            Budget::Whole | Budget::Trials(_) => None,
        }
    }

    /// What is left without that.
    pub fn without_service(self) -> Budget {
        match (self, self.of_service()) {
            (Budget::Time(time), Some(kept)) => Budget::Time(time - kept),
            _ => self,
        }
    }

    /// Whether there is time to judge answers by all that there is.
    pub fn is_ample(self) -> bool {
        match self {
            Budget::Whole => true,
            Budget::Trials(_) => false,
            Budget::Time(time) => time >= AMPLE,
        }
    }
}

/// Confirming takes one part in so many.
const QUARTER: u32 = 4;

/// Looking at a service takes one part in so many.
const FIFTH: u32 = 5;

/// Of a shorter time a quarter sees the winner beside the default twice, at most.
const LEAST_TIME: Duration = Duration::from_secs(60);

/// Of fewer trials a quarter isn't three of the winner and three of the default.
const LEAST_TRIALS: u32 = 24;

/// A shorter time would go to answers instead of measuring.
const AMPLE: Duration = Duration::from_secs(600);

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a budget such as \"30s\", \"10m\" or \"40trials\"");
        let budget = match text.trim().strip_suffix("trials") {
            Some(count) => Budget::Trials(count.trim().parse().map_err(|_| wrong())?),
            None => Budget::Time(parse_duration(text).map_err(|_| wrong())?),
        };
        match budget {
            Budget::Trials(0) | Budget::Time(Duration::ZERO) => {
                Err(format!("a budget of {text} measures nothing"))
            }
            budget => Ok(budget),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchKind {
    Guided,
    Grid,
    Random,
}

impl SearchKind {
    pub const ALL: [(&str, SearchKind); 3] =
        [("guided", SearchKind::Guided), ("grid", SearchKind::Grid), ("random", SearchKind::Random)];
}

impl FromStr for SearchKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = SearchKind::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        found.ok_or_else(|| unknown("search", text, SearchKind::ALL.map(|(name, _)| name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_times_or_trials() {
        assert_eq!("40trials".parse(), Ok(Budget::Trials(40)));
        assert_eq!(" 40 trials".parse(), Ok(Budget::Trials(40)));
        assert_eq!("10m".parse(), Ok(Budget::Time(Duration::from_secs(600))));
        for text in ["", "40", "0trials", "-1trials", "0s", "soon", "99999999999trials"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_quarter_is_kept_for_confirming_unless_it_is_too_little() {
        let minutes = |count: u64| Budget::Time(Duration::from_secs(60 * count));
        assert_eq!((minutes(4).of_search(), minutes(4).of_confirmation()), (minutes(3), Some(minutes(1))));
        let short = Budget::Time(Duration::from_secs(59));
        assert_eq!((short.of_search(), short.of_confirmation()), (short, None));
        assert_eq!(Budget::Trials(40).of_search(), Budget::Trials(30));
        assert_eq!(Budget::Trials(23).of_confirmation(), None);
        assert_eq!(Budget::Whole.of_search(), Budget::Whole);
    }
}
