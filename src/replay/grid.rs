//! A recorded grid: configurations with what was measured of each, out of a CSV file.
//!
//! Columns are told apart by their names: what a configuration gave (the objective, samples, an error, memory, seconds), and
//! knobs, which are all the others.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::backend::MEMORY_FRACTION;
use crate::search::{Column, Table};
use crate::units::{did_you_mean, median};

/// Names of columns that hold what is to be found the best of, and whether more of it is better.
const OBJECTIVES: [(&str, bool); 12] = [
    ("docs_per_second", true),
    ("docs/s", true),
    ("throughput", true),
    ("tokens_per_second", true),
    ("pairs_per_second", true),
    ("score", true),
    ("time_ms", false),
    ("time_s", false),
    ("time", false),
    ("latency_ms", false),
    ("latency", false),
    ("seconds_per_pass", false),
];

/// What a grid is to be the best of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objective {
    /// The column; where none is named, the first that is known by its name.
    pub column: Option<String>,
    /// Whether more is better, where the name doesn't say.
    pub more_is_better: Option<bool>,
}

#[derive(Debug, thiserror::Error)]
pub enum GridError {
    #[error("{file}: {error}")]
    File { file: String, error: std::io::Error },
    #[error("{file}: {why}")]
    Wrong { file: String, why: String },
}

/// Configurations, each with the samples that were taken of it.
pub struct Grid {
    pub name: String,
    table: Arc<Table>,
    /// The words of each column's levels.
    words: Vec<Vec<String>>,
    /// Logarithms of scores, more being better, row by row. None: it failed.
    samples: Vec<Vec<f64>>,
    medians: Vec<Option<f64>>,
    seconds: Vec<f64>,
    objective: String,
    more_is_better: bool,
}

impl Grid {
    pub fn open(path: &Path, objective: &Objective) -> Result<Grid, GridError> {
        let file = path.display().to_string();
        let failed = |error| GridError::File { file: file.clone(), error };
        let bytes = std::fs::read(path).map_err(failed)?;
        let name = path.file_stem().map_or_else(|| file.clone(), |stem| stem.to_string_lossy().into_owned());
        Grid::read(&name, bytes.as_slice(), objective)
    }

    pub fn read(name: &str, csv: impl Read, objective: &Objective) -> Result<Grid, GridError> {
        let wrong = |why: String| GridError::Wrong { file: name.to_owned(), why };
        Lines::read(csv, objective).and_then(|lines| lines.grid(name)).map_err(wrong)
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The name of the objective's column, and whether more is better.
    pub fn objective(&self) -> (&str, bool) {
        (&self.objective, self.more_is_better)
    }

    pub fn samples(&self, row: usize) -> &[f64] {
        &self.samples[row]
    }

    /// The logarithm of a row's score, as it's judged; nothing if it failed.
    pub fn median(&self, row: usize) -> Option<f64> {
        self.medians[row]
    }

    pub fn seconds(&self, row: usize) -> f64 {
        self.seconds[row]
    }

    /// The best of all medians.
    pub fn optimum(&self) -> f64 {
        self.medians.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Rows that failed.
    pub fn failed(&self) -> usize {
        self.medians.iter().filter(|median| median.is_none()).count()
    }

    /// Rows that are at most this much worse than the best.
    pub fn within(&self, share: f64) -> usize {
        let optimum = self.optimum();
        let is_near = |median: &&f64| (optimum - **median).exp() - 1.0 <= share;
        self.medians.iter().flatten().filter(is_near).count()
    }

    /// What another grid says of each of this one's rows, where it has the same configuration.
    pub fn seen_by(&self, other: &Grid) -> Result<Vec<Option<f64>>, String> {
        let names =
            |grid: &Grid| grid.table.columns().iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        if names(self) != names(other) {
            return Err(format!(
                "the grids have different knobs: {} and {}",
                names(self).join(", "),
                names(other).join(", ")
            ));
        }
        // For each column, this grid's levels as the other's.
        let levels: Vec<HashMap<usize, u32>> = self
            .words
            .iter()
            .zip(&other.words)
            .map(|(own, theirs)| {
                let place = |word| theirs.iter().position(|other| other == word);
                own.iter()
                    .enumerate()
                    .filter_map(|(level, word)| Some((level, place(word)? as u32)))
                    .collect()
            })
            .collect();
        let score = |row: usize| {
            let own = self.table.row(row).iter().zip(&levels);
            let theirs: Option<Vec<u32>> =
                own.map(|(level, of)| of.get(&(*level as usize)).copied()).collect();
            other.median(other.table.place(&theirs?)?)
        };
        let seen: Vec<Option<f64>> = (0..self.len()).map(score).collect();
        if seen.iter().all(Option::is_none) {
            return Err("the grids have no configuration in common".to_owned());
        }
        Ok(seen)
    }
}

/// A file's lines, not yet put in order.
struct Lines {
    knobs: Vec<String>,
    rows: Vec<Line>,
    objective: String,
    more_is_better: bool,
}

struct Line {
    words: Vec<String>,
    samples: Vec<f64>,
    seconds: f64,
}

/// Where a file has what.
struct Roles {
    objective: usize,
    more_is_better: bool,
    samples: Option<usize>,
    error: Option<usize>,
    seconds: Option<usize>,
    knobs: Vec<usize>,
}

impl Roles {
    fn of(names: &[String], wanted: &Objective) -> Result<Roles, String> {
        let place = |name: &str| names.iter().position(|known| known == name);
        let known = |name: &str| OBJECTIVES.iter().find(|(known, _)| *known == name);
        let objective = match &wanted.column {
            Some(name) => place(name).ok_or_else(|| {
                let hint = did_you_mean(name, names.iter().map(String::as_str));
                format!("no column {name:?} among {}{hint}", names.join(", "))
            })?,
            None => OBJECTIVES.iter().find_map(|(name, _)| place(name)).ok_or_else(|| {
                format!(
                    "none of the columns {} is a known objective: name it with --objective COLUMN",
                    names.join(", ")
                )
            })?,
        };
        let name = &names[objective];
        let more_is_better = wanted.more_is_better.or_else(|| known(name).map(|(_, more)| *more));
        let more_is_better = more_is_better
            .ok_or_else(|| format!("is more or less of {name:?} better? Say it with --more or --less"))?;
        let starts =
            |word: &str| names.iter().position(|name| name == word || name.starts_with(&format!("{word}_")));
        let (samples, error) = (starts("samples"), place("error").or_else(|| place("status")));
        let seconds = place("trial_seconds").or_else(|| place("wall_seconds"));
        // A share of the memory is a knob.
        let is_outcome = |name: &str| {
            known(name).is_some()
                || (["memory", "vram", "rss", "peak", "quality"].iter().any(|word| name.starts_with(word))
                    && name != MEMORY_FRACTION.name)
        };
        let knobs: Vec<usize> = (0..names.len())
            .filter(|column| ![Some(objective), samples, error, seconds].contains(&Some(*column)))
            .filter(|column| !is_outcome(&names[*column]))
            .collect();
        if knobs.is_empty() {
            return Err("there is no column beside the objective: nothing can be chosen".to_owned());
        }
        Ok(Roles { objective, more_is_better, samples, error, seconds, knobs })
    }
}

impl Lines {
    fn read(csv: impl Read, wanted: &Objective) -> Result<Lines, String> {
        let mut reader = csv::Reader::from_reader(csv);
        let names: Vec<String> = reader
            .headers()
            .map_err(|error| error.to_string())?
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        let roles = Roles::of(&names, wanted)?;
        let mut rows = Vec::new();
        for (index, record) in reader.records().enumerate() {
            let record = record.map_err(|error| error.to_string())?;
            let line = record.position().map_or(index as u64 + 2, csv::Position::line);
            rows.push(roles.line(&names, &record).map_err(|why| format!("line {line}: {why}"))?);
        }
        let knobs = roles.knobs.iter().map(|place| names[*place].clone()).collect();
        let objective = names[roles.objective].clone();
        Ok(Lines { knobs, rows, objective, more_is_better: roles.more_is_better })
    }

    fn grid(self, name: &str) -> Result<Grid, String> {
        let mut columns = Vec::new();
        let mut words = Vec::new();
        for (place, knob) in self.knobs.iter().enumerate() {
            let (column, levels) = levels(knob, self.rows.iter().map(|row| row.words[place].as_str()));
            columns.push(column);
            words.push(levels);
        }
        let places: Vec<HashMap<&str, u32>> = words
            .iter()
            .map(|levels| {
                levels.iter().enumerate().map(|(place, word)| (word.as_str(), place as u32)).collect()
            })
            .collect();
        let mut table = Table::new(columns);
        let mut samples: Vec<Vec<f64>> = Vec::new();
        let mut seconds: Vec<f64> = Vec::new();
        for row in &self.rows {
            let levels: Vec<u32> =
                row.words.iter().zip(&places).map(|(word, places)| places[word.as_str()]).collect();
            let place = table.add(&levels);
            if place == samples.len() {
                samples.push(Vec::new());
                seconds.push(row.seconds);
            }
            // A configuration with several lines was measured several times.
            samples[place].extend(&row.samples);
        }
        let medians: Vec<Option<f64>> =
            samples.iter().map(|samples| median(samples.iter().copied())).collect();
        if medians.iter().all(Option::is_none) {
            return Err("no configuration has a measurement".to_owned());
        }
        let (objective, more_is_better) = (self.objective, self.more_is_better);
        let table = Arc::new(table);
        Ok(Grid { name: name.to_owned(), table, words, samples, medians, seconds, objective, more_is_better })
    }
}

impl Roles {
    fn line(&self, names: &[String], record: &csv::StringRecord) -> Result<Line, String> {
        let cell = |place: usize| record.get(place).unwrap_or_default().trim();
        let number = |place: usize, text: &str| {
            let number: Option<f64> = text.parse().ok();
            number
                .filter(|number| number.is_finite() && *number > 0.0)
                .ok_or_else(|| format!("{}: {text:?} is not a positive number", names[place]))
        };
        let score = |number: f64| if self.more_is_better { number.ln() } else { -number.ln() };
        let failed = self.error.map(cell).is_some_and(|word| !["", "ok", "measured"].contains(&word));
        let mut samples = Vec::new();
        if !failed {
            let several = self.samples.map(|place| (place, cell(place)));
            for (place, text) in several.into_iter() {
                for one in text.split([';', ' ']).filter(|one| !one.is_empty()) {
                    samples.push(score(number(place, one)?));
                }
            }
            if samples.is_empty() {
                samples.push(score(number(self.objective, cell(self.objective))?));
            }
        }
        let seconds = self.seconds.map(|place| (place, cell(place))).filter(|(_, text)| !text.is_empty());
        let seconds = seconds.map_or(Ok(1.0), |(place, text)| number(place, text))?;
        Ok(Line { words: self.knobs.iter().map(|place| cell(*place).to_owned()).collect(), samples, seconds })
    }
}

/// The levels of a knob: numbers in order, with "none" behind them, if all are numbers; words otherwise. An empty one stands last:
/// the configuration doesn't have the knob.
fn levels<'w>(knob: &str, words: impl Iterator<Item = &'w str>) -> (Column, Vec<String>) {
    let mut words: Vec<String> = words.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect();
    let number = |word: &str| match word {
        crate::knob::NO_LIMIT => Some(f64::INFINITY),
        word => word.parse::<f64>().ok().filter(|number| number.is_finite()),
    };
    let lacking = words.first().is_some_and(String::is_empty);
    words.retain(|word| !word.is_empty());
    let numbers: Option<Vec<f64>> = words.iter().map(|word| number(word)).collect();
    let (column, mut words) = match numbers {
        Some(mut numbers) if numbers.iter().any(|number| number.is_finite()) => {
            let of = |word: &String| number(word).unwrap_or_default();
            words.sort_by(|left, right| of(left).total_cmp(&of(right)));
            numbers.sort_by(f64::total_cmp);
            (Column::of_numbers(knob, &numbers), words)
        }
        _ => (Column::of_words(knob, words.len()), words),
    };
    if lacking {
        words.push(String::new());
    }
    (if lacking { column.with_absence() } else { column }, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Grid, String> {
        Grid::read("g", text.as_bytes(), &Objective::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_told_apart_by_their_names() {
        let grid = read(
            "batch,limit,order,throughput,samples,status,memory_mib,trial_seconds\n\
             8,none,a,10,9;10;11,ok,5,2.5\n8,64,a,20,,measured,5,\n16,none,b,,,out-of-memory,,9\n",
        )
        .unwrap();
        let names: Vec<&str> = grid.table().columns().iter().map(|column| column.name.as_str()).collect();
        assert_eq!((names, grid.len(), grid.failed()), (vec!["batch", "limit", "order"], 3, 1));
        assert_eq!((grid.samples(0).len(), grid.seconds(0), grid.seconds(1)), (3, 2.5, 1.0));
        assert_eq!((grid.median(1), grid.median(2)), (Some(20f64.ln()), None));
        assert_eq!((grid.within(0.0), grid.within(1.0)), (1, 2));
        // "none" comes behind all numbers.
        assert_eq!((grid.table().row(0)[1], grid.table().row(1)[1]), (1, 0));
    }

    #[test]
    fn a_knob_that_only_some_have_keeps_its_order() {
        let grid =
            read("backend,threads,memory_fraction,time_ms\na,8,1,4\na,2,1,4\nb,,1,2\na,16,0.5,8\n").unwrap();
        let threads = &grid.table().columns()[1];
        assert!(threads.is_ordered() && threads.levels() == 4);
        assert!(threads.distance(0, 1) > threads.distance(1, 2));
        assert_eq!((grid.table().row(2)[1], grid.table().columns().len()), (3, 3));
    }

    #[test]
    fn what_is_measured_twice_has_the_samples_of_both() {
        let grid = read("batch,time_ms\n1,4\n1,2\n2,8\n").unwrap();
        assert_eq!((grid.len(), grid.samples(0).len(), grid.objective()), (2, 2, ("time_ms", false)));
    }

    #[test]
    fn what_is_no_grid_says_why() {
        for (text, why) in [
            ("batch,speed\n1,2\n", "none of the columns batch, speed is a known objective"),
            ("time_ms\n1\n", "there is no column beside the objective"),
            ("batch,time_ms\n1,fast\n", "line 2: time_ms: \"fast\" is not a positive number"),
            ("batch,time_ms\n1,-3\n", "\"-3\" is not a positive number"),
            ("batch,time_ms\n1\n", "line: 2"),
            ("batch,time_ms,error\n1,,Crash\n", "no configuration has a measurement"),
            ("batch,time_ms\n", "no configuration has a measurement"),
        ] {
            let said = read(text).err().unwrap_or_default();
            assert!(said.contains(why), "{text:?}: {said}");
        }
        let named = |column: &str| Objective { column: Some(column.into()), more_is_better: None };
        let of = |column| {
            Grid::read("g", "batch,speed\n1,2\n".as_bytes(), &named(column)).err().unwrap().to_string()
        };
        assert!(of("sped").contains("did you mean \"speed\"?"), "{}", of("sped"));
        assert!(of("speed").contains("--more or --less"));
    }

    #[test]
    fn another_grid_says_what_it_knows_of_the_same_configurations() {
        let (own, other) =
            (read("b,o,time_ms\n1,x,4\n2,x,2\n4,x,1\n"), read("b,o,time_ms\n2,x,3\n4,x,5\n8,x,7\n"));
        let (own, other) = (own.unwrap(), other.unwrap());
        assert_eq!(own.seen_by(&other).unwrap(), [None, Some(-(3f64.ln())), Some(-(5f64.ln()))]);
        assert!(own.seen_by(&read("b,p,time_ms\n1,x,4\n").unwrap()).unwrap_err().contains("different knobs"));
    }
}
