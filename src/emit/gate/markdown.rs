//! As Markdown, for the page that a run of CI has.

use super::{bracket, dropped, finding, loaded, trend, trust};
use crate::analysis::gate::GateReport;

/// For `$GITHUB_STEP_SUMMARY` and its like.
pub fn markdown(report: &GateReport) -> String {
    let mut text = format!(
        "### autotune gate: {}\n\n`{}` beside `{}`, suite {}, on {}\n",
        report.verdict().name(),
        report.new,
        report.base,
        report.suite,
        report.target
    );
    for stage in &report.stages {
        text.push_str(&format!("\n**{}**: {}: {}\n", stage.stage, stage.verdict.name(), stage.sentence));
        text.push_str(&loaded(stage).map(|line| format!("\n{line}\n")).unwrap_or_default());
        if !stage.figures.is_empty() {
            text.push_str("\n| figure | new/base | interval | margin | finding |\n|---|---:|---|---:|---|\n");
        }
        for row in &stage.figures {
            text.push_str(&format!(
                "| {} | {:.3} | {} | {:.1}% | {} |\n",
                row.figure.name(),
                row.ratio.value,
                bracket(row.ratio, 3),
                row.margin * 100.0,
                finding(row.finding)
            ));
        }
        if let Some(calibration) = &stage.calibration {
            text.push_str(&format!("\n{}\n", trust(calibration, stage, report)));
        }
        if !stage.dropped.is_empty() {
            text.push_str(&format!("\n{}\n", dropped(stage)));
        }
        if !stage.changes.is_empty() {
            text.push('\n');
        }
        for change in &stage.changes {
            text.push_str(&format!("- {}\n", change.in_words()));
        }
    }
    for trend in &report.trends {
        text.push_str(&format!("\n{}\n\n", trend::title(trend)));
        for line in trend::lines(trend) {
            text.push_str(&format!("- {line}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn it_has_the_verdict_first_and_a_table() {
        let markdown = markdown(&report());
        assert!(markdown.starts_with("### autotune gate: regression\n"), "{markdown}");
        assert!(markdown.contains("| time a document | 1.080 | "), "{markdown}");
        assert!(markdown.contains("\nbase: engine 1; new arm: engine 2\n"), "{markdown}");
    }
}
