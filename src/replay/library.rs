//! The tree-structured Parzen estimator of a library, asked for one configuration after the other.

use std::collections::HashMap;

use optimizer::parameter::{CategoricalParam, IntParam, Parameter};
use optimizer::sampler::tpe::MultivariateTpeSampler;
use optimizer::{Direction, Study, Trial};
use rand::RngExt;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::player::Player;
use crate::search::{Column, Table, Tried};

/// How often it may suggest what isn't in the grid, or was tried, before something is drawn for it.
const PATIENCE: usize = 200;

pub struct Parzen<'t> {
    table: &'t Table,
    study: Study<f64>,
    knobs: Vec<Knob>,
    /// What was asked for last, to be told how it went.
    asked: Option<Trial>,
    random: Pcg64,
}

enum Knob {
    Number(IntParam),
    Word(CategoricalParam<u32>),
    /// It has one level, and nothing to choose.
    Fixed,
}

impl Knob {
    fn of(column: &Column) -> Knob {
        match column.levels() {
            0 | 1 => Knob::Fixed,
            levels if column.is_ordered() => Knob::Number(IntParam::new(0, levels as i64 - 1)),
            levels => Knob::Word(CategoricalParam::new((0..levels as u32).collect())),
        }
    }

    fn suggest(&self, trial: &mut Trial) -> optimizer::Result<u32> {
        match self {
            Knob::Number(number) => Ok(u32::try_from(number.suggest(trial)?).unwrap_or_default()),
            Knob::Word(word) => word.suggest(trial),
            Knob::Fixed => Ok(0),
        }
    }
}

impl<'t> Parzen<'t> {
    pub fn new(table: &'t Table, seed: u64) -> Self {
        let sampler = MultivariateTpeSampler::builder().seed(seed).build().unwrap_or_default();
        Parzen {
            table,
            study: Study::with_sampler(Direction::Maximize, sampler),
            knobs: table.columns().iter().map(Knob::of).collect(),
            asked: None,
            random: Pcg64::seed_from_u64(seed),
        }
    }
}

impl Player for Parzen<'_> {
    fn choose(&mut self, tried: &[Tried]) -> Option<usize> {
        if let (Some(asked), Some(last)) = (self.asked.take(), tried.last()) {
            self.study.tell(asked, last.score.ok_or("failed"));
        }
        let known: HashMap<usize, Option<f64>> = tried.iter().map(|tried| (tried.row, tried.score)).collect();
        for _ in 0..PATIENCE {
            let mut trial = self.study.ask();
            let levels: optimizer::Result<Vec<u32>> =
                self.knobs.iter().map(|knob| knob.suggest(&mut trial)).collect();
            match levels.ok().and_then(|levels| self.table.place(&levels)) {
                Some(row) if !known.contains_key(&row) => {
                    self.asked = Some(trial);
                    return Some(row);
                }
                // What isn't in the grid, and what was tried, costs it nothing.
                _ => self.study.tell(trial, Err::<f64, _>("not in the grid, or tried before")),
            }
        }
        let open: Vec<usize> = (0..self.table.len()).filter(|row| !known.contains_key(row)).collect();
        (!open.is_empty()).then(|| open[self.random.random_range(0..open.len())])
    }
}
