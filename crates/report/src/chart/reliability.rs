//! The reliability diagram: stated confidence against observed accuracy (DeGroot and Fienberg,
//! "The comparison and evaluation of forecasters", 1983; Guo et al., "On calibration of modern
//! neural networks", 2017, figure 1).

use super::bars::eighths;
use super::frame::Frame;
use super::scale::{Axis, Scale, Unit};
use super::svg::Svg;
use crate::number::{count, percent, percent_interval};
use crate::table::Table;
use crate::terminal::{Terminal, pad};

/// Answers whose stated confidence lies in one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bin {
    /// Mean stated confidence.
    pub confidence: f64,
    /// Share of right answers.
    pub accuracy: f64,
    /// Interval of the accuracy.
    pub interval: (f64, f64),
    /// How many answers.
    pub count: u64,
}

/// A reliability diagram.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Reliability {
    /// What the chart shows.
    pub title: String,
    /// The bins that hold answers.
    pub bins: Vec<Bin>,
}

impl Reliability {
    pub(super) fn svg(&self, width: f64) -> String {
        let side = width.min(480.0);
        let mut svg = Svg::new(side, side, &self.title);
        let (x_axis, y_axis) = (
            Axis::new("stated confidence", Unit::Percent),
            Axis::new("observed accuracy", Unit::Percent),
        );
        let unit = Scale::exact(0.0, 1.0, Unit::Percent);
        let frame = Frame::draw(&mut svg, (side, side), 0.0, (&x_axis, unit), (&y_axis, unit));
        svg.line("guide", frame.left, frame.bottom, frame.right, frame.top);
        let all = self.bins.iter().map(|bin| bin.count).max().unwrap_or(1).max(1) as f64;
        for bin in &self.bins {
            let (x, y) = (frame.x_at(bin.confidence), frame.y_at(bin.accuracy));
            // The gap to the diagonal is what miscalibration looks like.
            svg.line("gap", x, y, x, frame.y_at(bin.confidence));
            svg.line("error s0", x, frame.y_at(bin.interval.0), x, frame.y_at(bin.interval.1));
            let hint = format!(
                "{} answers at {} confidence, {} right",
                count(bin.count),
                percent(bin.confidence),
                percent(bin.accuracy)
            );
            svg.mark(0, x, y, 3.5 + 6.5 * (bin.count as f64 / all).sqrt(), &hint);
        }
        svg.finish()
    }

    pub(super) fn text(&self, _terminal: &Terminal) -> String {
        let mut out = String::from("confidence  accuracy\n");
        for bin in &self.bins {
            let mut bar: Vec<char> =
                pad(&eighths(bin.accuracy.clamp(0.0, 1.0) * 30.0), 31, false).chars().collect();
            let stated = (bin.confidence.clamp(0.0, 1.0) * 30.0).round() as usize;
            bar[stated.min(30)] = '┃';
            let bar: String = bar.into_iter().collect();
            out += &format!(
                "{}  {bar} {}  n={}\n",
                pad(&percent(bin.confidence), 10, true),
                percent_interval(bin.accuracy, bin.interval.0, bin.interval.1),
                count(bin.count)
            );
        }
        out += "            ┃ marks the stated confidence\n";
        out
    }

    pub(super) fn table(&self) -> Table {
        let headers = ["stated confidence", "observed accuracy", "answers"];
        let mut table = Table::new(&self.title, &headers).numeric(&[0, 1, 2]);
        for bin in &self.bins {
            let accuracy = percent_interval(bin.accuracy, bin.interval.0, bin.interval.1);
            table.push([percent(bin.confidence), accuracy, count(bin.count)]);
        }
        table
    }
}
