//! As JUnit, for CI's list of tests.

use crate::analysis::gate::{GateReport, Verdict};

/// As a text or an attribute of XML. What stderr has said may hold characters that XML has no place for.
fn escape(text: &str) -> String {
    let kept: String = text.chars().filter(|character| !character.is_control()).collect();
    minijinja::HtmlEscape(&kept).to_string()
}

/// A test case a stage. What can't be told is an error there, which is no failure of the change.
pub fn junit(report: &GateReport) -> String {
    let count =
        |wanted: &[Verdict]| report.stages.iter().filter(|stage| wanted.contains(&stage.verdict)).count();
    let unsure = [Verdict::Ambiguous, Verdict::Invalid];
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"autotune gate: {}\" \
         tests=\"{}\" failures=\"{}\" errors=\"{}\">\n",
        escape(&report.suite),
        report.stages.len(),
        count(&[Verdict::Regression]),
        count(&unsure)
    );
    for stage in &report.stages {
        let kind = match stage.verdict {
            Verdict::Regression => Some("failure"),
            Verdict::Ambiguous | Verdict::Invalid => Some("error"),
            Verdict::Pass | Verdict::Improved => None,
        };
        let said = format!("{}: {}", stage.verdict.name(), stage.sentence);
        let inner = match kind {
            Some(kind) => format!("<{kind} message=\"{}\"/>", escape(&said)),
            None => format!("<system-out>{}</system-out>", escape(&said)),
        };
        let (name, class) = (escape(&stage.stage), escape(&report.target));
        text.push_str(&format!("    <testcase name=\"{name}\" classname=\"{class}\">{inner}</testcase>\n"));
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn a_stage_is_a_test_case() {
        let junit = junit(&report());
        assert!(
            junit.contains("name=\"autotune gate: a&lt;b\" tests=\"1\" failures=\"1\" errors=\"0\""),
            "{junit}"
        );
        assert!(junit.contains("classname=\"two &quot;cores&quot;\""), "{junit}");
        assert!(junit.contains("<failure message=\"regression: time a document +8.0%\"/>"), "{junit}");
    }
}
