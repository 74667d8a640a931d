//! A service that searches: what is decided about it once its stages have their winners, and what others have promised of it.

use std::path::PathBuf;

use indexmap::IndexMap;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::knob::Condition;

/// A search by the vectors of one stage, whose finds another sorts again.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The stages, by their names.
    pub embed: String,
    pub rerank: Option<String>,
    /// How many finds are sorted again, and how many of these are kept.
    pub rerank_k: Vec<usize>,
    pub final_n: Vec<usize>,
    /// How many queries are remembered.
    pub cache: Vec<usize>,
    pub log: Option<Log>,
}

/// Queries as they come in, which may repeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Log {
    /// One a line.
    File(PathBuf),
    /// Drawn from the corpus's own, the most frequent first: how often each comes falls with a power of its place.
    Zipf { queries: usize, exponent: f64 },
}

impl Log {
    /// Draws so many out of `distinct` queries, by their places.
    pub fn drawn(queries: usize, exponent: f64, distinct: usize, seed: u64) -> Vec<usize> {
        let mut random = Pcg64::seed_from_u64(seed);
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=distinct)
            .map(|place| {
                sum += (place as f64).powf(-exponent);
                sum
            })
            .collect();
        let draw = |_| {
            let at = random.random_range(0.0..sum);
            sums.partition_point(|sum| *sum <= at).min(distinct - 1)
        };
        (0..if distinct == 0 { 0 } else { queries }).map(draw).collect()
    }
}

/// What somebody says that some configurations are to others.
#[derive(Debug, Clone, PartialEq)]
pub struct Promise {
    /// In their words.
    pub says: String,
    pub stage: String,
    /// The device that it's said of; any, if none is named.
    pub device: Option<String>,
    /// Which configurations, and beside which. Without them it's about something that isn't measured here.
    pub of: Option<Condition>,
    pub beside: Option<Condition>,
    /// How many times the objective.
    pub times: Option<[f64; 2]>,
    /// Which share of the quality is lost.
    pub loses: Option<[f64; 2]>,
    /// How many times less memory.
    pub smaller: Option<[f64; 2]>,
}

/// How often each number is asked for again while so many others were asked for since: of each size of a cache the number of hits.
pub fn hits_by_size(log: &[usize], sizes: &[usize]) -> IndexMap<usize, usize> {
    let mut last: IndexMap<usize, usize> = IndexMap::new();
    // One for each place of the log that is the last of its query, in a tree of sums.
    let mut tree = vec![0i64; log.len() + 1];
    let add = |tree: &mut Vec<i64>, place: usize, by: i64| {
        let mut node = place + 1;
        while node < tree.len() {
            tree[node] += by;
            node += node & node.wrapping_neg();
        }
    };
    let before = |tree: &[i64], place: usize| {
        let (mut node, mut sum) = (place, 0);
        while node > 0 {
            sum += tree[node];
            node -= node & node.wrapping_neg();
        }
        sum
    };
    let mut distances: Vec<usize> = Vec::new();
    for (place, query) in log.iter().enumerate() {
        if let Some(earlier) = last.insert(*query, place) {
            // Queries that came since, this one included: a cache of as many still has it.
            distances.push((before(&tree, place) - before(&tree, earlier)) as usize);
            add(&mut tree, earlier, -1);
        }
        add(&mut tree, place, 1);
    }
    let hits = |size: usize| distances.iter().filter(|distance| **distance <= size).count();
    sizes.iter().map(|size| (*size, hits(*size))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A cache as one is built.
    fn hits_of_one(log: &[usize], size: usize) -> usize {
        let mut held: VecDeque<usize> = VecDeque::new();
        let mut hits = 0;
        for query in log {
            match held.iter().position(|held| held == query) {
                Some(place) => {
                    hits += 1;
                    held.remove(place);
                }
                None if held.len() == size => drop(held.pop_back()),
                None => {}
            }
            if size > 0 {
                held.push_front(*query);
            }
        }
        hits
    }

    #[test]
    fn hits_are_those_of_a_cache_that_forgets_what_was_asked_for_longest_ago() {
        for (exponent, distinct) in [(0.0, 30), (1.0, 50), (2.0, 7)] {
            let log = Log::drawn(400, exponent, distinct, 3);
            let sizes = [0, 1, 2, 5, 20, 100];
            for (size, hits) in hits_by_size(&log, &sizes) {
                assert_eq!(hits, hits_of_one(&log, size), "{size} of {exponent}");
            }
        }
        let once: Vec<usize> = (0..50).collect();
        assert!(hits_by_size(&once, &[0, 10, 50]).values().all(|hits| *hits == 0));
        assert!(Log::drawn(5, 1.0, 0, 0).is_empty());
    }

    #[test]
    fn the_most_frequent_query_comes_as_often_as_zipf_says() {
        let log = Log::drawn(20_000, 1.0, 100, 1);
        let first = log.iter().filter(|query| **query == 0).count() as f64 / 20_000.0;
        // One part of 1 + 1/2 + … + 1/100 = 5.187.
        assert!((first - 1.0 / 5.187).abs() < 0.01, "{first}");
    }
}
