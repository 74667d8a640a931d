//! What a gate has found: in the terminal, as Markdown for a page of CI, as JUnit for its list of tests.

use super::bracket;
use super::columns::{self, Column, NEEDED};
use super::style::Style;
use crate::analysis::gate::{Calibration, Compared, Finding, GateReport, GatedStage, Verdict};

/// For people: the figures, how far they can be trusted, and the verdict last.
pub fn render(report: &GateReport, style: Style) -> String {
    let mut text = String::new();
    for stage in &report.stages {
        let title = format!("{} · {} · {} pairs", stage.stage, stage.candidate.backend, stage.pairs.len());
        text.push_str(&style.bold(&style.paragraph(&title)));
        if !stage.figures.is_empty() {
            let rows: Vec<&Compared> = stage.figures.iter().collect();
            text.push_str(&columns::render(figure_columns(), &rows, style, |row| {
                row.finding == Finding::Regression
            }));
            text.push('\n');
        }
        if let Some(calibration) = &stage.calibration {
            text.push_str(&style.paragraph(&trust(calibration, stage)));
        }
        if !stage.dropped.is_empty() {
            text.push_str(&style.caution(&dropped(stage)));
        }
        let verdict = format!("→ {}: {}", stage.verdict.name(), stage.sentence);
        text.push_str(&style.bold(&style.paragraph(&verdict)));
    }
    text
}

fn figure_columns() -> Vec<Column<Compared>> {
    vec![
        Column::new("figure", NEEDED, |row: &Compared| Some(row.figure.name().to_owned())),
        Column::number("new/base", NEEDED, |row: &Compared| Some(format!("{:.3}", row.ratio.value))),
        Column::new("interval", 1, |row: &Compared| Some(bracket(row.ratio, 3))),
        Column::number("margin", 2, |row: &Compared| Some(format!("{:.1}%", row.margin * 100.0))),
        Column::new("finding", NEEDED, |row: &Compared| Some(finding(row.finding).to_owned())),
    ]
}

fn finding(finding: Finding) -> &'static str {
    match finding {
        Finding::Pass => "not worse",
        Finding::Improved => "better",
        Finding::Regression => "worse",
        Finding::Ambiguous => "can't tell",
    }
}

/// What the gate can tell here.
fn trust(calibration: &Calibration, stage: &GatedStage) -> String {
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let alarms = calibration.false_alarms;
    let between = alarms
        .interval
        .map(|interval| format!(" ({} to {})", percent(interval.low), percent(interval.high)))
        .unwrap_or_default();
    let found = match calibration.smallest {
        Some(smallest) => format!("the smallest slowdown found 9 times in 10: {}", percent(smallest)),
        None => "not even a doubling is found 9 times in 10".to_owned(),
    };
    let needed = stage.needed.filter(|needed| *needed > stage.pairs.len());
    let more = needed.map(|needed| {
        format!(". It would take {needed} pairs to find twice the margin: raise --time or --margin")
    });
    format!(
        "the base beside itself: {} noise a pair; false alarms at this setting: {}{between}; {found}{}",
        percent(calibration.noise),
        percent(alarms.value),
        more.unwrap_or_default()
    )
}

fn dropped(stage: &GatedStage) -> String {
    let example = stage.dropped.first().map(String::as_str).unwrap_or_default();
    match stage.dropped.len() {
        1 => format!("1 pair was set aside: {example}"),
        count => format!("{count} pairs were set aside, for example: {example}"),
    }
}

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
            text.push_str(&format!("\n{}\n", trust(calibration, stage)));
        }
        if !stage.dropped.is_empty() {
            text.push_str(&format!("\n{}\n", dropped(stage)));
        }
    }
    text
}

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
    use indexmap::IndexMap;

    use super::*;
    use crate::analysis::gate::{Gated, Rule};
    use crate::analysis::{Estimate, gate::Pair};
    use crate::knob::Candidate;

    fn report() -> GateReport {
        let own = Pair { ratios: IndexMap::from([(Gated::Time, 1.08)]), own: 1.0 };
        GateReport {
            suite: "a<b".to_owned(),
            target: "two \"cores\"".to_owned(),
            base: "old".to_owned(),
            new: "new".to_owned(),
            rule: Rule { margin: 0.01, error: 0.01 },
            stages: vec![GatedStage {
                stage: "embed".to_owned(),
                candidate: Candidate { backend: "candle".to_owned(), knobs: IndexMap::new() },
                verdict: Verdict::Regression,
                sentence: "time a document +8.0%".to_owned(),
                figures: vec![Compared {
                    figure: Gated::Time,
                    ratio: Estimate::between(1.06, 1.08, 1.10),
                    margin: 0.01,
                    finding: Finding::Regression,
                    pairs: 12,
                }],
                answers: IndexMap::new(),
                calibration: Some(Calibration {
                    pairs: 12,
                    noise: 0.021,
                    false_alarms: Estimate::between(0.0, 0.004, 0.012),
                    smallest: Some(0.055),
                }),
                needed: Some(60),
                pairs: vec![own; 12],
                dropped: vec!["its passes kept getting faster".to_owned()],
            }],
        }
    }

    #[test]
    fn the_terminal_says_what_how_much_and_how_sure() {
        for width in [80, 120] {
            let text = render(&report(), Style { width, colour: false });
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for wanted in [
                "1.080",
                "worse",
                "false alarms at this setting: 0.4% (0.0% to 1.2%)",
                "found 9 times in 10: 5.5%",
                "It would take 60 pairs",
                "! 1 pair was set aside: its passes kept getting faster",
                "→ regression: time a document +8.0%",
            ] {
                assert!(words.contains(wanted), "{wanted}: {words}");
            }
        }
    }

    #[test]
    fn markdown_and_junit_say_the_same() {
        let markdown = markdown(&report());
        assert!(markdown.starts_with("### autotune gate: regression\n"), "{markdown}");
        assert!(markdown.contains("| time a document | 1.080 | "), "{markdown}");
        let junit = junit(&report());
        assert!(
            junit.contains("name=\"autotune gate: a&lt;b\" tests=\"1\" failures=\"1\" errors=\"0\""),
            "{junit}"
        );
        assert!(junit.contains("classname=\"two &quot;cores&quot;\""), "{junit}");
        assert!(junit.contains("<failure message=\"regression: time a document +8.0%\"/>"), "{junit}");
    }
}
