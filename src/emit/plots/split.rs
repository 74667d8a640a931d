//! Where the time of a pass went, for the winner, the default and some others.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Area, Chart, Drawn};
use crate::analysis::{StageAnalysis, Verdict};
use crate::pipeline::Split;
use crate::suite::Figure;

/// Bars that fit at a readable height.
const MOST_BARS: usize = 6;

pub struct SplitBars {
    bars: Vec<Bar>,
}

struct Bar {
    name: String,
    /// Milliseconds a document, by [`Split::NAMES`].
    parts: [f64; 6],
}

impl SplitBars {
    pub fn of(stage: &StageAnalysis) -> Option<SplitBars> {
        let told = stage.candidates.iter().filter(|ranked| ranked.summary.split.is_some());
        let shown = told
            .clone()
            .filter(|ranked| !matches!(ranked.verdict, Verdict::Excluded { .. }))
            .take(MOST_BARS - 1);
        let baseline = told.filter(|ranked| ranked.summary.id == stage.baseline_id);
        let mut seen = Vec::new();
        let bars: Vec<Bar> = shown
            .chain(baseline)
            .filter_map(|ranked| {
                let summary = &ranked.summary;
                if seen.contains(&summary.id) {
                    return None;
                }
                seen.push(summary.id.clone());
                let split = summary.split?;
                let total: f64 = split.parts().iter().sum();
                // A pass's own seconds and its documents give the time of one document; the parts share it out.
                let document = 1e3 / summary.value(Figure::Throughput)?;
                let role = match ranked.verdict {
                    Verdict::Won => "winner: ",
                    _ if summary.id == stage.baseline_id => "default: ",
                    _ => "",
                };
                let name = format!("{role}{}", stage.label(&summary.candidate));
                Some(Bar { name, parts: split.parts().map(|part| part / total * document) })
            })
            .collect();
        (!bars.is_empty()).then_some(SplitBars { bars })
    }
}

impl Chart for SplitBars {
    fn title(&self) -> String {
        "Time per document, by part".to_owned()
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let total = |bar: &Bar| bar.parts.iter().sum::<f64>();
        let most = self.bars.iter().map(total).fold(0.0, f64::max);
        let height = area.dim_in_pixel().1 - 40;
        let (above, below) = area.split_vertically(height);
        let count = self.bars.len() as f64;
        let mut chart = ChartBuilder::on(&above)
            .margin(10)
            .margin_left(20)
            .margin_right(28)
            .x_label_area_size(48)
            .build_cartesian_2d(0.0..canvas::end_of_axis(most), 0.0..count)?;
        let mut mesh = chart.configure_mesh();
        canvas::style_axes(&mut mesh);
        mesh.disable_y_mesh()
            .disable_y_axis()
            .x_labels(6)
            .x_label_formatter(&|value| canvas::tick(*value))
            .x_desc("Milliseconds per document")
            .draw()?;
        let (base_x, base_y) = above.get_base_pixel();
        let at = |time: f64, row: f64| {
            let (x, y) = chart.plotting_area().map_coordinate(&(time, count - row));
            (x - base_x, y - base_y)
        };
        for (row, bar) in self.bars.iter().enumerate() {
            let (x, y) = at(0.0, row as f64 + 0.27);
            canvas::label(
                &above,
                &canvas::shortened(&bar.name, 90),
                (x, y),
                (HPos::Left, VPos::Center),
                canvas::INK,
            )?;
            let mut start = 0.0;
            for (part, time) in bar.parts.iter().enumerate() {
                let corners = [at(start, row as f64 + 0.45), at(start + time, row as f64 + 0.92)];
                let colour = canvas::colour(part);
                above.draw(&Rectangle::new(corners, colour.mix(0.55).filled()))?;
                above.draw(&Rectangle::new(corners, canvas::INK.stroke_width(1)))?;
                let share = format!("{:.0}%", time / total(bar) * 100.0);
                let named = format!("{} {share}", Split::NAMES[part]);
                let middle = ((corners[0].0 + corners[1].0) / 2, (corners[0].1 + corners[1].1) / 2);
                let width = corners[1].0 - corners[0].0;
                // As much of its name as there is room for; ten pixels a letter are enough.
                if let Some(text) = [named, share].iter().find(|text| width > 10 * text.len() as i32) {
                    canvas::label(&above, text, middle, (HPos::Center, VPos::Center), canvas::INK)?;
                }
                start += time;
            }
        }
        let mut x = 24;
        for (part, name) in Split::NAMES.iter().enumerate() {
            if self.bars.iter().any(|bar| bar.parts[part] > 0.0) {
                let square = [(x, 8), (x + 16, 24)];
                below.draw(&Rectangle::new(square, canvas::colour(part).mix(0.55).filled()))?;
                below.draw(&Rectangle::new(square, canvas::INK.stroke_width(1)))?;
                let name = name.replace('_', " ");
                canvas::label(&below, &name, (x + 22, 16), (HPos::Left, VPos::Center), canvas::INK)?;
                x += 50 + 9 * name.len() as i32;
            }
        }
        Ok(())
    }
}
