//! What all charts share: size, font, colours, markers, dashes, and the two files.

use std::path::Path;

use anyhow::anyhow;
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::element::{Circle, PathElement, Polygon};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use crate::analysis::{Analysis, StageAnalysis};
use crate::units::significant;

/// A chart, drawn.
pub struct Plot {
    pub stage: String,
    /// File name without ending.
    pub name: String,
    pub svg: String,
    pub png: Vec<u8>,
}

/// What every chart says of where its figures come from.
pub struct Caption {
    pub stage: String,
    pub text: String,
}

impl Caption {
    pub fn of(stage: &StageAnalysis, analysis: &Analysis) -> Caption {
        let (provenance, target) = (analysis.provenance.name(), &analysis.target);
        let text = format!("{}, {} · {provenance}: {target}", stage.name, stage.model_title());
        Caption { stage: stage.name.clone(), text }
    }
}

pub const SIZE: (u32, u32) = (800, 500);

const FONT: &str = "sans-serif";
pub const TEXT: u32 = 16;

pub const INK: RGBColor = RGBColor(34, 34, 34);
pub const FAINT: RGBColor = RGBColor(225, 225, 225);
pub const GREY: RGBColor = RGBColor(130, 130, 130);

/// Okabe and Ito's colours, which stay apart in the common kinds of colour blindness; yellow left out, too pale on white.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// More series than this nobody can tell apart, in colour or without.
pub const MOST_SERIES: usize = COLOURS.len();

pub type Area<'a, B> = DrawingArea<B, Shift>;
pub type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// A chart that can draw itself on anything.
pub trait Chart {
    fn title(&self) -> String;
    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B>;
}

/// Draws a chart as SVG and as PNG. The PNG is made in `scratch`, since its writer wants a file.
pub fn render(name: &str, scratch: &Path, caption: &Caption, chart: &impl Chart) -> anyhow::Result<Plot> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| anyhow!("the bundled font does not read"))?;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        page(&area, caption, chart).map_err(|error| anyhow!("{name}.svg: {error}"))?;
    }
    let path = scratch.join(format!("{name}.png.unfinished.png"));
    let png = {
        let area = BitMapBackend::new(&path, SIZE).into_drawing_area();
        page(&area, caption, chart).map_err(|error| anyhow!("{name}.png: {error}"))?;
        drop(area);
        std::fs::read(&path).map_err(|error| anyhow!("{name}.png: {error}"))?
    };
    let _ = std::fs::remove_file(&path);
    Ok(Plot { stage: caption.stage.clone(), name: name.to_owned(), svg, png })
}

fn page<B: DrawingBackend>(area: &Area<B>, caption: &Caption, chart: &impl Chart) -> Drawn<B> {
    area.fill(&WHITE)?;
    let title = text_style(20, INK).pos(Pos::new(HPos::Left, VPos::Top));
    area.draw(&Text::new(chart.title(), (16, 10), title))?;
    let below = text_style(14, GREY).pos(Pos::new(HPos::Left, VPos::Top));
    area.draw(&Text::new(shortened(&caption.text, 108), (16, 36), below))?;
    chart.draw(&area.margin(58, 0, 0, 0))?;
    area.present()
}

pub fn text_style(size: u32, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour)
}

/// The look that all axes share.
pub fn style_axes<X: Ranged, Y: Ranged, B: DrawingBackend>(mesh: &mut MeshStyle<'_, '_, X, Y, B>) {
    mesh.light_line_style(WHITE)
        .bold_line_style(FAINT)
        .axis_style(GREY)
        .label_style(text_style(TEXT, INK))
        .axis_desc_style(text_style(TEXT, INK));
}

/// A text at `at`, hung up by `anchor`.
pub fn label<B: DrawingBackend>(
    area: &Area<B>,
    text: &str,
    at: (i32, i32),
    anchor: (HPos, VPos),
    colour: RGBColor,
) -> Drawn<B> {
    area.draw(&Text::new(text.to_owned(), at, text_style(TEXT, colour).pos(Pos::new(anchor.0, anchor.1))))
}

/// A text that fits into so many characters.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

pub fn colour(series: usize) -> RGBColor {
    COLOURS[series % COLOURS.len()]
}

/// Draws the marker of a series, filled or hollow, with its centre at `at`.
pub fn marker<B: DrawingBackend>(
    area: &Area<B>,
    at: (i32, i32),
    series: usize,
    colour: RGBColor,
    filled: bool,
) -> Drawn<B> {
    const R: i32 = 6;
    let around = |corners: &[(i32, i32)]| -> Vec<(i32, i32)> {
        corners.iter().map(|(x, y)| (at.0 + x, at.1 + y)).collect()
    };
    let corners = match series % MOST_SERIES {
        0 if filled => return area.draw(&Circle::new(at, R, colour.filled())),
        0 => {
            area.draw(&Circle::new(at, R, WHITE.filled()))?;
            return area.draw(&Circle::new(at, R, colour.stroke_width(2)));
        }
        1 => around(&[(-R, -R), (R, -R), (R, R), (-R, R)]),
        2 => around(&[(0, -R - 1), (R + 1, R), (-R - 1, R)]),
        3 => around(&[(0, -R - 2), (R + 2, 0), (0, R + 2), (-R - 2, 0)]),
        4 => around(&[(0, R + 1), (R + 1, -R), (-R - 1, -R)]),
        _ => around(&[
            (-2, -R),
            (2, -R),
            (2, -2),
            (R, -2),
            (R, 2),
            (2, 2),
            (2, R),
            (-2, R),
            (-2, 2),
            (-R, 2),
            (-R, -2),
            (-2, -2),
        ]),
    };
    if filled {
        area.draw(&Polygon::new(corners, colour.filled()))
    } else {
        // White inside, or the line that it stands on would show.
        area.draw(&Polygon::new(corners.clone(), WHITE.filled()))?;
        let closed: Vec<_> = corners.iter().copied().chain(corners.first().copied()).collect();
        area.draw(&PathElement::new(closed, colour.stroke_width(2)))
    }
}

/// A cross: something failed here.
pub fn cross<B: DrawingBackend>(area: &Area<B>, at: (i32, i32), colour: RGBColor) -> Drawn<B> {
    const R: i32 = 5;
    for turn in [-1, 1] {
        let line = vec![(at.0 - R, at.1 - turn * R), (at.0 + R, at.1 + turn * R)];
        area.draw(&PathElement::new(line, colour.stroke_width(2)))?;
    }
    Ok(())
}

/// A line through `points` in the dashes of a series.
pub fn dashed<B: DrawingBackend>(
    area: &Area<B>,
    points: &[(i32, i32)],
    series: usize,
    colour: RGBColor,
) -> Drawn<B> {
    // Lengths of dash and gap; none for a whole line.
    let (dash, gap) =
        [(0.0, 0.0), (10.0, 5.0), (3.0, 4.0), (14.0, 4.0), (6.0, 3.0), (2.0, 8.0)][series % MOST_SERIES];
    for pair in points.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let (dx, dy) = ((end.0 - start.0) as f64, (end.1 - start.1) as f64);
        let length = dx.hypot(dy);
        let at = |along: f64| {
            let share = if length > 0.0 { along.min(length) / length } else { 0.0 };
            (start.0 + (dx * share).round() as i32, start.1 + (dy * share).round() as i32)
        };
        let mut along = 0.0;
        while along < length {
            let stop = if dash > 0.0 { along + dash } else { length };
            area.draw(&PathElement::new(vec![at(along), at(stop)], colour.stroke_width(2)))?;
            along = stop + gap;
        }
    }
    Ok(())
}

/// What legends show of one series.
pub struct LegendEntry {
    pub text: String,
    pub series: usize,
}

/// A legend in the upper right corner of `area`, a line for each entry.
pub fn legend<B: DrawingBackend>(area: &Area<B>, entries: &[LegendEntry]) -> Drawn<B> {
    let x = area.dim_in_pixel().0 as i32 - 170;
    for (row, entry) in entries.iter().enumerate() {
        let y = 24 + 24 * row as i32;
        let colour = colour(entry.series);
        dashed(area, &[(x, y), (x + 30, y)], entry.series, colour)?;
        marker(area, (x + 15, y), entry.series, colour, true)?;
        label(area, &shortened(&entry.text, 17), (x + 38, y), (HPos::Left, VPos::Center), INK)?;
    }
    Ok(())
}

/// A figure on an axis, without its unit: the axis names that.
pub fn tick(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value.abs() >= 10.0 {
        format!("{value:.0}")
    } else {
        trimmed(value)
    }
}

fn trimmed(value: f64) -> String {
    let text = significant(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The end of an axis that begins at zero and holds `most`.
pub fn end_of_axis(most: f64) -> f64 {
    if most > 0.0 { most * 1.12 } else { 1.0 }
}
