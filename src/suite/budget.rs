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
    /// Whether there is time to judge answers by all that there is.
    pub fn is_ample(self) -> bool {
        match self {
            Budget::Whole => true,
            Budget::Trials(_) => false,
            Budget::Time(time) => time >= AMPLE,
        }
    }
}

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
}
