//! The charts of a run, one file each, as SVG and PNG.
//!
//! Readable at 800 pixels, and without colour: series differ by marker and by dash, parts of bars carry their names.

mod canvas;
mod curves;
mod pairs;
mod pareto;
mod progress;
mod regret;
mod split;
mod trend;

use std::path::Path;

use canvas::Caption;
pub use canvas::Plot;

use crate::analysis::gate::{GateReport, GatedStage, Trend};
use crate::analysis::{Analysis, StageAnalysis};
use crate::record::Recording;
use crate::replay::{Grid, Score};
use crate::suite::Figure;

/// Draws every chart of a run that there is data for.
pub fn draw(analysis: &Analysis, recordings: &[Recording], scratch: &Path) -> anyhow::Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for stage in &analysis.stages {
        let caption = Caption::of(stage, analysis);
        for knob in numeric_knobs(stage) {
            for figure in [Figure::Throughput, memory_figure(stage)] {
                let word = if figure == Figure::Throughput { "throughput" } else { "memory" };
                if let Some(curves) = curves::Curves::of(stage, &knob, figure, analysis.objective) {
                    let name = format!("{}-{word}-by-{knob}", stage.name);
                    plots.push(canvas::render(&name, scratch, &caption, &curves)?);
                }
            }
        }
        for knob in numeric_knobs(stage) {
            // What the knob can give: the best by quality at each value, not the fastest.
            let curves = curves::Curves::of(stage, &knob, Figure::Quality, Figure::Quality);
            if let Some(curves) = curves.filter(curves::Curves::varies) {
                let name = format!("{}-quality-by-{knob}", stage.name);
                plots.push(canvas::render(&name, scratch, &caption, &curves)?);
            }
        }
        if let Some(pareto) = pareto::Pareto::of(stage) {
            plots.push(canvas::render(&format!("{}-pareto", stage.name), scratch, &caption, &pareto)?);
        }
        if let Some(split) = split::SplitBars::of(stage) {
            plots.push(canvas::render(&format!("{}-stage-split", stage.name), scratch, &caption, &split)?);
        }
        if let Some(progress) = progress::Progress::of(stage, analysis.objective, recordings) {
            plots.push(canvas::render(
                &format!("{}-search-progress", stage.name),
                scratch,
                &caption,
                &progress,
            )?);
        }
    }
    Ok(plots)
}

/// The regret of searches that played on a recorded grid, trial by trial.
pub fn regret(scores: &[Score], grid: &Grid, told: &str, seeds: u64, scratch: &Path) -> anyhow::Result<Plot> {
    let text = format!("{}, {} configurations · replayed with {seeds} seeds, {told}", grid.name, grid.len());
    let caption = Caption { stage: grid.name.clone(), text };
    canvas::render(&format!("{}-regret", grid.name), scratch, &caption, &regret::Regret { scores })
}

/// The pairs of one stage of a gate.
pub fn pairs(stage: &GatedStage, report: &GateReport, scratch: &Path) -> anyhow::Result<Plot> {
    let text = format!("{} beside {}, {} · {}", report.new, report.base, stage.stage, report.target);
    let caption = Caption { stage: stage.stage.clone(), text };
    let chart = pairs::Pairs { pairs: &stage.pairs, margin: report.rule.margin };
    canvas::render(&format!("{}-pairs", stage.stage), scratch, &caption, &chart)
}

/// The remembered gates of one stage.
pub fn trend(of: &Trend, scratch: &Path) -> anyhow::Result<Plot> {
    let caption = Caption { stage: of.stage.clone(), text: format!("{} · {}", of.stage, of.setting) };
    canvas::render(&format!("{}-trend", of.stage), scratch, &caption, &trend::Trend(of))
}

/// Swept knobs whose values are numbers.
fn numeric_knobs(stage: &StageAnalysis) -> Vec<String> {
    let numeric = |knob: &&String| {
        let mut values =
            stage.candidates.iter().filter_map(|ranked| ranked.summary.candidate.knobs.get(*knob));
        values.all(|value| value.number().is_some())
    };
    stage.swept.iter().filter(numeric).cloned().collect()
}

/// Device memory where it's known, or else the host's.
fn memory_figure(stage: &StageAnalysis) -> Figure {
    let known = stage.candidates.iter().any(|ranked| ranked.summary.value(Figure::Vram).is_some());
    if known { Figure::Vram } else { Figure::Rss }
}
