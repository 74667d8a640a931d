//! The figures that an objective, a limit and a chart speak of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::problem::unknown;
use crate::units::{Bytes, parse_duration, print_duration, significant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    Throughput,
    Tokens,
    Latency,
    P90,
    P95,
    P99,
    Vram,
    Rss,
    Load,
    Cost,
    Energy,
    Quality,
}

/// How a figure is written.
enum Unit {
    Number(&'static str),
    Seconds,
    Bytes,
    Money,
    Share,
}

impl Figure {
    pub const ALL: [Figure; 12] = [
        Figure::Throughput,
        Figure::Tokens,
        Figure::Latency,
        Figure::P90,
        Figure::P95,
        Figure::P99,
        Figure::Vram,
        Figure::Rss,
        Figure::Load,
        Figure::Cost,
        Figure::Energy,
        Figure::Quality,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Figure::Throughput => "throughput",
            Figure::Tokens => "tokens",
            Figure::Latency => "latency",
            Figure::P90 => "p90",
            Figure::P95 => "p95",
            Figure::P99 => "p99",
            Figure::Vram => "vram",
            Figure::Rss => "rss",
            Figure::Load => "load",
            Figure::Cost => "cost",
            Figure::Energy => "energy",
            Figure::Quality => "quality",
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Figure::Throughput => "documents a second, end to end",
            Figure::Tokens => "tokens a second, padding not counted",
            Figure::Latency => "median time of a batch, end to end",
            Figure::P90 => "time within which 90 of 100 batches are done",
            Figure::P95 => "time within which 95 of 100 batches are done",
            Figure::P99 => "time within which 99 of 100 batches are done",
            Figure::Vram => "peak device memory",
            Figure::Rss => "peak memory of the worker's processes on the host",
            Figure::Load => "time to load the model",
            Figure::Cost => "price of a million documents (needs price_per_hour)",
            Figure::Energy => "energy that the GPU uses for a document, in joules",
            Figure::Quality => "quality of the answers, by the stage's metric",
        }
    }

    pub fn more_is_better(self) -> bool {
        matches!(self, Figure::Throughput | Figure::Tokens | Figure::Quality)
    }

    /// Of a percentile: the share of the batches that are done in time.
    pub fn share_of_batches(self) -> Option<f64> {
        match self {
            Figure::P90 => Some(0.90),
            Figure::P95 => Some(0.95),
            Figure::P99 => Some(0.99),
            _ => None,
        }
    }

    fn unit(self) -> Unit {
        match self {
            Figure::Throughput => Unit::Number("docs/s"),
            Figure::Tokens => Unit::Number("tokens/s"),
            Figure::Latency | Figure::P90 | Figure::P95 | Figure::P99 | Figure::Load => Unit::Seconds,
            Figure::Vram | Figure::Rss => Unit::Bytes,
            Figure::Cost => Unit::Money,
            Figure::Energy => Unit::Number("J/doc"),
            Figure::Quality => Unit::Share,
        }
    }

    /// Prints a value with its unit.
    pub fn print(self, value: f64) -> String {
        match self.unit() {
            Unit::Number(unit) => format!("{} {unit}", significant(value)),
            Unit::Seconds => {
                std::time::Duration::try_from_secs_f64(value).map_or_else(|_| "–".to_owned(), print_duration)
            }
            Unit::Bytes => Bytes(value as u64).to_string(),
            Unit::Money => significant(value),
            // Four places: limits such as 0.999 must be told from what misses them.
            Unit::Share => format!("{value:.4}"),
        }
    }

    pub fn parse_value(self, text: &str) -> Result<f64, String> {
        match self.unit() {
            Unit::Bytes => {
                text.parse::<Bytes>().map(|bytes| bytes.0 as f64).map_err(|error| error.to_string())
            }
            Unit::Seconds => {
                parse_duration(text).map(|duration| duration.as_secs_f64()).map_err(|error| error.to_string())
            }
            Unit::Number(_) | Unit::Money | Unit::Share => text
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .ok_or_else(|| format!("{:?} is not a number", text.trim())),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Figure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let found = Figure::ALL.into_iter().find(|figure| figure.name() == text);
        found.ok_or_else(|| unknown("figure", text, Figure::ALL.map(Figure::name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_print_with_their_units() {
        assert_eq!(Figure::Throughput.print(163.7), "164 docs/s");
        assert_eq!(Figure::Vram.print(1e9), "954 MiB");
        assert_eq!(Figure::P95.print(0.0123), "12.3 ms");
        assert_eq!(Figure::P95.print(f64::NAN), "–");
        assert_eq!(Figure::Energy.print(0.123), "0.123 J/doc");
    }
}
