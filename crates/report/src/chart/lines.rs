//! Series over a common axis: loss curves, risk against coverage.

use super::canvas::Canvas;
use super::frame::{Frame, legend};
use super::scale::{Axis, Scale};
use super::svg::Svg;
use crate::table::Table;
use crate::terminal::{Terminal, visible};

/// One named series of `(x, y)` points, `x` ascending.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// The points; those that are not finite break the line.
    pub points: Vec<(f64, f64)>,
}

/// A line chart.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Lines {
    /// What the chart shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The series.
    pub series: Vec<Series>,
    /// A point to mark, such as the best checkpoint, with its name.
    pub marked: Option<(f64, f64, String)>,
}

/// More points than this are thinned for drawing: a chart has no more pixels.
const DRAWN: usize = 800;

impl Lines {
    fn scales(&self) -> (Scale, Scale) {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let marked = self.marked.as_ref();
        let xs = points().map(|p| p.0);
        let ys = points().map(|p| p.1).chain(marked.map(|m| m.1));
        let mut bounds = (f64::INFINITY, f64::NEG_INFINITY);
        for x in xs.clone().filter(|x| x.is_finite()) {
            bounds = (bounds.0.min(x), bounds.1.max(x));
        }
        let x = if self.x.log || bounds.0 > bounds.1 {
            Scale::around(&self.x, xs)
        } else {
            Scale::exact(bounds.0, bounds.1, self.x.unit)
        };
        (x, Scale::around(&self.y, ys))
    }

    pub(super) fn svg(&self, width: f64) -> String {
        let height = (width * 0.5).clamp(260.0, 380.0);
        let mut svg = Svg::new(width, height, &self.title);
        let names: Vec<&str> = self.series.iter().map(|s| s.name.as_str()).collect();
        let top = legend(&mut svg, width, &names, true);
        let (x, y) = self.scales();
        let frame = Frame::draw(&mut svg, (width, height), top, (&self.x, x), (&self.y, y));
        for (at, series) in self.series.iter().enumerate() {
            let mut data = String::new();
            let mut pen = 'M';
            let stride = series.points.len().div_ceil(DRAWN).max(1);
            let last = series.points.len().saturating_sub(1);
            for (index, &(px, py)) in series.points.iter().enumerate() {
                if index % stride != 0 && index != last {
                    continue;
                }
                if px.is_finite() && py.is_finite() {
                    data += &format!("{pen}{:.1} {:.1}", frame.x_at(px), frame.y_at(py));
                    pen = 'L';
                } else {
                    pen = 'M';
                }
            }
            let colour = at % super::COLOURS;
            svg.path(&format!("stroke s{colour} d{colour}"), &data, &series.name);
        }
        if let Some((mx, my, name)) = &self.marked {
            let (px, py) = (frame.x_at(*mx), frame.y_at(*my));
            svg.mark(5, px, py, 0.0, "");
            svg.path(
                "ring",
                &format!("M{:.1} {py:.1}a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z", px - 6.0),
                name,
            );
            let right = px + super::svg::text_width(name) + 12.0 < frame.right;
            let (shift, anchor) = if right {
                (10.0, super::svg::Anchor::Start)
            } else {
                (-10.0, super::svg::Anchor::End)
            };
            svg.text("point chosen", px + shift, py - 8.0, anchor, name);
        }
        svg.finish()
    }

    pub(super) fn text(&self, terminal: &Terminal) -> String {
        const SIGNS: [char; 6] = ['•', '×', '+', 'o', '#', '~'];
        let (x, y) = self.scales();
        let mut canvas = Canvas::new(terminal.width, 12, x, y);
        for (at, series) in self.series.iter().enumerate() {
            let mut last: Vec<Option<(f64, f64)>> = vec![None; canvas.columns()];
            // Steps finer than a column; the last value of each column wins.
            let steps = (4 * canvas.columns()).div_ceil(series.points.len().max(1));
            let points = series.points.iter().copied();
            let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
            for (from, to) in points.clone().zip(points.skip(1)) {
                if !finite(&from) || !finite(&to) {
                    continue;
                }
                for step in 0..steps {
                    let share = step as f64 / steps as f64;
                    let at = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
                    if let Some(column) = canvas.column(at.0) {
                        last[column] = Some(at);
                    }
                }
            }
            let end = series.points.last().filter(|end| finite(end));
            if let Some((&end, column)) = end.and_then(|end| Some((end, canvas.column(end.0)?))) {
                last[column] = Some(end);
            }
            for (px, py) in last.into_iter().flatten() {
                canvas.put(px, py, SIGNS[at % SIGNS.len()], false);
            }
        }
        let mut out = canvas.finish(&self.x, &self.y);
        for (at, series) in self.series.iter().enumerate() {
            out += &format!("  {}  {}\n", SIGNS[at % SIGNS.len()], visible(&series.name));
        }
        if let Some((mx, my, name)) = &self.marked {
            let (mx, my) = (self.x.unit.write(*mx), self.y.unit.write(*my));
            out += &format!("  {}: {mx}, {my}\n", visible(name));
        }
        out
    }

    pub(super) fn table(&self) -> Table {
        const SHOWN: usize = 50;
        let headers = ["series", self.x.label.as_str(), self.y.label.as_str()];
        let mut table = Table::new(&self.title, &headers).numeric(&[1, 2]);
        for series in &self.series {
            let stride = series.points.len().div_ceil(SHOWN).max(1);
            for &(x, y) in series.points.iter().step_by(stride) {
                table.push([series.name.clone(), self.x.unit.write(x), self.y.unit.write(y)]);
            }
        }
        table
    }
}
