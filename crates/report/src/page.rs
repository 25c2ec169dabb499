//! A page: sections of text, figures, tables and charts, shown as HTML or on a terminal.

use crate::chart::Chart;
use crate::table::Table;
use crate::terminal::{Terminal, Tone, visible, wrap};
use sprat_task::{Error, Result};
use std::path::Path;

/// One number that matters, shown large.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figure {
    /// The number with its unit.
    pub value: String,
    /// What it is.
    pub label: String,
    /// Its uncertainty or origin, in a few words.
    pub detail: String,
    /// How it is meant.
    pub tone: Tone,
}

impl Figure {
    /// A figure in a plain tone.
    pub fn new(
        value: impl Into<String>,
        label: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let (value, label, detail) = (value.into(), label.into(), detail.into());
        Figure { value, label, detail, tone: Tone::Plain }
    }

    /// The same in a tone.
    #[must_use]
    pub fn toned(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// One piece of a section.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "block", rename_all = "lowercase")]
pub enum Block {
    /// A paragraph.
    Text {
        /// What it says.
        text: String,
    },
    /// A conclusion.
    Verdict {
        /// Whether it is good or bad news.
        tone: Tone,
        /// What it says.
        text: String,
    },
    /// Points, one line each.
    List {
        /// What they say.
        items: Vec<String>,
    },
    /// Named values.
    Facts {
        /// Name and value.
        facts: Vec<(String, String)>,
    },
    /// Numbers shown large.
    Figures {
        /// The numbers.
        figures: Vec<Figure>,
    },
    /// A table.
    Table(Table),
    /// A chart.
    Chart(Chart),
}

/// A part of a page under its own heading.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Section {
    /// The heading; empty for what stands before the first one.
    pub title: String,
    /// What it holds.
    pub blocks: Vec<Block>,
}

/// A page. What is added goes to the section that was opened last.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Page {
    /// The heading of the page.
    pub title: String,
    /// One line below it: of what, when, with which data.
    pub subtitle: String,
    /// The parts.
    pub sections: Vec<Section>,
    /// One line at the end: version, digests, machine.
    pub footer: String,
}

impl Page {
    /// An empty page.
    pub fn new(title: impl Into<String>) -> Self {
        Page { title: title.into(), ..Page::default() }
    }

    /// Sets the line below the heading.
    #[must_use]
    pub fn subtitle(mut self, text: impl Into<String>) -> Self {
        self.subtitle = text.into();
        self
    }

    /// Sets the line at the end.
    #[must_use]
    pub fn footer(mut self, text: impl Into<String>) -> Self {
        self.footer = text.into();
        self
    }

    /// Opens a section.
    #[must_use]
    pub fn section(mut self, title: impl Into<String>) -> Self {
        self.sections.push(Section { title: title.into(), blocks: Vec::new() });
        self
    }

    /// Adds any block.
    #[must_use]
    pub fn block(mut self, block: Block) -> Self {
        match self.sections.last_mut() {
            Some(section) => section.blocks.push(block),
            None => self.sections.push(Section { title: String::new(), blocks: vec![block] }),
        }
        self
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn paragraph(self, text: impl Into<String>) -> Self {
        self.block(Block::Text { text: text.into() })
    }

    /// Adds a conclusion.
    #[must_use]
    pub fn verdict(self, tone: Tone, text: impl Into<String>) -> Self {
        self.block(Block::Verdict { tone, text: text.into() })
    }

    /// Adds a list; an empty one adds nothing.
    #[must_use]
    pub fn list<T: Into<String>>(self, items: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<String> = items.into_iter().map(Into::into).collect();
        if items.is_empty() { self } else { self.block(Block::List { items }) }
    }

    /// Adds named values.
    #[must_use]
    pub fn facts<K: Into<String>, V: Into<String>>(
        self,
        facts: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let facts = facts.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.block(Block::Facts { facts })
    }

    /// Adds numbers shown large.
    #[must_use]
    pub fn figures(self, figures: impl IntoIterator<Item = Figure>) -> Self {
        self.block(Block::Figures { figures: figures.into_iter().collect() })
    }

    /// Adds a table.
    #[must_use]
    pub fn table(self, table: Table) -> Self {
        self.block(Block::Table(table))
    }

    /// Adds a chart.
    #[must_use]
    pub fn chart(self, chart: impl Into<Chart>) -> Self {
        self.block(Block::Chart(chart.into()))
    }

    /// The page as a self-contained HTML document: no script, no network, light and dark.
    ///
    /// # Errors
    /// [`crate::codes::RENDER`]: a defect of the embedded template.
    pub fn render(&self) -> Result<String> {
        crate::html::render(self)
    }

    /// Writes [`Page::render`] to a file, whole or not at all.
    ///
    /// # Errors
    /// [`crate::codes::RENDER`], or [`crate::codes::WRITE`] with the system's reason.
    pub fn write(&self, path: &Path) -> Result<()> {
        let html = self.render()?;
        sprat_task::write::bytes(path, html.as_bytes())
            .map_err(|why| Error::io(&crate::codes::WRITE, "write the report", path, &why))
    }

    /// The page as text for a terminal. Ends with a line feed.
    pub fn text(&self, terminal: &Terminal) -> String {
        let mut out = terminal.paint(Tone::Strong, &visible(&self.title)) + "\n";
        if !self.subtitle.is_empty() {
            let lines = wrap(&visible(&self.subtitle), terminal.width).join("\n");
            out += &(terminal.paint(Tone::Dim, &lines) + "\n");
        }
        for section in &self.sections {
            if !section.title.is_empty() {
                let title = visible(&section.title);
                let rest = terminal.width.min(100).saturating_sub(title.chars().count() + 4);
                let rule = format!("── {title} {}", "─".repeat(rest));
                out += &format!("\n{}\n", terminal.paint(Tone::Strong, &rule));
            }
            for block in &section.blocks {
                out.push('\n');
                out += &text_of(block, terminal);
            }
        }
        if !self.footer.is_empty() {
            let lines = wrap(&visible(&self.footer), terminal.width).join("\n");
            out += &format!("\n{}\n", terminal.paint(Tone::Dim, &lines));
        }
        out
    }
}

fn text_of(block: &Block, terminal: &Terminal) -> String {
    match block {
        Block::Text { text } => indented("", &visible(text), terminal.width),
        Block::Verdict { tone, text } => {
            let lines = indented(&format!("{} ", tone.sign()), &visible(text), terminal.width);
            let painted = lines.lines().map(|line| terminal.paint(*tone, line) + "\n");
            painted.collect()
        }
        Block::List { items } => {
            items.iter().map(|item| indented("• ", &visible(item), terminal.width)).collect()
        }
        Block::Facts { facts } => {
            let widest = facts.iter().map(|(name, _)| crate::terminal::columns(name)).max();
            let widest = widest.unwrap_or(0).min(terminal.width / 2);
            facts
                .iter()
                .map(|(name, value)| {
                    let name = crate::terminal::pad(&visible(name), widest, false);
                    indented(&format!("{name}  "), &visible(value), terminal.width)
                })
                .collect()
        }
        Block::Figures { figures } => figures
            .iter()
            .map(|figure| {
                let value = terminal.paint(
                    if figure.tone == Tone::Plain { Tone::Strong } else { figure.tone },
                    &visible(&figure.value),
                );
                let detail = match figure.detail.as_str() {
                    "" => String::new(),
                    detail => terminal.paint(Tone::Dim, &format!("  ({})", visible(detail))),
                };
                format!("{}: {value}{detail}\n", visible(&figure.label))
            })
            .collect(),
        Block::Table(table) => table.text(terminal),
        Block::Chart(chart) => chart.text(terminal),
    }
}

/// `text` wrapped behind `first`, further lines below its end.
fn indented(first: &str, text: &str, width: usize) -> String {
    let indent = crate::terminal::columns(first);
    let mut out = String::new();
    for (at, line) in wrap(text, width.saturating_sub(indent)).iter().enumerate() {
        if at == 0 {
            out += first;
        } else {
            out += &" ".repeat(indent);
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page::new("Bench: support-intent")
            .subtitle("180 test messages")
            .verdict(Tone::Good, "MiniLM meets every need.")
            .section("Candidates")
            .figures([Figure::new("93.1%", "accuracy", "95% [88.4, 96.0]")])
            .table(Table::new("Quality", &["model", "accuracy"]).row(["MiniLM", "93.1%"]))
            .list(["one", "two"])
            .facts([("machine", "2 cores")])
            .footer("data 1234")
    }

    #[test]
    fn a_page_reads_well_on_a_terminal() {
        let expected = "\
Bench: support-intent
180 test messages

✓ MiniLM meets every need.

── Candidates ──────────────

accuracy: 93.1%  (95% [88.4, 96.0])

Quality
model   accuracy
──────  ────────
MiniLM  93.1%

• one
• two

machine  2 cores

data 1234
";
        assert_eq!(page().text(&Terminal::plain(28)), expected);
    }

    #[test]
    fn hostile_text_stays_text_in_html() {
        let hostile = r#"</title><script>alert("1")</script><img src=x onerror='alert(2)'>"#;
        let bars = crate::chart::Bars {
            title: hostile.into(),
            bars: vec![crate::chart::Bar {
                label: hostile.into(),
                note: hostile.into(),
                value: 1.0,
                ..Default::default()
            }],
            ..Default::default()
        };
        let html = Page::new(hostile)
            .subtitle(hostile)
            .section(hostile)
            .verdict(Tone::Bad, hostile)
            .facts([(hostile, hostile)])
            .figures([Figure::new(hostile, hostile, hostile)])
            .table(Table::new(hostile, &[hostile]).row([hostile]).note(hostile))
            .chart(bars)
            .footer(hostile)
            .render()
            .unwrap();
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        assert!(html.contains("&lt;script&gt;"));
    }

    #[test]
    fn a_page_needs_no_network_and_no_script() {
        let html = page().render().unwrap();
        for outside in ["http:", "https:", "src=", "@import", "url(", "<script", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("<caption>Quality</caption>") && html.contains("scope=\"col\""));
        assert!(html.contains("lang=\"en\"") && html.contains("name=\"viewport\""));
    }
}
