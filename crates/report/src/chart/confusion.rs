//! Which class was taken for which, as a heat map.

use super::svg::{Anchor, Svg, text_width};
use crate::number::{count, percent};
use crate::table::Table;
use crate::terminal::{Terminal, cut};

/// A confusion matrix: `counts[gold * classes + predicted]`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Confusion {
    /// What the chart shows.
    pub title: String,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Row-major counts, rows are the true classes.
    pub counts: Vec<u64>,
}

/// More classes than these are not legible; those with most confusions are drawn.
const DRAWN: usize = 24;

impl Confusion {
    fn at(&self, gold: usize, predicted: usize) -> u64 {
        self.counts.get(gold * self.labels.len() + predicted).copied().unwrap_or(0)
    }

    /// True class, predicted class, count: all confusions, most frequent first.
    fn pairs(&self) -> Vec<(usize, usize, u64)> {
        let classes = self.labels.len();
        let mut pairs: Vec<_> = (0..classes)
            .flat_map(|gold| (0..classes).map(move |predicted| (gold, predicted)))
            .filter(|(gold, predicted)| gold != predicted)
            .map(|(gold, predicted)| (gold, predicted, self.at(gold, predicted)))
            .filter(|pair| pair.2 > 0)
            .collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.2));
        pairs
    }

    fn total(&self, gold: usize) -> u64 {
        (0..self.labels.len()).map(|predicted| self.at(gold, predicted)).sum()
    }

    /// The classes to draw, in their own order.
    fn drawn(&self) -> Vec<usize> {
        let classes = self.labels.len();
        if classes <= DRAWN {
            return (0..classes).collect();
        }
        let mut wrong = vec![0; classes];
        for (gold, predicted, n) in self.pairs() {
            wrong[gold] += n;
            wrong[predicted] += n;
        }
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by_key(|&class| std::cmp::Reverse(wrong[class]));
        order.truncate(DRAWN);
        order.sort_unstable();
        order
    }

    pub(super) fn svg(&self, width: f64) -> String {
        let drawn = self.drawn();
        let longest = if width < 500.0 { 14 } else { 26 };
        let name = |class: usize| cut(&self.labels[class], longest);
        let side = drawn.iter().map(|&c| text_width(&name(c))).fold(70.0, f64::max) + 10.0;
        let cell = ((width - side - 4.0) / drawn.len().max(1) as f64).clamp(6.0, 44.0);
        let extent = cell * drawn.len() as f64;
        let remark = if drawn.len() < self.labels.len() { 18.0 } else { 0.0 };
        let height = side + extent + 24.0 + remark;
        let mut svg = Svg::new((side + extent + 4.0).max(width.min(320.0)), height, &self.title);
        svg.text("tick", side - 8.0, side - 22.0, Anchor::End, "predicted →");
        svg.text("tick", side - 8.0, side - 6.0, Anchor::End, "true ↓");
        for (column, &class) in drawn.iter().enumerate() {
            let x = side + cell * (column as f64 + 0.5) + 4.0;
            svg.text_up("tick ink", x, side - 6.0, Anchor::Start, &name(class));
        }
        for (row, &gold) in drawn.iter().enumerate() {
            let y = side + cell * row as f64;
            let all = self.total(gold).max(1) as f64;
            svg.text("tick ink", side - 8.0, y + cell / 2.0 + 4.0, Anchor::End, &name(gold));
            for (column, &predicted) in drawn.iter().enumerate() {
                let n = self.at(gold, predicted);
                let share = n as f64 / all;
                let class = if n == 0 {
                    "heat none"
                } else if gold == predicted {
                    "heat right"
                } else {
                    "heat wrong"
                };
                // Square root: single confusions stay visible beside a strong diagonal.
                let style =
                    format!("--a:{:.3}", if n == 0 { 0.0 } else { 0.12 + 0.88 * share.sqrt() });
                let hint = format!(
                    "{} taken for {}: {} ({} of the class)",
                    self.labels[gold],
                    self.labels[predicted],
                    count(n),
                    percent(share)
                );
                let x = side + cell * column as f64;
                svg.rect(class, (x, y, cell - 1.0, cell - 1.0), &style, &hint);
                if n > 0 && cell >= 9.0 + text_width(&count(n)) {
                    let class = if share > 0.3 { "count strong" } else { "count" };
                    let (x, y) = (x + cell / 2.0, y + cell / 2.0 + 4.0);
                    svg.text(class, x, y, Anchor::Middle, &count(n));
                }
            }
        }
        if remark > 0.0 {
            let text = format!("{DRAWN} of {} classes: those most confused", self.labels.len());
            svg.text("tick", 2.0, height - 8.0, Anchor::Start, &text);
        }
        svg.finish()
    }

    pub(super) fn text(&self, terminal: &Terminal) -> String {
        let mut table = self.table();
        table.caption = String::new();
        table.rows.truncate(10);
        let text = table.text(terminal);
        text.strip_prefix('\n').unwrap_or(&text).to_owned()
    }

    pub(super) fn table(&self) -> Table {
        const SHOWN: usize = 100;
        let headers = ["true class", "taken for", "count", "of the class"];
        let mut table = Table::new(&self.title, &headers).numeric(&[2, 3]);
        let pairs = self.pairs();
        for &(gold, predicted, n) in pairs.iter().take(SHOWN) {
            let share = percent(n as f64 / self.total(gold).max(1) as f64);
            let row = [self.labels[gold].clone(), self.labels[predicted].clone(), count(n), share];
            table.push(row);
        }
        table.note(format!("{} different confusions in all.", count(pairs.len() as u64)))
    }
}
