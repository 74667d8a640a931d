//! The verdict on a promise, and what it's made of.

use serde::Serialize;

use super::statistics::Estimate;
use crate::task::Metric;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    pub says: String,
    pub verdict: PromiseVerdict,
    /// How many times the objective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Estimate>,
    /// Which share of the quality is lost, and by which metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loses: Option<(Metric, f64)>,
    /// How many times less memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smaller: Option<f64>,
    /// Whom these are figures of, and beside whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<[String; 2]>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromiseVerdict {
    Kept,
    /// Better than was promised.
    More,
    NotKept,
    /// The interval holds both.
    Unclear,
    NotMeasured,
}

impl PromiseVerdict {
    pub fn name(self) -> &'static str {
        match self {
            PromiseVerdict::Kept => "kept",
            PromiseVerdict::More => "more than promised",
            PromiseVerdict::NotKept => "not kept",
            PromiseVerdict::Unclear => "can't be told",
            PromiseVerdict::NotMeasured => "not measured",
        }
    }
}
