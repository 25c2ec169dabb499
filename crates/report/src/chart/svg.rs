//! Writing SVG: coordinates with one decimal, every text escaped.

use crate::terminal::{columns, visible};
use std::fmt::Write;

/// Where a text hangs on its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// An `<svg>` element in the making.
pub(crate) struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64, label: &str) -> Self {
        Svg { width, height, label: label.to_owned(), body: String::new() }
    }

    pub(crate) fn line(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        let _ = write!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    /// A rectangle; `hint` is shown when a pointer rests on it, `style` sets CSS variables.
    pub(crate) fn rect(
        &mut self,
        class: &str,
        (x, y, width, height): (f64, f64, f64, f64),
        style: &str,
        hint: &str,
    ) {
        let style = if style.is_empty() { String::new() } else { format!(r#" style="{style}""#) };
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}"{style}>{}</rect>"#,
            width.max(0.0),
            height.max(0.0),
            title(hint)
        );
    }

    pub(crate) fn path(&mut self, class: &str, data: &str, hint: &str) {
        let _ = write!(self.body, r#"<path class="{class}" d="{data}">{}</path>"#, title(hint));
    }

    pub(crate) fn text(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, content: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
            escape(content)
        );
    }

    /// A text that reads upwards, for the names of vertical axes and of columns.
    pub(crate) fn text_up(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, content: &str) {
        let _ = write!(self.body, r#"<g transform="translate({x:.1} {y:.1}) rotate(-90)">"#);
        self.text(class, 0.0, 0.0, anchor, content);
        self.body += "</g>";
    }

    /// One of six marks of about `size` pixels radius, so that series differ without colour.
    pub(crate) fn mark(&mut self, series: usize, x: f64, y: f64, size: f64, hint: &str) {
        let s = size;
        let data = match series % 6 {
            0 => format!(
                "M{:.1} {y:.1}a{s:.1} {s:.1} 0 1 0 {:.1} 0a{s:.1} {s:.1} 0 1 0 {:.1} 0z",
                x - s,
                2.0 * s,
                -2.0 * s
            ),
            1 => format!(
                "M{:.1} {:.1}h{:.1}v{:.1}h{:.1}z",
                x - 0.9 * s,
                y - 0.9 * s,
                1.8 * s,
                1.8 * s,
                -1.8 * s
            ),
            2 => format!(
                "M{x:.1} {:.1}l{:.1} {:.1}h{:.1}z",
                y - 1.15 * s,
                1.1 * s,
                2.0 * s,
                -2.2 * s
            ),
            3 => format!(
                "M{x:.1} {:.1}l{:.1} {:.1}l{:.1} {:.1}l{:.1} {:.1}z",
                y - 1.25 * s,
                1.25 * s,
                1.25 * s,
                -1.25 * s,
                1.25 * s,
                -1.25 * s,
                -1.25 * s
            ),
            4 => format!(
                "M{x:.1} {:.1}l{:.1} {:.1}h{:.1}z",
                y + 1.15 * s,
                1.1 * s,
                -2.0 * s,
                -2.2 * s
            ),
            _ => format!(
                "M{:.1} {:.1}h{:.1}v{:.1}h{:.1}z",
                x - 1.2 * s,
                y - 0.5 * s,
                2.4 * s,
                s,
                -2.4 * s
            ),
        };
        self.path(&format!("mark s{}", series % super::COLOURS), &data, hint);
    }

    pub(crate) fn finish(self) -> String {
        format!(
            r#"<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {:.0} {:.0}" width="{:.0}" height="{:.0}">{}</svg>"#,
            escape(&self.label),
            self.width,
            self.height,
            self.width,
            self.height,
            self.body
        )
    }
}

fn title(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("<title>{}</title>", escape(hint)) }
}

/// Text for the inside of elements and double-quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// About how many pixels a text of the charts' 12 px font takes; a little too many.
pub(crate) fn text_width(text: &str) -> f64 {
    columns(text) as f64 * 6.7
}
