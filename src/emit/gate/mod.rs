//! What a gate has found: here in the terminal, and a file for each form that CI and its services read.

mod github;
mod junit;
mod markdown;
mod metrics;
mod trend;

use std::time::Duration;

pub use github::annotations;
pub use junit::junit;
pub use markdown::markdown;
pub use metrics::{bencher, benchmark};
pub use trend::render_trends;

use super::bracket;
use super::columns::{self, Column, NEEDED};
use super::counts;
use super::style::Style;
use crate::analysis::gate::{Calibration, Compared, Finding, GateReport, GatedStage, margin_of};
use crate::units::print_duration;

/// For people: the figures, how far they can be trusted, and the verdict last.
pub fn render(report: &GateReport, style: Style) -> String {
    let mut text = String::new();
    for stage in &report.stages {
        text.push_str(&style.bold(&style.paragraph(&title(stage))));
        text.push_str(&loaded(stage).map(|line| style.paragraph(&line)).unwrap_or_default());
        if !stage.figures.is_empty() {
            let rows: Vec<&Compared> = stage.figures.iter().collect();
            text.push_str(&columns::render(figure_columns(), &rows, style, |row| {
                row.finding == Finding::Regression
            }));
            text.push('\n');
        }
        if let Some(calibration) = &stage.calibration {
            text.push_str(&style.paragraph(&trust(calibration, stage, report)));
        }
        if !stage.dropped.is_empty() {
            text.push_str(&style.caution(&dropped(stage)));
        }
        text.push_str(&counts::lines(&stage.changes, style));
        let verdict = format!("→ {}: {}", stage.verdict.name(), stage.sentence);
        text.push_str(&style.bold(&style.paragraph(&verdict)));
    }
    text + &render_trends(&report.trends, style)
}

/// What was compared, and by how much.
fn title(stage: &GatedStage) -> String {
    // What was counted says all of it in its name.
    if stage.pairs.is_empty() && stage.figures.is_empty() {
        return stage.stage.clone();
    }
    format!("{} · {} · {} pairs", stage.stage, stage.candidate.backend, stage.pairs.len())
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
fn trust(calibration: &Calibration, stage: &GatedStage, report: &GateReport) -> String {
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
    format!(
        "the base beside itself: {} noise a pair; false alarms at this setting: {}{between}; {found}{}",
        percent(calibration.noise),
        percent(alarms.value),
        more(stage, report).map(|more| format!(". {more}")).unwrap_or_default()
    )
}

/// What it would take to find twice the margin, where the pairs are too few for that.
fn more(stage: &GatedStage, report: &GateReport) -> Option<String> {
    let needed = stage.needed.filter(|needed| *needed > stage.pairs.len())?;
    let time = Duration::try_from_secs_f64((stage.pair_seconds? * needed as f64).round()).ok()?;
    let own: Vec<f64> = stage.pairs.iter().map(|pair| pair.own).collect();
    let margin = margin_of(&own, stage.pairs.len(), report.rule, stage.figures.len()) * 100.0;
    Some(format!(
        "To find twice the margin takes {needed} pairs, about {}: raise --time; or use --margin {}%, for which these were enough",
        print_duration(time),
        (margin * 10.0).ceil() / 10.0
    ))
}

/// What the arms have loaded, once if it's the same.
fn loaded(stage: &GatedStage) -> Option<String> {
    let [base, new] = &stage.versions;
    let versions = match (base.is_empty(), base == new) {
        (true, _) => None,
        (false, true) => Some(format!("both arms: {base}")),
        (false, false) => Some(format!("base: {base}; new arm: {new}")),
    };
    let other = stage.new_candidate.as_ref().map(|new| {
        let same = |knob: &str| stage.candidate.word(knob) == new.word(knob);
        format!("the new arm's configuration differs: {}", new.label(same))
    });
    let lines: Vec<String> = versions.into_iter().chain(other).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn dropped(stage: &GatedStage) -> String {
    let example = stage.dropped.first().map(String::as_str).unwrap_or_default();
    let example = match stage.pairs.is_empty() {
        true => format!("{example} (--other-load 100% takes every pair)"),
        false => example.to_owned(),
    };
    match stage.dropped.len() {
        1 => format!("1 pair was set aside: {example}"),
        count => format!("{count} pairs were set aside, for example: {example}"),
    }
}

#[cfg(test)]
pub mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::analysis::gate::{Gated, Rule, Verdict};
    use crate::analysis::{Estimate, gate::Pair};
    use crate::knob::Candidate;

    pub fn report() -> GateReport {
        let own = Pair { seconds: 0.004, ratios: IndexMap::from([(Gated::Time, 1.08)]), own: 1.02 };
        GateReport {
            suite: "a<b".to_owned(),
            target: "two \"cores\"".to_owned(),
            base: "old".to_owned(),
            new: "new".to_owned(),
            rule: Rule { margin: 0.01, error: 0.01 },
            stages: vec![GatedStage {
                stage: "embed".to_owned(),
                candidate: Candidate { backend: "candle".to_owned(), knobs: IndexMap::new() },
                new_candidate: None,
                versions: ["engine 1", "engine 2"].map(String::from),
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
                pair_seconds: Some(2.0),
                turns: Some(4),
                pairs: vec![own; 12],
                dropped: vec!["its passes kept getting faster".to_owned()],
                changes: Vec::new(),
            }],
            trends: Vec::new(),
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
                "takes 60 pairs, about 2m 00s: raise --time; or use --margin ",
                "base: engine 1; new arm: engine 2",
                "! 1 pair was set aside: its passes kept getting faster",
                "→ regression: time a document +8.0%",
            ] {
                assert!(words.contains(wanted), "{wanted}: {words}");
            }
        }
    }
}
