//! How values are distributed.

use super::bars::eighths;
use super::frame::Frame;
use super::scale::{Axis, Scale, Unit};
use super::svg::Svg;
use crate::number::count;
use crate::table::Table;
use crate::terminal::{Terminal, columns, pad, visible};

/// A histogram: bin `i` reaches from `edges[i]` to `edges[i + 1]`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Histogram {
    /// What the chart shows.
    pub title: String,
    /// What is distributed.
    pub x: Axis,
    /// Bounds of the bins, ascending, one more than bins.
    pub edges: Vec<f64>,
    /// Values per bin.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Sorts `values` into `bins` bins of equal width between the least and the greatest.
    pub fn of(title: impl Into<String>, x: Axis, values: &[f64], bins: usize) -> Self {
        let finite = || values.iter().copied().filter(|v| v.is_finite());
        let low = finite().fold(f64::INFINITY, f64::min);
        let high = finite().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let bins = if high > low { bins.max(1) } else { 1 };
        let width = if high > low { (high - low) / bins as f64 } else { 1.0 };
        let mut counts = vec![0; bins];
        for value in finite() {
            let bin = ((value - low) / width) as usize;
            counts[bin.min(bins - 1)] += 1;
        }
        let edges = (0..=bins).map(|at| low + width * at as f64).collect();
        Histogram { title: title.into(), x, edges, counts }
    }

    fn bins(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.edges.windows(2).zip(&self.counts).map(|(edge, &n)| (edge[0], edge[1], n))
    }

    pub(super) fn svg(&self, width: f64) -> String {
        let height = (width * 0.42).clamp(220.0, 320.0);
        let mut svg = Svg::new(width, height, &self.title);
        let low = self.edges.first().copied().unwrap_or(0.0);
        let high = self.edges.last().copied().unwrap_or(1.0);
        let most = self.counts.iter().max().copied().unwrap_or(0).max(1) as f64;
        let y_axis = Axis::new("count", Unit::Count);
        let x = Scale::exact(low, high, self.x.unit);
        let y = Scale::exact(0.0, most * 1.05, Unit::Count);
        let frame = Frame::draw(&mut svg, (width, height), 0.0, (&self.x, x), (&y_axis, y));
        for (from, to, n) in self.bins() {
            let (left, right) = (frame.x_at(from) + 0.5, frame.x_at(to) - 0.5);
            let top = frame.y_at(n as f64);
            let hint =
                format!("{} to {}: {}", self.x.unit.write(from), self.x.unit.write(to), count(n));
            svg.rect("bar s0", (left, top, right - left, frame.bottom - top), "", &hint);
        }
        svg.finish()
    }

    pub(super) fn text(&self, terminal: &Terminal) -> String {
        let most = self.counts.iter().max().copied().unwrap_or(0).max(1) as f64;
        let from: Vec<String> = self.bins().map(|(from, _, _)| self.x.unit.write(from)).collect();
        let margin = from.iter().map(|text| columns(text)).max().unwrap_or(0);
        let room = terminal.width.saturating_sub(margin + 14).clamp(8, 60) as f64;
        let mut out = String::new();
        for ((_, _, n), from) in self.bins().zip(from) {
            let bar = eighths(n as f64 / most * room);
            out += &format!("{} │{bar} {}\n", pad(&from, margin, true), count(n));
        }
        out += &format!("{} {}\n", " ".repeat(margin), visible(&self.x.label));
        out
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&self.title, &["from", "to", "count"]).numeric(&[0, 1, 2]);
        for (from, to, n) in self.bins() {
            table.push([self.x.unit.write(from), self.x.unit.write(to), count(n)]);
        }
        table
    }
}
