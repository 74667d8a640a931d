//! What is wrong with a suite, where, and what was probably meant.

use std::ops::Range;

use crate::units::did_you_mean;

/// One clear error: `suites/demo.toml:12:5: no knob "bach_size"; did you mean "batch_size"?`
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// A file with line and column, or the flag of the command line that is to blame.
    pub place: String,
    pub message: String,
}

impl Problem {
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { place: place.into(), message: message.into() }
    }
}

/// A text with a name, to say where in it something is.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Text<'_> {
    pub fn place(&self, span: Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        format!("{}:{line}:{column}", self.name)
    }

    pub fn problem(&self, span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem::new(self.place(span), message)
    }

    /// Turns an error of the TOML reader into a problem, and names what was probably meant.
    pub fn reader_problem(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().trim();
        // serde writes: unknown field `bach`, expected one of `batch`, `name` (or `unknown variant`).
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let hint = match quoted.split_first() {
            Some((given, known)) if message.starts_with("unknown") => {
                did_you_mean(given, known.iter().copied())
            }
            _ => String::new(),
        };
        self.problem(span, format!("{message}{hint}"))
    }
}

/// That nothing is called so, what there is, and what was probably meant.
pub fn unknown<'a>(kind: &str, given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let hint = did_you_mean(given, known.iter().copied());
    format!("unknown {kind} {given:?}; available: {}{hint}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let text = Text { name: "suite.toml", text: "é = 1\n  ünder = 2\n" };
        assert_eq!(text.place(0..1), "suite.toml:1:1");
        assert_eq!(text.place(9..10), "suite.toml:2:3");
        assert_eq!(text.place(900..901), "suite.toml:3:1");
    }
}
