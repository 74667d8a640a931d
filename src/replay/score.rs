//! How good a search was, over the games of many seeds.

use serde::Serialize;

use super::Game;
use super::grid::Grid;
use super::kind::Kind;
use crate::analysis::statistics;

/// A choice counts as near if it's at most this much worse than the best.
pub const NEAR: [f64; 2] = [0.05, 0.01];

/// After so many trials one looks how far it has come.
pub const LOOKS: [usize; 3] = [25, 50, 100];

/// What the trials of a search led to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    pub search: &'static str,
    pub near: [Near; 2],
    pub after: Vec<After>,
    /// The mean regret after each trial, for charts.
    pub regrets: Vec<f64>,
}

/// How soon its best choice was this near to the grid's best.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Near {
    pub within: f64,
    /// Of all seeds, the share that came so near in all trials.
    pub reached: f64,
    /// Trials of the median seed; nothing if it never came so near.
    pub trials_median: Option<f64>,
    pub trials_p95: Option<f64>,
    /// The same in seconds of trials.
    pub seconds_median: Option<f64>,
    pub seconds_p95: Option<f64>,
}

/// Where the search stood after so many trials.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct After {
    pub trials: usize,
    /// The share of seeds within each of [`NEAR`].
    pub hits: [f64; 2],
    /// The mean regret, with its interval over the seeds.
    pub regret: f64,
    pub interval: Option<[f64; 2]>,
}

/// How hard a grid is: the shares of its configurations that are near the best.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shares {
    pub configurations: usize,
    pub failed: usize,
    pub near: [usize; 2],
}

impl Shares {
    pub fn of(grid: &Grid) -> Shares {
        Shares {
            configurations: grid.len(),
            failed: grid.failed(),
            near: NEAR.map(|share| grid.within(share)),
        }
    }
}

impl Score {
    pub fn of(kind: Kind, games: &[Game]) -> Score {
        let longest = games.iter().map(|game| game.regrets.len()).max().unwrap_or(0);
        let looks = LOOKS.into_iter().filter(|trials| *trials <= longest);
        Score {
            search: kind.word(),
            near: NEAR.map(|within| Near::of(games, within)),
            after: looks.map(|trials| After::of(games, trials)).collect(),
            regrets: (1..=longest).map(|trials| mean(&regrets_after(games, trials))).collect(),
        }
    }
}

impl Near {
    fn of(games: &[Game], within: f64) -> Near {
        let first = |game: &Game| game.regrets.iter().position(|regret| *regret <= within);
        let firsts: Vec<Option<usize>> = games.iter().map(first).collect();
        let reached = firsts.iter().flatten().count() as f64 / games.len().max(1) as f64;
        let mut trials: Vec<f64> = firsts.iter().flatten().map(|place| *place as f64 + 1.0).collect();
        let seconds = games.iter().zip(&firsts).filter_map(|(game, first)| Some(game.seconds[(*first)?]));
        let mut seconds: Vec<f64> = seconds.collect();
        // Who never came so near stands behind all others.
        let quantile = |values: &mut Vec<f64>, share: f64| {
            values.sort_by(f64::total_cmp);
            let place = (share * games.len() as f64).ceil() as usize;
            values.get(place.saturating_sub(1)).copied()
        };
        Near {
            within,
            reached,
            trials_median: quantile(&mut trials, 0.5),
            trials_p95: quantile(&mut trials, 0.95),
            seconds_median: quantile(&mut seconds, 0.5),
            seconds_p95: quantile(&mut seconds, 0.95),
        }
    }
}

impl After {
    fn of(games: &[Game], trials: usize) -> After {
        let regrets = regrets_after(games, trials);
        let share = |within: f64| {
            regrets.iter().filter(|regret| **regret <= within).count() as f64 / regrets.len().max(1) as f64
        };
        let interval = statistics::mean(&regrets).and_then(|estimate| estimate.interval);
        let interval = interval.map(|interval| [interval.low, interval.high]);
        After { trials, hits: NEAR.map(share), regret: mean(&regrets), interval }
    }
}

/// The regret of each game after so many trials; of one that has ended before, the last. Without any measurement yet, a factor
/// of ten, so that a mean can be taken.
fn regrets_after(games: &[Game], trials: usize) -> Vec<f64> {
    const NOTHING_YET: f64 = 9.0;
    let of = |game: &Game| {
        let last = game.regrets.len().min(trials).checked_sub(1)?;
        game.regrets.get(last).copied().filter(|regret| regret.is_finite())
    };
    games.iter().map(|game| of(game).unwrap_or(NOTHING_YET)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn game(regrets: &[f64]) -> Game {
        Game {
            regrets: regrets.to_vec(),
            seconds: (1..=regrets.len()).map(|trial| 2.0 * trial as f64).collect(),
        }
    }

    #[test]
    fn who_never_comes_near_counts_against_the_search() {
        let games = [game(&[0.5, 0.04, 0.0]), game(&[0.02, 0.02, 0.02]), game(&[f64::INFINITY, 0.3, 0.3])];
        let score = Score::of(Kind::Guided, &games);
        let [five, one] = &score.near;
        assert_eq!((five.trials_median, five.trials_p95, five.seconds_median), (Some(2.0), None, Some(4.0)));
        assert_eq!((one.trials_median, (one.reached * 3.0).round()), (None, 1.0));
        assert_eq!(score.regrets.len(), 3);
        assert!((score.regrets[1] - 0.12).abs() < 1e-12);
    }
}
