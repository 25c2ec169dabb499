//! Tables: a caption, named columns, rows of cells.

use crate::terminal::{Terminal, Tone, columns, pad, visible, wrap};

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// Words.
    #[default]
    Left,
    /// Numbers.
    Right,
}

/// One cell: its text and how it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

impl Cell {
    /// A cell in a tone.
    pub fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Cell { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell { text: text.into(), tone: Tone::Plain }
    }
}

/// A table. The first column names the row.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    /// What the table shows, in a few words.
    pub caption: String,
    /// The columns' names.
    pub headers: Vec<String>,
    /// One per column; missing ones are left-aligned.
    pub align: Vec<Align>,
    /// The rows; short ones are filled with empty cells.
    pub rows: Vec<Vec<Cell>>,
    /// A remark below the table: what an interval means, what was left out.
    pub note: Option<String>,
}

impl Table {
    /// An empty table; every column is left-aligned.
    pub fn new(caption: impl Into<String>, headers: &[&str]) -> Self {
        Table {
            caption: caption.into(),
            headers: headers.iter().map(|&name| name.to_owned()).collect(),
            align: vec![Align::Left; headers.len()],
            rows: Vec::new(),
            note: None,
        }
    }

    /// Right-aligns the columns at these positions (from 0).
    #[must_use]
    pub fn numeric(mut self, at: &[usize]) -> Self {
        for &column in at {
            if let Some(align) = self.align.get_mut(column) {
                *align = Align::Right;
            }
        }
        self
    }

    /// Adds a row.
    #[must_use]
    pub fn row<C: Into<Cell>>(mut self, cells: impl IntoIterator<Item = C>) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row in place.
    pub fn push<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Sets the remark below the table.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The table as lines of text, each no wider than the terminal where that is possible with
    /// at least six columns for each cell. Ends with a line feed.
    pub fn text(&self, terminal: &Terminal) -> String {
        let headers: Vec<String> = self.headers.iter().map(|h| visible(h).into_owned()).collect();
        let rows: Vec<Vec<Cell>> = self.rows.iter().map(|row| self.row_to_show(row)).collect();
        let widths = self.widths(&headers, &rows, terminal.width);
        let mut out = String::new();
        for line in wrap(&visible(&self.caption), terminal.width) {
            out += &terminal.paint(Tone::Strong, &line);
            out.push('\n');
        }
        let names: Vec<Cell> = headers.iter().map(|h| Cell::toned(Tone::Dim, h.clone())).collect();
        self.lines_of(&names, &widths, terminal, &mut out);
        let rule: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        out += &terminal.paint(Tone::Dim, &rule.join("  "));
        out.push('\n');
        for row in &rows {
            self.lines_of(row, &widths, terminal, &mut out);
        }
        if let Some(note) = &self.note {
            for line in wrap(&visible(note), terminal.width) {
                out += &terminal.paint(Tone::Dim, &line);
                out.push('\n');
            }
        }
        out
    }

    fn row_to_show(&self, row: &[Cell]) -> Vec<Cell> {
        (0..self.headers.len())
            .map(|at| match row.get(at) {
                Some(cell) => Cell::toned(cell.tone, visible(&cell.text).replace('\n', "␊")),
                None => Cell::default(),
            })
            .collect()
    }

    /// Where the room is short, headers wrap first, then the widest column of words gives way,
    /// then the widest of all, down to six columns.
    fn widths(&self, headers: &[String], rows: &[Vec<Cell>], room: usize) -> Vec<usize> {
        let cells: Vec<usize> = (0..headers.len())
            .map(|at| rows.iter().map(|row| columns(&row[at].text)).max().unwrap_or(0).max(1))
            .collect();
        let word = |at: usize| headers[at].split(' ').map(columns).max().unwrap_or(0);
        let wrapped: Vec<usize> = (0..headers.len()).map(|at| cells[at].max(word(at))).collect();
        let words: Vec<usize> = (0..headers.len())
            .map(|at| if self.align.get(at) == Some(&Align::Right) { usize::MAX } else { 14 })
            .collect();
        let mut widths: Vec<usize> =
            (0..headers.len()).map(|at| cells[at].max(columns(&headers[at]))).collect();
        let gaps = 2 * widths.len().saturating_sub(1);
        let everywhere = vec![6; headers.len()];
        for floors in [&wrapped, &words, &everywhere] {
            while widths.iter().sum::<usize>() + gaps > room {
                let above = (0..widths.len()).filter(|&at| widths[at] > floors[at]);
                match above.max_by_key(|&at| widths[at]) {
                    Some(widest) => widths[widest] -= 1,
                    None => break,
                }
            }
        }
        widths
    }

    fn lines_of(&self, row: &[Cell], widths: &[usize], terminal: &Terminal, out: &mut String) {
        let wrapped: Vec<Vec<String>> =
            row.iter().zip(widths).map(|(cell, &width)| wrap(&cell.text, width)).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let mut text = String::new();
            for (at, lines) in wrapped.iter().enumerate() {
                let part = lines.get(line).map_or("", String::as_str);
                let right = self.align.get(at) == Some(&Align::Right);
                let padded = pad(part, widths[at], right);
                let last = at + 1 == wrapped.len();
                let padded = if last { padded.trim_end().to_owned() } else { padded };
                text += &terminal.paint(row[at].tone, &padded);
                if !last {
                    text += "  ";
                }
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new("Rows per class", &["class", "rows", "what people wrote"])
            .numeric(&[1])
            .row(["refund", "1,200", "I want my money back"])
            .row(["delivery", "96", "where is it?\u{1b}[2J"])
            .note("Counts after cleaning.")
    }

    #[test]
    fn a_table_reads_well_on_eighty_columns() {
        let expected = "\
Rows per class
class      rows  what people wrote
────────  ─────  ────────────────────
refund    1,200  I want my money back
delivery     96  where is it?␛[2J
Counts after cleaning.
";
        assert_eq!(table().text(&Terminal::plain(80)), expected);
    }

    #[test]
    fn a_narrow_terminal_gets_wrapped_cells() {
        let text = table().text(&Terminal::plain(30));
        assert!(text.lines().all(|line| columns(line) <= 30), "{text}");
        assert!(text.contains("money"));
    }

    #[test]
    fn short_and_long_rows_do_no_harm() {
        let odd = Table::new("", &["a", "b"]).row(["1"]).row(["1", "2", "3"]);
        assert!(odd.text(&Terminal::plain(80)).contains('2'));
        assert!(Table::new("none", &[]).row(["x"]).text(&Terminal::plain(1)).starts_with('n'));
    }

    proptest::proptest! {
        #[test]
        fn no_cell_breaks_out_of_its_line(text in ".*", width in 1usize..120) {
            let rows = 3;
            let table = Table::new("c", &["a", "b"]).row([text.as_str(), "x"]).row(["y", &text]);
            let shown = table.text(&Terminal::plain(width));
            proptest::prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
            proptest::prop_assert!(shown.lines().count() >= rows);
        }
    }
}
