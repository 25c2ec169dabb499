//! Horizontal bars with intervals.

use super::scale::{Axis, Scale, Unit};
use super::scatter::with_interval;
use super::svg::{Anchor, Svg, text_width};
use crate::table::Table;
use crate::terminal::{Terminal, Tone, columns, cut, pad, visible};

/// One bar.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// Interval of the value, where known.
    pub interval: Option<(f64, f64)>,
    /// Written after the name: a count, a warning.
    pub note: String,
    /// Colour by meaning; plain bars take the first series colour.
    pub tone: Tone,
}

/// A chart of horizontal bars, all from zero.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bars {
    /// What the chart shows.
    pub title: String,
    /// What the bars measure.
    pub x: Axis,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
}

impl Bars {
    fn scale(&self) -> Scale {
        if self.x.unit == Unit::Percent {
            return Scale::exact(0.0, 1.0, Unit::Percent);
        }
        let most = self
            .bars
            .iter()
            .flat_map(|bar| [bar.value, bar.interval.map_or(0.0, |(_, high)| high)])
            .filter(|value| value.is_finite())
            .fold(0.0, f64::max);
        Scale::exact(0.0, if most > 0.0 { most } else { 1.0 }, self.x.unit)
    }

    pub(super) fn svg(&self, width: f64) -> String {
        const ROW: f64 = 26.0;
        let longest = if width < 500.0 { 18 } else { 34 };
        let names: Vec<String> = self.bars.iter().map(|bar| cut(&bar.label, longest)).collect();
        let left = names.iter().map(|n| text_width(n)).fold(0.0, f64::max) + 12.0;
        let values: Vec<String> =
            self.bars.iter().map(|bar| self.x.unit.write(bar.value)).collect();
        let after = |at: usize| {
            let note = &self.bars[at].note;
            if note.is_empty() { values[at].clone() } else { format!("{} · {note}", values[at]) }
        };
        let widest = (0..values.len()).map(|at| text_width(&after(at))).fold(0.0, f64::max);
        let right = (width - widest - 14.0).max(left + 60.0);
        let height = ROW * self.bars.len() as f64 + 34.0;
        let mut svg = Svg::new(width, height, &self.title);
        let scale = self.scale();
        let x_at = |value: f64| left + (right - left) * scale.clamped(value);
        let bottom = height - 30.0;
        for (value, label) in scale.ticks((((right - left) / 80.0) as usize).clamp(2, 6)) {
            svg.line("grid", x_at(value), 0.0, x_at(value), bottom);
            svg.text("tick", x_at(value), bottom + 16.0, Anchor::Middle, &label);
        }
        for (at, bar) in self.bars.iter().enumerate() {
            let y = ROW * at as f64;
            let class = match bar.tone {
                Tone::Good => "bar good",
                Tone::Warn => "bar warn",
                Tone::Bad => "bar bad",
                Tone::Dim => "bar dim",
                _ => "bar s0",
            };
            let hint =
                format!("{}: {}", bar.label, with_interval(&self.x, bar.value, bar.interval));
            svg.rect(class, (left, y + 5.0, x_at(bar.value) - left, ROW - 10.0), "", &hint);
            if let Some((low, high)) = bar.interval {
                let middle = y + ROW / 2.0;
                svg.line("whisker", x_at(low), middle, x_at(high), middle);
                for end in [low, high] {
                    svg.line("whisker", x_at(end), middle - 4.0, x_at(end), middle + 4.0);
                }
            }
            svg.text("tick ink", left - 8.0, y + ROW / 2.0 + 4.0, Anchor::End, &names[at]);
            svg.text("tick", right + 8.0, y + ROW / 2.0 + 4.0, Anchor::Start, &after(at));
        }
        svg.line("axis", left, 0.0, left, bottom);
        svg.finish()
    }

    pub(super) fn text(&self, terminal: &Terminal) -> String {
        let names: Vec<String> =
            self.bars.iter().map(|bar| cut(&visible(&bar.label).replace('\n', " "), 28)).collect();
        let name_width = names.iter().map(|n| columns(n)).max().unwrap_or(0);
        let after: Vec<String> = self
            .bars
            .iter()
            .map(|bar| {
                let value = with_interval(&self.x, bar.value, bar.interval);
                format!("{value} {}", visible(&bar.note)).trim_end().to_owned()
            })
            .collect();
        let widest = after.iter().map(|text| columns(text)).max().unwrap_or(0);
        let room = terminal.width.saturating_sub(name_width + widest + 4).clamp(8, 50);
        let scale = self.scale();
        let mut out = String::new();
        for ((bar, name), after) in self.bars.iter().zip(names).zip(after) {
            let drawn = pad(&eighths(scale.clamped(bar.value) * room as f64), room, false);
            let tone = if bar.tone == Tone::Plain { Tone::Plain } else { bar.tone };
            let line =
                format!("{}  {}", pad(&name, name_width, true), terminal.paint(tone, &drawn));
            out += &format!("{line}  {after}\n");
        }
        out
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&self.title, &["name", self.x.label.as_str(), ""]).numeric(&[1]);
        for bar in &self.bars {
            let value = with_interval(&self.x, bar.value, bar.interval);
            table.push([bar.label.clone(), value, bar.note.clone()]);
        }
        table
    }
}

/// A bar of `length` columns in steps of an eighth.
pub(super) fn eighths(length: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let steps = (length.clamp(0.0, 400.0) * 8.0).round() as usize;
    format!("{}{}", "█".repeat(steps / 8), PARTS[steps % 8])
}
