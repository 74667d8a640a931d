//! The final table in the terminal.

use std::collections::BTreeMap;

use super::certificate;
use super::columns::{self, Column, NEEDED};
use super::style::Style;
use super::{gain, interval, service};
use crate::analysis::{Analysis, Provenance, Ranked, StageAnalysis, Verdict};
use crate::suite::Figure;
use crate::task::Metric;

/// Rows that are shown of a stage; the rest is in `trials.csv`.
pub const MOST_ROWS: usize = 10;

/// The whole outcome, stage by stage, with the winners last.
pub fn render(analysis: &Analysis, style: Style) -> String {
    let mut text = String::new();
    if analysis.provenance == Provenance::Predicted {
        let target = &analysis.target;
        text.push_str(
            &style.caution(&format!("PREDICTED for {target} from data sheet figures; nothing was measured")),
        );
    }
    for stage in &analysis.stages {
        text.push_str(&stage_text(stage, analysis, style));
        text.push('\n');
    }
    text.push_str(&service::text(analysis, style));
    for doubt in &analysis.doubts {
        text.push_str(&style.caution(&doubt.text()));
    }
    text
}

fn stage_text(stage: &StageAnalysis, analysis: &Analysis, style: Style) -> String {
    let mut title = format!("{} · {} · {}", stage.name, stage.model_title(), analysis.provenance.name());
    if analysis.provenance != Provenance::Nothing {
        title.push_str(&format!(" by {}", analysis.objective));
    }
    for limit in &stage.limits {
        title.push_str(&format!(", {limit}"));
    }
    let mut text = style.bold(&style.paragraph(&title));
    let able = |ranked: &&Ranked| !matches!(ranked.verdict, Verdict::Excluded { .. });
    let able: Vec<&Ranked> = stage.candidates.iter().filter(able).collect();
    let mut shown: Vec<&Ranked> = able.iter().copied().take(MOST_ROWS).collect();
    // The configuration to beat is always in sight.
    let is_shown = |ranked: &&Ranked| shown.iter().any(|other| other.summary.id == ranked.summary.id);
    shown.extend(stage.baseline().filter(|baseline| !is_shown(baseline)));
    let rows = table(stage, &shown, analysis.objective, style);
    if !rows.is_empty() {
        text.push_str(&(rows + "\n"));
    }
    if able.len() > MOST_ROWS {
        text.push_str(&format!("and {} more candidates, in trials.csv\n", able.len() - MOST_ROWS));
    }
    for line in excluded_lines(stage) {
        text.push_str(&style.paragraph(&line));
    }
    match stage.winner() {
        Some(winner) => {
            let value = winner.summary.figure(analysis.objective);
            let value = value.map(|estimate| interval(analysis.objective, estimate)).unwrap_or_default();
            let gain = gain(stage).map(|gain| format!(", {gain}")).unwrap_or_default();
            text.push_str(&style.bold(&style.paragraph(&format!("→ {} {value}{gain}", analysis.objective))));
            text.push_str(
                &style.bold(&style.paragraph(&format!("  {}", stage.label(&winner.summary.candidate)))),
            );
            for (what, line) in certificate::lines(stage) {
                text.push_str(&style.paragraph(&format!("  {what}: {line}")));
            }
        }
        None if stage.candidates.is_empty() => {
            text.push_str("Nothing was measured: continue with --resume.\n");
        }
        None => text.push_str("No candidate can win.\n"),
    }
    for doubt in &stage.doubts {
        text.push_str(&style.caution(&doubt.text()));
    }
    text
}

/// A table with a column for each knob in which the rows differ, and as many figures as the width allows.
fn table(stage: &StageAnalysis, shown: &[&Ranked], objective: Figure, style: Style) -> String {
    let mut columns = knob_columns(shown);
    columns.extend(
        figure_columns(stage, objective)
            .into_iter()
            .chain(other_metrics(stage))
            .filter(|column| column.has_some(shown)),
    );
    let baseline = stage.baseline_id.clone();
    columns.push(Column::new("verdict", NEEDED, move |ranked: &Ranked| {
        let default = if ranked.summary.id == baseline { " default" } else { "" };
        Some(format!("{}{default}", verdict_words(&ranked.verdict)))
    }));
    // Where nothing has a figure the reasons below are all there is.
    if columns.len() == 1 && !shown.iter().any(|ranked| ranked.verdict == Verdict::Won) {
        return String::new();
    }
    columns::render(columns, shown, style, |ranked| ranked.verdict == Verdict::Won)
}

fn knob_columns(shown: &[&Ranked]) -> Vec<Column<Ranked>> {
    // A knob that some backends don't have tells nothing as long as the others have one value of it.
    let differs = |value: &dyn Fn(&Ranked) -> Option<String>| {
        let mut values = shown.iter().filter_map(|ranked| value(ranked));
        let first = values.next();
        values.any(|value| Some(&value) != first.as_ref())
    };
    let backend = |ranked: &Ranked| Some(ranked.summary.candidate.backend.clone());
    let mut columns = Vec::new();
    if differs(&backend) {
        columns.push(Column::new("backend", NEEDED, backend));
    }
    let names: Vec<&String> = shown.iter().flat_map(|ranked| ranked.summary.candidate.knobs.keys()).collect();
    for (place, name) in names.iter().enumerate() {
        if names[..place].contains(name) {
            continue;
        }
        let knob = (*name).clone();
        let value = move |ranked: &Ranked| ranked.summary.candidate.knobs.get(&knob).map(ToString::to_string);
        if differs(&value) {
            columns.push(Column::new(name, NEEDED, value));
        }
    }
    columns
}

fn figure_column(title: &str, dispensable: u8, figure: Figure) -> Column<Ranked> {
    let cell = move |ranked: &Ranked| {
        let value = ranked.summary.value(figure)?;
        Some(figure.print(value).trim_end_matches(" docs/s").to_owned())
    };
    Column::number(title, dispensable, cell)
}

fn figure_columns(stage: &StageAnalysis, objective: Figure) -> Vec<Column<Ranked>> {
    // A heading breaks where it has an underscore. What quality is, its metric says.
    let metric = stage.metric.name();
    let quality = if stage.replica { format!("replica_{metric}") } else { metric.to_owned() };
    let error = move |ranked: &Ranked| {
        let estimate = ranked.summary.figure(objective)?;
        // Beyond that nothing is known but that little is.
        let words =
            |error: f64| if error < 1.0 { format!("{:.1}%", error * 100.0) } else { "> 100%".to_owned() };
        Some(estimate.relative_error().map_or("–".to_owned(), words))
    };
    let mut columns = vec![
        figure_column("docs/s", NEEDED, Figure::Throughput),
        Column::number("±", 4, error),
        figure_column("p50", 5, Figure::Latency),
        figure_column("p90", 7, Figure::P90),
        figure_column("p95", 3, Figure::P95),
        figure_column("p99", 7, Figure::P99),
        figure_column("VRAM", 2, Figure::Vram),
        figure_column("RSS", 6, Figure::Rss),
        figure_column("energy", 6, Figure::Energy),
        figure_column(&quality, 1, Figure::Quality),
    ];
    let own = match objective {
        Figure::Throughput => return columns,
        Figure::Cost => "cost/M",
        Figure::Tokens => "tokens/s",
        Figure::Latency => "p50",
        Figure::P90 => "p90",
        Figure::P95 => "p95",
        Figure::P99 => "p99",
        Figure::Vram => "VRAM",
        Figure::Rss => "RSS",
        Figure::Load => "load",
        Figure::Energy => "energy",
        Figure::Quality => &quality,
    };
    // What is tuned for stands first, and is never dropped.
    columns.retain(|column| column.title != own);
    columns.insert(0, figure_column(own, NEEDED, objective));
    columns
}

/// Agreement by the metrics that the suite didn't choose.
fn other_metrics(stage: &StageAnalysis) -> Vec<Column<Ranked>> {
    let others = stage.task.metrics().filter(|metric| *metric != stage.metric);
    let column = |metric: Metric| {
        let cell = move |ranked: &Ranked| {
            ranked.summary.agreements.get(&metric).map(|judged| format!("{:.4}", judged.value))
        };
        Column::number(&metric.name().replace('-', "_"), 5, cell)
    };
    others.map(column).collect()
}

pub fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Won => "won".to_owned(),
        Verdict::Tied { .. } => "tied".to_owned(),
        Verdict::Unclear { ratio } => format!("{:.2}×?", ratio.value),
        Verdict::Lost { ratio } => format!("{:.2}×", ratio.value),
        Verdict::Unproven { .. } => "one round".to_owned(),
        Verdict::Excluded { status, .. } => status.clone(),
    }
}

/// Those that can't win, by why and by backend, with an example of each.
fn excluded_lines(stage: &StageAnalysis) -> Vec<String> {
    let mut reasons: BTreeMap<(&str, &str), (usize, String)> = BTreeMap::new();
    for ranked in &stage.candidates {
        if let Verdict::Excluded { status, why } = &ranked.verdict {
            let candidate = &ranked.summary.candidate;
            let example = || format!("{}: {why}", stage.label(candidate));
            reasons.entry((status, &candidate.backend)).or_insert_with(|| (0, example())).0 += 1;
        }
    }
    let reasons = reasons
        .iter()
        .map(|((status, _), (count, example))| format!("{count} {status}, for example {example}"));
    let left_out = stage
        .left_out
        .iter()
        .filter(|left| left.candidates > 0)
        .map(|left| format!("{} left out: {}", left.candidates, left.because));
    reasons.chain(left_out).collect()
}
