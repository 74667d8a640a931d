//! What is decided about a service that searches: how many finds are sorted again, how many of them are kept, how many queries are
//! remembered.

use serde::Serialize;

use super::statistics::Estimate;
use crate::quality::{self, Units};
use crate::record::{Judged, Scenario, ScenarioKind, Search, Served};
use crate::suite::Service;

/// What may be lost of the best for something cheaper.
const ENOUGH: f64 = 0.99;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceAnalysis {
    pub requests: Vec<Request>,
    /// Queries that people have judged, and of how many of them the finds were sorted again.
    pub queries: usize,
    pub sorted: usize,
    pub choices: Vec<Choice>,
    /// How many finds are best sorted again, and how many of them kept; nothing where nobody could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank_k: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_n: Option<usize>,
    pub cache: Vec<Cache>,
    /// Queries of the log, and how many of them are different.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<[usize; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_size: Option<usize>,
    /// What couldn't be seen, and why.
    pub without: Vec<String>,
}

/// A request of a fixed size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    pub what: String,
    pub unit: &'static str,
    pub seconds: f64,
    pub a_second: f64,
    pub deviation: f64,
    /// How many times as long the default configuration takes.
    pub default_times: Option<f64>,
}

/// So many finds sorted again, and so many of them kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    pub k: usize,
    pub n: usize,
    pub ndcg10: Judged,
    /// What a query takes: its vector, and sorting its finds.
    pub seconds: Option<f64>,
}

/// A cache of so many queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cache {
    pub size: usize,
    pub hit_rate: f64,
    pub bytes: u64,
    /// What the vector of a query takes on average…
    pub seconds: Option<f64>,
    /// …and how many times as long without a cache.
    pub gain: f64,
}

impl ServiceAnalysis {
    pub fn of(service: &Service, served: &Served) -> ServiceAnalysis {
        let sorted = served.searches.iter().filter(|search| !search.scores.is_empty()).count();
        let choices = choices(service, served);
        let (rerank_k, final_n) = choose(&choices);
        let cache = caches(served);
        ServiceAnalysis {
            requests: requests(served),
            queries: served.searches.len(),
            sorted,
            rerank_k,
            final_n,
            choices,
            cache_size: cache_size(&cache),
            log: served.log.as_ref().map(|log| [log.queries, log.distinct]),
            cache,
            without: served.without.clone(),
        }
    }

    /// Those among which the number of finds is chosen: as many kept as may be.
    pub fn by_k(&self) -> impl Iterator<Item = &Choice> {
        let most = self.choices.iter().map(|choice| choice.n).max();
        self.choices.iter().filter(move |choice| Some(choice.n) == most)
    }

    /// Those among which it's chosen how many are kept.
    pub fn by_n(&self) -> impl Iterator<Item = &Choice> {
        self.choices.iter().filter(|choice| Some(choice.k) == self.rerank_k)
    }
}

fn requests(served: &Served) -> Vec<Request> {
    let request = |scenario: &Scenario| {
        let mean = mean(&scenario.seconds)?;
        let square = |seconds: &f64| (seconds - mean).powi(2);
        let spread = scenario.seconds.iter().map(square).sum::<f64>();
        let default = served.scenarios.iter().find(|other| other.default && other.what == scenario.what);
        Some(Request {
            what: scenario.what.clone(),
            unit: match scenario.kind {
                ScenarioKind::Queries => "queries/s",
                ScenarioKind::Documents => "docs/s",
                ScenarioKind::Rerank => "passages/s",
            },
            seconds: mean,
            a_second: scenario.items as f64 / mean,
            deviation: (spread / (scenario.seconds.len().max(2) - 1) as f64).sqrt(),
            default_times: default.and_then(|default| Some(self::mean(&default.seconds)? / mean)),
        })
    };
    served.scenarios.iter().filter(|scenario| !scenario.default).filter_map(request).collect()
}

fn mean(seconds: &[f64]) -> Option<f64> {
    (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
}

/// What the winner takes for a request of one kind and size.
fn seconds_of(served: &Served, kind: ScenarioKind, items: usize) -> Option<f64> {
    let mut own = served.scenarios.iter().filter(|scenario| !scenario.default);
    mean(&own.find(|scenario| scenario.kind == kind && scenario.items == items)?.seconds)
}

fn choices(service: &Service, served: &Served) -> Vec<Choice> {
    let sorts = served.rerank.is_some();
    // Of the same queries all the way, or they couldn't be compared.
    let searches: Vec<&Search> =
        served.searches.iter().filter(|search| !sorts || !search.scores.is_empty()).collect();
    if searches.is_empty() {
        return Vec::new();
    }
    let mut sizes = vec![0];
    sizes.extend(service.rerank_k.iter().filter(|k| sorts && **k > 0));
    sizes.sort_unstable();
    sizes.dedup();
    let mut kept = service.final_n.clone();
    kept.sort_unstable();
    kept.dedup();
    let search = seconds_of(served, ScenarioKind::Queries, 1);
    let mut choices = Vec::new();
    for k in sizes {
        let sorting = if k == 0 { Some(0.0) } else { seconds_of(served, ScenarioKind::Rerank, k) };
        for n in &kept {
            let plain = units(&searches, 0, *n);
            let ndcg10 = quality::judged(&units(&searches, k, *n), Some(&plain));
            choices.push(Choice {
                k,
                n: *n,
                ndcg10,
                seconds: search.zip(sorting).map(|(one, two)| one + two),
            });
        }
    }
    choices
}

/// nDCG@10 of each query, if its first `k` finds are sorted again and `n` kept.
fn units(searches: &[&Search], k: usize, n: usize) -> Units {
    let mut units = Units::of_means();
    for search in searches {
        let first = k.min(search.scores.len());
        let mut order: Vec<usize> = (0..first).collect();
        // What isn't a number is worth the least.
        let score = |place: usize| Some(search.scores[place]).filter(|score| !score.is_nan());
        let score = |place: usize| score(place).unwrap_or(f32::NEG_INFINITY);
        order.sort_by(|left, right| score(*right).total_cmp(&score(*left)));
        let sorted = order.into_iter().map(|place| search.found[place]);
        let rest = search.found[first..].iter().copied();
        let kept: Vec<u32> = sorted.chain(rest).take(n).collect();
        units.push(&[quality::ndcg10(&kept, &search.grades), 1.0]);
    }
    units
}

/// The cheapest that is nearly as good as the best: first how many are sorted, then how many of them are kept.
fn choose(choices: &[Choice]) -> (Option<usize>, Option<usize>) {
    let Some(most) = choices.iter().map(|choice| choice.n).max() else { return (None, None) };
    let nearly = |among: Vec<&Choice>| {
        let best = among.iter().map(|choice| choice.ndcg10.value).fold(0.0, f64::max);
        among.into_iter().find(|choice| choice.ndcg10.value >= ENOUGH * best).cloned()
    };
    let k = nearly(choices.iter().filter(|choice| choice.n == most).collect()).map(|choice| choice.k);
    let n = nearly(choices.iter().filter(|choice| Some(choice.k) == k).collect()).map(|choice| choice.n);
    (k, n)
}

fn caches(served: &Served) -> Vec<Cache> {
    let Some(log) = &served.log else { return Vec::new() };
    let alone = seconds_of(served, ScenarioKind::Queries, 1);
    let cache = |&(size, hits): &(usize, usize)| {
        let hit_rate = hits as f64 / log.queries.max(1) as f64;
        let held = size.min(log.distinct) as u64;
        // A look into the cache takes less than a thousandth of what it saves.
        let seconds = alone.map(|alone| alone * (1.0 - hit_rate));
        Cache {
            size,
            hit_rate,
            bytes: held * log.bytes_each,
            seconds,
            gain: 1.0 / (1.0 - hit_rate).max(1e-9),
        }
    };
    log.hits.iter().map(cache).collect()
}

/// The smallest with which a query takes hardly longer than with the best.
fn cache_size(caches: &[Cache]) -> Option<usize> {
    let missed = |cache: &Cache| 1.0 - cache.hit_rate;
    let least = caches.iter().map(missed).reduce(f64::min)?;
    let enough = caches.iter().filter(|cache| missed(cache) <= least / ENOUGH);
    enough.map(|cache| cache.size).min()
}

/// A value with the interval in which it lies.
pub fn estimate(judged: &Judged) -> Estimate {
    let exact = Estimate::exact(judged.value);
    match judged.interval {
        Some([low, high]) => Estimate { interval: Some(super::Interval { low, high }), ..exact },
        None => exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Asked;

    fn service() -> Service {
        Service {
            embed: "embed".into(),
            rerank: Some("rerank".into()),
            rerank_k: vec![2, 4],
            final_n: vec![1, 3],
            cache: vec![0, 10, 100],
            log: None,
        }
    }

    fn scenario(kind: ScenarioKind, items: usize, seconds: &[f64], default: bool) -> Scenario {
        Scenario { what: format!("{items} {kind:?}"), kind, default, items, seconds: seconds.into() }
    }

    #[test]
    fn as_many_are_sorted_and_kept_as_pays() {
        // The right one is found third: only who sorts four of them again sees it.
        let search = Search { found: vec![0, 0, 2, 0, 0], scores: vec![0.1, 0.3, 0.9, 0.2], grades: vec![2] };
        let served = Served {
            embed: "a".into(),
            rerank: Some("b".into()),
            searches: vec![search; 6],
            scenarios: vec![
                scenario(ScenarioKind::Queries, 1, &[0.01, 0.03], false),
                scenario(ScenarioKind::Queries, 1, &[0.04], true),
                scenario(ScenarioKind::Rerank, 4, &[0.08], false),
            ],
            ..Served::default()
        };
        let analysis = ServiceAnalysis::of(&service(), &served);
        let value = |k: usize, n: usize| {
            let choice = analysis.choices.iter().find(|choice| (choice.k, choice.n) == (k, n)).unwrap();
            (choice.ndcg10.value, choice.seconds.map(|seconds| (seconds * 1000.0).round()))
        };
        assert_eq!((value(0, 3), value(0, 1).0), ((0.5, Some(20.0)), 0.0));
        assert_eq!((value(2, 3), value(4, 3)), ((0.5, None), (1.0, Some(100.0))));
        assert_eq!((analysis.rerank_k, analysis.final_n), (Some(4), Some(1)));
        let request = &analysis.requests[0];
        assert_eq!((request.a_second, request.default_times), (50.0, Some(2.0)));
        assert!((request.deviation - 0.0141).abs() < 1e-4);
    }

    #[test]
    fn what_changes_nothing_isnt_paid_for() {
        let search = Search { found: vec![1, 0, 0], scores: vec![0.9, 0.5, 0.1], grades: vec![1] };
        let served = Served { rerank: Some("b".into()), searches: vec![search; 3], ..Served::default() };
        assert_eq!(ServiceAnalysis::of(&service(), &served).rerank_k, Some(0));
        let nothing = ServiceAnalysis::of(&service(), &Served::default());
        assert_eq!((nothing.rerank_k, nothing.final_n, nothing.cache_size), (None, None, None));
    }

    #[test]
    fn a_cache_is_as_large_as_it_helps() {
        let of = |hits: [usize; 3]| {
            let hits = [0, 10, 100].into_iter().zip(hits).collect();
            let log = Asked { queries: 1000, distinct: 40, hits, bytes_each: 1600 };
            let scenarios = vec![scenario(ScenarioKind::Queries, 1, &[0.02], false)];
            ServiceAnalysis::of(&service(), &Served { log: Some(log), scenarios, ..Served::default() })
        };
        let frequent = of([0, 600, 960]);
        assert_eq!(frequent.cache_size, Some(100));
        let [_, _, last] = &frequent.cache[..] else { panic!("{frequent:?}") };
        assert_eq!((last.bytes, last.gain.round()), (40 * 1600, 25.0));
        assert!((last.seconds.unwrap() - 0.02 * 0.04).abs() < 1e-9);
        // Queries that never repeat need none.
        assert_eq!(of([0, 0, 0]).cache_size, Some(0));
    }
}
