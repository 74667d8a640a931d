//! What a search decided, and why: kept in the journal, and told by `autotune report RUN --decisions`.

use serde::{Deserialize, Serialize};

/// Why a candidate is tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Why {
    /// It's what the others are compared with.
    Baseline,
    /// Of its engine and precision, none has been measured.
    Unseen,
    /// It's the best of what was expected beforehand.
    Expected,
    /// It's far from all that was measured.
    Far,
    /// Of all that are left it's worth the most: it may be expected to gain this share over the best.
    Promising { gain: f64 },
    /// The same among those that differ from the best in one knob.
    Neighbour { gain: f64 },
    /// It's next in an order that asks nothing of what was seen.
    InTurn,
}

/// Why a candidate isn't measured again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Leaving {
    /// It failed, or it misses a limit.
    RuledOut,
    /// It's this many times as good as the best, which machines don't make up for.
    FarBehind { beside_best: f64 },
    /// At best it's this many times as good as the best.
    Slower { at_best: f64 },
    /// What is left of the time goes to better ones.
    NoTime,
}

/// Why a search tries no more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Stop {
    /// There is nothing left that wasn't tried, but for what would run out of memory.
    AllTried,
    /// The best of the rest may be expected to gain no more than this share.
    NotWorthIt { gain: f64 },
    /// The budget is for no more candidates.
    Spent,
}
