//! The guided search over a stage's space: which candidates to look at, and which to look at again.
//!
//! It looks once at every engine and precision, then where [`Guided`] expects most, a few candidates at a time. Those that can
//! still win are measured round after round; a candidate that is behind beyond doubt isn't.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::permutation::Permutation;
use super::{Column, Guided, Observation, Prior, Search, Seen, Table, Tried, Why};
use crate::backend::{DTYPE, coarseness};
use crate::knob::{BACKEND, Candidate, NO_LIMIT, Value};
use crate::suite::Space;

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
}

impl<'s> Plan<'s> {
    pub fn new(space: &'s Space, seed: u64) -> Self {
        let candidates = candidates(space, seed);
        let table = table(space, &candidates);
        let groups = groups(space, &candidates, &table);
        let rows = candidates.iter().enumerate().map(|(row, candidate)| (candidate.id(), row)).collect();
        let prior = Prior { expected: Vec::new(), groups };
        let guided = Guided::new(Arc::new(table), prior, seed);
        Plan { space, candidates, rows, guided }
    }

    /// What was seen, as the table's rows. What misses a limit is as good as failed: it can't win, and nor can what is like it.
    fn tried(&self, seen: &[Observation]) -> Vec<Tried> {
        let of = |observation: &Observation| {
            let row = *self.rows.get(&observation.candidate.id())?;
            let score = observation.score().filter(|score| score.misses.is_none());
            // Turned so that more is better, costs are negative.
            let score = score.map(|score| score.value).filter(|value| *value != 0.0);
            let score = score.map(|value| if value > 0.0 { value.ln() } else { -(-value).ln() });
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

/// Whether all of a group that were tried failed for a reason that the others share.
fn is_out(group: &[usize], seen: &[Observation], rows: &HashMap<String, usize>) -> bool {
    let own = |observation: &&Observation| {
        rows.get(&observation.candidate.id()).is_some_and(|row| group.contains(row))
    };
    let mut own = seen.iter().filter(own).peekable();
    own.peek().is_some() && own.all(|observation| matches!(observation.seen, Seen::Failed(_)))
}

impl Search for Plan<'_> {
    fn next(&mut self, seen: &[Observation], room: usize) -> Vec<Candidate> {
        let mut tried = self.tried(seen);
        let mut next = Vec::new();
        let together = if seen.is_empty() { self.guided.groups().len().max(TOGETHER) } else { TOGETHER };
        // The baseline is what the others are compared with.
        if seen.is_empty() {
            next.push(self.space.baseline().clone());
            tried.extend(self.rows.get(&self.space.baseline().id()).map(|row| untold(*row, &tried)));
        }
        while next.len() < together && seen.len() + next.len() < room {
            let Some(row) = self.guided.choose(&tried) else { break };
            if let Why::Promising { improvement, .. } = self.guided.why()
                && improvement < WORTHLESS
                && self.candidates.len() > SMALL
            {
                break;
            }
            next.push(self.candidates[row].clone());
            tried.push(untold(row, &tried));
        }
        next
    }

    fn stays(&mut self, observation: &Observation, is_baseline: bool) -> bool {
        let works = observation.score().is_some();
        (is_baseline && works) || (observation.may_win() && !is_behind(observation))
    }
}

/// Whether a candidate can't be the best any more.
fn is_behind(observation: &Observation) -> bool {
    observation.beside_best.is_some_and(|ratio| ratio < FAR_BEHIND)
        || observation.interval_beside_best.is_some_and(|(_, high)| high < 1.0)
}

/// A candidate that is to be tried with others: until it's known, as good as the middle of what was seen.
fn untold(row: usize, tried: &[Tried]) -> Tried {
    let mut scores: Vec<f64> = tried.iter().filter_map(|tried| tried.score).collect();
    scores.sort_by(f64::total_cmp);
    let middle = scores.get(scores.len() / 2).copied().unwrap_or(0.0);
    Tried { row, score: Some(middle), rounds: 1, seconds: 0.0 }
}

/// All candidates, or as many as there is room for, the baseline first.
fn candidates(space: &Space, seed: u64) -> Vec<Candidate> {
    if space.places() <= MOST_CANDIDATES {
        return space.iter().collect();
    }
    let permutation = Permutation::new(space.places() as u64, seed);
    let drawn = (0..space.places() as u64).filter_map(|step| space.at(permutation.at(step) as usize));
    std::iter::once(space.baseline().clone()).chain(drawn).take(MOST_CANDIDATES).collect()
}

/// A column for the backend and for each knob that has several values.
fn table(space: &Space, candidates: &[Candidate]) -> Table {
    let knobs: Vec<&str> = space.knobs().into_iter().filter(|knob| space.values(knob).len() > 1).collect();
    let backends: BTreeSet<&str> = space.backends();
    let mut columns = vec![Column::of_words(BACKEND, backends.len())];
    let mut words: Vec<Vec<String>> = vec![backends.iter().map(|backend| (*backend).to_owned()).collect()];
    for knob in &knobs {
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
    let mut table = Table::new(columns);
    for candidate in candidates {
        let names = std::iter::once(BACKEND).chain(knobs.iter().copied());
        let level = |(name, words): (&str, &Vec<String>)| {
            let word = candidate.word(name);
            // Behind all levels: a backend that doesn't have the knob.
            words.iter().position(|known| *known == word).unwrap_or(words.len()) as u32
        };
        let levels: Vec<u32> = names.zip(&words).map(level).collect();
        table.add(&levels);
    }
    table
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
        let mut plan = Plan::new(&space, 1);
        let first = plan.next(&[], usize::MAX);
        assert_eq!(first[0], *space.baseline());
        let seen: BTreeSet<String> =
            first.iter().map(|one| format!("{} {}", one.backend, one.word("dtype"))).collect();
        assert_eq!((first.len(), seen.len()), (7, 7), "{seen:?}");
        // Full precision comes before what costs quality.
        assert_eq!(first[1].word("dtype"), "fp32");
    }

    #[test]
    fn a_load_that_fails_is_asked_once() {
        let space = space(&[8, 16, 32, 64, 128]);
        let mut plan = Plan::new(&space, 1);
        let mut seen: Vec<Observation> = Vec::new();
        loop {
            let next = plan.next(&seen, usize::MAX);
            if next.is_empty() {
                break;
            }
            for candidate in next {
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
        let mut plan = Plan::new(&space, 3);
        let mut seen: Vec<Observation> = Vec::new();
        loop {
            let next = plan.next(&seen, 80);
            if next.is_empty() {
                break;
            }
            seen.extend(next.iter().map(|candidate| observed(candidate, truth(candidate))));
        }
        let best = space.iter().map(|candidate| truth(&candidate)).fold(0.0, f64::max);
        let found = seen.iter().map(|seen| truth(&seen.candidate)).fold(0.0, f64::max);
        assert!(found > 0.97 * best, "{found} of {best} in {} trials", seen.len());
        assert!(space.len() > 500 && seen.len() <= 80);
    }

    #[test]
    fn who_is_behind_beyond_doubt_is_left_behind() {
        let space = space(&[8]);
        let mut plan = Plan::new(&space, 1);
        let mut one = observed(space.baseline(), 1.0);
        for (ratio, interval, stays) in [
            (Some(0.9), Some((0.8, 0.99)), false),
            (Some(0.9), Some((0.8, 1.1)), true),
            (Some(0.3), None, false),
            (Some(0.5), None, true),
            (None, None, true),
        ] {
            (one.beside_best, one.interval_beside_best) = (ratio, interval);
            assert_eq!(plan.stays(&one, false), stays, "{ratio:?} {interval:?}");
            assert!(plan.stays(&one, true), "the baseline is what others are compared with");
        }
    }
}
