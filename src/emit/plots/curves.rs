//! A figure by the values of a numeric knob, a line for each kind of candidate.
//!
//! At each value stands the best candidate that has it, so the line says what the knob can give, not what an average
//! of good and bad companions gives.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Area, Chart, Drawn, LegendEntry, MOST_SERIES};
use crate::analysis::{Interval, Ranked, StageAnalysis, Verdict};
use crate::knob::Value;
use crate::suite::Figure;
use crate::task::Metric;
use crate::units::Bytes;

/// A smaller change of quality is rounding.
const LEAST_CHANGE: f64 = 0.001;

pub struct Curves {
    knob: String,
    figure: Figure,
    metric: Metric,
    /// The values of the knob, in order.
    ticks: Vec<String>,
    series: Vec<Series>,
}

struct Series {
    name: String,
    /// At each tick: the figure with its interval, or that every candidate failed, or nothing tried.
    points: Vec<Point>,
}

#[derive(Clone)]
enum Point {
    /// Hollow where the best candidate there can't win.
    Figure {
        low: f64,
        value: f64,
        high: f64,
        able: bool,
    },
    Failed(String),
    Nothing,
}

impl Curves {
    /// The curves of `figure` by `knob`, of the candidates that are best by `objective`.
    pub fn of(stage: &StageAnalysis, knob: &str, figure: Figure, objective: Figure) -> Option<Curves> {
        let mut values: Vec<&Value> = Vec::new();
        for value in stage.candidates.iter().filter_map(|ranked| ranked.summary.candidate.knobs.get(knob)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values.sort_by(|left, right| {
            left.number().partial_cmp(&right.number()).unwrap_or(std::cmp::Ordering::Equal)
        });
        let kinds = kinds(stage);
        let series: Vec<Series> = kinds
            .iter()
            .map(|kind| {
                let mut named = kind.clone();
                named.truncate(40);
                let points =
                    values.iter().map(|value| point(stage, kind, knob, value, figure, objective)).collect();
                Series { name: named, points }
            })
            .collect();
        let drawn = series
            .iter()
            .flat_map(|series| &series.points)
            .any(|point| matches!(point, Point::Figure { .. }));
        drawn.then(|| Curves {
            knob: knob.to_owned(),
            figure,
            metric: stage.metric,
            ticks: values.iter().map(ToString::to_string).collect(),
            series,
        })
    }

    /// Whether a line isn't flat: most knobs change no answer.
    pub fn varies(&self) -> bool {
        self.series.iter().any(|series| {
            let values = series.points.iter().filter_map(|point| match point {
                Point::Figure { value, .. } => Some(*value),
                _ => None,
            });
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            high - low > LEAST_CHANGE
        })
    }

    /// The unit of the axis, and what a figure must be divided by to be in it.
    fn unit(&self, most: f64) -> (&'static str, f64) {
        match self.figure {
            Figure::Vram | Figure::Rss if most >= 2048.0 * Bytes::MIB as f64 => {
                ("GiB", 1024.0 * Bytes::MIB as f64)
            }
            Figure::Vram | Figure::Rss => ("MiB", Bytes::MIB as f64),
            Figure::Quality => (self.metric.name(), 1.0),
            _ => ("docs/s", 1.0),
        }
    }

    fn name(&self) -> &'static str {
        match self.figure {
            Figure::Vram => "Peak VRAM",
            Figure::Rss => "Peak RSS",
            Figure::Quality => "Quality",
            _ => "Throughput",
        }
    }
}

/// The series of a candidate: its backend and its words (precision and the like), as far as candidates differ in them.
fn kind_of(stage: &StageAnalysis, ranked: &Ranked) -> String {
    let candidate = &ranked.summary.candidate;
    let several = stage.candidates.iter().any(|other| other.summary.candidate.backend != candidate.backend);
    let words = candidate.knobs.iter().filter(|(name, value)| {
        matches!(value, Value::Text(_))
            && value.number().is_none()
            && !stage.is_shared(name)
            && stage.swept.contains(name)
    });
    let words = words.map(|(_, value)| value.to_string());
    several.then(|| candidate.backend.clone()).into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// The kinds of candidates, those with the best candidates first.
fn kinds(stage: &StageAnalysis) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for ranked in &stage.candidates {
        let kind = kind_of(stage, ranked);
        if !kinds.contains(&kind) && kinds.len() < MOST_SERIES {
            kinds.push(kind);
        }
    }
    kinds
}

fn point(
    stage: &StageAnalysis,
    kind: &str,
    knob: &str,
    value: &Value,
    figure: Figure,
    objective: Figure,
) -> Point {
    let here = stage.candidates.iter().filter(|ranked| {
        ranked.summary.candidate.knobs.get(knob) == Some(value) && kind_of(stage, ranked) == kind
    });
    // Best first is how candidates are ranked; those that can't win come last, and are drawn for what they are only
    // where nothing better is. By objective among them, too.
    let mut measured: Vec<&Ranked> = here.clone().filter(|ranked| ranked.summary.failure.is_none()).collect();
    measured.sort_by_key(|ranked| matches!(ranked.verdict, Verdict::Excluded { .. }));
    if objective == Figure::Quality {
        let quality = |ranked: &&Ranked| ranked.summary.value(Figure::Quality).unwrap_or(f64::NEG_INFINITY);
        measured.sort_by(|left, right| quality(right).total_cmp(&quality(left)));
    }
    let best = measured.into_iter().find(|ranked| ranked.summary.value(objective).is_some());
    if let Some((ranked, estimate)) = best.and_then(|ranked| Some((ranked, ranked.summary.figure(figure)?))) {
        let able = !matches!(ranked.verdict, Verdict::Excluded { .. });
        let Interval { low, high } = estimate.interval.unwrap_or(Interval::of(estimate.value));
        return Point::Figure { low, value: estimate.value, high, able };
    }
    let failure = here.filter_map(|ranked| ranked.summary.failure.as_ref()).next();
    failure.map_or(Point::Nothing, |failure| Point::Failed(failure.status.name().to_owned()))
}

impl Chart for Curves {
    fn title(&self) -> String {
        format!("{} by {}, best candidate at each value", self.name(), self.knob)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let highs = self.series.iter().flat_map(|series| &series.points).filter_map(|point| match point {
            Point::Figure { high, .. } => Some(*high),
            _ => None,
        });
        let most = highs.fold(0.0, f64::max);
        let (unit, scale) = self.unit(most);
        let (left, right) = area.split_horizontally(620);
        let last = self.ticks.len() as f64 - 1.0;
        let mut chart = ChartBuilder::on(&left)
            .margin(12)
            .x_label_area_size(52)
            .y_label_area_size(76)
            .build_cartesian_2d(-0.4..last + 0.4, 0.0..canvas::end_of_axis(most / scale))?;
        let mut mesh = chart.configure_mesh();
        canvas::style_axes(&mut mesh);
        mesh.disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .y_label_formatter(&|value| canvas::tick(*value))
            .y_desc(format!("{} ({unit})", self.name()))
            .x_desc(self.knob.clone())
            .draw()?;
        let plane = chart.plotting_area();
        let (base_x, base_y) = left.get_base_pixel();
        let at = |tick: usize, value: f64| {
            let (x, y) = plane.map_coordinate(&(tick as f64, value / scale));
            (x - base_x, y - base_y)
        };
        for (tick, text) in self.ticks.iter().enumerate() {
            let (x, y) = at(tick, 0.0);
            canvas::label(&left, text, (x, y + 8), (HPos::Center, VPos::Top), canvas::INK)?;
        }
        let mut hollow = false;
        let mut failures = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            let colour = canvas::colour(index);
            // Series that share a value would hide each other's markers and bars.
            let shift = (index as i32 * 2 - (self.series.len() as i32 - 1)) * 3;
            let shifted = |(x, y): (i32, i32)| (x + shift, y);
            let mut line = Vec::new();
            for (tick, point) in series.points.iter().enumerate() {
                match point {
                    Point::Figure { low, value, high, able } => {
                        let bar = vec![shifted(at(tick, *low)), shifted(at(tick, *high))];
                        left.draw(&PathElement::new(bar, colour.stroke_width(1)))?;
                        line.push((shifted(at(tick, *value)), *able));
                    }
                    Point::Failed(why) => {
                        let (x, y) = shifted(at(tick, 0.0));
                        canvas::cross(&left, (x, y - 8), colour)?;
                        failures.push((index, format!("{}: {why}", self.ticks[tick])));
                    }
                    Point::Nothing => {}
                }
            }
            let places: Vec<_> = line.iter().map(|(place, _)| *place).collect();
            canvas::dashed(&left, &places, index, colour)?;
            for (place, able) in line {
                canvas::marker(&left, place, index, colour, able)?;
                hollow |= !able;
            }
        }
        let named = self.series.iter().enumerate().filter(|(_, series)| !series.name.is_empty());
        let entries: Vec<_> =
            named.map(|(series, named)| LegendEntry { text: named.name.clone(), series }).collect();
        canvas::legend(&right, &entries)?;
        let mut y = 36 + 24 * entries.len() as i32;
        if hollow {
            canvas::marker(&right, (25, y), 0, canvas::GREY, false)?;
            canvas::label(&right, "hollow: can't win", (48, y), (HPos::Left, VPos::Center), canvas::INK)?;
            y += 30;
        }
        for (series, text) in failures {
            if y > right.dim_in_pixel().1 as i32 - 20 {
                return canvas::label(&right, "and more", (48, y), (HPos::Left, VPos::Center), canvas::INK);
            }
            let colour = canvas::colour(series);
            canvas::cross(&right, (16, y), colour)?;
            canvas::marker(&right, (34, y), series, colour, true)?;
            let text = canvas::shortened(&text, 17);
            canvas::label(&right, &text, (48, y), (HPos::Left, VPos::Center), canvas::INK)?;
            y += 24;
        }
        Ok(())
    }
}
