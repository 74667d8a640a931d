//! The final table in the terminal.

use std::collections::BTreeMap;

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::analysis::{Analysis, Comparison, Doubt, Estimate, Ranked, StageAnalysis, Verdict};
use crate::suite::Figure;

/// Rows that are shown of a stage; the rest is in `trials.csv`.
const MOST_ROWS: usize = 10;

/// How the output is to look.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub width: u16,
    pub colour: bool,
}

/// The whole outcome, stage by stage, with the winners last.
pub fn render(analysis: &Analysis, style: Style) -> String {
    let mut text = String::new();
    for stage in &analysis.stages {
        text.push_str(&stage_text(stage, analysis, style));
        text.push('\n');
    }
    for doubt in &analysis.doubts {
        text.push_str(&caution(doubt, style));
    }
    text
}

fn stage_text(stage: &StageAnalysis, analysis: &Analysis, style: Style) -> String {
    let bold = |text: &str| if style.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() };
    let limits =
        if stage.limits.is_empty() { String::new() } else { format!(", {}", stage.limits.join(", ")) };
    let title = format!(
        "{} · {} · {} by {}{limits}",
        stage.name,
        stage.model,
        analysis.provenance.name(),
        analysis.objective
    );
    let mut text = bold(&title) + "\n";
    let able: Vec<&Ranked> = stage
        .candidates
        .iter()
        .filter(|ranked| !matches!(ranked.verdict, Verdict::Excluded { .. }))
        .collect();
    let mut shown: Vec<&Ranked> = able.iter().copied().take(MOST_ROWS).collect();
    // The configuration to beat is always in sight.
    let baseline = stage.baseline();
    if let Some(baseline) =
        baseline.filter(|baseline| !shown.iter().any(|ranked| ranked.summary.id == baseline.summary.id))
    {
        shown.push(baseline);
    }
    text.push_str(&table(stage, &shown, analysis.objective, style));
    text.push('\n');
    if able.len() > MOST_ROWS {
        text.push_str(&format!("and {} slower ones, in trials.csv\n", able.len() - MOST_ROWS));
    }
    for line in excluded_lines(stage) {
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&match stage.winner() {
        Some(winner) => bold(&winner_line(stage, winner, analysis.objective)) + "\n",
        None => "No candidate meets the limits.\n".to_owned(),
    });
    for doubt in &stage.doubts {
        text.push_str(&caution(doubt, style));
    }
    text
}

fn table(stage: &StageAnalysis, shown: &[&Ranked], objective: Figure, style: Style) -> String {
    let columns: Vec<Column> =
        columns(objective).into_iter().filter(|column| column.has_some(shown)).collect();
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(style.width);
    if style.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
        table.set_width(style.width);
    }
    let mut header = vec![Cell::new("candidate")];
    header.extend(columns.iter().map(|column| Cell::new(column.title).set_alignment(CellAlignment::Right)));
    header.push(Cell::new("verdict"));
    table.set_header(header);
    for ranked in shown {
        let won = ranked.verdict == Verdict::Won;
        let emphasise =
            |cell: Cell| if won && style.colour { cell.add_attribute(Attribute::Bold) } else { cell };
        let mut row = vec![emphasise(Cell::new(stage.label(&ranked.summary.candidate)))];
        row.extend(columns.iter().map(|column| {
            emphasise(
                Cell::new((column.text)(ranked).unwrap_or_else(|| "–".into()))
                    .set_alignment(CellAlignment::Right),
            )
        }));
        let default = if ranked.summary.id == stage.baseline_id { " (default)" } else { "" };
        row.push(emphasise(Cell::new(format!("{}{default}", verdict_words(&ranked.verdict)))));
        table.add_row(row);
    }
    table.to_string()
}

struct Column {
    title: &'static str,
    text: Box<dyn Fn(&Ranked) -> Option<String>>,
}

impl Column {
    fn has_some(&self, shown: &[&Ranked]) -> bool {
        shown.iter().any(|ranked| (self.text)(ranked).is_some())
    }
}

fn columns(objective: Figure) -> Vec<Column> {
    let figure = |title, figure: Figure| Column {
        title,
        text: Box::new(move |ranked: &Ranked| {
            let value = ranked.summary.value(figure)?;
            Some(figure.print(value).trim_end_matches(" docs/s").to_owned())
        }),
    };
    let error = Column {
        title: "±",
        text: Box::new(|ranked| {
            let estimate = ranked.summary.figure(Figure::Throughput)?;
            Some(format!("{:.1}%", estimate.relative_error() * 100.0))
        }),
    };
    let mut columns = vec![figure("docs/s", Figure::Throughput), error];
    columns.push(figure("p50", Figure::Latency));
    columns.push(figure("p95", Figure::P95));
    columns.push(figure("VRAM", Figure::Vram));
    columns.push(figure("RSS", Figure::Rss));
    columns.push(figure("quality", Figure::Quality));
    match objective {
        Figure::Cost => columns.insert(0, figure("cost/M", Figure::Cost)),
        Figure::Tokens => columns.insert(0, figure("tokens", Figure::Tokens)),
        Figure::Load => columns.insert(0, figure("load", Figure::Load)),
        _ => {}
    }
    columns
}

pub fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Won => "won".to_owned(),
        Verdict::Tied { .. } => "tied".to_owned(),
        Verdict::Lost { ratio } => format!("{:.2}×", ratio.value),
        Verdict::Excluded { status, .. } => status.clone(),
    }
}

/// Those that can't win, by why, with an example of each.
fn excluded_lines(stage: &StageAnalysis) -> Vec<String> {
    let mut reasons: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for ranked in &stage.candidates {
        if let Verdict::Excluded { status, why } = &ranked.verdict {
            let example = || format!("{}: {why}", stage.label(&ranked.summary.candidate));
            reasons.entry(status).or_insert_with(|| (0, example())).0 += 1;
        }
    }
    let mut lines: Vec<String> =
        reasons.iter().map(|(status, (count, example))| format!("{count} {status}, as {example}")).collect();
    lines.extend(stage.left_out.iter().map(|left| format!("{} left out: {}", left.candidates, left.because)));
    lines
}

fn winner_line(stage: &StageAnalysis, winner: &Ranked, objective: Figure) -> String {
    let value =
        winner.summary.figure(objective).map(|estimate| interval(objective, estimate)).unwrap_or_default();
    let gain = match stage.gain {
        Some(_) if stage.baseline_id == winner.summary.id => "; it is the default configuration".to_owned(),
        Some(gain) => {
            let (low, high) = (gain.low, gain.high);
            format!("; {:.2} times the default's [{low:.2}, {high:.2}]", gain.value)
        }
        None => String::new(),
    };
    format!("→ {}: {objective} {value}{gain}", stage.label(&winner.summary.candidate))
}

fn interval(figure: Figure, estimate: Estimate) -> String {
    let value = figure.print(estimate.value);
    if estimate.low < estimate.high {
        format!("{value} [{}, {}]", figure.print(estimate.low), figure.print(estimate.high))
    } else {
        value
    }
}

fn caution(doubt: &Doubt, style: Style) -> String {
    if style.colour {
        format!("\u{1b}[33m! {}\u{1b}[0m\n", doubt.text())
    } else {
        format!("! {}\n", doubt.text())
    }
}

/// Two runs, side by side.
pub fn comparison(comparison: &Comparison, style: Style) -> String {
    let objective = comparison.objective;
    let mut text = String::new();
    for stage in &comparison.stages {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.force_no_tty();
        table.set_width(style.width);
        table.set_header(["candidate", "then", "now", "now/then", "95% interval"]);
        let mut shared: Vec<_> = stage.shared.iter().collect();
        shared.sort_by(|left, right| {
            (right.ratio.value - 1.0).abs().total_cmp(&(left.ratio.value - 1.0).abs())
        });
        let varies = |knob: &str| {
            shared.iter().any(|other| other.candidate.knobs.get(knob) != shared[0].candidate.knobs.get(knob))
        };
        for shared in shared.iter().take(MOST_ROWS) {
            table.add_row([
                shared.candidate.label(|knob| !varies(knob)),
                objective.print(shared.before),
                objective.print(shared.after),
                format!("{:.3}", shared.ratio.value),
                format!("{:.3} – {:.3}", shared.ratio.low, shared.ratio.high),
            ]);
        }
        text.push_str(&format!(
            "{} · {objective} of {} candidates in both runs\n{table}\n",
            stage.name,
            shared.len()
        ));
        if stage.only_before + stage.only_after > 0 {
            text.push_str(&format!("{} only then, {} only now\n", stage.only_before, stage.only_after));
        }
        match (&stage.before, &stage.after, stage.winners) {
            (Some(then), Some(now), Some(ratio)) => text.push_str(&format!(
                "winner then {} ({}), now {} ({}): {:.3} times [{:.3}, {:.3}]\n",
                then.id,
                objective.print(then.value),
                now.id,
                objective.print(now.value),
                ratio.value,
                ratio.low,
                ratio.high
            )),
            (then, now, _) => {
                let has = |winner: bool| if winner { "a winner" } else { "no winner" };
                text.push_str(&format!("{} then, {} now\n", has(then.is_some()), has(now.is_some())));
            }
        }
    }
    for caution in &comparison.cautions {
        text.push_str(&format!("! {caution}\n"));
    }
    text
}
