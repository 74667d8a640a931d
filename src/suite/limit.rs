//! What a candidate must keep within, however fast it is.

use std::fmt;
use std::str::FromStr;

use super::figure::Figure;
use super::problem::unknown;
use crate::task::Metric;
use crate::units::significant;

/// A bound on a figure or a metric, both ends included: `vram <= 8GiB`, `ndcg10 >= reference - 0.5%`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    pub on: Subject,
    pub at_most: bool,
    pub bound: Bound,
}

/// What a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Figure(Figure),
    Metric(Metric),
    /// How well the answers agree with themselves in other batches. Only the winner's are known, once it's checked.
    Stability,
}

/// As limits name it.
const STABILITY: &str = "stability";

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    Value(f64),
    /// What the reference has, less a share of it…
    LessShare(f64),
    /// …or less so much.
    Less(f64),
}

/// What a candidate has of a limit's subject, and what the reference has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    pub value: f64,
    pub reference: Option<f64>,
}

impl From<f64> for Known {
    fn from(value: f64) -> Known {
        Known { value, reference: None }
    }
}

impl Limit {
    pub fn at_least(on: Subject, bound: f64) -> Limit {
        Limit { on, at_most: false, bound: Bound::Value(bound) }
    }

    /// The number that the bound comes to; nothing where the reference's isn't known.
    pub fn bound(&self, known: Known) -> Option<f64> {
        match self.bound {
            Bound::Value(bound) => Some(bound),
            Bound::LessShare(share) => known.reference.map(|reference| reference * (1.0 - share)),
            Bound::Less(loss) => known.reference.map(|reference| reference - loss),
        }
    }

    /// Whether it's met; nothing where nobody can say.
    pub fn admits(&self, known: Known) -> Option<bool> {
        let bound = self.bound(known)?;
        Some(if self.at_most { known.value <= bound } else { known.value >= bound })
    }

    pub fn metric(&self) -> Option<Metric> {
        match self.on {
            Subject::Metric(metric) => Some(metric),
            Subject::Figure(_) | Subject::Stability => None,
        }
    }

    pub fn is_on(&self, figure: Figure) -> bool {
        self.on == Subject::Figure(figure)
    }

    /// Whether it's on how good answers are.
    pub fn is_on_quality(&self) -> bool {
        self.is_on(Figure::Quality) || self.metric().is_some()
    }

    /// The figure, where it's on one.
    pub fn figure(&self) -> Option<Figure> {
        match self.on {
            Subject::Figure(figure) => Some(figure),
            Subject::Metric(_) | Subject::Stability => None,
        }
    }
}

impl Subject {
    /// Prints a value with its unit.
    pub fn print(self, value: f64) -> String {
        match self {
            Subject::Figure(figure) => figure.print(value),
            Subject::Metric(_) | Subject::Stability => Figure::Quality.print(value),
        }
    }

    fn parse_value(self, text: &str) -> Result<f64, String> {
        match self {
            Subject::Figure(figure) => figure.parse_value(text),
            Subject::Metric(_) | Subject::Stability => Figure::Quality.parse_value(text),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Figure(figure) => out.write_str(figure.name()),
            Subject::Metric(metric) => out.write_str(metric.name()),
            Subject::Stability => out.write_str(STABILITY),
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let metric = || Metric::ALL.into_iter().find(|metric| metric.name() == text).map(Subject::Metric);
        let figure = Figure::ALL.into_iter().find(|figure| figure.name() == text).map(Subject::Figure);
        let stability = || (text == STABILITY).then_some(Subject::Stability);
        let names = || {
            let figures = Figure::ALL.map(Figure::name).into_iter();
            figures.chain(Metric::ALL.map(Metric::name)).chain([STABILITY])
        };
        figure.or_else(metric).or_else(stability).ok_or_else(|| unknown("figure or metric", text, names()))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.at_most { "<=" } else { ">=" };
        write!(out, "{} {sign} ", self.on)?;
        match self.bound {
            Bound::Value(bound) => out.write_str(&self.on.print(bound)),
            Bound::LessShare(share) => write!(out, "reference - {}%", significant(100.0 * share)),
            Bound::Less(loss) => write!(out, "reference - {}", significant(loss)),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (on, at_most, bound) = if let Some((on, bound)) = text.split_once("<=") {
            (on, true, bound)
        } else if let Some((on, bound)) = text.split_once(">=") {
            (on, false, bound)
        } else {
            return Err(format!(
                "{text:?} is not a limit such as \"vram <= 8GiB\" or \"ndcg10 >= reference - 0.5%\""
            ));
        };
        let on: Subject = on.parse()?;
        if at_most && on == Subject::Stability {
            return Err(format!("{text:?}: less stable answers are worse, so write >="));
        }
        let bound = match bound.trim().strip_prefix("reference") {
            None => Bound::Value(on.parse_value(bound)?),
            Some(_) if at_most => {
                return Err(format!("{text:?}: a limit relative to `reference` must use >="));
            }
            Some(loss) => loss_of(on, loss.trim())?,
        };
        Ok(Limit { on, at_most, bound })
    }
}

/// What may be lost: `- 0.5%`, `- 0.01`, or nothing.
fn loss_of(on: Subject, text: &str) -> Result<Bound, String> {
    if !matches!(on, Subject::Metric(_) | Subject::Figure(Figure::Quality)) {
        return Err(format!(
            "a limit relative to `reference` needs a metric of the answers, and {on} is not one"
        ));
    }
    if text.is_empty() {
        return Ok(Bound::Less(0.0));
    }
    let number = |text: &str| {
        let number = text.trim().parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
        number.ok_or_else(|| format!("{:?} is not a loss such as 0.5% or 0.01", text.trim()))
    };
    let loss =
        text.strip_prefix('-').ok_or_else(|| format!("write `reference - 0.5%`, not `reference {text}`"))?;
    match loss.trim().strip_suffix('%') {
        Some(percent) => Ok(Bound::LessShare(number(percent)? / 100.0)),
        None => Ok(Bound::Less(number(loss)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_the_units_of_their_figure() {
        let limit: Limit = "vram<=8GiB".parse().unwrap();
        let bound = (8u64 << 30) as f64;
        let same = Limit { on: Subject::Figure(Figure::Vram), at_most: true, bound: Bound::Value(bound) };
        assert_eq!(limit, same);
        assert_eq!(
            (limit.admits(bound.into()), limit.admits((bound + 1.0).into())),
            (Some(true), Some(false))
        );
        let limit: Limit = " p95 <= 50ms ".parse().unwrap();
        assert_eq!(limit.to_string(), "p95 <= 50.0 ms");
        let limit: Limit = "quality >= 0.999".parse().unwrap();
        assert_eq!(limit.admits(0.9989.into()), Some(false));
    }

    #[test]
    fn a_limit_may_be_a_loss() {
        let limit: Limit = "ndcg10 >= reference - 0.5%".parse().unwrap();
        assert_eq!(limit.to_string(), "ndcg10 >= reference - 0.500%");
        let known = |value| Known { value, reference: Some(0.8) };
        assert_eq!((limit.admits(known(0.797)), limit.admits(known(0.795))), (Some(true), Some(false)));
        assert_eq!(limit.admits(0.9.into()), None);
        let points: Limit = "recall10>=reference-0.02".parse().unwrap();
        assert_eq!((points.admits(known(0.781)), points.admits(known(0.779))), (Some(true), Some(false)));
        let none: Limit = "accuracy >= reference".parse().unwrap();
        assert_eq!(none.admits(known(0.8)), Some(true));
    }

    #[test]
    fn a_limit_that_makes_no_sense_says_why() {
        let error = |text: &str| text.parse::<Limit>().unwrap_err();
        assert!(error("vrm <= 8GiB").ends_with("did you mean \"vram\"?"));
        assert!(error("vram = 8GiB").contains("is not a limit"));
        assert!(error("vram <= fast").contains("is not a size"));
        assert!(error("stability <= 0.999").contains("so write >="));
        assert!(error("throughput >= NaN").contains("is not a number"));
        assert!(error("vram >= reference - 1%").contains("and vram is not one"));
        assert!(error("ndcg10 <= reference - 1%").contains("must use >="));
        assert!(error("ndcg10 >= reference + 1%").contains("write `reference - 0.5%`"));
        assert!(error("ndcg10 >= reference - much").contains("is not a loss"));
    }
}
