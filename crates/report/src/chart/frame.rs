//! The frame of an x–y chart: plot area, grid, ticks, names of the axes.

use super::scale::{Axis, Scale};
use super::svg::{Anchor, Svg, text_width};

/// Plot area and scales.
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
}

impl Frame {
    /// Lays the area out in `width` × `height` pixels, `top` of them left free for a legend, and
    /// draws grid, ticks and names.
    pub(crate) fn draw(
        svg: &mut Svg,
        (width, height): (f64, f64),
        top: f64,
        (x_axis, x): (&Axis, Scale),
        (y_axis, y): (&Axis, Scale),
    ) -> Frame {
        let y_ticks = y.ticks(((height / 60.0) as usize).clamp(3, 7));
        let widest = y_ticks.iter().map(|(_, label)| text_width(label)).fold(0.0, f64::max);
        // The vertical axis carries its name above it, left-aligned: nobody reads sideways.
        let frame = Frame {
            left: widest + 14.0,
            right: width - 22.0,
            top: top + 30.0,
            bottom: height - 46.0,
            x,
            y,
        };
        svg.text("label", 2.0, top + 14.0, Anchor::Start, &y_axis.label);
        for (value, label) in y_ticks {
            let at = frame.y_at(value);
            svg.line("grid", frame.left, at, frame.right, at);
            svg.text("tick", frame.left - 6.0, at + 4.0, Anchor::End, &label);
        }
        let room = frame.right - frame.left;
        let mut taken = f64::NEG_INFINITY;
        for (value, label) in frame.x.ticks(((room / 80.0) as usize).clamp(2, 9)) {
            let at = frame.x_at(value);
            svg.line("grid", at, frame.top, at, frame.bottom);
            let half = text_width(&label) / 2.0;
            if at - half > taken + 6.0 && at + half < width {
                svg.text("tick", at, frame.bottom + 18.0, Anchor::Middle, &label);
                taken = at + half;
            }
        }
        svg.line("axis", frame.left, frame.bottom, frame.right, frame.bottom);
        svg.text("label", frame.right, frame.bottom + 38.0, Anchor::End, &x_axis.label);
        frame
    }

    pub(crate) fn x_at(&self, value: f64) -> f64 {
        self.left + (self.right - self.left) * self.x.clamped(value)
    }

    pub(crate) fn y_at(&self, value: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * self.y.clamped(value)
    }
}

/// Draws the names of series with their marks in rows from the top; returns the height taken.
pub(crate) fn legend(svg: &mut Svg, width: f64, names: &[&str], lines: bool) -> f64 {
    if names.len() < 2 {
        return 0.0;
    }
    let (mut x, mut y) = (2.0, 14.0);
    for (at, name) in names.iter().enumerate() {
        let sample = if lines { 30.0 } else { 16.0 };
        let needed = sample + text_width(name) + 18.0;
        if x > 2.0 && x + needed > width {
            (x, y) = (2.0, y + 20.0);
        }
        if lines {
            let class = format!("stroke s{} d{}", at % super::COLOURS, at % super::COLOURS);
            svg.line(&class, x, y - 4.0, x + 24.0, y - 4.0);
        } else {
            svg.mark(at, x + 6.0, y - 4.0, 4.5, "");
        }
        svg.text("tick", x + sample, y, Anchor::Start, name);
        x += needed;
    }
    y + 10.0
}
