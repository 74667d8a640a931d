//! How long a document took in each gate that is remembered, and the levels between changes.

use plotters::prelude::*;

use super::canvas::{self, Area, Chart, Drawn};
use crate::analysis::gate;

pub struct Trend<'a>(pub &'a gate::Trend);

impl Chart for Trend<'_> {
    fn title(&self) -> String {
        "Time a document, gate by gate".to_owned()
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let Trend(trend) = self;
        let milliseconds = |place: usize| trend.gates[place].seconds.map(|seconds| seconds * 1e3);
        let count = trend.gates.len();
        let most = (0..count).filter_map(milliseconds).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(0.5..count as f64 + 0.5, 0.0..canvas::end_of_axis(most))?;
        let mut mesh = chart.configure_mesh();
        canvas::style_axes(&mut mesh);
        mesh.disable_x_mesh()
            .x_labels(count.min(10))
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_label_formatter(&|value| canvas::tick(*value))
            .x_desc("Gate")
            .y_desc("ms a document")
            .draw()?;
        let (base_x, base_y) = area.get_base_pixel();
        let at = |place: f64, value: f64| {
            let (x, y) = chart.plotting_area().map_coordinate(&(place, value));
            (x - base_x, y - base_y)
        };
        let ends = trend.levels.iter().skip(1).map(|level| level.first).chain([count]);
        for (level, end) in trend.levels.iter().zip(ends) {
            let value = level.seconds * 1e3;
            let line = [at(level.first as f64 + 0.5, value), at(end as f64 + 0.5, value)];
            canvas::dashed(area, &line, 0, canvas::colour(1))?;
        }
        for place in 0..count {
            if let Some(value) = milliseconds(place) {
                canvas::marker(area, at(place as f64 + 1.0, value), 0, canvas::colour(0), true)?;
            }
        }
        Ok(())
    }
}
