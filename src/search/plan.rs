//! The guided search over a stage's space: which candidates to look at, and which to look at again.
//!
//! It looks once at every engine and precision, then where [`Guided`] expects most, a few candidates at a time. Those that can
//! still win are measured round after round; a candidate that is behind beyond doubt isn't.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::guided::{self, Foreknowledge, Guided};
use super::memory::Memory;
use super::permutation::Permutation;
use super::{Choice, Column, Observation, Search, Seen, Table, Tried};
use crate::backend::{DTYPE, coarseness};
use crate::knob::{BACKEND, Candidate, NO_LIMIT, Value};
use crate::record::{Leaving, Stop, Told, Why};
use crate::suite::Space;
use crate::units::median;

/// More candidates than this are drawn from.
const MOST_CANDIDATES: usize = 20_000;

/// A space of at most so many candidates is looked at whole, as far as the budget goes.
const SMALL: usize = 64;

/// Candidates that are chosen together: each costs a load at most, and the next choice knows of them.
const TOGETHER: usize = 4;

/// Where no candidate is expected to gain more than this share, no other is worth a trial.
const WORTHLESS: f64 = 0.003;

/// A candidate below this share of the best is behind beyond doubt: machines drift by a factor of two.
const FAR_BEHIND: f64 = 0.4;

pub struct Plan<'s> {
    space: &'s Space,
    candidates: Vec<Candidate>,
    /// The row of each candidate, by its id.
    rows: HashMap<String, usize>,
    guided: Guided,
    memory: Memory,
    stop: Stop,
}

impl<'s> Plan<'s> {
    pub fn new(space: &'s Space, told: &[Told], seed: u64) -> Self {
        let candidates = candidates(space, told, seed);
        let levels = Levels::of(space);
        let table = Arc::new(levels.table(&candidates));
        let groups = groups(space, &candidates, &table);
        let rows = candidates.iter().enumerate().map(|(row, candidate)| (candidate.id(), row)).collect();
        let memory = Memory::new(space, &candidates);
        let heard =
            told.iter().filter_map(|told| Some((table.place(&levels.known(&told.candidate)?)?, told.value)));
        let expected = expected(&table, &heard.collect::<Vec<_>>(), &memory, seed);
        let guided = Guided::new(table, Foreknowledge { expected, groups }, seed);
        Plan { space, candidates, rows, guided, memory, stop: Stop::Spent }
    }

    /// What was seen, as the table's rows. What misses a limit is as good as failed: it can't win, and nor can what is like it.
    fn tried(&self, seen: &[Observation]) -> Vec<Tried> {
        let of = |observation: &Observation| {
            let row = *self.rows.get(&observation.candidate.id())?;
            let score = observation.may_win().then(|| observation.value()).and_then(scaled);
            Some(Tried { row, score, rounds: observation.rounds, seconds: observation.seconds })
        };
        let tried: Vec<Tried> = seen.iter().filter_map(of).collect();
        let mut all = tried.clone();
        // An engine or a precision that doesn't load is asked once, and not for each of its candidates.
        for group in self.guided.groups().iter().filter(|group| is_out(group, seen, &self.rows)) {
            let fails = |row: &usize| Tried { row: *row, score: None, rounds: 0, seconds: 0.0 };
            let unknown = group.iter().filter(|row| !tried.iter().any(|tried| tried.row == **row));
            all.extend(unknown.map(fails));
        }
        all
    }
}

/// What is expected of each row, given what was told of some: the logarithm of a score, or nothing for what is to fail. Empty where
/// nothing useful was told.
fn expected(
    table: &Arc<Table>,
    told: &[(usize, Option<f64>)],
    memory: &Memory,
    seed: u64,
) -> Vec<Option<f64>> {
    // Configurations that differ elsewhere only are one row here.
    let mut by_row: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (row, value) in told {
        by_row.entry(*row).or_default().extend(value.and_then(scaled));
    }
    let heard: Vec<(usize, f64)> =
        by_row.iter().filter_map(|(row, values)| Some((*row, median(values.iter().copied())?))).collect();
    // One alone is no better than another, and nor are equals.
    if heard.iter().all(|(_, value)| *value == heard[0].1) {
        return Vec::new();
    }
    let mut expected = guided::of_all(table, &heard, seed);
    // What takes at least as much as what is to fail is to fail, too.
    let failing: Vec<usize> =
        by_row.iter().filter(|(_, values)| values.is_empty()).map(|(row, _)| *row).collect();
    for (row, expected) in expected.iter_mut().enumerate() {
        if failing.iter().any(|other| memory.takes_at_least(row, *other)) {
            *expected = None;
        }
    }
    expected
}

/// Of what was told, perhaps of another space's candidates, that of candidates like some of this: in the backend, and in all knobs
/// that differ here.
pub fn of_space(space: &Space, mut told: Vec<Told>) -> Vec<Told> {
    let levels = Levels::of(space);
    told.retain(|told| levels.known(&told.candidate).is_some());
    told
}

/// The logarithm of an objective. Turned so that more is better, costs are negative.
fn scaled(value: f64) -> Option<f64> {
    let scaled = if value > 0.0 { value.ln() } else { -(-value).ln() };
    scaled.is_finite().then_some(scaled)
}

/// Whether all of a group that were tried failed for a reason that the others share.
fn is_out(group: &[usize], seen: &[Observation], rows: &HashMap<String, usize>) -> bool {
    let own = |observation: &&Observation| {
        rows.get(&observation.candidate.id()).is_some_and(|row| group.contains(row))
    };
    let mut own = seen.iter().filter(own).peekable();
    own.peek().is_some() && own.all(|observation| matches!(observation.seen, Seen::Failed(_)))
}

impl Search for Plan<'_> {
    fn next(&mut self, seen: &[Observation], room: usize) -> Vec<Choice> {
        let mut tried = self.tried(seen);
        let row = |seen: &Observation| self.rows.get(&seen.candidate.id()).copied();
        self.memory.learn(seen.iter().filter_map(|seen| Some((row(seen)?, seen))));
        let mut next = Vec::new();
        let together = if seen.is_empty() { self.guided.groups().len().max(TOGETHER) } else { TOGETHER };
        // The baseline is what the others are compared with.
        if seen.is_empty() {
            next.push(Choice { candidate: self.space.baseline().clone(), why: Why::Baseline });
            if let Some(row) = self.rows.get(&self.space.baseline().id()) {
                tried.push(untold(*row, &tried));
                self.memory.trust(*row);
            }
        }
        while next.len() < together && seen.len() + next.len() < room {
            let Some(row) = self.guided.choose(&tried, &|row| self.memory.allows(row)) else {
                self.stop = Stop::AllTried;
                return next;
            };
            if let Some(gain) = self.guided.most_to_gain()
                && gain < WORTHLESS
                && self.candidates.len() > SMALL
            {
                self.stop = Stop::NotWorthIt { gain };
                return next;
            }
            next.push(Choice { candidate: self.candidates[row].clone(), why: self.guided.why() });
            tried.push(untold(row, &tried));
            self.memory.suspect(row);
        }
        self.stop = Stop::Spent;
        next
    }

    fn stop(&self) -> Stop {
        self.stop
    }

    fn to_gain(&mut self, seen: &[Observation]) -> f64 {
        let tried = self.tried(seen);
        match self.guided.choose(&tried, &|row| self.memory.allows(row)) {
            Some(_) => self.guided.most_to_gain().unwrap_or(1.0).max(WORTHLESS),
            // What is left is to know better who is best.
            None => WORTHLESS,
        }
    }

    fn leaves(&self, observation: &Observation, is_baseline: bool) -> Option<Leaving> {
        let works = observation.score().is_some();
        if is_baseline && works {
            return None;
        }
        if !observation.may_win() {
            return Some(Leaving::RuledOut);
        }
        let far = observation.beside_best.filter(|ratio| *ratio < FAR_BEHIND);
        let at_best = observation.interval_beside_best.map(|(_, high)| high).filter(|high| *high < 1.0);
        far.map(|beside_best| Leaving::FarBehind { beside_best })
            .or(at_best.map(|at_best| Leaving::Slower { at_best }))
    }
}

/// A candidate that is to be tried with others: until it's known, as good as the middle of what was seen.
fn untold(row: usize, tried: &[Tried]) -> Tried {
    let mut scores: Vec<f64> = tried.iter().filter_map(|tried| tried.score).collect();
    scores.sort_by(f64::total_cmp);
    let middle = scores.get(scores.len() / 2).copied().unwrap_or(0.0);
    Tried { row, score: Some(middle), rounds: 1, seconds: 0.0 }
}

/// All candidates, or as many as there is room for: the baseline first, then those of which something was told.
fn candidates(space: &Space, told: &[Told], seed: u64) -> Vec<Candidate> {
    if space.places() <= MOST_CANDIDATES {
        return space.iter().collect();
    }
    let permutation = Permutation::new(space.places() as u64, seed);
    let drawn = (0..space.places() as u64).filter_map(|step| space.at(permutation.at(step) as usize));
    let known = told.iter().map(|told| &told.candidate).filter(|candidate| space.contains(candidate));
    let first = std::iter::once(space.baseline()).chain(known).cloned();
    let mut seen = HashSet::new();
    first.chain(drawn).filter(|candidate| seen.insert(candidate.id())).take(MOST_CANDIDATES).collect()
}

/// What differs between the candidates of a space: the backend, and each knob that has several values, with their words.
struct Levels {
    columns: Vec<Column>,
    words: Vec<Vec<String>>,
}

impl Levels {
    fn of(space: &Space) -> Levels {
        let backends: BTreeSet<&str> = space.backends();
        let mut columns = vec![Column::of_words(BACKEND, backends.len())];
        let mut words: Vec<Vec<String>> =
            vec![backends.iter().map(|backend| (*backend).to_owned()).collect()];
        for knob in space.knobs().into_iter().filter(|knob| space.values(knob).len() > 1) {
            let values = space.values(knob);
            let column = match values.iter().map(Value::number).collect::<Option<Vec<f64>>>() {
                Some(numbers) if numbers.iter().any(|number| number.is_finite()) => {
                    Column::of_numbers(knob, &numbers)
                }
                _ => Column::of_words(knob, values.len()),
            };
            columns.push(column.with_absence());
            words.push(values.iter().map(ToString::to_string).collect());
        }
        Levels { columns, words }
    }

    fn table(&self, candidates: &[Candidate]) -> Table {
        let mut table = Table::new(self.columns.clone());
        for candidate in candidates {
            // Behind all levels: a backend that doesn't have the knob.
            let levels = self.levels(candidate).map(|(level, words)| level.unwrap_or(words));
            table.add(&levels.map(|level| level as u32).collect::<Vec<_>>());
        }
        table
    }

    /// The levels of a candidate that may be of another space; nothing where it has a value that this one hasn't.
    fn known(&self, candidate: &Candidate) -> Option<Vec<u32>> {
        let has = |name: &str| name == BACKEND || candidate.knobs.contains_key(name);
        let names = self.columns.iter().map(|column| has(&column.name));
        let known = self.levels(candidate).zip(names);
        known.map(|((level, words), has)| Some(level.or((!has).then_some(words))? as u32)).collect()
    }

    /// For each column the place of a candidate's word, and how many words there are.
    fn levels(&self, candidate: &Candidate) -> impl Iterator<Item = (Option<usize>, usize)> {
        self.columns.iter().zip(&self.words).map(|(column, words)| {
            let word = candidate.word(&column.name);
            (words.iter().position(|known| *known == word), words.len())
        })
    }
}

/// The rows of each engine and precision, those nearest to the baseline first; groups that cost no quality come first.
fn groups(space: &Space, candidates: &[Candidate], table: &Table) -> Vec<Vec<usize>> {
    let mut groups: HashMap<(String, String), Vec<usize>> = HashMap::new();
    for (row, candidate) in candidates.iter().enumerate() {
        groups.entry((candidate.backend.clone(), candidate.word(DTYPE))).or_default().push(row);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    for group in &mut groups {
        let cut = |row: &usize| {
            ["max_tokens", "max_chars"].iter().filter(|knob| is_cut(&candidates[*row], knob)).count()
        };
        group.sort_by(|left, right| {
            let far = |row: &usize| table.distance(0, *row);
            cut(left).cmp(&cut(right)).then(far(left).total_cmp(&far(right))).then(left.cmp(right))
        });
    }
    let own = &space.baseline().backend;
    groups.sort_by_key(|group| {
        let first = &candidates[group[0]];
        (coarseness(first), first.backend != *own, group[0])
    });
    groups
}

/// Whether a limit that a candidate has cuts its texts.
fn is_cut(candidate: &Candidate, knob: &str) -> bool {
    !["", NO_LIMIT].contains(&candidate.word(knob).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Score;
    use crate::suite::{Axis, built_in_backends};

    fn space(batches: &[i64]) -> Space {
        let backends: Vec<_> = built_in_backends()
            .into_iter()
            .filter(|backend| ["candle", "ort"].contains(&backend.name.as_str()))
            .collect();
        let words = |values: &[&str]| values.iter().map(|value| Value::Text((*value).into())).collect();
        let axes = [
            Axis { knob: "dtype".into(), values: words(&["fp32", "fp16", "int8", "int8-weights"]) },
            Axis { knob: "batch_size".into(), values: batches.iter().copied().map(Value::Integer).collect() },
            Axis { knob: "order".into(), values: words(&["arrival", "length"]) },
        ];
        Space::new(backends[0].default_candidate(), &backends, &axes).0
    }

    fn observed(candidate: &Candidate, value: f64) -> Observation {
        Observation {
            candidate: candidate.clone(),
            seen: Seen::Measured(Score { value, interval: None, memory: None, misses: None }),
            rounds: 1,
            seconds: 1.0,
            beside_best: None,
            interval_beside_best: None,
        }
    }

    #[test]
    fn every_engine_and_precision_is_seen_first_and_once() {
        let space = space(&[8, 16, 32, 64, 128]);
        let mut plan = Plan::new(&space, &[], 1);
        let first = plan.next(&[], usize::MAX);
        assert_eq!((&first[0].candidate, first[0].why), (space.baseline(), Why::Baseline));
        let group = |one: &Choice| format!("{} {}", one.candidate.backend, one.candidate.word("dtype"));
        let seen: BTreeSet<String> = first.iter().map(group).collect();
        assert_eq!((first.len(), seen.len()), (7, 7), "{seen:?}");
        assert!(first[1..].iter().all(|one| one.why == Why::Unseen));
        // Full precision comes before what costs quality.
        assert_eq!(first[1].candidate.word("dtype"), "fp32");
    }

    #[test]
    fn a_load_that_fails_is_asked_once() {
        let space = space(&[8, 16, 32, 64, 128]);
        let mut plan = Plan::new(&space, &[], 1);
        let mut seen: Vec<Observation> = Vec::new();
        loop {
            let next = plan.next(&seen, usize::MAX);
            if next.is_empty() {
                break;
            }
            for Choice { candidate, .. } in next {
                let mut observation = observed(&candidate, 1.0);
                if candidate.backend == "ort" {
                    observation.seen = Seen::Failed(crate::record::Status::NotAvailable);
                }
                seen.push(observation);
            }
        }
        let ort = seen.iter().filter(|seen| seen.candidate.backend == "ort").count();
        assert_eq!(ort, 4, "one for each precision");
    }

    #[test]
    fn it_finds_the_best_of_a_large_space_in_few_trials_and_stops() {
        let batches: Vec<i64> = (0..40).map(|step| 8 + 8 * step).collect();
        let space = space(&batches);
        let truth = |candidate: &Candidate| {
            let batch: f64 = candidate.word("batch_size").parse().unwrap();
            let off = ((batch / 96.0).ln().abs() * 0.3).min(1.0);
            let engine = if candidate.backend == "ort" { 1.2 } else { 1.0 };
            let order = if candidate.word("order") == "length" { 1.3 } else { 1.0 };
            100.0 * engine * order * (1.0 - 0.5 * off)
        };
        let mut plan = Plan::new(&space, &[], 3);
        let mut seen: Vec<Observation> = Vec::new();
        loop {
            let next = plan.next(&seen, 80);
            if next.is_empty() {
                break;
            }
            seen.extend(next.iter().map(|one| observed(&one.candidate, truth(&one.candidate))));
        }
        assert!(matches!(plan.stop(), Stop::NotWorthIt { .. } | Stop::Spent), "{:?}", plan.stop());
        let best = space.iter().map(|candidate| truth(&candidate)).fold(0.0, f64::max);
        let found = seen.iter().map(|seen| truth(&seen.candidate)).fold(0.0, f64::max);
        assert!(found > 0.97 * best, "{found} of {best} in {} trials", seen.len());
        assert!(space.len() > 500 && seen.len() <= 80);
    }

    #[test]
    fn memory_runs_out_once_at_most_for_each_way_of_loading() {
        let batches: Vec<i64> = (0..11).map(|step| 1 << step).collect();
        let space = space(&batches);
        // Larger batches are faster, and 4 GiB are full at 200 texts.
        let batch = |candidate: &Candidate| candidate.word("batch_size").parse::<f64>().unwrap();
        let take = |candidate: &Candidate| 1.0 + 0.015 * batch(candidate);
        let mut plan = Plan::new(&space, &[], 2);
        let mut seen: Vec<Observation> = Vec::new();
        loop {
            let next = plan.next(&seen, 90);
            if next.is_empty() {
                break;
            }
            seen.extend(next.iter().map(|one| {
                let mut observation = observed(&one.candidate, 100.0 * batch(&one.candidate).powf(0.3));
                match take(&one.candidate) {
                    gib if gib > 4.0 => observation.seen = Seen::OutOfMemory,
                    gib => {
                        let Seen::Measured(score) = &mut observation.seen else { unreachable!() };
                        score.memory = Some(gib);
                    }
                }
                observation
            }));
        }
        let mut failures: HashMap<(String, String), usize> = HashMap::new();
        for one in seen.iter().filter(|one| one.seen == Seen::OutOfMemory) {
            let cell = (one.candidate.backend.clone(), one.candidate.word("dtype"));
            *failures.entry(cell).or_default() += 1;
        }
        assert!(failures.values().all(|count| *count <= 1), "{failures:?}");
        let largest = seen.iter().filter(|one| one.score().is_some()).map(|one| batch(&one.candidate));
        assert_eq!(largest.fold(0.0, f64::max), 128.0, "the largest that fits is found");
    }

    #[test]
    fn who_is_behind_beyond_doubt_is_left_behind() {
        let space = space(&[8]);
        let plan = Plan::new(&space, &[], 1);
        let mut one = observed(space.baseline(), 1.0);
        for (ratio, interval, leaves) in [
            (Some(0.9), Some((0.8, 0.99)), Some(Leaving::Slower { at_best: 0.99 })),
            (Some(0.9), Some((0.8, 1.1)), None),
            (Some(0.3), None, Some(Leaving::FarBehind { beside_best: 0.3 })),
            (Some(0.5), None, None),
            (None, None, None),
        ] {
            (one.beside_best, one.interval_beside_best) = (ratio, interval);
            assert_eq!(plan.leaves(&one, false), leaves, "{ratio:?} {interval:?}");
            assert_eq!(plan.leaves(&one, true), None, "the baseline is what others are compared with");
        }
    }

    #[test]
    fn what_another_run_found_best_is_tried_first_and_what_it_does_not_know_is_inferred() {
        let space = space(&[8, 16, 32, 64, 128]);
        let truth = |candidate: &Candidate| {
            let batch: f64 = candidate.word("batch_size").parse().unwrap();
            let engine = if candidate.backend == "ort" { 2.0 } else { 1.0 };
            engine * (100.0 + batch)
        };
        // Another run has measured every third one, at twice the speed.
        let told: Vec<Told> = space
            .iter()
            .step_by(3)
            .map(|candidate| Told { value: Some(2.0 * truth(&candidate)), candidate })
            .collect();
        let mut plan = Plan::new(&space, &told, 1);
        let first = plan.next(&[], usize::MAX);
        let mut seen: Vec<Observation> =
            first.iter().map(|one| observed(&one.candidate, truth(&one.candidate))).collect();
        let next = plan.next(&seen, usize::MAX);
        let best = |one: &Choice| one.candidate.backend == "ort" && one.candidate.word("batch_size") == "128";
        assert!(next.iter().any(best), "{next:?}");
        seen.extend(next.iter().map(|one| observed(&one.candidate, truth(&one.candidate))));
        let found = seen.iter().map(|seen| truth(&seen.candidate)).fold(0.0, f64::max);
        assert_eq!((found, seen.len()), (456.0, 11), "the best is found as soon as there is a choice");
    }

    #[test]
    fn the_better_a_stage_is_known_the_less_it_has_to_gain() {
        let space = space(&[8, 16, 32, 64, 128, 256]);
        let to_gain = |looks: usize| {
            let mut plan = Plan::new(&space, &[], 1);
            let mut seen: Vec<Observation> = Vec::new();
            while seen.len() < looks {
                let next = plan.next(&seen, looks);
                if next.is_empty() {
                    break;
                }
                let truth = |one: &Choice| one.candidate.word("batch_size").parse::<f64>().unwrap();
                seen.extend(next.iter().map(|one| observed(&one.candidate, truth(one))));
            }
            plan.to_gain(&seen)
        };
        // Of what was hardly looked at nobody can tell; where nothing is worth a trial, only the figures can get better.
        let gains = [0, 9, space.len()].map(to_gain);
        assert_eq!((gains[0], gains[2]), (1.0, WORTHLESS), "{gains:?}");
        assert!(gains[1] > gains[2], "{gains:?}");
    }

    #[test]
    fn what_is_told_of_configurations_that_are_one_here_makes_the_others_no_worse() {
        let space = space(&[8, 16, 32, 64, 128]);
        // The other run had four more of each, which differ in nothing that differs here, and two batch sizes.
        let of = |candidate: Candidate| {
            (1..5).map(move |times| Told { value: Some(f64::from(times)), candidate: candidate.clone() })
        };
        let small = |candidate: &Candidate| ["8", "16"].contains(&candidate.word("batch_size").as_str());
        let mut told: Vec<Told> = space.iter().filter(small).flat_map(of).collect();
        assert!(told.len() > space.len());
        let mut plan = Plan::new(&space, &told, 1);
        assert!(!plan.next(&[], usize::MAX).is_empty());
        let levels = Levels::of(&space);
        let candidates = candidates(&space, &[], 1);
        let table = Arc::new(levels.table(&candidates));
        let memory = Memory::new(&space, &candidates);
        let hear = |told: &[Told]| {
            let place = |told: &Told| table.place(&levels.known(&told.candidate).unwrap()).unwrap();
            let rows: Vec<_> = told.iter().map(|told| (place(told), told.value)).collect();
            expected(&table, &rows, &memory, 1)
        };
        assert!(hear(&told).is_empty(), "all are equal");
        for told in told.iter_mut().filter(|told| told.candidate.word("batch_size") == "16") {
            told.value = told.value.map(|value| 3.0 * value);
        }
        assert!(hear(&told).iter().all(Option::is_some));
        // What is to fail is so for larger batches as well.
        let large =
            |candidate: &Candidate| candidate.word("batch_size") == "64" && candidate.backend == "ort";
        told.extend(space.iter().filter(large).map(|candidate| Told { candidate, value: None }));
        let doomed = hear(&told).iter().filter(|expected| expected.is_none()).count();
        assert_eq!(doomed, 4 * 2 * 2, "ort's four precisions, two orders, batches of 64 and 128");
    }

    #[test]
    fn a_dear_trial_must_promise_more_than_a_cheap_one() {
        let space = space(&[8, 16, 32, 64, 128, 256]);
        let truth = |candidate: &Candidate| candidate.word("batch_size").parse::<f64>().unwrap();
        let tried = |dear: &str| {
            let mut plan = Plan::new(&space, &[], 5);
            let mut seen: Vec<Observation> = Vec::new();
            while seen.len() < 30 {
                let next = plan.next(&seen, 30);
                if next.is_empty() {
                    break;
                }
                seen.extend(next.iter().map(|one| {
                    let seconds = if one.candidate.backend == dear { 20.0 } else { 1.0 };
                    Observation { seconds, ..observed(&one.candidate, truth(&one.candidate)) }
                }));
            }
            seen.iter().filter(|seen| seen.candidate.backend == "ort").count()
        };
        assert!(tried("ort") < tried("candle"), "{} and {}", tried("ort"), tried("candle"));
    }
}
