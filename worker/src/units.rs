//! Bytes, durations, figures and names: parse what people write, print what people read, and the one definition of a
//! quantile.
//!
//! Knows nobody.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of bytes. Prints in binary units, parses binary (`GiB`) and decimal (`GB`) ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

impl Bytes {
    pub const MIB: u64 = 1 << 20;
    pub const GIB: u64 = 1 << 30;
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            // 1000 and not 1024, so that no figure needs four digits.
            if value < 1000.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        write!(out, "{} {unit}", significant(value))
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error =
            || UnitError { text: text.trim().to_owned(), expected: "a size such as 8GiB, 512 MiB or 1e9" };
        let (number, unit) = split_unit(text).ok_or_else(error)?;
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kib" | "k" => 1024.0,
            "mib" | "m" => 1024f64.powi(2),
            "gib" | "g" => 1024f64.powi(3),
            "tib" | "t" => 1024f64.powi(4),
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            _ => return Err(error()),
        };
        let bytes = number * scale;
        // 2^53: beyond it an f64 no longer holds every whole number.
        if !(0.0..=9_007_199_254_740_992.0).contains(&bytes) {
            return Err(error());
        }
        Ok(Bytes(bytes.round() as u64))
    }
}

/// Parses `250ms`, `90s`, `10m`, `1h30m`. A bare number has no unit and is refused.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError {
        text: text.trim().to_owned(),
        expected: "a duration such as 250ms, 90s, 10m or 1h30m",
    };
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(error)?;
        let number: f64 = rest[..digits].parse().map_err(|_| error())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return Err(error()),
            };
        rest = rest[letters..].trim_start();
    }
    // A year bounds it, so that no later sum of durations overflows.
    if seconds > 366.0 * 86400.0 {
        return Err(error());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Prints a duration in its one or two largest units: `1h 30m`, `2m 03s`, `4.51 s`, `12.0 ms`.
pub fn print_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 3600.0 {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{}h {:02}m", minutes / 60, minutes % 60)
    } else if seconds >= 100.0 {
        let whole = seconds.round() as u64;
        format!("{}m {:02}s", whole / 60, whole % 60)
    } else if seconds >= 1.0 || seconds == 0.0 {
        format!("{} s", significant(seconds))
    } else if seconds >= 1e-3 {
        format!("{} ms", significant(seconds * 1e3))
    } else {
        format!("{} µs", significant(seconds * 1e6))
    }
}

/// Three significant digits, which is all that a benchmark on a shared machine can carry.
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    if magnitude >= 99.95 || magnitude == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 9.995 {
        format!("{value:.1}")
    } else if magnitude >= 0.9995 {
        format!("{value:.2}")
    } else if magnitude >= 0.0995 {
        format!("{value:.3}")
    } else if magnitude >= 1e-4 {
        format!("{value:.4}")
    } else {
        format!("{value:.1e}")
    }
}

/// Prints a whole number with its thousands apart: `5,120`.
pub fn print_count(count: u64) -> String {
    let digits = count.to_string();
    let mut printed = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            printed.push(',');
        }
        printed.push(digit);
    }
    printed
}

/// The value below which `share` of a sorted list lies, between its neighbours where it falls between two.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share.clamp(0.0, 1.0) * (sorted.len().checked_sub(1)?) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// The middle of them, whatever their order; nothing of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The number in front of a unit, and the unit.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    // `e` belongs to the number only before a digit, so that `1e9` works and `8 exa` doesn't.
    let mut end = 0;
    let bytes = text.as_bytes();
    while end < bytes.len() {
        let exponent =
            matches!(bytes[end], b'e' | b'E') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !(bytes[end].is_ascii_digit() || matches!(bytes[end], b'.' | b'-') || exponent) {
            break;
        }
        end += 1;
    }
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim()))
}

/// `; did you mean "x"?`, or nothing if no name is near.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        // Further away the nearest name is a surprise, not a help; one slip in a short name is near.
        .filter(|(likeness, name)| *likeness > 0.75 || strsim::damerau_levenshtein(given, name) <= 1)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        for (text, bytes) in [
            ("8GiB", 8 << 30),
            ("512 MiB", 512 << 20),
            ("1.5g", 3 << 29),
            ("8GB", 8_000_000_000),
            ("1e9", 1_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "GiB", "8 exa", "-1", "1e99", "8 GiB of memory", "é"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_units_only() {
        for (text, seconds) in [("250ms", 0.25), ("90s", 90.0), ("1h30m", 5400.0), ("1m 5s", 65.0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "10", "m", "10 parsecs", "-1s", "1..5s", "9999999h", "10é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn figures_keep_three_digits() {
        let printed: Vec<_> =
            [1234.5, 99.96, 56.78, 1.0, 0.99, 0.0123, 0.0, f64::NAN].map(significant).into();
        assert_eq!(printed, ["1234", "100", "56.8", "1.00", "0.990", "0.0123", "0", "–"]);
        assert_eq!(Bytes(6258 << 20).to_string(), "6.11 GiB");
        assert_eq!(Bytes(1023).to_string(), "0.999 KiB");
        assert_eq!([0, 999, 5120, 1_234_567].map(print_count), ["0", "999", "5,120", "1,234,567"]);
        assert_eq!(print_duration(Duration::from_millis(123_400)), "2m 03s");
        assert_eq!(print_duration(Duration::from_micros(4510)), "4.51 ms");
    }

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("bach_size", ["batch_size", "dtype"]), "; did you mean \"batch_size\"?");
        assert_eq!(did_you_mean("zzz", ["batch_size", "dtype"]), "");
    }
}
