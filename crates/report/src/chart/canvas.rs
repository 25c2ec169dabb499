//! The text twin of the frame: a grid of characters with axes.

use super::scale::{Axis, Scale};
use crate::terminal::{columns, pad, visible};

/// Characters on a grid, row 0 at the top.
pub(crate) struct Canvas {
    rows: Vec<Vec<char>>,
    x: Scale,
    y: Scale,
}

impl Canvas {
    /// An empty grid for a terminal of `width` columns.
    pub(crate) fn new(width: usize, height: usize, x: Scale, y: Scale) -> Self {
        let inner = width.saturating_sub(12).clamp(16, 88);
        Canvas { rows: vec![vec![' '; inner]; height.max(4)], x, y }
    }

    /// How many columns the grid has.
    pub(crate) fn columns(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// The column of a value, if it is inside.
    pub(crate) fn column(&self, x: f64) -> Option<usize> {
        self.x.at(x).map(|share| (share * (self.columns() - 1) as f64).round() as usize)
    }

    fn row(&self, y: f64) -> Option<usize> {
        let last = (self.rows.len() - 1) as f64;
        self.y.at(y).map(|share| ((1.0 - share) * last).round() as usize)
    }

    /// Puts a character; a free place is needed unless `over`.
    pub(crate) fn put(&mut self, x: f64, y: f64, sign: char, over: bool) {
        if let (Some(column), Some(row)) = (self.column(x), self.row(y)) {
            let cell = &mut self.rows[row][column];
            if over || *cell == ' ' {
                *cell = sign;
            }
        }
    }

    /// A horizontal stroke from `x1` to `x2` at `y`, only where it is free.
    pub(crate) fn stroke(&mut self, x1: f64, x2: f64, y: f64, sign: char) {
        let Some(row) = self.row(y) else { return };
        let last = (self.columns() - 1) as f64;
        let from = (self.x.clamped(x1) * last).round() as usize;
        let to = (self.x.clamped(x2) * last).round() as usize;
        for cell in &mut self.rows[row][from..=to.max(from)] {
            if *cell == ' ' {
                *cell = sign;
            }
        }
    }

    /// A vertical stroke from `y1` up to `y2` at `x`, only where it is free.
    pub(crate) fn pole(&mut self, x: f64, y1: f64, y2: f64, sign: char) {
        let Some(column) = self.column(x) else { return };
        let last = (self.rows.len() - 1) as f64;
        let top = ((1.0 - self.y.clamped(y2)) * last).round() as usize;
        let bottom = ((1.0 - self.y.clamped(y1)) * last).round() as usize;
        for row in &mut self.rows[top..=bottom.max(top)] {
            if row[column] == ' ' {
                row[column] = sign;
            }
        }
    }

    /// The grid with its axes, ticks and names.
    pub(crate) fn finish(self, x_axis: &Axis, y_axis: &Axis) -> String {
        let mut labels = vec![String::new(); self.rows.len()];
        for (value, label) in self.y.ticks(5) {
            if let Some(row) = self.row(value) {
                labels[row] = label;
            }
        }
        let margin = labels.iter().map(|l| columns(l)).max().unwrap_or(0);
        let mut out = format!("{}\n", visible(&y_axis.label));
        for (label, row) in labels.iter().zip(&self.rows) {
            let edge = if label.is_empty() { '│' } else { '┤' };
            let row: String = row.iter().collect();
            out += &format!("{} {edge}{}\n", pad(label, margin, true), row.trim_end());
        }
        let width = self.columns();
        let mut rule: Vec<char> = vec!['─'; width];
        let mut names = vec![' '; width + 12];
        let mut taken = 0;
        for (value, label) in self.x.ticks((width / 12).clamp(2, 6)) {
            let Some(column) = self.column(value) else { continue };
            let length = columns(&label);
            let start = column.saturating_sub(length / 2);
            if start < taken || start + length > names.len() {
                continue;
            }
            rule[column] = '┬';
            for (cell, c) in names[start..].iter_mut().zip(label.chars()) {
                *cell = c;
            }
            taken = start + length + 2;
        }
        let rule: String = rule.into_iter().collect();
        let names: String = names.into_iter().collect();
        let indent = " ".repeat(margin + 1);
        out += &format!("{indent}└{rule}\n{indent} {}\n", names.trim_end());
        out += &format!("{indent} {}\n", pad(&visible(&x_axis.label), width, true));
        out
    }
}
