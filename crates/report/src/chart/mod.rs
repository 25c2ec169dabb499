//! Charts: data first, then two drawings of it, SVG and text, and a table of the same figures.
//!
//! Colours are classes, resolved by the page's style sheet, so that one drawing serves light and
//! dark. Series differ by colour (Okabe and Ito, "Color Universal Design", 2008) and by shape or
//! dash, never by colour alone.

mod bars;
mod canvas;
mod confusion;
mod frame;
mod histogram;
mod lines;
mod reliability;
mod scale;
mod scatter;
mod svg;

pub use bars::{Bar, Bars};
pub use confusion::Confusion;
pub use histogram::Histogram;
pub use lines::{Lines, Series};
pub use reliability::{Bin, Reliability};
pub use scale::{Axis, Unit};
pub use scatter::{Guide, Point, Scatter};

use crate::table::Table;
use crate::terminal::Terminal;

/// One of the charts.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Chart {
    /// Points in the plane, with error bars and labels.
    Scatter(Scatter),
    /// Series over a common axis, such as losses over steps.
    Lines(Lines),
    /// Horizontal bars with intervals.
    Bars(Bars),
    /// Which class was taken for which.
    Confusion(Confusion),
    /// Stated confidence against observed accuracy.
    Reliability(Reliability),
    /// How values are distributed.
    Histogram(Histogram),
}

impl Chart {
    /// What the chart shows, in a few words.
    pub fn title(&self) -> &str {
        match self {
            Chart::Scatter(chart) => &chart.title,
            Chart::Lines(chart) => &chart.title,
            Chart::Bars(chart) => &chart.title,
            Chart::Confusion(chart) => &chart.title,
            Chart::Reliability(chart) => &chart.title,
            Chart::Histogram(chart) => &chart.title,
        }
    }

    /// The chart as an `<svg>` element, laid out for `width` CSS pixels.
    pub fn svg(&self, width: f64) -> String {
        match self {
            Chart::Scatter(chart) => chart.svg(width),
            Chart::Lines(chart) => chart.svg(width),
            Chart::Bars(chart) => chart.svg(width),
            Chart::Confusion(chart) => chart.svg(width),
            Chart::Reliability(chart) => chart.svg(width),
            Chart::Histogram(chart) => chart.svg(width),
        }
    }

    /// The chart as text. Ends with a line feed.
    pub fn text(&self, terminal: &Terminal) -> String {
        let body = match self {
            Chart::Scatter(chart) => chart.text(terminal),
            Chart::Lines(chart) => chart.text(terminal),
            Chart::Bars(chart) => chart.text(terminal),
            Chart::Confusion(chart) => chart.text(terminal),
            Chart::Reliability(chart) => chart.text(terminal),
            Chart::Histogram(chart) => chart.text(terminal),
        };
        let title = crate::terminal::visible(self.title()).into_owned();
        format!("{}\n{body}", terminal.paint(crate::Tone::Strong, &title))
    }

    /// The figures behind the chart, for those who cannot or would rather not look at it.
    pub fn table(&self) -> Table {
        match self {
            Chart::Scatter(chart) => chart.table(),
            Chart::Lines(chart) => chart.table(),
            Chart::Bars(chart) => chart.table(),
            Chart::Confusion(chart) => chart.table(),
            Chart::Reliability(chart) => chart.table(),
            Chart::Histogram(chart) => chart.table(),
        }
    }
}

macro_rules! from {
    ($($kind:ident),*) => {$(
        impl From<$kind> for Chart {
            fn from(chart: $kind) -> Self {
                Chart::$kind(chart)
            }
        }
    )*};
}
from!(Scatter, Lines, Bars, Confusion, Reliability, Histogram);

/// How many colours the style sheet knows for series.
pub(crate) const COLOURS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every kind of chart made of the same numbers and texts.
    fn all(label: &str, values: &[f64]) -> Vec<Chart> {
        let at = |index: usize| values.get(index % values.len().max(1)).copied().unwrap_or(0.0);
        let points = |n: usize| -> Vec<Point> {
            (0..n)
                .map(|index| Point {
                    label: label.to_owned(),
                    group: index,
                    x: at(index),
                    x_interval: Some((at(index + 1), at(index + 2))),
                    y: at(index + 3),
                    y_interval: Some((at(index + 2), at(index))),
                    size: Some(at(index + 1)),
                    chosen: index == 0,
                })
                .collect()
        };
        let title = label.to_owned();
        let axis = || Axis::new(label, Unit::Number);
        let guide = |on_x| Guide { on_x, value: at(2), label: label.to_owned() };
        vec![
            Scatter {
                title: title.clone(),
                x: axis().logarithmic(),
                y: Axis::new(label, Unit::Percent),
                size: Some(axis()),
                groups: vec![label.to_owned(); 2],
                points: points(values.len()),
                front: vec![0, 1, 99],
                guides: vec![guide(true), guide(false)],
            }
            .into(),
            Lines {
                title: title.clone(),
                x: axis(),
                y: axis(),
                series: vec![
                    Series {
                        name: label.to_owned(),
                        points: values.iter().map(|&v| (v, -v)).collect(),
                    };
                    2
                ],
                marked: Some((at(0), at(1), label.to_owned())),
            }
            .into(),
            Bars {
                title: title.clone(),
                x: axis(),
                bars: values
                    .iter()
                    .map(|&value| Bar {
                        label: label.to_owned(),
                        value,
                        interval: Some((at(1), at(2))),
                        note: label.to_owned(),
                        ..Bar::default()
                    })
                    .collect(),
            }
            .into(),
            Confusion {
                title: title.clone(),
                labels: vec![label.to_owned(); values.len()],
                counts: values.iter().map(|v| v.abs() as u64 % 1000).collect(),
            }
            .into(),
            Reliability {
                title: title.clone(),
                bins: values
                    .iter()
                    .map(|&v| Bin {
                        confidence: v,
                        accuracy: at(1),
                        interval: (at(2), at(3)),
                        count: 3,
                    })
                    .collect(),
            }
            .into(),
            Histogram::of(title, axis(), values, 10).into(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_number_and_no_text_breaks_a_chart(
            label in ".{0,40}",
            values in proptest::collection::vec(proptest::num::f64::ANY, 0..8),
            width in 10usize..200,
        ) {
            for chart in all(&label, &values) {
                for pixels in [340.0, 880.0] {
                    let svg = chart.svg(pixels);
                    prop_assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
                    prop_assert_eq!(svg.matches('<').count(), svg.matches('>').count());
                }
                let text = chart.text(&Terminal::plain(width));
                prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
                chart.table().text(&Terminal::plain(width));
            }
        }
    }

    #[test]
    fn hostile_labels_stay_text_in_every_chart() {
        let hostile = "\"><script>alert(1)</script>\u{1b}[31m";
        for chart in all(hostile, &[0.1, 0.5, 2.0]) {
            let svg = chart.svg(880.0);
            assert!(!svg.contains("<script") && svg.contains("&quot;&gt;&lt;script"), "{svg}");
            assert!(!chart.text(&Terminal::plain(90)).contains('\u{1b}'));
        }
    }

    #[test]
    fn bars_and_histograms_read_well_as_text() {
        let bars = Bars {
            title: "Accuracy by channel".into(),
            x: Axis::new("accuracy", Unit::Percent),
            bars: vec![
                Bar { label: "mail".into(), value: 0.5, note: "n=40".into(), ..Bar::default() },
                Bar {
                    label: "chat".into(),
                    value: 1.0,
                    interval: Some((0.9, 1.0)),
                    ..Bar::default()
                },
            ],
        };
        let expected = "\
Accuracy by channel
mail  ██████              50.0% n=40
chat  ████████████        100.0% [90.0%, 100.0%]
";
        let text = Chart::from(bars).text(&Terminal::plain(42));
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&text), squeeze(expected));
        let lengths =
            Histogram::of("Length", Axis::new("words", Unit::Count), &[1.0, 1.0, 3.0, 5.0], 2);
        let text = Chart::from(lengths).text(&Terminal::plain(22));
        assert_eq!(text, "Length\n1 │████████ 2\n3 │████████ 2\n  words\n");
    }
}
