//! What can be said for sure of a stage's winner: by its confirmation, in which nobody was picked by luck, and by its checks.

use indexmap::IndexMap;
use serde::Serialize;

use super::figures::Trials;
use super::ratio;
use super::statistics::{Estimate, Logarithms};
use super::summary::{Summary, summaries};
use super::verdict::{self, Ranking, Verdict};
use crate::hardware::Machine;
use crate::knob::Candidate;
use crate::record::{
    Checks, Confirmation, Failure, MOST_CONFIRMING_ROUNDS, Recording, Variation, WorstBatch,
};
use crate::suite::{Figure, Stage, Suite};
use crate::task::{Metric, Task};

/// The most that are measured again.
const FINALISTS: usize = 4;

/// Whoever is known to so much is known well enough.
const WELL_KNOWN: f64 = 0.02;

/// The rounds by which it's planned how many it takes.
const FIRST_ROUNDS: u32 = 4;

/// Student's distribution reaches so many errors, as it is for a dozen rounds.
const STUDENT: f64 = 2.2;

/// Another finalist takes the place of the search's winner if its lead is chance in fewer cases than this: there are several.
const BY_CHANCE: f64 = 0.005;

/// Of equals that are this close the one that takes less memory wins, if it's so much less.
const CLOSE: f64 = 0.02;

/// Answers that agree with themselves less than this depend on their company.
pub const STABLE: f64 = 0.999;

/// Vectors that are stored already can be kept beside new ones that agree with them so well…
const SAME_VECTORS: f64 = 0.999;
/// …and have so many of the same neighbours.
const SAME_NEIGHBOURS: f64 = 0.98;

/// What is known of the winner beyond the search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certificate {
    /// In which the winner was measured beside the default configuration.
    pub rounds: usize,
    pub documents: usize,
    /// Whether nobody was chosen by these documents.
    pub fresh: bool,
    /// Those that were measured again, the winner first, each with how many times the default configuration's figure it reaches.
    pub finalists: Vec<Finalist>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stability: Option<Stability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<Index>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_batch: Option<WorstBatch>,
}

impl Certificate {
    /// How many times the default configuration's figure the winner reaches.
    pub fn gain(&self) -> Option<Estimate> {
        self.finalists.first()?.beside_default
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finalist {
    pub id: String,
    pub beside_default: Option<Estimate>,
}

/// How well answers agree with themselves in other company.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stability {
    pub metric: Metric,
    /// By the variation in which it's the worst.
    pub value: f64,
    pub what: String,
    /// The share of nearest neighbours that stays, in the variation in which it's the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours_kept: Option<f64>,
    pub variations: usize,
    pub documents: usize,
}

/// Whether vectors of the default configuration can stay beside those of the winner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Index {
    pub keeps: bool,
    pub cosine: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours_kept: Option<f64>,
}

/// Who may win, the best first, as far as the search and the checks so far have told, each with the verdict on it.
fn contenders(
    suite: &Suite,
    stage: &Stage,
    recordings: &[Recording],
    confirmation: Option<&Confirmation>,
) -> Vec<(Summary, Verdict)> {
    let summaries = summaries(suite, stage, recordings);
    let ranking = verdict::rank(summaries, &stage.limits, stage.metric, suite.objective);
    let ranking = crown(ranking, suite, stage, confirmation);
    ranking.candidates.into_iter().filter(|(_, verdict)| verdict.may_win()).collect()
}

/// Who is to be measured again: the winner, and those that can't be told from it, the best first.
pub fn finalists(
    suite: &Suite,
    stage: &Stage,
    recordings: &[Recording],
    confirmation: Option<&Confirmation>,
) -> Vec<Candidate> {
    let is_near = |verdict: &Verdict| !matches!(verdict, Verdict::Lost { .. });
    let contenders = contenders(suite, stage, recordings, confirmation).into_iter();
    let near = contenders.filter(|(_, verdict)| is_near(verdict));
    near.take(FINALISTS).map(|(summary, _)| summary.candidate).collect()
}

/// Who is to be checked next, so that whoever wins is known to meet the limit on stability; nobody where that is known, or nobody
/// is left.
pub fn unchecked(
    suite: &Suite,
    stage: &Stage,
    recordings: &[Recording],
    confirmation: Option<&Confirmation>,
) -> Option<Candidate> {
    // As if it were met by whom nobody has checked.
    let lenient = Stage { stability: None, ..stage.clone() };
    let unstable = Unstable::of(suite, stage, confirmation);
    let contenders = contenders(suite, &lenient, recordings, confirmation).into_iter();
    let next = contenders.map(|(summary, _)| summary.candidate).find(|one| unstable.why(one).is_none())?;
    let checked = confirmation.is_some_and(|known| known.checks.contains_key(&next.id()));
    (!checked).then_some(next)
}

/// Engines, precisions and truncations whose answers were found to miss the limit on stability: the same in other batches is no other.
struct Unstable<'a> {
    suite: &'a Suite,
    stage: &'a Stage,
    whys: IndexMap<String, Verdict>,
}

impl<'a> Unstable<'a> {
    fn of(suite: &'a Suite, stage: &'a Stage, confirmation: Option<&Confirmation>) -> Unstable<'a> {
        let checks = confirmation.into_iter().flat_map(|known| &known.checks);
        let found = checks.filter(|(_, checks)| !is_stable(stage, checks));
        let whys = found.map(|(_, checks)| (checks.answers.clone(), unstable(stage, checks))).collect();
        Unstable { suite, stage, whys }
    }

    fn why(&self, candidate: &Candidate) -> Option<&Verdict> {
        self.whys.get(&self.suite.answers_key(self.stage, candidate, true))
    }
}

/// The trials of one who was confirmed, as figures are made of them.
struct Confirmed<'a> {
    suite: &'a Suite,
    stage: &'a Stage,
    confirmation: &'a Confirmation,
}

impl Confirmed<'_> {
    fn of<T>(&self, id: &str, read: impl FnOnce(&Trials) -> T) -> T {
        let recordings = self.confirmation.trials(id);
        let price_per_hour = self.suite.price_per_hour;
        read(&Trials { recordings: &recordings, price_per_hour, metric: self.stage.metric })
    }

    fn failure(&self, id: &str) -> Option<Failure> {
        self.of(id, |trials| trials.failure().cloned())
    }

    fn memory(&self, id: &str) -> Option<f64> {
        self.of(id, |trials| trials.value(Figure::Vram).or_else(|| trials.value(Figure::Rss)))
    }

    /// How many times the objective of another one somebody reaches, by their rounds.
    fn ratio(&self, id: &str, other: &str) -> Option<Estimate> {
        let samples = |id: &str| self.of(id, |trials| trials.samples(self.suite.objective));
        ratio::by_round(&samples(id)?, &samples(other)?)
    }

    /// The same, turned so that more is better.
    fn gain(&self, id: &str, other: &str) -> Option<Estimate> {
        if self.suite.objective.more_is_better() { self.ratio(id, other) } else { self.ratio(other, id) }
    }

    /// The same, as the logarithms of their rounds.
    fn logarithms(&self, id: &str, other: &str) -> Option<Logarithms> {
        let samples = |id: &str| self.of(id, |trials| trials.samples(self.suite.objective));
        let (own, other) = (samples(id)?, samples(other)?);
        let turned = |ratio: f64| if self.suite.objective.more_is_better() { ratio } else { ratio.recip() };
        Logarithms::of(ratio::ratios(&own, &other).map(turned))
    }

    fn ids(&self) -> impl Iterator<Item = &String> {
        self.confirmation.finalists.ids.iter()
    }

    /// Finalists that haven't failed.
    fn able(&self) -> Vec<&String> {
        self.ids().filter(|id| self.failure(id).is_none()).collect()
    }
}

/// The finalists that haven't failed, the best first.
///
/// Whoever the search put first stays there unless another one is told apart from it: of several equals the luckiest would look the
/// best, and its gain too high. Of those that can't be told apart and are close, the one with less memory is better.
pub fn standing(suite: &Suite, stage: &Stage, confirmation: &Confirmation) -> Vec<String> {
    let confirmed = Confirmed { suite, stage, confirmation };
    let able = confirmed.able();
    let Some(first) = able.first() else { return Vec::new() };
    let beside = |id: &str, other: &str| confirmed.gain(id, other);
    let faster = able.iter().skip(1).filter_map(|id| {
        let gain = confirmed.logarithms(id, first)?;
        (gain.chance_of_none()? < BY_CHANCE).then_some((*id, gain.mean))
    });
    let fastest = faster.max_by(|left, right| left.1.total_cmp(&right.1)).map_or(*first, |(id, _)| id);
    let memory = |id: &str| confirmed.memory(id);
    let of_fastest = memory(fastest);
    let smaller = able.iter().filter(|id| **id != fastest).filter_map(|id| {
        let gain = beside(id, fastest)?;
        let equal = gain.interval.is_some_and(|interval| interval.contains(1.0)) && gain.value >= 1.0 - CLOSE;
        let bytes = memory(id).zip(of_fastest).filter(|(own, other)| *own < other * (1.0 - CLOSE))?.0;
        equal.then_some((*id, bytes))
    });
    let best = smaller.min_by(|left, right| left.1.total_cmp(&right.1)).map_or(fastest, |(id, _)| id);
    let mut standing = able.clone();
    standing.sort_by(|left, right| {
        let place = |id: &String| (id != best, id != fastest);
        let value = |id: &String| beside(id, best).map_or(f64::NEG_INFINITY, |gain| gain.value);
        place(left).cmp(&place(right)).then(value(right).total_cmp(&value(left)))
    });
    standing.into_iter().cloned().collect()
}

/// In how many rounds the finalists are to be measured, so that each gain over the default configuration is well known, and how far
/// the others are behind the leader.
///
/// It's planned once, by the first rounds: who looks after each round whether it's enough stops when the noise looks smaller than it is.
pub fn rounds_wanted(suite: &Suite, stage: &Stage, confirmation: &Confirmation) -> u32 {
    let all = confirmation.recordings.iter().map(|recording| recording.round + 1).max().unwrap_or(0);
    if all < FIRST_ROUNDS {
        return FIRST_ROUNDS;
    }
    let mut first = confirmation.clone();
    first.recordings.retain(|recording| recording.round < FIRST_ROUNDS);
    let confirmed = Confirmed { suite, stage, confirmation: &first };
    let standing = standing(suite, stage, &first);
    let Some(best) = standing.first() else { return FIRST_ROUNDS };
    let baseline = stage.baseline.id();
    let is_behind =
        |gain: &Logarithms| gain.estimate().interval.is_some_and(|interval| interval.high < 1.0 - WELL_KNOWN);
    let behind_best = standing.iter().skip(1).filter_map(|other| confirmed.logarithms(other, best));
    let beside_default = confirmed.logarithms(best, &baseline).filter(|_| *best != baseline);
    let wanted = behind_best.filter(|gain| !is_behind(gain)).chain(beside_default).filter_map(|gain| {
        let deviation = (gain.error? * gain.count as f64).sqrt();
        Some((STUDENT * deviation / WELL_KNOWN).powi(2).ceil() as u32)
    });
    wanted.max().unwrap_or(FIRST_ROUNDS).clamp(FIRST_ROUNDS, MOST_CONFIRMING_ROUNDS)
}

/// How well a candidate's answers agree with themselves.
fn stability(task: Task, checks: &Checks) -> Option<Stability> {
    let metric = strictest(task);
    let of = |variation: &Variation, metric: Metric| variation.agreements.get(&metric).copied();
    let known = checks.variations.iter().filter_map(|one| Some((one, of(one, metric)?)));
    let (worst, value) = known.clone().min_by(|left, right| left.1.total_cmp(&right.1))?;
    let kept = checks.variations.iter().filter_map(|one| of(one, Metric::Top10));
    Some(Stability {
        metric,
        value,
        what: worst.what.clone(),
        neighbours_kept: kept.reduce(f64::min),
        variations: known.count(),
        documents: checks.documents,
    })
}

/// The agreement that misses nothing: of the document that differs the most, where there is such a one.
fn strictest(task: Task) -> Metric {
    let metrics = task.agreements();
    if metrics.contains(&Metric::WorstCosine) { Metric::WorstCosine } else { metrics[0] }
}

/// Whether a candidate meets the stage's limit on that, if there is one.
pub fn is_stable(stage: &Stage, checks: &Checks) -> bool {
    stage.stability.is_none_or(|least| stability(stage.task, checks).is_some_and(|own| own.value >= least))
}

/// Puts the winner of the confirmation first, and says of the finalists what it has shown.
pub fn crown(ranking: Ranking, suite: &Suite, stage: &Stage, confirmation: Option<&Confirmation>) -> Ranking {
    let Ranking { mut candidates, rounds } = ranking;
    let nothing = Confirmation::default();
    let confirmation = confirmation.unwrap_or(&nothing);
    let confirmed = Confirmed { suite, stage, confirmation };
    let unstable = Unstable::of(suite, stage, Some(confirmation));
    for (summary, verdict) in candidates.iter_mut().filter(|(_, verdict)| verdict.may_win()) {
        if let Some(why) = unstable.why(&summary.candidate) {
            *verdict = why.clone();
        } else if let Some(failure) = confirmed.failure(&summary.id) {
            let why = format!("when it was to be confirmed: {}", failure.in_words());
            *verdict = Verdict::Excluded { status: failure.status.name().to_owned(), why };
        }
    }
    let standing = standing(suite, stage, confirmation);
    let place = |id: &String| standing.iter().position(|other| other == id).unwrap_or(usize::MAX);
    // Whoever stands first, then the others as the search has them, then those that are out.
    candidates.sort_by_key(|(summary, verdict)| (!verdict.may_win(), place(&summary.id)));
    if let Some((first, verdict)) = candidates.first_mut()
        && verdict.may_win()
        && stage.stability.is_some()
        && !confirmation.checks.contains_key(&first.id)
    {
        // A limit that nobody was held against isn't met.
        let why = "no figure for the limit on stability".to_owned();
        let unknown = Verdict::Excluded { status: "unknown".to_owned(), why };
        candidates
            .iter_mut()
            .filter(|(_, verdict)| verdict.may_win())
            .for_each(|(_, own)| *own = unknown.clone());
    }
    let winner = candidates.first().filter(|(_, verdict)| verdict.may_win()).map(|(first, _)| first.clone());
    if let Some(winner) = winner.filter(|_| !standing.is_empty() || !confirmation.checks.is_empty()) {
        for (summary, verdict) in candidates.iter_mut().filter(|(_, verdict)| verdict.may_win()) {
            let both = place(&summary.id).max(place(&winner.id)) < usize::MAX;
            let again = confirmed.ratio(&summary.id, &winner.id).filter(|_| both && summary.id != winner.id);
            *verdict = match again {
                Some(ratio) => Verdict::by(ratio),
                None => verdict::beside(summary, &winner, suite.objective),
            };
        }
    }
    Ranking { candidates, rounds }
}

fn unstable(stage: &Stage, checks: &Checks) -> Verdict {
    let least = stage.stability.unwrap_or_default();
    let why = match stability(stage.task, checks) {
        Some(own) => format!(
            "{:.4} misses stability >= {least}: answers to the same documents differ with {}",
            own.value, own.what
        ),
        None => "no figure for the limit on stability".to_owned(),
    };
    Verdict::Excluded { status: "unstable answers".to_owned(), why }
}

/// What can be said for sure of a stage's winner.
pub fn certificate(
    suite: &Suite,
    stage: &Stage,
    confirmation: &Confirmation,
    winner: &str,
    machine: &Machine,
) -> Option<Certificate> {
    let confirmed = Confirmed { suite, stage, confirmation };
    let baseline = stage.baseline.id();
    let others = standing(suite, stage, confirmation).into_iter().filter(|id| id != winner);
    let ids: Vec<String> = std::iter::once(winner.to_owned()).chain(others).collect();
    let rounds = confirmed.of(winner, |trials| trials.recordings.len());
    let finalists = ids.into_iter().map(|id| Finalist {
        beside_default: confirmed.ratio(&id, &baseline).filter(|_| id != baseline),
        id,
    });
    let checks = confirmation.checks.get(winner);
    if rounds == 0 && checks.is_none() {
        return None;
    }
    let vectors = stage.task == Task::Embed;
    Some(Certificate {
        rounds,
        documents: confirmation.finalists.documents,
        fresh: confirmation.finalists.fresh,
        finalists: finalists.collect(),
        stability: checks.and_then(|checks| stability(stage.task, checks)),
        index: checks.and_then(|checks| checks.beside_default.as_ref()).filter(|_| vectors).and_then(index),
        worst_batch: checks.and_then(|checks| checks.worst_batch.clone()).map(|worst| WorstBatch {
            of_bytes: worst.of_bytes.or(machine.memory.map(|memory| memory.0)),
            ..worst
        }),
    })
}

/// Whether stored vectors may stay, by how the winner's agree with the default configuration's.
fn index(agreements: &IndexMap<Metric, f64>) -> Option<Index> {
    let cosine = *agreements.get(&Metric::Cosine)?;
    let neighbours_kept = agreements.get(&Metric::Top10).copied();
    let keeps = cosine >= SAME_VECTORS && neighbours_kept.is_none_or(|kept| kept >= SAME_NEIGHBOURS);
    Some(Index { keeps, cosine, neighbours_kept })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_distr::{Distribution, Normal};
    use rand_pcg::Pcg64;

    use super::*;
    use crate::pipeline::Pass;
    use crate::record::{Finalists, Outcome};
    use crate::suite::{Overrides, SuiteSource, parse};
    use crate::worker::protocol::Measured;

    fn suite() -> Suite {
        let source = SuiteSource::find("demo").unwrap();
        parse(&source, &Overrides::default(), &["retrieval-plugin"]).unwrap()
    }

    /// Some candidates of a stage, the default last.
    fn candidates(stage: &Stage, count: usize) -> Vec<Candidate> {
        let batch = |place: usize| {
            let mut candidate = stage.baseline.clone();
            candidate.knobs.insert("batch_size".to_owned(), crate::knob::Value::Integer(1000 + place as i64));
            candidate
        };
        (1..count).map(batch).chain([stage.baseline.clone()]).collect()
    }

    /// A confirmation in which each has a speed and a memory of its own.
    fn confirmation(
        candidates: &[Candidate],
        arms: &[(f64, u64)],
        rounds: u32,
        noise: f64,
        seed: u64,
    ) -> Confirmation {
        let mut random = Pcg64::seed_from_u64(seed);
        let noise = Normal::new(0.0, noise).unwrap();
        let ids = candidates[..candidates.len() - 1].iter().map(Candidate::id).collect();
        let finalists = Finalists { ids, documents: 64, fresh: true };
        let mut confirmation = Confirmation { finalists, ..Confirmation::default() };
        for round in 0..rounds {
            // What the machine does in a round, it does to all of them.
            let drift = 20.0 * noise.sample(&mut random);
            for (candidate, (speed, bytes)) in candidates.iter().zip(arms) {
                let seconds = (drift + noise.sample(&mut random)).exp() / speed;
                let passes = vec![Pass { seconds, documents: 1, ..Pass::default() }];
                let measured: Measured =
                    serde_json::from_value(serde_json::json!({ "passes": passes })).unwrap();
                confirmation.recordings.push(Recording {
                    peak_rss_bytes: Some(*bytes),
                    ..Recording::of("embed", candidate, round, Outcome::Measured(measured))
                });
            }
        }
        confirmation
    }

    #[test]
    fn the_gain_of_one_among_equals_holds_one() {
        let suite = suite();
        let stage = &suite.stages[0];
        let candidates = candidates(stage, 5);
        let mut rounds = 0;
        let held = (0..1000).filter(|seed| {
            let mut confirmation =
                confirmation(&candidates, &[(1.0, 100); 5], MOST_CONFIRMING_ROUNDS, 0.02, *seed);
            let wanted = rounds_wanted(&suite, stage, &confirmation);
            rounds += wanted;
            confirmation.recordings.retain(|recording| recording.round < wanted);
            let best = standing(&suite, stage, &confirmation)[0].clone();
            let own = certificate(&suite, stage, &confirmation, &best, &Machine::default()).unwrap();
            !own.gain().unwrap().excludes(1.0)
        });
        let held = held.count();
        assert!(held >= 940, "{held} of 1000");
        assert!((8_000..24_000).contains(&rounds), "{rounds}");
    }

    #[test]
    fn another_one_wins_if_it_is_told_apart_and_of_equals_the_smaller() {
        let suite = suite();
        let stage = &suite.stages[0];
        let candidates = candidates(stage, 4);
        let best = |arms: &[(f64, u64)]| {
            let confirmation = confirmation(&candidates, arms, 12, 0.01, 5);
            let best = standing(&suite, stage, &confirmation)[0].clone();
            candidates.iter().position(|one| one.id() == best).unwrap()
        };
        let default = (0.5, 100);
        assert_eq!(best(&[(1.0, 100), (1.2, 900), (1.1, 100), default]), 1);
        assert_eq!(best(&[(1.0, 100), (1.0, 50), (1.0, 99), default]), 1);
        // Not for less than it's slower.
        assert_eq!(best(&[(1.0, 100), (0.9, 50), (0.8, 10), default]), 0);
    }

    #[test]
    fn noise_asks_for_rounds() {
        let suite = suite();
        let stage = &suite.stages[0];
        let candidates = candidates(stage, 3);
        let wanted = |rounds, noise| {
            let confirmation = confirmation(&candidates, &[(1.0, 1), (0.8, 1), (0.5, 1)], rounds, noise, 1);
            rounds_wanted(&suite, stage, &confirmation)
        };
        assert_eq!((wanted(1, 0.01), wanted(4, 0.003), wanted(4, 0.2)), (4, 4, MOST_CONFIRMING_ROUNDS));
        let some = wanted(4, 0.02);
        assert!((5..20).contains(&some), "{some}");
        assert_eq!(wanted(9, 0.02), some, "planned once");
    }

    #[test]
    fn stability_is_that_of_the_worst_variation() {
        let variation = |what: &str, worst: f64, kept: f64| Variation {
            what: what.to_owned(),
            agreements: IndexMap::from([
                (Metric::Cosine, 1.0),
                (Metric::WorstCosine, worst),
                (Metric::Top10, kept),
            ]),
            failed: None,
        };
        let failed =
            Variation { what: "c".to_owned(), agreements: IndexMap::new(), failed: Some("no".to_owned()) };
        let checks = Checks {
            documents: 9,
            variations: vec![variation("a", 0.9, 0.95), variation("b", 0.99, 0.7), failed],
            ..Checks::default()
        };
        let own = stability(Task::Embed, &checks).unwrap();
        assert_eq!(
            (own.value, own.what.as_str(), own.neighbours_kept, own.variations),
            (0.9, "a", Some(0.7), 2)
        );
        assert_eq!(stability(Task::Embed, &Checks::default()), None);
    }

    #[test]
    fn stored_vectors_stay_if_nearly_all_neighbours_do() {
        let of = |cosine, kept| {
            index(&IndexMap::from([(Metric::Cosine, cosine), (Metric::Top10, kept)])).unwrap().keeps
        };
        assert!(of(0.9999, 0.99) && !of(0.998, 0.99) && !of(0.9999, 0.9));
    }
}
