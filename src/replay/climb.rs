//! Hill climbing, as tools do it that have no picture of the whole: from a start, to the first better neighbour, until there is
//! none; then from the next start.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::player::Player;
use crate::search::{Table, Tried};

pub struct Climb<'t> {
    table: &'t Table,
    /// Where to start, one after the other.
    starts: Vec<usize>,
    /// Where it stands, with what it has still to try around.
    at: Option<(usize, Vec<usize>)>,
    random: Pcg64,
}

impl<'t> Climb<'t> {
    pub fn new(table: &'t Table, mut starts: Vec<usize>, seed: u64) -> Self {
        // The next start is taken from the end.
        starts.reverse();
        Climb { table, starts, at: None, random: Pcg64::seed_from_u64(seed) }
    }

    fn stand(&mut self, row: usize) {
        let mut around: Vec<usize> = self.table.steps(row).collect();
        around.shuffle(&mut self.random);
        self.at = Some((row, around));
    }
}

impl Player for Climb<'_> {
    fn choose(&mut self, tried: &[Tried]) -> Option<usize> {
        let known = |row: usize| tried.iter().find(|tried| tried.row == row);
        let score = |row: usize| known(row).and_then(|tried| tried.score);
        if let Some(last) = tried.last() {
            let here = self.at.as_ref().map(|(row, _)| *row);
            let better = match here {
                Some(here) => last.score.is_some() && last.score > score(here),
                None => true,
            };
            if better {
                self.stand(last.row);
            }
        }
        if let Some((_, around)) = &mut self.at {
            while let Some(next) = around.pop() {
                if known(next).is_none() {
                    return Some(next);
                }
            }
        }
        self.at = None;
        while let Some(start) = self.starts.pop() {
            if known(start).is_none() {
                return Some(start);
            }
        }
        None
    }
}
