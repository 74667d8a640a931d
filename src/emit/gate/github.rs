//! As annotations, which GitHub shows at the top of a run.

use crate::analysis::gate::{GateReport, Verdict};

/// A line a stage, in the words of GitHub's workflow commands.
pub fn annotations(report: &GateReport) -> String {
    let line = |stage: &crate::analysis::gate::GatedStage| {
        let level = match stage.verdict {
            Verdict::Regression => "error",
            Verdict::Ambiguous | Verdict::Invalid => "warning",
            Verdict::Pass | Verdict::Improved => "notice",
        };
        let title = property(&format!("autotune gate, {}: {}", stage.stage, stage.verdict.name()));
        format!("::{level} title={title}::{}\n", data(&stage.sentence))
    };
    report.stages.iter().map(line).collect()
}

/// A message. What ends a line, or begins an escape, is escaped.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value of a property, in which colons and commas mean something, too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn what_means_something_to_github_is_escaped() {
        let mut report = report();
        report.stages[0].sentence = "100% worse\nin two lines: yes".to_owned();
        assert_eq!(
            annotations(&report),
            "::error title=autotune gate%2C embed%3A regression::100%25 worse%0Ain two lines: yes\n"
        );
    }
}
