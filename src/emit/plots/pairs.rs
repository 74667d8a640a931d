//! The pairs of a gate: how many times the base's time the new arm took in each, and the base beside itself.

use plotters::prelude::*;

use super::canvas::{self, Area, Chart, Drawn, LegendEntry};
use crate::analysis::gate::{Gated, Pair};

pub struct Pairs<'a> {
    pub pairs: &'a [Pair],
    /// A slowdown up to this is none.
    pub margin: f64,
}

impl Pairs<'_> {
    fn ratios(&self) -> impl Iterator<Item = (usize, f64, usize)> {
        self.pairs.iter().enumerate().flat_map(|(place, pair)| {
            let new = pair.ratios.get(&Gated::Time).map(|ratio| (place, *ratio, 0));
            new.into_iter().chain([(place, pair.own, 1)])
        })
    }
}

impl Chart for Pairs<'_> {
    fn title(&self) -> String {
        "Time a document, as a multiple of the base's, pair by pair".to_owned()
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let farthest = self.ratios().map(|(_, ratio, _)| ratio.ln().abs()).fold(1.5 * self.margin, f64::max);
        let reach = (1.1 * farthest).exp();
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(0.5..self.pairs.len() as f64 + 0.5, (1.0 / reach..reach).log_scale())?;
        let mut mesh = chart.configure_mesh();
        canvas::style_axes(&mut mesh);
        mesh.disable_x_mesh()
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_label_formatter(&|value| format!("{value:.3}"))
            .x_desc("Pair")
            .y_desc("times the base")
            .draw()?;
        let (base_x, base_y) = area.get_base_pixel();
        let at = |place: f64, ratio: f64| {
            let (x, y) = chart.plotting_area().map_coordinate(&(place, ratio));
            (x - base_x, y - base_y)
        };
        let ends = (0.5, self.pairs.len() as f64 + 0.5);
        for bound in [1.0 + self.margin, 1.0] {
            let dash = usize::from(bound > 1.0);
            canvas::dashed(area, &[at(ends.0, bound), at(ends.1, bound)], dash, canvas::GREY)?;
        }
        for (place, ratio, series) in self.ratios() {
            let point = at(place as f64 + 1.0, ratio);
            canvas::marker(area, point, series, canvas::colour(series), series == 0)?;
        }
        let entry = |text: &str, series| LegendEntry { text: text.to_owned(), series };
        canvas::legend(area, &[entry("the new arm", 0), entry("the base again", 1)])
    }
}
