//! `autotune replay GRID.csv`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::exit::BadUsage;
use super::{output, present};
use crate::emit;
use crate::replay::{self, Expectation, Grid, Kind, Objective, Score, Shares};

#[derive(Args)]
pub struct Arguments {
    /// Recorded grids: CSV with a column for each knob, one for the objective, and optionally samples, errors and seconds
    #[arg(value_name = "GRID", required = true)]
    grids: Vec<PathBuf>,
    /// The column to be the best in; by default the first with a known name, such as time_ms or throughput
    #[arg(long, value_name = "COLUMN")]
    objective: Option<String>,
    /// More of the objective is better
    #[arg(long, conflicts_with = "less")]
    more: bool,
    /// Less of the objective is better
    #[arg(long)]
    less: bool,
    /// What the searches expect: a grid with the same knobs from another device or model
    #[arg(long, value_name = "GRID")]
    prior: Option<PathBuf>,
    /// Make the prior misleading: the best expected last, or each configuration told of another
    #[arg(long, requires = "prior")]
    adversary: Option<Adversary>,
    /// The searches that play; all of them by default
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    search: Vec<Search>,
    /// Games of each search
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Trials of a game
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    trials: u64,
    /// Draw the regret of each search into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Adversary {
    Inverted,
    Shuffled,
}

#[derive(Clone, Copy, ValueEnum)]
enum Search {
    /// The search that tunes by default
    Guided,
    /// To the first better neighbour, again and again
    Climb,
    /// A tree-structured Parzen estimator, of a library
    Tpe,
    /// Draws without replacement
    Random,
    /// The order of the prior
    Order,
}

impl Search {
    fn kind(self) -> Kind {
        match self {
            Search::Guided => Kind::Guided,
            Search::Climb => Kind::Climb,
            Search::Tpe => Kind::Parzen,
            Search::Random => Kind::Random,
            Search::Order => Kind::Order,
        }
    }
}

#[derive(Serialize)]
struct Document {
    grid: String,
    told: String,
    seeds: u64,
    difficulty: Shares,
    searches: Vec<Score>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let more_is_better = (arguments.more || arguments.less).then_some(arguments.more);
    let objective = Objective { column: arguments.objective.clone(), more_is_better };
    let open = |path: &PathBuf| Grid::open(path, &objective).map_err(|error| BadUsage(error.to_string()));
    let prior = arguments.prior.as_ref().map(open).transpose()?;
    let mut documents = Vec::new();
    for path in &arguments.grids {
        let grid = open(path)?;
        let (expectation, told) = expectation(arguments, &grid, prior.as_ref())?;
        let scores: Vec<Score> = kinds(arguments, &expectation)
            .into_iter()
            .map(|kind| {
                let games =
                    replay::games(&grid, kind, &expectation, arguments.trials as usize, arguments.seeds);
                Score::of(kind, &games)
            })
            .collect();
        if let Some(folder) = &arguments.out {
            std::fs::create_dir_all(folder)?;
            let plot = emit::plots::regret(&scores, &grid, &told, arguments.seeds, folder)?;
            std::fs::write(folder.join(format!("{}.svg", plot.name)), &plot.svg)?;
            std::fs::write(folder.join(format!("{}.png", plot.name)), &plot.png)?;
        }
        if !arguments.json {
            output::print(&emit::replay::render(&grid, &scores, &told, arguments.seeds, present::style()))?;
        }
        let difficulty = Shares::of(&grid);
        documents.push(Document {
            grid: grid.name,
            told,
            seeds: arguments.seeds,
            difficulty,
            searches: scores,
        });
    }
    if arguments.json {
        output::print_json(&documents)?;
    }
    Ok(super::exit::DONE)
}

/// What the searches may expect of a grid, and how that is said.
fn expectation(
    arguments: &Arguments,
    grid: &Grid,
    prior: Option<&Grid>,
) -> anyhow::Result<(Expectation, String)> {
    let Some(prior) = prior else { return Ok((Expectation::Nothing, "without a prior".to_owned())) };
    let scores = grid.seen_by(prior).map_err(|why| BadUsage(format!("{} as prior: {why}", prior.name)))?;
    let expectation = Expectation::Scores(scores);
    Ok(match arguments.adversary {
        None => (expectation, format!("with {} as prior", prior.name)),
        Some(Adversary::Inverted) => {
            (expectation.inverted(), format!("with {} inverted as prior", prior.name))
        }
        Some(Adversary::Shuffled) => {
            (expectation.shuffled(0), format!("with {} shuffled as prior", prior.name))
        }
    })
}

/// The searches that were asked for, or all that can play.
fn kinds(arguments: &Arguments, expectation: &Expectation) -> Vec<Kind> {
    if !arguments.search.is_empty() {
        return arguments.search.iter().map(|search| search.kind()).collect();
    }
    // Without an expectation there is no order.
    let can = |kind: &Kind| *kind != Kind::Order || *expectation != Expectation::Nothing;
    Kind::ALL.into_iter().filter(can).collect()
}
