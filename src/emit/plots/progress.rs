//! The search as it went: each trial's figure, and the best so far.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Area, Chart, Drawn};
use crate::analysis::{StageAnalysis, Verdict, figure_of_trial};
use crate::record::Recording;
use crate::suite::Figure;

pub struct Progress {
    objective: Figure,
    trials: Vec<Trial>,
}

#[derive(Clone, Copy)]
enum Trial {
    Able(f64),
    /// Measured, and its candidate can't win.
    Excluded(f64),
    Failed,
}

impl Progress {
    pub fn of(stage: &StageAnalysis, objective: Figure, recordings: &[Recording]) -> Option<Progress> {
        let excluded = |id: &str| {
            let ranked = stage.candidates.iter().find(|ranked| ranked.summary.id == id);
            ranked.is_some_and(|ranked| matches!(ranked.verdict, Verdict::Excluded { .. }))
        };
        let trials: Vec<Trial> = recordings
            .iter()
            .filter(|recording| recording.stage == stage.name)
            .map(|recording| match value(recording, objective) {
                None => Trial::Failed,
                Some(value) if excluded(&recording.id) => Trial::Excluded(value),
                Some(value) => Trial::Able(value),
            })
            .collect();
        let drawn = trials.iter().any(|trial| !matches!(trial, Trial::Failed));
        drawn.then_some(Progress { objective, trials })
    }

    /// A trial's number and the best figure of all trials up to it.
    fn best_so_far(&self) -> Vec<(f64, f64)> {
        let mut best: Option<f64> = None;
        let mut steps = Vec::new();
        for (index, trial) in self.trials.iter().enumerate() {
            if let Trial::Able(value) = *trial {
                let better = if self.objective.more_is_better() { f64::max } else { f64::min };
                let now = best.map_or(value, |best| better(best, value));
                if let Some(before) = best.filter(|before| *before != now) {
                    steps.push((index as f64 + 1.0, before));
                }
                best = Some(now);
            }
            steps.extend(best.map(|best| (index as f64 + 1.0, best)));
        }
        steps
    }
}

/// The objective of a single trial. Of the cost, throughput: the price is the same for all, so they tell the same story.
fn value(recording: &Recording, objective: Figure) -> Option<f64> {
    let figure = if objective == Figure::Cost { Figure::Throughput } else { objective };
    figure_of_trial(recording, figure, None)
}

impl Chart for Progress {
    fn title(&self) -> String {
        format!("Search progress: {} of each trial", self.objective)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let (unit, scale) = match self.objective {
            Figure::Throughput | Figure::Cost => ("docs/s", 1.0),
            Figure::Tokens => ("tokens/s", 1.0),
            Figure::Latency | Figure::P90 | Figure::P95 | Figure::P99 | Figure::Load => ("ms", 1e-3),
            Figure::Vram | Figure::Rss => ("MiB", crate::units::Bytes::MIB as f64),
            Figure::Energy => ("J/doc", 1.0),
            Figure::Quality => ("share", 1.0),
        };
        let values = self.trials.iter().filter_map(|trial| match trial {
            Trial::Able(value) | Trial::Excluded(value) => Some(value / scale),
            Trial::Failed => None,
        });
        let most = canvas::end_of_axis(values.fold(0.0, f64::max));
        let height = area.dim_in_pixel().1 - 36;
        let (above, below) = area.split_vertically(height);
        let mut chart = ChartBuilder::on(&above)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(0.0..self.trials.len() as f64 + 1.0, 0.0..most)?;
        let mut mesh = chart.configure_mesh();
        canvas::style_axes(&mut mesh);
        mesh.disable_x_mesh()
            .y_labels(6)
            .x_label_formatter(&|value| canvas::tick(*value))
            .y_label_formatter(&|value| canvas::tick(*value))
            .x_desc("Trial")
            .y_desc(format!("{} ({unit})", self.objective))
            .draw()?;
        let (base_x, base_y) = above.get_base_pixel();
        let at = |trial: f64, value: f64| {
            let (x, y) = chart.plotting_area().map_coordinate(&(trial, value / scale));
            (x - base_x, y - base_y)
        };
        let steps: Vec<_> = self.best_so_far().iter().map(|(trial, value)| at(*trial, *value)).collect();
        canvas::dashed(&above, &steps, 0, canvas::colour(2))?;
        for (index, trial) in self.trials.iter().enumerate() {
            let number = index as f64 + 1.0;
            match *trial {
                Trial::Able(value) => canvas::marker(&above, at(number, value), 0, canvas::colour(0), false)?,
                Trial::Excluded(value) => {
                    canvas::marker(&above, at(number, value), 2, canvas::colour(1), false)?
                }
                Trial::Failed => {
                    let (x, y) = at(number, 0.0);
                    canvas::cross(&above, (x, y - 8), canvas::colour(1))?;
                }
            }
        }
        canvas::marker(&below, (70, 14), 0, canvas::colour(0), false)?;
        canvas::label(&below, "trial", (84, 14), (HPos::Left, VPos::Center), canvas::INK)?;
        canvas::dashed(&below, &[(160, 14), (190, 14)], 0, canvas::colour(2))?;
        canvas::label(&below, "best so far", (198, 14), (HPos::Left, VPos::Center), canvas::INK)?;
        canvas::marker(&below, (320, 14), 2, canvas::colour(1), false)?;
        canvas::label(&below, "misses a limit", (334, 14), (HPos::Left, VPos::Center), canvas::INK)?;
        canvas::cross(&below, (470, 14), canvas::colour(1))?;
        canvas::label(&below, "failed", (484, 14), (HPos::Left, VPos::Center), canvas::INK)
    }
}
