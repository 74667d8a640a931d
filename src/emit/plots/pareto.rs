//! Throughput against quality and against memory, with the Pareto front marked.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Area, Chart, Drawn};
use crate::analysis::{StageAnalysis, Verdict};
use crate::suite::Figure;
use crate::units::Bytes;

pub struct Pareto {
    points: Vec<Dot>,
    memory: &'static str,
    quality: String,
}

struct Dot {
    throughput: f64,
    quality: Option<f64>,
    memory_mib: Option<f64>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Not on the front.
    Behind,
    /// It can't win.
    Excluded,
    Front,
    Default,
    Winner,
}

/// One of the two panels.
struct Panel {
    what: String,
    /// Whether the figure is a share, of which 1 is all.
    share: bool,
    /// Throughput, the panel's own figure, and what the point is.
    points: Vec<(f64, f64, Place)>,
}

impl Pareto {
    pub fn of(stage: &StageAnalysis) -> Option<Pareto> {
        let measured = stage.candidates.iter().filter(|ranked| ranked.summary.failure.is_none());
        let mut points: Vec<Dot> = measured
            .filter_map(|ranked| {
                let summary = &ranked.summary;
                let place = match &ranked.verdict {
                    Verdict::Won => Place::Winner,
                    _ if summary.id == stage.baseline_id => Place::Default,
                    Verdict::Excluded { .. } => Place::Excluded,
                    _ if stage.front.contains(&summary.id) => Place::Front,
                    _ => Place::Behind,
                };
                Some(Dot {
                    throughput: summary.value(Figure::Throughput)?,
                    quality: summary.value(Figure::Quality),
                    memory_mib: summary.memory().map(|bytes| bytes / Bytes::MIB as f64),
                    place,
                })
            })
            .collect();
        // What matters is drawn last, on top.
        points.sort_by_key(|dot| dot.place);
        let vram = stage.candidates.iter().any(|ranked| ranked.summary.value(Figure::Vram).is_some());
        let memory = if vram { "Peak VRAM (MiB)" } else { "Peak RSS (MiB)" };
        let replica = if stage.replica { " (replica)" } else { "" };
        let quality = match stage.metric.needs_labels() {
            true => format!("Quality ({}){replica}", stage.metric.name()),
            false => format!("Agreement with the reference{replica}"),
        };
        (points.len() > 1).then_some(Pareto { points, memory, quality })
    }

    fn panels(&self) -> Vec<Panel> {
        let panel = |what: &str, share, figure: fn(&Dot) -> Option<f64>| Panel {
            what: what.to_owned(),
            share,
            points: self
                .points
                .iter()
                .filter_map(|dot| Some((dot.throughput, figure(dot)?, dot.place)))
                .collect(),
        };
        let panels =
            [panel(&self.quality, true, |dot| dot.quality), panel(self.memory, false, |dot| dot.memory_mib)];
        panels.into_iter().filter(|panel| !panel.points.is_empty()).collect()
    }
}

impl Chart for Pareto {
    fn title(&self) -> String {
        "Pareto front of throughput, latency, memory and quality".to_owned()
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let height = area.dim_in_pixel().1 - 36;
        let (above, below) = area.split_vertically(height);
        let panels = self.panels();
        for (panel, part) in panels.iter().zip(above.split_evenly((1, panels.len().max(1)))) {
            panel.draw(&part)?;
        }
        let mut x = 60;
        for (place, text) in [
            (Place::Winner, "winner"),
            (Place::Default, "default"),
            (Place::Front, "on the front"),
            (Place::Behind, "not on the front"),
            (Place::Excluded, "can't win"),
        ] {
            if self.points.iter().any(|dot| dot.place == place) {
                draw_place(&below, (x, 14), place)?;
                canvas::label(&below, text, (x + 14, 14), (HPos::Left, VPos::Center), canvas::INK)?;
                x += 46 + 9 * text.len() as i32;
            }
        }
        Ok(())
    }
}

impl Panel {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let most = |of: fn(&(f64, f64, Place)) -> f64| self.points.iter().map(of).fold(f64::MIN, f64::max);
        let able = self.points.iter().filter(|point| point.2 != Place::Excluded);
        let least = able.map(|point| point.1).fold(f64::MAX, f64::min);
        let least = if least == f64::MAX { 0.0 } else { least };
        let highest = most(|point| point.1);
        // Quality lives in the last places, memory doesn't: an axis from zero would flatten the one and not the other.
        // What can't win for its quality lies far below, and is shown at the edge.
        let vertical = if self.share {
            let room = (1.0 - least).max(1e-4);
            least - room..1.0 + room * 0.2
        } else {
            0.0..canvas::end_of_axis(highest)
        };
        let bottom = vertical.start;
        let narrow = vertical.end - vertical.start < 0.05;
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_right(18)
            .x_label_area_size(48)
            .y_label_area_size(78)
            .build_cartesian_2d(0.0..canvas::end_of_axis(most(|point| point.0)), vertical)?;
        let mut mesh = chart.configure_mesh();
        canvas::style_axes(&mut mesh);
        mesh.x_labels(5)
            .y_labels(6)
            .x_label_formatter(&|value| canvas::tick(*value))
            .y_label_formatter(&|value| if narrow { format!("{value:.4}") } else { canvas::tick(*value) })
            .x_desc("Throughput (docs/s)")
            .y_desc(self.what.clone())
            .draw()?;
        let (base_x, base_y) = area.get_base_pixel();
        let mut below = 0;
        for (throughput, value, place) in &self.points {
            let (x, y) = chart.plotting_area().map_coordinate(&(*throughput, value.max(bottom)));
            draw_place(area, (x - base_x, y - base_y), *place)?;
            below += usize::from(*value < bottom);
        }
        if below > 0 {
            let (x, y) = chart.plotting_area().map_coordinate(&(0.0, bottom));
            let text = format!("{below} are below this axis");
            let at = (x - base_x + 10, y - base_y - 18);
            canvas::label(area, &text, at, (HPos::Left, VPos::Center), canvas::colour(1))?;
        }
        Ok(())
    }
}

fn draw_place<B: DrawingBackend>(area: &Area<B>, at: (i32, i32), place: Place) -> Drawn<B> {
    match place {
        Place::Behind => canvas::marker(area, at, 0, canvas::GREY, false),
        Place::Excluded => canvas::cross(area, at, canvas::colour(1)),
        Place::Front => canvas::marker(area, at, 0, canvas::colour(0), true),
        Place::Default => canvas::marker(area, at, 1, canvas::colour(5), true),
        Place::Winner => canvas::marker(area, at, 3, canvas::colour(2), true),
    }
}
