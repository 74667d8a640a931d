//! How far the best choice of each search is from the grid's best, after each trial.

use plotters::prelude::*;

use super::canvas::{self, Area, Chart, Drawn, LegendEntry};
use crate::replay::Score;

/// Below this a regret is drawn at the lower edge: on a log scale there is no nothing.
const LEAST: f64 = 0.001;

pub struct Regret<'a> {
    pub scores: &'a [Score],
}

impl Chart for Regret<'_> {
    fn title(&self) -> String {
        "How much slower than the best: mean of each search's best choice".to_owned()
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let trials = self.scores.iter().map(|score| score.regrets.len()).max().unwrap_or(1).max(2);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(1.0..trials as f64, (LEAST..3.0).log_scale())?;
        let mut mesh = chart.configure_mesh();
        canvas::style_axes(&mut mesh);
        mesh.disable_x_mesh()
            .x_label_formatter(&|value| canvas::tick(*value))
            .y_label_formatter(&|value| format!("{}%", canvas::tick(value * 100.0)))
            .x_desc("Trial")
            .y_desc("slower than the best")
            .draw()?;
        let (base_x, base_y) = area.get_base_pixel();
        let at = |trial: usize, regret: f64| {
            let point = (trial as f64 + 1.0, regret.clamp(LEAST, 3.0));
            let (x, y) = chart.plotting_area().map_coordinate(&point);
            (x - base_x, y - base_y)
        };
        let mut entries = Vec::new();
        for (series, score) in self.scores.iter().take(canvas::MOST_SERIES).enumerate() {
            let line: Vec<_> =
                score.regrets.iter().enumerate().map(|(trial, regret)| at(trial, *regret)).collect();
            canvas::dashed(area, &line, series, canvas::colour(series))?;
            let every = (line.len() / 6).max(1);
            for point in line.iter().skip(every / 2).step_by(every) {
                canvas::marker(area, *point, series, canvas::colour(series), true)?;
            }
            entries.push(LegendEntry { text: score.search.to_owned(), series });
        }
        canvas::legend(area, &entries)
    }
}
