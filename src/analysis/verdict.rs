//! Limits first, and then the objective; what is known to be as good as the winner is tied with it.

use serde::Serialize;

use super::ratio::{by_round, ratios};
use super::statistics::{Estimate, estimate};
use super::summary::Summary;
use crate::record::{Failure, SetAside};
use crate::suite::{Bound, Figure, Known, Limit, Subject, least_batches};
use crate::task::Metric;

/// Why a candidate is where it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    Won,
    /// The interval of its ratio to the winner holds 1, and nothing that differs by more than [`TIE`].
    Tied {
        ratio: Estimate,
    },
    /// The interval holds 1, and much more: it wasn't measured well enough to tell.
    Unclear {
        ratio: Estimate,
    },
    /// How many times the winner's figure it reaches.
    Lost {
        ratio: Estimate,
    },
    /// It was measured beside the winner once only, and nobody can say what they differ by.
    Unproven {
        ratio: Estimate,
    },
    /// It can't win, however fast it is.
    Excluded {
        status: String,
        why: String,
    },
}

/// Who may differ by more than this share isn't called tied.
const TIE: f64 = 0.1;

/// Whether a candidate may win, or why it may not: by its failure, if it failed, and its figures.
///
/// Limits on figures that no prediction has rule no predicted candidate out: they weren't checked, and that is said.
pub fn eligible(
    failure: Option<&Failure>,
    predicted: bool,
    known: impl Fn(Subject) -> Option<Known>,
    limits: &[Limit],
    objective: Figure,
) -> Result<(), Verdict> {
    let excluded = |status: &str, why: String| Err(Verdict::Excluded { status: status.to_owned(), why });
    if let Some(failure) = failure {
        return excluded(failure.status.name(), failure.in_words());
    }
    match missed(limits, predicted, &known) {
        None => {}
        Some((limit, None)) => {
            let needs = limit.figure().and_then(Figure::share_of_batches).map(least_batches);
            let needs =
                needs.map(|batches| format!(": it needs at least {batches} batches")).unwrap_or_default();
            return excluded("unknown", format!("no figure for the limit {limit}{needs}"));
        }
        Some((limit, Some(known))) => {
            let status = if limit.is_on_quality() { "below quality" } else { "over limit" };
            let print = |value| limit.on.print(value);
            let reference = match (limit.bound, known.reference) {
                (Bound::Value(_), _) | (_, None) => String::new(),
                (_, Some(reference)) => format!(", where the reference has {}", print(reference)),
            };
            return excluded(status, format!("{} misses {limit}{reference}", print(known.value)));
        }
    }
    match known(Subject::Figure(objective)) {
        None => excluded("unknown", format!("no figure for the objective {objective}")),
        Some(_) => Ok(()),
    }
}

/// The first limit that figures miss, and the figure that misses it, if there is one. A figure that isn't known meets none.
pub fn missed(
    limits: &[Limit],
    predicted: bool,
    known: impl Fn(Subject) -> Option<Known>,
) -> Option<(Limit, Option<Known>)> {
    let held = limits.iter().filter(|limit| !(predicted && never_predicted(limit.on)));
    held.map(|limit| (limit, known(limit.on)))
        .find(|(limit, known)| known.and_then(|known| limit.admits(known)) != Some(true))
        .map(|(limit, known)| (limit.clone(), known))
}

/// Figures that were set aside in every round decide nothing. The search may go on with such a candidate: its next round may
/// be a calm one.
fn has_calm_round(summary: &Summary) -> Result<(), Verdict> {
    match summary.set_aside.first() {
        Some(SetAside { status, why }) if summary.calm_rounds() == 0 => {
            let when = match summary.rounds {
                1 => "in its only round".to_owned(),
                rounds => format!("in every one of its {rounds} rounds"),
            };
            let why = format!("{when}: {why}");
            Err(Verdict::Excluded { status: (*status).to_owned(), why })
        }
        _ => Ok(()),
    }
}

/// Whether nothing can be known of a figure without measuring.
pub fn never_predicted(subject: Subject) -> bool {
    match subject {
        Subject::Metric(_) | Subject::Stability => true,
        Subject::Figure(figure) => {
            matches!(figure, Figure::Quality | Figure::Rss | Figure::Load | Figure::Energy)
        }
    }
}

/// Candidates in order, each with its verdict.
pub struct Ranking {
    /// The winner first, those that can't win last.
    pub candidates: Vec<(Summary, Verdict)>,
    /// In how many rounds the winner was measured beside another one that may win: the most that any other has.
    pub rounds: usize,
}

/// Puts candidates in order.
///
/// Rounds differ by what the machine did meanwhile, and not every candidate is in every round: the budget ends within one, and
/// a search measures again only what can still win. So each is held against one that was measured most often, by the rounds
/// that both were in. Who was measured in less than half as many rounds as that one stands behind those who were in more:
/// of many that were seen once, the luckiest looks best.
pub fn rank(summaries: Vec<Summary>, limits: &[Limit], metric: Metric, objective: Figure) -> Ranking {
    let mut able = Vec::new();
    let mut unable = Vec::new();
    for summary in summaries {
        let predicted = summary.predicted_within.is_some();
        let known = |subject| summary.known(subject, metric);
        let eligible = eligible(summary.failure.as_ref(), predicted, known, limits, objective);
        match eligible.and_then(|()| has_calm_round(&summary)) {
            Ok(()) => able.push(summary),
            Err(verdict) => unable.push((summary, verdict)),
        }
    }
    let most = able.iter().map(rounds_of).max().unwrap_or(0);
    let anchor = able.iter().find(|summary| rounds_of(summary) == most).cloned();
    let turned = |value: f64| if objective.more_is_better() { -value } else { value };
    let mut able: Vec<Contender> =
        able.into_iter().map(|summary| Contender::new(summary, anchor.as_ref(), objective)).collect();
    // Of equal figures the smaller memory first, and then the id, so that every report says the same.
    let memory = |summary: &Summary| summary.memory().unwrap_or(f64::INFINITY);
    able.sort_by(|left, right| {
        let seldom = |contender: &Contender| 2 * rounds_of(&contender.summary) < most;
        let by_score = turned(left.value).total_cmp(&turned(right.value));
        (seldom(left).cmp(&seldom(right)))
            .then(by_score)
            .then(memory(&left.summary).total_cmp(&memory(&right.summary)))
            .then(left.summary.id.cmp(&right.summary.id))
    });
    let verdicts: Vec<Verdict> =
        able.iter().map(|contender| beside(&contender.summary, &able[0].summary, objective)).collect();
    let shared = |other: &Contender| ratios(&other.summary.samples, &able[0].summary.samples).count();
    let rounds = match able.len() {
        1 => most,
        _ => able.iter().skip(1).map(shared).max().unwrap_or(0),
    };
    let ranked = able.into_iter().map(|contender| contender.summary).zip(verdicts);
    // Those that can't win are in the order of their speed too: it shows what the limits cost.
    unable.sort_by(|(left, _), (right, _)| {
        let speed = |summary: &Summary| summary.value(objective).map_or(f64::INFINITY, turned);
        speed(left).total_cmp(&speed(right)).then(left.id.cmp(&right.id))
    });
    Ranking { candidates: ranked.chain(unable).collect(), rounds }
}

/// In how many rounds a candidate was measured.
fn rounds_of(summary: &Summary) -> usize {
    summary.samples.iter().filter(|samples| !samples.is_empty()).count()
}

/// A candidate that may win, with its figure as it would be in the rounds of the one that was measured most often.
struct Contender {
    summary: Summary,
    value: f64,
}

impl Contender {
    fn new(summary: Summary, anchor: Option<&Summary>, objective: Figure) -> Self {
        let beside = anchor.and_then(|anchor| {
            let ratio = by_round(&summary.samples, &anchor.samples)?;
            Some(estimate(&anchor.samples)?.value * ratio.value)
        });
        let value = beside.or_else(|| summary.value(objective)).unwrap_or(f64::NAN);
        Contender { summary, value }
    }
}

impl Verdict {
    pub fn may_win(&self) -> bool {
        !matches!(self, Verdict::Excluded { .. })
    }

    /// On somebody who has so many times the winner's figure.
    pub fn by(ratio: Estimate) -> Verdict {
        match ratio.interval {
            None => Verdict::Unproven { ratio },
            Some(interval) if !interval.contains(1.0) => Verdict::Lost { ratio },
            Some(interval) if interval.high <= 1.0 + TIE && interval.low >= 1.0 / (1.0 + TIE) => {
                Verdict::Tied { ratio }
            }
            Some(_) => Verdict::Unclear { ratio },
        }
    }

    /// How many times the winner's figure it has, where it may win and isn't the winner.
    pub fn ratio(&self) -> Option<Estimate> {
        match self {
            Verdict::Tied { ratio }
            | Verdict::Unclear { ratio }
            | Verdict::Lost { ratio }
            | Verdict::Unproven { ratio } => Some(*ratio),
            Verdict::Won | Verdict::Excluded { .. } => None,
        }
    }

    /// Whether it may be as good as the winner, as far as was measured beside it more than once.
    pub fn may_be_as_good(&self) -> bool {
        matches!(self, Verdict::Tied { .. } | Verdict::Unclear { .. })
    }
}

/// The verdict on a candidate that may win, beside the one that does.
pub fn beside(summary: &Summary, winner: &Summary, objective: Figure) -> Verdict {
    if summary.id == winner.id {
        return Verdict::Won;
    }
    let by_round = by_round(&summary.samples, &winner.samples);
    let ratio = summary.beside(winner, by_round, objective);
    Verdict::by(ratio.unwrap_or(Estimate::alone(f64::NAN)))
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::analysis::statistics::Rounds;
    use crate::knob::Candidate;

    fn summary(id: &str, samples: &[&[f64]]) -> Summary {
        let samples: Rounds = samples.iter().map(|round| round.to_vec()).collect();
        let value = estimate(&samples).unwrap();
        Summary {
            id: id.into(),
            candidate: Candidate { backend: "fake".into(), knobs: Default::default() },
            rounds: samples.iter().filter(|round| !round.is_empty()).count(),
            set_aside: vec![],
            passes: 1,
            batches: 1,
            agreements: IndexMap::new(),
            figures: [(Figure::Throughput, value)].into_iter().collect(),
            spread: None,
            split: None,
            padding_waste: None,
            failure: None,
            versions: vec![],
            device: None,
            simulated: true,
            predicted_within: None,
            samples,
        }
    }

    fn order(summaries: Vec<Summary>) -> (Vec<(String, &'static str)>, usize) {
        let ranking = rank(summaries, &[], Metric::Cosine, Figure::Throughput);
        let word = |verdict: &Verdict| match verdict {
            Verdict::Won => "won",
            Verdict::Tied { .. } => "tied",
            Verdict::Unclear { .. } => "unclear",
            Verdict::Lost { .. } => "lost",
            Verdict::Unproven { .. } => "unproven",
            Verdict::Excluded { .. } => "excluded",
        };
        (
            ranking.candidates.iter().map(|(summary, verdict)| (summary.id.clone(), word(verdict))).collect(),
            ranking.rounds,
        )
    }

    #[test]
    fn a_round_that_somebody_missed_decides_nothing() {
        // The machine halves in the second round, which the budget ended before the slower one was measured in it. By the
        // median over all rounds the slower one would win.
        let fast = summary("fast", &[&[111.0], &[55.5]]);
        let slow = summary("slow", &[&[100.0], &[]]);
        let (order, rounds) = order(vec![slow, fast]);
        assert_eq!(order, [("fast".to_owned(), "won"), ("slow".to_owned(), "unproven")]);
        assert_eq!(rounds, 1);
    }

    #[test]
    fn candidates_that_no_round_had_together_are_compared_by_the_rounds_that_two_were_in() {
        let left = summary("left", &[&[100.0, 101.0], &[100.0, 99.0], &[]]);
        let right = summary("right", &[&[], &[50.0, 51.0], &[49.0, 50.0]]);
        let like = summary("like", &[&[99.0, 100.0], &[], &[101.0, 99.0]]);
        let (order, rounds) = order(vec![left, right, like]);
        assert_eq!(order.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["left", "like", "right"]);
        assert_eq!((order[1].1, order[2].1, rounds), ("unproven", "unproven", 1));
    }

    #[test]
    fn the_luckiest_of_those_that_were_seen_once_does_not_win() {
        let often = summary("often", &[&[100.0], &[102.0], &[98.0], &[101.0]]);
        let lucky = summary("lucky", &[&[104.0]]);
        let also = summary("also", &[&[95.0], &[97.0], &[93.0], &[96.0]]);
        let (order, rounds) = order(vec![lucky, also, often]);
        assert_eq!(
            order.iter().map(|(id, verdict)| (id.as_str(), *verdict)).collect::<Vec<_>>(),
            [("often", "won"), ("also", "lost"), ("lucky", "unproven")]
        );
        assert_eq!(rounds, 4, "the two that were raced share four");
    }

    #[test]
    fn a_candidate_that_was_never_undisturbed_cannot_win() {
        let too_hot = || SetAside { status: "disturbed", why: "too hot".into() };
        let disturbed =
            Summary { set_aside: vec![too_hot(), too_hot()], ..summary("hot", &[&[200.0], &[200.0]]) };
        let once = Summary { set_aside: vec![too_hot()], ..summary("once", &[&[], &[100.0]]) };
        let ranking =
            rank(vec![disturbed, Summary { rounds: 2, ..once }], &[], Metric::Cosine, Figure::Throughput);
        assert_eq!(ranking.candidates[0].1, Verdict::Won);
        let Verdict::Excluded { status, why } = &ranking.candidates[1].1 else { panic!("it may not win") };
        assert_eq!((status.as_str(), why.as_str()), ("disturbed", "in every one of its 2 rounds: too hot"));
    }

    #[test]
    fn predictions_are_told_apart_only_beyond_what_their_ratio_is_trusted_to() {
        let predicted =
            |id: &str, value| Summary { predicted_within: Some(1.25), ..summary(id, &[&[value]]) };
        let (order, _) =
            order(vec![predicted("less", 70.0), predicted("best", 100.0), predicted("like", 85.0)]);
        assert_eq!(order.iter().map(|(_, verdict)| *verdict).collect::<Vec<_>>(), ["won", "unclear", "lost"]);
    }

    #[test]
    fn a_limit_on_what_is_never_predicted_rules_no_prediction_out() {
        let limits: Vec<Limit> = ["quality >= 0.99", "rss <= 1GiB", "throughput >= 90"]
            .iter()
            .map(|limit| limit.parse().unwrap())
            .collect();
        let within = |predicted, value| {
            let known =
                |subject| (subject == Subject::Figure(Figure::Throughput)).then_some(Known::from(value));
            eligible(None, predicted, known, &limits, Figure::Throughput).is_ok()
        };
        assert!(within(true, 100.0) && !within(true, 80.0) && !within(false, 100.0));
    }

    #[test]
    fn overlap_is_a_tie_and_a_clear_difference_is_not() {
        let best = summary("best", &[&[100.0, 104.0], &[98.0, 103.0], &[101.0, 99.0]]);
        let like = summary("like", &[&[99.0, 101.0], &[101.0, 102.0], &[98.0, 100.0]]);
        let less = summary("less", &[&[50.0, 51.0], &[49.0, 50.0], &[50.0, 50.0]]);
        let (order, _) = order(vec![less, like, best]);
        assert_eq!(order.iter().map(|(_, verdict)| *verdict).collect::<Vec<_>>(), ["won", "tied", "lost"]);
    }

    #[test]
    fn who_may_be_much_slower_is_not_called_tied() {
        let best = summary("best", &[&[100.0], &[104.0], &[98.0]]);
        let vague = summary("vague", &[&[60.0], &[110.0], &[90.0]]);
        let (order, _) = order(vec![vague, best]);
        assert_eq!(order.iter().map(|(_, verdict)| *verdict).collect::<Vec<_>>(), ["won", "unclear"]);
        let by = |low, high| Verdict::by(Estimate::between(low, 1.0, high));
        assert!(matches!(by(0.92, 1.09), Verdict::Tied { .. }));
        assert!(matches!(by(0.89, 1.02), Verdict::Unclear { .. }));
        assert!(matches!(by(0.95, 1.2), Verdict::Unclear { .. }));
    }
}
