//! Whether a change makes something slower, and how far that answer can be trusted: by planned pairs of two arms, and of the base
//! with itself.

use indexmap::IndexMap;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use super::ranks::{self, LEAST_PAIRS};
use super::statistics::Estimate;
use crate::knob::Candidate;
use crate::record::Judged;
use crate::task::Metric;

/// How a gate decides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rule {
    /// A slowdown up to this share is none.
    pub margin: f64,
    /// The most false alarms, as a share, whatever the noise.
    pub error: f64,
}

/// How often the pairs are looked at before all are there, and then. The error is split among the looks.
pub const LOOKS: usize = 3;

/// A figure that is compared. More of each is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gated {
    /// Seconds a document.
    Time,
    /// The peak of the device's memory, or of the process where there is no device.
    Memory,
    Load,
}

impl Gated {
    pub const ALL: [Gated; 3] = [Gated::Time, Gated::Memory, Gated::Load];

    pub fn name(self) -> &'static str {
        match self {
            Gated::Time => "time a document",
            Gated::Memory => "peak memory",
            Gated::Load => "load time",
        }
    }

    /// The margin of this figure. A load is a single event, and pages are counted in lumps: less than this is no finding.
    fn margin(self, rule: Rule) -> f64 {
        match self {
            Gated::Time => rule.margin,
            Gated::Memory => rule.margin.max(0.02),
            Gated::Load => rule.margin.max(0.10),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Not worse by more than the margin.
    Pass,
    Improved,
    Regression,
    /// The pairs don't tell.
    Ambiguous,
}

/// What a figure is with the new arm, as a multiple of what it is with the base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    pub figure: Gated,
    pub ratio: Estimate,
    pub margin: f64,
    pub finding: Finding,
    pub pairs: usize,
}

/// What a gate has found about one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatedStage {
    pub stage: String,
    /// The configuration that both arms ran…
    pub candidate: Candidate,
    /// …or that of the new arm, where it's another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_candidate: Option<Candidate>,
    /// What the base has loaded, and what the new arm has, as they state it.
    pub versions: [String; 2],
    pub verdict: Verdict,
    /// What, how much, how sure.
    pub sentence: String,
    pub figures: Vec<Compared>,
    /// How the new arm's answers are, beside the base's.
    pub answers: IndexMap<Metric, Judged>,
    pub calibration: Option<Calibration>,
    /// How many pairs it would take to find a slowdown of twice the margin.
    pub needed: Option<usize>,
    /// What a pair takes.
    pub pair_seconds: Option<f64>,
    pub pairs: Vec<Pair>,
    /// Why pairs were set aside.
    pub dropped: Vec<String>,
}

/// One pair: each arm measured twice, in turn, in processes of their own; and the base beside itself in the same way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// How many times the base's a figure of the new arm is.
    pub ratios: IndexMap<Gated, f64>,
    /// The same of another process of the base: the time a document.
    pub own: f64,
}

impl GatedStage {
    /// A stage in which nothing was compared.
    pub fn without_figures(
        stage: &str,
        candidate: &Candidate,
        verdict: Verdict,
        sentence: String,
    ) -> GatedStage {
        GatedStage {
            stage: stage.to_owned(),
            candidate: candidate.clone(),
            new_candidate: None,
            versions: Default::default(),
            verdict,
            sentence,
            figures: Vec::new(),
            answers: IndexMap::new(),
            calibration: None,
            needed: None,
            pair_seconds: None,
            pairs: Vec::new(),
            dropped: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Improved,
    Pass,
    Ambiguous,
    /// Nothing can be said of the new arm, because the base or the machine is at fault.
    Invalid,
    Regression,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Improved => "improved",
            Verdict::Pass => "pass",
            Verdict::Ambiguous => "ambiguous",
            Verdict::Invalid => "invalid",
            Verdict::Regression => "regression",
        }
    }
}

/// Both arms in all stages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    pub suite: String,
    pub target: String,
    pub base: String,
    pub new: String,
    pub rule: Rule,
    pub stages: Vec<GatedStage>,
}

impl GateReport {
    /// The worst of all stages.
    pub fn verdict(&self) -> Verdict {
        self.stages.iter().map(|stage| stage.verdict).max().unwrap_or(Verdict::Invalid)
    }
}

impl Compared {
    /// What, how much, how sure.
    fn sentence(&self, rule: Rule, units: &str) -> String {
        let change = |ratio: f64| format!("{:+.1}%", (ratio - 1.0) * 100.0);
        let between = match self.ratio.interval {
            Some(interval) => format!(" ({} to {})", change(interval.low), change(interval.high)),
            None => String::new(),
        };
        let margin = self.margin * 100.0;
        let told = match self.finding {
            Finding::Regression => Some("worse"),
            Finding::Improved => Some("better"),
            Finding::Pass => Some("not worse"),
            Finding::Ambiguous => None,
        };
        let sure = match told {
            Some(how) => {
                format!("{how} by more than {margin:.1}%, with an error of at most {}%", rule.error * 100.0)
            }
            None => format!("too uncertain for a margin of {margin:.1}%"),
        };
        let (name, ratio, pairs) = (self.figure.name(), change(self.ratio.value), self.pairs);
        format!("{name} {ratio}{between} in {pairs} {units}: {sure}")
    }
}

/// An agreement with the base's answers below this is no rounding.
const LEAST_AGREEMENT: f64 = 0.999;

/// A loss by labels of less than this share is none.
const LEAST_LOSS: f64 = 0.005;

/// Why the new arm's answers are worse than the base's, if they are.
pub fn worse_answers(metric: Metric, answers: &IndexMap<Metric, Judged>) -> Option<String> {
    answers.iter().find_map(|(of, judged)| {
        let value = judged.value;
        if of.needs_labels() {
            let (reference, [_, high]) = judged.reference.zip(judged.change)?;
            let lost = high < 0.0 && value < reference * (1.0 - LEAST_LOSS);
            return lost.then(|| format!("{} fell from {reference:.4} to {value:.4}", of.name()));
        }
        // Other agreements say the same in other words.
        let own = *of == metric || (*of == Metric::Cosine);
        (own && value < LEAST_AGREEMENT)
            .then(|| format!("{} with the base's answers is {value:.4}, below {LEAST_AGREEMENT}", of.name()))
    })
}

/// Why answers are worse by labels than those of a program whose figures were kept, if they are.
pub fn worse_than_kept(now: &IndexMap<Metric, f64>, then: &IndexMap<Metric, f64>) -> Option<String> {
    then.iter().find_map(|(metric, then)| {
        let now = now.get(metric).copied().unwrap_or_default();
        let lost = now < then * (1.0 - LEAST_LOSS);
        lost.then(|| format!("{} fell from {then:.4} to {now:.4}", metric.name()))
    })
}

/// The verdict on a stage whose pairs were taken, with its sentence.
/// `units` are what was counted: pairs.
pub fn verdict(figures: &[Compared], dropped: usize, rule: Rule, units: &str) -> (Verdict, String) {
    let sentence = |one: &Compared| one.sentence(rule, units);
    let with = |finding: Finding| figures.iter().find(|one| one.finding == finding);
    let time = figures.iter().find(|one| one.figure == Gated::Time);
    if let Some(one) = with(Finding::Regression) {
        return (Verdict::Regression, sentence(one));
    }
    let Some(time) = time else {
        return (Verdict::Invalid, format!("no {units} could be measured"));
    };
    if dropped > time.pairs {
        let why = format!("{dropped} {units} were set aside and {} are left", time.pairs);
        return (Verdict::Invalid, why);
    }
    // A load is a single event: where it doesn't tell, the others do.
    let unsure = figures.iter().find(|one| one.finding == Finding::Ambiguous && one.figure != Gated::Load);
    if let Some(one) = unsure {
        return (Verdict::Ambiguous, sentence(one));
    }
    match time.finding {
        Finding::Improved => (Verdict::Improved, sentence(time)),
        _ => (Verdict::Pass, sentence(time)),
    }
}

/// Compares all figures by the ratios of their pairs. `looks` is among how many looks the error is split.
pub fn compare(figures: &[(Gated, Vec<f64>)], rule: Rule, looks: usize) -> Vec<Compared> {
    let error = rule.error / looks.max(1) as f64;
    let tested = figures.iter().map(|(figure, ratios)| Tested {
        figure: *figure,
        count: ratios.len(),
        ratio: ranks::middle(ratios, 2.0 * error),
        above: Box::new(|bound| ranks::above(ratios, bound)),
        below: Box::new(|bound| ranks::below(ratios, bound)),
    });
    decided(tested.collect(), rule, error)
}

/// Compares figures of processes that have nothing in common: those of now with those that were kept.
pub fn compare_with_kept(figures: &[(Gated, Vec<f64>, Vec<f64>)], rule: Rule) -> Vec<Compared> {
    let tested = figures.iter().map(|(figure, now, then)| Tested {
        figure: *figure,
        count: now.len(),
        ratio: ranks::middle_of_two(now, then, 2.0 * rule.error),
        above: Box::new(|bound| ranks::above_others(now, then, bound)),
        // Lower by so much is higher the other way round.
        below: Box::new(|bound: f64| ranks::above_others(then, now, 1.0 / bound)),
    });
    decided(tested.collect(), rule, rule.error)
}

/// How likely a ratio as far as that is, if the true one is at a bound.
type Chance<'a> = Box<dyn Fn(f64) -> Option<f64> + 'a>;

/// A figure, and the tests that tell how far it is from a bound.
struct Tested<'a> {
    figure: Gated,
    count: usize,
    ratio: Option<Estimate>,
    above: Chance<'a>,
    below: Chance<'a>,
}

fn decided(figures: Vec<Tested>, rule: Rule, error: f64) -> Vec<Compared> {
    let worse: Vec<f64> =
        figures.iter().map(|one| (one.above)(1.0 + one.figure.margin(rule)).unwrap_or(1.0)).collect();
    let compared = figures.iter().zip(holm(&worse)).filter_map(|(one, worse)| {
        let margin = one.figure.margin(rule);
        let is_below = |bound: f64| (one.below)(bound).is_some_and(|chance| chance < error);
        let finding = if worse < error {
            Finding::Regression
        } else if is_below(1.0 / (1.0 + margin)) {
            Finding::Improved
        } else if is_below(1.0 + margin) {
            Finding::Pass
        } else {
            Finding::Ambiguous
        };
        Some(Compared { figure: one.figure, ratio: one.ratio?, margin, finding, pairs: one.count })
    });
    compared.collect()
}

/// Holm's correction: how likely each is, given that so many were looked at.
fn holm(chances: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|left, right| chances[*left].total_cmp(&chances[*right]));
    let mut corrected = vec![1.0; chances.len()];
    let mut most = 0.0_f64;
    for (rank, place) in order.into_iter().enumerate() {
        most = most.max(chances[place] * (chances.len() - rank) as f64).min(1.0);
        corrected[place] = most;
    }
    corrected
}

/// What a gate can tell on this machine, by pairs of the base with itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    pub pairs: usize,
    /// How far a pair's ratio is off: the standard deviation of its logarithm.
    pub noise: f64,
    /// False alarms in a gate with so many pairs, as a share.
    pub false_alarms: Estimate,
    /// The smallest slowdown that is found 9 times in 10, as a share; nothing where not even a doubling is.
    pub smallest: Option<f64>,
}

/// Games that are played to count false alarms…
const GAMES: usize = 400;
/// …again with so many other draws of what was seen, since that is little itself.
const DRAWS: usize = 40;

/// Plays the gate on what the base did beside itself. Neither of the two is the better one, so each pair counts with
/// either sign.
pub fn calibrate(own: &[f64], pairs: usize, rule: Rule, seed: u64) -> Option<Calibration> {
    if own.len() < 2 || pairs < LEAST_PAIRS {
        return None;
    }
    let own: Vec<f64> = own.iter().map(|ratio| ratio.ln()).collect();
    let mut random = Pcg64::seed_from_u64(seed);
    let alarms = share_of_alarms(&own, pairs, 0.0, rule, GAMES, &mut random);
    let mut shares: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn: Vec<f64> = own.iter().map(|_| own[random.random_range(0..own.len())]).collect();
            share_of_alarms(&drawn, pairs, 0.0, rule, GAMES / 4, &mut random)
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    // Of no alarm in so many games the share may still be as high as this, 95 times in 100.
    let unseen = 3.0 / GAMES as f64;
    let high = shares[DRAWS - 2].max(alarms + unseen);
    let found = |slowdown: f64, random: &mut Pcg64| {
        share_of_alarms(&own, pairs, slowdown.ln_1p(), rule, GAMES / 2, random) >= 0.9
    };
    let smallest = found(1.0, &mut random).then(|| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..12 {
            let middle = (low + high) / 2.0;
            if found(middle, &mut random) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    });
    Some(Calibration {
        pairs: own.len(),
        noise: spread(&own),
        false_alarms: Estimate::between(shares[1].min(alarms), alarms, high),
        smallest,
    })
}

/// How many pairs find a slowdown of twice the margin 9 times in 10, at this noise.
pub fn needed(own: &[f64], rule: Rule) -> usize {
    let pairs = (in_margins(own, rule) / rule.margin).powi(2);
    (pairs.ceil() as usize).max(LEAST_PAIRS)
}

/// The margin for which so many pairs are enough, at this noise.
pub fn margin_of(own: &[f64], pairs: usize, rule: Rule) -> f64 {
    in_margins(own, rule) / (pairs.max(1) as f64).sqrt()
}

/// The margin that a single pair would be enough for, if noise were the same for one as for many.
fn in_margins(own: &[f64], rule: Rule) -> f64 {
    let noise = spread(&own.iter().map(|ratio| ratio.ln()).collect::<Vec<_>>());
    let normal = |chance: f64| Normal::standard().inverse_cdf(chance);
    let reach = normal(1.0 - rule.error / LOOKS as f64) + normal(0.9);
    // Ranks need a twentieth more pairs than means of normal noise.
    1.05_f64.sqrt() * reach * noise
}

/// When a gate of so many pairs looks at them: after how many.
pub fn looks(pairs: usize) -> [usize; LOOKS] {
    [LEAST_PAIRS.min(pairs), usize::midpoint(LEAST_PAIRS.min(pairs), pairs), pairs]
}

/// The deviation of logarithms around none, by their mean distance: a few that are far off count less than by squares, and of few
/// pairs it tells more than the middle distance.
fn spread(logarithms: &[f64]) -> f64 {
    let distances: f64 = logarithms.iter().map(|one| one.abs()).sum();
    // Of a normal distribution the deviation is so many times the mean distance.
    std::f64::consts::FRAC_PI_2.sqrt() * distances / logarithms.len().max(1) as f64
}

/// In how many of some games, as a share, the gate finds a regression where everything is slower by `shift`.
fn share_of_alarms(
    own: &[f64],
    pairs: usize,
    shift: f64,
    rule: Rule,
    games: usize,
    random: &mut Pcg64,
) -> f64 {
    let error = rule.error / LOOKS as f64;
    let alarm = |random: &mut Pcg64| {
        let drawn: Vec<f64> = (0..pairs)
            .map(|_| {
                let one = own[random.random_range(0..own.len())];
                let one = if random.random_bool(0.5) { one } else { -one };
                (one + shift).exp()
            })
            .collect();
        looks(pairs)
            .into_iter()
            .any(|look| ranks::above(&drawn[..look], 1.0 + rule.margin).is_some_and(|chance| chance < error))
    };
    (0..games).filter(|_| alarm(random)).count() as f64 / games as f64
}

#[cfg(test)]
mod tests {
    use rand_distr::Distribution;

    use super::*;

    const RULE: Rule = Rule { margin: 0.01, error: 0.01 };

    fn pairs(count: usize, slowdown: f64, noise: f64, seed: u64) -> Vec<f64> {
        let mut random = Pcg64::seed_from_u64(seed);
        let noise = rand_distr::Normal::new(slowdown.ln_1p(), noise).unwrap();
        (0..count).map(|_| noise.sample(&mut random).exp()).collect()
    }

    fn finding(ratios: Vec<f64>) -> Finding {
        compare(&[(Gated::Time, ratios)], RULE, 1)[0].finding
    }

    #[test]
    fn what_pairs_tell_and_what_they_dont() {
        assert_eq!(finding(pairs(40, 0.05, 0.02, 1)), Finding::Regression);
        assert_eq!(finding(pairs(40, -0.05, 0.02, 2)), Finding::Improved);
        assert_eq!(finding(pairs(60, 0.0, 0.01, 3)), Finding::Pass);
        assert_eq!(finding(pairs(12, 0.0, 0.10, 4)), Finding::Ambiguous);
        // Too few settle nothing, however clear they look.
        assert_eq!(finding(pairs(11, 0.5, 0.01, 5)), Finding::Ambiguous);
        // Memory that is the same to the byte.
        let same = compare(&[(Gated::Memory, vec![1.0; 12])], RULE, 1);
        assert_eq!((same[0].finding, same[0].ratio.value), (Finding::Pass, 1.0));
    }

    #[test]
    fn false_alarms_are_as_rare_as_the_rule_says() {
        let alarms = (0..1000)
            .filter(|seed| {
                let figures = [Gated::Time, Gated::Memory, Gated::Load]
                    .map(|figure| (figure, pairs(30, 0.0, 0.03, 31 * seed + figure as u64)));
                compare(&figures, RULE, 1).iter().any(|one| one.finding == Finding::Regression)
            })
            .count();
        assert!(alarms <= 10, "{alarms} of 1000");
    }

    #[test]
    fn holm_multiplies_by_what_is_left() {
        let corrected = holm(&[0.04, 0.01, 0.03]);
        let expected = [0.06, 0.03, 0.06];
        assert!(
            corrected.iter().zip(expected).all(|(own, right)| (own - right).abs() < 1e-12),
            "{corrected:?}"
        );
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn as_many_pairs_as_are_needed_find_twice_the_margin() {
        for noise in [0.02, 0.03] {
            let own = pairs(200, 0.0, noise, 7);
            let needed = needed(&own, RULE);
            let found = (0..400)
                .filter(|seed| finding(pairs(needed, 0.02, noise, 1000 + seed)) == Finding::Regression);
            let share = found.count() as f64 / 400.0;
            assert!(share > 0.85, "{needed} pairs at {noise}: {share}");
        }
        assert_eq!(needed(&[1.0; 12], RULE), LEAST_PAIRS);
        let own = pairs(200, 0.0, 0.02, 7);
        let enough = margin_of(&own, needed(&own, RULE), RULE);
        assert!((0.0095..=0.01).contains(&enough), "{enough}");
    }

    #[test]
    fn a_gate_knows_what_it_can_tell() {
        let own = pairs(60, 0.0, 0.02, 11);
        let calibration = calibrate(&own, 60, RULE, 1).unwrap();
        assert!((0.013..0.028).contains(&calibration.noise), "{calibration:?}");
        assert!(calibration.false_alarms.value <= 0.01, "{calibration:?}");
        assert!(calibration.false_alarms.interval.unwrap().high < 0.05, "{calibration:?}");
        let smallest = calibration.smallest.unwrap();
        let found = (0..300).filter(|seed| {
            let ratios = pairs(60, smallest, 0.02, 5000 + seed);
            looks(60).into_iter().any(|look| {
                compare(&[(Gated::Time, ratios[..look].to_vec())], RULE, LOOKS)[0].finding
                    == Finding::Regression
            })
        });
        let share = found.count() as f64 / 300.0;
        assert!(share > 0.8, "{smallest}: {share}");
        // A noisier machine tells less, and of too little nothing is said.
        let noisy = calibrate(&pairs(60, 0.0, 0.10, 12), 60, RULE, 1).unwrap();
        assert!(noisy.smallest.unwrap() > 2.0 * smallest, "{noisy:?}");
        assert_eq!(calibrate(&own[..1], 60, RULE, 1), None);
    }
}
