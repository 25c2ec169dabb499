//! Points in the plane with error bars and labels: the quality–latency–cost picture.

use super::canvas::Canvas;
use super::frame::{Frame, legend};
use super::scale::{Axis, Scale};
use super::svg::{Anchor, Svg, text_width};
use crate::table::Table;
use crate::terminal::{Terminal, cut, visible};

/// One point.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Point {
    /// Its name.
    pub label: String,
    /// Which of the chart's groups it belongs to.
    pub group: usize,
    /// Horizontal position.
    pub x: f64,
    /// Interval of `x`, where known.
    pub x_interval: Option<(f64, f64)>,
    /// Vertical position.
    pub y: f64,
    /// Interval of `y`, where known.
    pub y_interval: Option<(f64, f64)>,
    /// A third quantity, shown as the mark's area and written after the label.
    pub size: Option<f64>,
    /// Whether a ring marks it as the chosen one.
    pub chosen: bool,
}

/// A limit drawn as a dashed line.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Guide {
    /// On the x axis, else on the y axis.
    pub on_x: bool,
    /// Where.
    pub value: f64,
    /// What it stands for.
    pub label: String,
}

/// A scatter chart.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Scatter {
    /// What the chart shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The quantity that the marks' areas show.
    pub size: Option<Axis>,
    /// Names of the groups; each has its own shape and colour.
    pub groups: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
    /// Points (by position) that nothing beats in both directions; joined by a line.
    pub front: Vec<usize>,
    /// Limits.
    pub guides: Vec<Guide>,
}

impl Scatter {
    fn scales(&self) -> (Scale, Scale) {
        let with = |own: f64, interval: Option<(f64, f64)>| {
            let (low, high) = interval.unwrap_or((own, own));
            [own, low, high]
        };
        let guides = |on_x: bool| {
            self.guides.iter().filter(move |g| g.on_x == on_x).map(|guide| guide.value)
        };
        let xs = self.points.iter().flat_map(|p| with(p.x, p.x_interval)).chain(guides(true));
        let ys = self.points.iter().flat_map(|p| with(p.y, p.y_interval)).chain(guides(false));
        (Scale::around(&self.x, xs), Scale::around(&self.y, ys))
    }

    fn radius(&self, point: &Point) -> f64 {
        let largest =
            self.points.iter().filter_map(|p| p.size).filter(|s| s.is_finite()).fold(0.0, f64::max);
        match point.size {
            Some(size) if largest > 0.0 && size.is_finite() => {
                4.0 + 9.0 * (size.max(0.0) / largest).sqrt()
            }
            _ => 5.0,
        }
    }

    /// How far a point reaches with its ring.
    fn reach(&self, point: &Point) -> f64 {
        self.radius(point) + if point.chosen { 5.0 } else { 0.0 }
    }

    fn caption(&self, point: &Point) -> String {
        match (&self.size, point.size) {
            (Some(axis), Some(size)) => format!("{} ({})", point.label, axis.unit.write(size)),
            _ => point.label.clone(),
        }
    }

    fn shown(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|p| p.x.is_finite() && p.y.is_finite())
    }

    pub(super) fn svg(&self, width: f64) -> String {
        let height = (width * 0.62).clamp(300.0, 460.0);
        let mut svg = Svg::new(width, height, &self.title);
        let names: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        let top = legend(&mut svg, width, &names, false);
        let (x, y) = self.scales();
        let frame = Frame::draw(&mut svg, (width, height), top, (&self.x, x), (&self.y, y));
        self.draw_guides(&mut svg, &frame);
        self.draw_front(&mut svg, &frame);
        for point in self.shown() {
            let (px, py) = (frame.x_at(point.x), frame.y_at(point.y));
            let class = format!("error s{}", point.group % super::COLOURS);
            if let Some((low, high)) = point.x_interval {
                svg.line(&class, frame.x_at(low), py, frame.x_at(high), py);
            }
            if let Some((low, high)) = point.y_interval {
                svg.line(&class, px, frame.y_at(low), px, frame.y_at(high));
            }
        }
        for point in self.shown() {
            let (px, py) = (frame.x_at(point.x), frame.y_at(point.y));
            let radius = self.radius(point);
            let hint = format!(
                "{}: {} {}, {} {}",
                self.caption(point),
                self.x.label,
                self.x.unit.write(point.x),
                self.y.label,
                self.y.unit.write(point.y)
            );
            if point.chosen {
                let r = radius + 4.5;
                let ring = format!(
                    "M{:.1} {py:.1}a{r:.1} {r:.1} 0 1 0 {:.1} 0a{r:.1} {r:.1} 0 1 0 {:.1} 0z",
                    px - r,
                    2.0 * r,
                    -2.0 * r
                );
                svg.path("ring", &ring, "");
            }
            svg.mark(point.group, px, py, radius, &hint);
        }
        self.draw_labels(&mut svg, &frame, width);
        svg.finish()
    }

    fn draw_guides(&self, svg: &mut Svg, frame: &Frame) {
        for guide in &self.guides {
            if guide.on_x {
                let x = frame.x_at(guide.value);
                svg.line("guide", x, frame.top - 4.0, x, frame.bottom);
                let right = x + text_width(&guide.label) < frame.right;
                let anchor = if right { Anchor::Start } else { Anchor::End };
                let shift = if right { 4.0 } else { -4.0 };
                svg.text("guide-label", x + shift, frame.top + 4.0, anchor, &guide.label);
            } else {
                let y = frame.y_at(guide.value);
                svg.line("guide", frame.left, y, frame.right, y);
                svg.text("guide-label", frame.right, y - 5.0, Anchor::End, &guide.label);
            }
        }
    }

    fn draw_front(&self, svg: &mut Svg, frame: &Frame) {
        let mut front: Vec<&Point> =
            self.front.iter().filter_map(|&at| self.points.get(at)).collect();
        front.sort_by(|a, b| a.x.total_cmp(&b.x));
        let mut data = String::new();
        for (at, point) in front.iter().enumerate() {
            let step = if at == 0 { 'M' } else { 'L' };
            data += &format!("{step}{:.1} {:.1}", frame.x_at(point.x), frame.y_at(point.y));
        }
        if front.len() > 1 {
            svg.path("front", &data, "");
        }
    }

    /// Each label goes to the first of eight places where it covers neither a mark nor another
    /// label; where there is none, to the place where it covers least.
    fn draw_labels(&self, svg: &mut Svg, frame: &Frame, width: f64) {
        let mut taken: Vec<[f64; 4]> = self
            .shown()
            .map(|p| {
                let (x, y, r) = (frame.x_at(p.x), frame.y_at(p.y), self.reach(p));
                [x - r, y - r, x + r, y + r]
            })
            .collect();
        for guide in &self.guides {
            let length = text_width(&guide.label);
            taken.push(if guide.on_x {
                let x = frame.x_at(guide.value);
                [x - 2.0, frame.top - 8.0, x + length, frame.top + 8.0]
            } else {
                let y = frame.y_at(guide.value);
                [frame.right - length, y - 16.0, frame.right, y + 2.0]
            });
        }
        for point in self.shown() {
            let text =
                if width < 500.0 { cut(&point.label, 22) } else { cut(&self.caption(point), 44) };
            let (x, y, gap) = (frame.x_at(point.x), frame.y_at(point.y), self.reach(point) + 6.0);
            let length = text_width(&text);
            let places = [
                (x + gap, y),
                (x - gap - length, y),
                (x - length / 2.0, y - gap - 4.0),
                (x - length / 2.0, y + gap + 5.0),
                (x + gap * 0.7, y - gap),
                (x + gap * 0.7, y + gap),
                (x - gap * 0.7 - length, y - gap),
                (x - gap * 0.7 - length, y + gap),
            ];
            let boxed =
                |(left, middle): (f64, f64)| [left, middle - 8.0, left + length, middle + 7.0];
            let outside = |b: [f64; 4]| {
                (2.0 - b[0]).max(0.0)
                    + (b[2] - width + 2.0).max(0.0)
                    + (frame.top - 12.0 - b[1]).max(0.0)
                    + (b[3] - frame.bottom).max(0.0)
            };
            let cost = |place: &(f64, f64)| {
                let b = boxed(*place);
                taken.iter().map(|other| overlap(b, *other)).sum::<f64>() + 100.0 * outside(b)
            };
            let best = places.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
            if let Some(place) = best {
                taken.push(boxed(place));
                let class = if point.chosen { "point chosen" } else { "point" };
                svg.text(class, place.0, place.1 + 4.0, Anchor::Start, &text);
            }
        }
    }

    pub(super) fn text(&self, terminal: &Terminal) -> String {
        let (x, y) = self.scales();
        let mut canvas = Canvas::new(terminal.width, 16, x, y);
        let letters: Vec<char> = ('A'..='Z').chain('a'..='z').collect();
        let letter = |at: usize| letters.get(at).copied().unwrap_or('*');
        for (at, point) in self.points.iter().enumerate() {
            canvas.put(point.x, point.y, letter(at), true);
        }
        for point in &self.points {
            if let Some((low, high)) = point.y_interval {
                canvas.pole(point.x, low, high, '│');
            }
            if let Some((low, high)) = point.x_interval {
                canvas.stroke(low, high, point.y, '─');
            }
        }
        for guide in &self.guides {
            if guide.on_x {
                canvas.pole(guide.value, f64::MIN, f64::MAX, '╎');
            } else {
                canvas.stroke(f64::MIN_POSITIVE, f64::MAX, guide.value, '╌');
            }
        }
        let mut out = canvas.finish(&self.x, &self.y);
        for (at, point) in self.points.iter().enumerate() {
            let chosen = if point.chosen { "  ← recommended" } else { "" };
            let line = format!(
                "  {}  {}: {}, {}{chosen}",
                letter(at),
                visible(&self.caption(point)),
                self.x.unit.write(point.x),
                self.y.unit.write(point.y)
            );
            out += &format!("{}\n", cut(&line.replace('\n', " "), terminal.width));
        }
        for guide in &self.guides {
            let sign = if guide.on_x { '╎' } else { '╌' };
            out += &format!("  {sign}  {}\n", visible(&guide.label));
        }
        out
    }

    pub(super) fn table(&self) -> Table {
        let mut headers = vec!["name", "group", self.x.label.as_str(), self.y.label.as_str()];
        headers.extend(self.size.iter().map(|axis| axis.label.as_str()));
        let mut table = Table::new(&self.title, &headers).numeric(&[2, 3, 4]);
        for point in &self.points {
            let mut row = vec![
                point.label.clone(),
                self.groups.get(point.group).cloned().unwrap_or_default(),
                with_interval(&self.x, point.x, point.x_interval),
                with_interval(&self.y, point.y, point.y_interval),
            ];
            if let Some(axis) = &self.size {
                row.push(point.size.map_or_else(String::new, |size| axis.unit.write(size)));
            }
            table.push(row);
        }
        table
    }
}

/// A value with its interval in the axis's unit.
pub(super) fn with_interval(axis: &Axis, value: f64, interval: Option<(f64, f64)>) -> String {
    match interval {
        Some((low, high)) => format!(
            "{} [{}, {}]",
            axis.unit.write(value),
            axis.unit.write(low),
            axis.unit.write(high)
        ),
        None => axis.unit.write(value),
    }
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0)
}
