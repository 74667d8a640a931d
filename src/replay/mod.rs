//! Plays searches on a grid of which every configuration has been measured before: how soon does each come near the best?
//!
//! A search sees draws from the recorded samples of a cell, and is scored by the cell's median. `grid.rs` reads a grid,
//! `recorded.rs` makes
//! one of a run, `kind.rs` has the searches, `score.rs` adds up their games.

mod climb;
mod gaussian;
mod grid;
mod kind;
mod library;
mod player;
pub mod recorded;
mod score;

use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::search::Tried;

pub use grid::{Grid, GridError, Objective};
pub use kind::{Expectation, Kind};
pub use score::{After, NEAR, Near, Score, Shares};

/// What became of a game: after each trial, how much the best choice so far is worse than the best of the grid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Game {
    /// As shares of the optimum: 0.05 is 5% worse. Infinite until something was measured.
    pub regrets: Vec<f64>,
    /// What all trials so far have cost, after each of them.
    pub seconds: Vec<f64>,
}

/// Whoever takes the lead is measured until it has so many samples: one may be luck.
const PROOF: usize = 2;

/// Lets a search play once, for so many trials.
pub fn play(grid: &Grid, kind: Kind, expectation: &Expectation, trials: usize, seed: u64) -> Game {
    let mut player = kind.player(grid, expectation, seed);
    // What is drawn doesn't depend on who plays.
    let mut random = Pcg64::seed_from_u64(seed ^ 0x6472_6177);
    let best = grid.optimum();
    let mut game = Game::default();
    let mut tried: Vec<Tried> = Vec::new();
    let mut begun: HashMap<usize, usize> = HashMap::new();
    let mut seconds = 0.0;
    while game.regrets.len() < trials {
        let unproven = leader(&tried)
            .filter(|place| tried[*place].rounds < PROOF.min(grid.samples(tried[*place].row).len()));
        let place = match unproven {
            Some(place) => place,
            None => {
                let Some(row) = player.choose(&tried) else { break };
                tried.push(Tried { row, score: None, rounds: 0, seconds: 0.0 });
                tried.len() - 1
            }
        };
        let row = tried[place].row;
        let samples = grid.samples(row);
        // Another sample each time, as long as there are others.
        let start = *begun.entry(row).or_insert_with(|| random.random_range(0..samples.len().max(1)));
        let sample = samples.get((start + tried[place].rounds) % samples.len().max(1)).copied();
        tried[place] = again(tried[place], sample, grid.seconds(row));
        seconds += grid.seconds(row);
        let truth = leader(&tried).and_then(|place| grid.median(tried[place].row));
        game.regrets.push(truth.map_or(f64::INFINITY, |truth| (best - truth).exp() - 1.0));
        game.seconds.push(seconds);
    }
    game
}

/// A row that was measured once more.
fn again(tried: Tried, sample: Option<f64>, seconds: f64) -> Tried {
    let Some(sample) = sample else { return Tried { rounds: 1, seconds, ..tried } };
    let rounds = tried.rounds + 1;
    let mean = tried.score.map_or(sample, |mean| mean + (sample - mean) / rounds as f64);
    Tried { score: Some(mean), rounds, seconds: tried.seconds + seconds, ..tried }
}

/// Where the best of those that were tried stands.
fn leader(tried: &[Tried]) -> Option<usize> {
    let able = (0..tried.len()).filter(|place| tried[*place].score.is_some());
    able.reduce(|best, place| if tried[place].score > tried[best].score { place } else { best })
}

/// The games of many seeds, on as many cores as there are.
pub fn games(grid: &Grid, kind: Kind, expectation: &Expectation, trials: usize, seeds: u64) -> Vec<Game> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let of_core = |core: u64| {
        let own = (core..seeds).step_by(cores as usize);
        own.map(|seed| (seed, play(grid, kind, expectation, trials, seed))).collect::<Vec<_>>()
    };
    let mut games: Vec<(u64, Game)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || of_core(core))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    });
    games.sort_by_key(|(seed, _)| *seed);
    games.into_iter().map(|(_, game)| game).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6 × 8 × 2 configurations with one best, far from the corner; one in twelve fails.
    fn grid() -> Grid {
        let mut text = String::from("batch,threads,order,time_ms,samples_ms,error\n");
        for batch in 0..6u32 {
            for threads in 1..9u32 {
                for order in ["arrival", "length"] {
                    let far =
                        f64::from(batch.abs_diff(4) + threads.abs_diff(3)) + f64::from(order == "arrival");
                    let time = 10.0 * (1.0 + 0.2 * far);
                    let failed = batch == 5 && threads > 4;
                    let cells = if failed {
                        ",,OutOfMemory".to_owned()
                    } else {
                        format!("{time},{time};{},", time * 1.01)
                    };
                    text.push_str(&format!("{},{threads},{order},{cells}\n", 1 << batch));
                }
            }
        }
        Grid::read("made.csv", text.as_bytes(), &Objective::default()).unwrap()
    }

    #[test]
    fn every_search_finds_the_best_of_a_small_grid_in_the_end_and_the_guided_one_soon() {
        let grid = grid();
        assert_eq!(grid.len(), 96);
        for kind in Kind::ALL {
            let games = games(&grid, kind, &Expectation::Nothing, 200, 4);
            let again = play(&grid, kind, &Expectation::Nothing, 200, 3);
            assert_eq!(games[3], again, "{}", kind.word());
            for game in &games {
                assert!(*game.regrets.last().unwrap() < 0.011, "{}: {:?}", kind.word(), game.regrets.last());
            }
            let score = Score::of(kind, &games);
            let soon = score.near[0].trials_median.unwrap();
            assert!(kind != Kind::Guided || soon <= 30.0, "{soon}");
        }
    }

    #[test]
    fn a_perfect_expectation_is_followed_and_an_inverted_one_does_little_harm() {
        let grid = grid();
        let truth: Vec<Option<f64>> = (0..grid.len()).map(|row| grid.median(row)).collect();
        let inverted = truth.iter().map(|score| score.map(|score| -score)).collect();
        let soon = |expectation: Expectation| {
            let games = games(&grid, Kind::Guided, &expectation, 96, 8);
            Score::of(Kind::Guided, &games).near[0].trials_median.unwrap()
        };
        assert_eq!(soon(Expectation::Scores(truth)), 1.0);
        assert!(soon(Expectation::Scores(inverted)) <= 35.0);
    }
}
