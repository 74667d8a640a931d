//! What pairs tell of each figure: worse, better, neither, or nothing.

use serde::Serialize;

use super::rule::Rule;
use crate::analysis::ranks;
use crate::analysis::statistics::Estimate;

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

impl Compared {
    /// What, how much, how sure.
    pub fn sentence(&self, rule: Rule, units: &str) -> String {
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

#[cfg(test)]
pub mod tests {
    use rand::SeedableRng;
    use rand_distr::Distribution;
    use rand_pcg::Pcg64;

    use super::*;

    pub const RULE: Rule = Rule { margin: 0.01, error: 0.01 };

    pub fn pairs(count: usize, slowdown: f64, noise: f64, seed: u64) -> Vec<f64> {
        let mut random = Pcg64::seed_from_u64(seed);
        let noise = rand_distr::Normal::new(slowdown.ln_1p(), noise).unwrap();
        (0..count).map(|_| noise.sample(&mut random).exp()).collect()
    }

    pub fn finding(ratios: Vec<f64>) -> Finding {
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
}
