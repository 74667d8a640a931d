//! `autotune replay GRID.csv`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::exit::BadUsage;
use super::{output, present};
use crate::emit;
use crate::replay::{self, Expectation, Grid, GridError, Kind, Objective, Score, Shares};
use crate::report;
use crate::store::Run;

#[derive(Args)]
pub struct Arguments {
    /// Recorded grids: CSV with a column for each knob, one for the objective, and optionally samples, errors and seconds; or folders
    /// of runs
    #[arg(value_name = "GRID", required_unless_present = "folder")]
    grids: Vec<PathBuf>,
    /// Play on every CSV file of this folder as well; one that isn't there is skipped
    #[arg(long = "grids", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The column to be the best in; by default the first with a known name, such as time_ms or throughput
    #[arg(long, value_name = "COLUMN")]
    objective: Option<String>,
    /// Of a run, the stage that is a grid [default: its first]
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Write a run as a grid to this file, and play nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prior", "out", "json"])]
    save: Option<PathBuf>,
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
    /// The choices of the search that tunes by default
    Guided,
    /// To the first better neighbour, again and again
    Climb,
    /// A tree-structured Parzen estimator, of a library
    Tpe,
    /// A Gaussian process with expected improvement and nothing else
    Gp,
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
            Search::Gp => Kind::Gaussian,
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
    if let Some(file) = &arguments.save {
        let [run] = arguments.grids.as_slice() else {
            return Err(BadUsage("--save: name one run".to_owned()).into());
        };
        let (csv, _) = recorded(run, arguments.stage.as_deref())?;
        std::fs::write(file, csv).with_context(|| format!("--save {}", file.display()))?;
        return Ok(super::exit::DONE);
    }
    let prior = arguments.prior.as_ref().map(|path| open(path, arguments)).transpose()?;
    let mut documents = Vec::new();
    let of_folder = arguments.folder.as_deref().map(files).unwrap_or_default();
    for path in arguments.grids.iter().chain(&of_folder) {
        let grid = open(path, arguments)?;
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

/// The grids in a folder, by their names; none, and the reason said, where there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            output::note(&format!("skipped: --grids {}: {error}", folder.display()));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")));
    files.sort();
    if files.is_empty() {
        output::note(&format!("skipped: --grids {}: it has no CSV file", folder.display()));
    }
    files
}

/// A grid, of a file or of a run.
fn open(path: &Path, arguments: &Arguments) -> anyhow::Result<Grid> {
    let wrong = |error: GridError| BadUsage(error.to_string());
    let more_is_better = (arguments.more || arguments.less).then_some(arguments.more);
    let wanted = Objective { column: arguments.objective.clone(), more_is_better };
    if !path.is_dir() {
        return Ok(Grid::open(path, &wanted).map_err(wrong)?);
    }
    let (csv, own) = recorded(path, arguments.stage.as_deref())?;
    let name = path.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    let wanted = if wanted == Objective::default() { own } else { wanted };
    Ok(Grid::read(&name, csv.as_slice(), &wanted).map_err(wrong)?)
}

/// A run's stage as a grid, and what it's to be the best in.
fn recorded(folder: &Path, stage: Option<&str>) -> anyhow::Result<(Vec<u8>, Objective)> {
    let run = Run::read(folder)?;
    let suite = report::suite_of(&run)?;
    let Some(stage) = stage.map_or(suite.stages.first(), |name| suite.stage(name)) else {
        let names: Vec<&str> = suite.stages.iter().map(|stage| stage.name.as_str()).collect();
        return Err(BadUsage(format!("--stage: the run has the stages {}", names.join(", "))).into());
    };
    Ok((replay::recorded::csv(&suite, stage, &run)?, replay::recorded::objective(&suite)))
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
