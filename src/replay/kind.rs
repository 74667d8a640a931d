//! The searches that play, and what they may expect beforehand.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::climb::Climb;
use super::gaussian::Gaussian;
use super::grid::Grid;
use super::library::Parzen;
use super::player::Player;
use crate::search::{Foreknowledge, Guided, Tried};

impl Player for Guided {
    fn choose(&mut self, tried: &[Tried]) -> Option<usize> {
        Guided::choose(self, tried, &|_| true)
    }
}

/// Rows in an order that was fixed beforehand.
struct InOrder(std::vec::IntoIter<usize>);

impl Player for InOrder {
    fn choose(&mut self, _: &[Tried]) -> Option<usize> {
        self.0.next()
    }
}

/// What searches are told of a grid before they play.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    Nothing,
    /// The logarithm of a score for each row, more being better; nothing for what is expected to fail.
    Scores(Vec<Option<f64>>),
}

impl Expectation {
    /// The best expected last, and the other way round.
    pub fn inverted(&self) -> Expectation {
        match self {
            Expectation::Nothing => Expectation::Nothing,
            Expectation::Scores(scores) => {
                Expectation::Scores(scores.iter().map(|score| score.map(|score| -score)).collect())
            }
        }
    }

    /// Each row told what is true of another.
    pub fn shuffled(&self, seed: u64) -> Expectation {
        match self {
            Expectation::Nothing => Expectation::Nothing,
            Expectation::Scores(scores) => {
                let mut scores = scores.clone();
                scores.shuffle(&mut Pcg64::seed_from_u64(seed));
                Expectation::Scores(scores)
            }
        }
    }

    /// All rows, the best expected first; drawn where nothing is expected.
    fn order(&self, rows: usize, seed: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut Pcg64::seed_from_u64(seed));
        if let Expectation::Scores(scores) = self {
            let score = |row: &usize| scores[*row].unwrap_or(f64::NEG_INFINITY);
            order.sort_by(|left, right| score(right).total_cmp(&score(left)));
        }
        order
    }
}

/// The searches that can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Guided,
    Climb,
    Parzen,
    Gaussian,
    Random,
    Order,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Guided, Kind::Climb, Kind::Parzen, Kind::Gaussian, Kind::Random, Kind::Order];

    /// As the command line names it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Guided => "guided",
            Kind::Climb => "climb",
            Kind::Parzen => "tpe",
            Kind::Gaussian => "gp",
            Kind::Random => "random",
            Kind::Order => "order",
        }
    }

    pub(super) fn player<'g>(
        self,
        grid: &'g Grid,
        expectation: &Expectation,
        seed: u64,
    ) -> Box<dyn Player + 'g> {
        let table = grid.table();
        let order = |expectation: &Expectation| expectation.order(table.len(), seed);
        match self {
            Kind::Guided => {
                let expected = match expectation {
                    Expectation::Nothing => Vec::new(),
                    Expectation::Scores(scores) => scores.clone(),
                };
                Box::new(Guided::new(table.clone(), Foreknowledge { expected, groups: Vec::new() }, seed))
            }
            Kind::Climb => Box::new(Climb::new(table, order(expectation), seed)),
            Kind::Parzen => Box::new(Parzen::new(table, seed)),
            Kind::Gaussian => Box::new(Gaussian::new(table.clone(), seed)),
            Kind::Random => Box::new(InOrder(order(&Expectation::Nothing).into_iter())),
            Kind::Order => Box::new(InOrder(order(expectation).into_iter())),
        }
    }
}
