//! Pages as self-contained HTML.

use crate::chart::Chart;
use crate::page::{Block, Page, Section};
use crate::table::{Align, Table};
use crate::terminal::{Tone, visible};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, context};
use sprat_task::{Error, Result};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// Widths for which charts are laid out, in CSS pixels: a desk and a phone. The style sheet shows
/// one of the two.
const WIDE: f64 = 880.0;
const NARROW: f64 = 340.0;

pub(crate) fn render(page: &Page) -> Result<String> {
    let failed = |why: minijinja::Error| {
        Error::new(&crate::codes::RENDER, "the report page could not be rendered")
            .why(why.to_string())
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_template("page", TEMPLATE).map_err(failed)?;
    let sections: Vec<Value> = page.sections.iter().enumerate().map(section).collect();
    let template = environment.get_template("page").map_err(failed)?;
    template
        .render(context! {
            style => Value::from_safe_string(STYLE.to_owned()),
            title => visible(&page.title),
            subtitle => visible(&page.subtitle),
            footer => visible(&page.footer),
            sections,
        })
        .map_err(failed)
}

fn section((at, section): (usize, &Section)) -> Value {
    let blocks: Vec<Value> = section.blocks.iter().map(block).collect();
    context! { id => format!("part-{}", at + 1), title => visible(&section.title), blocks }
}

fn block(block: &Block) -> Value {
    match block {
        Block::Text { text } => context! { kind => "text", text => visible(text) },
        Block::Verdict { tone, text } => context! {
            kind => "verdict", tone => class(*tone), sign => tone.sign(), text => visible(text)
        },
        Block::List { items } => {
            let items: Vec<_> = items.iter().map(|item| visible(item)).collect();
            context! { kind => "list", items }
        }
        Block::Facts { facts } => {
            let facts: Vec<_> =
                facts.iter().map(|(name, value)| (visible(name), visible(value))).collect();
            context! { kind => "facts", facts }
        }
        Block::Figures { figures } => {
            let figures: Vec<Value> = figures
                .iter()
                .map(|figure| {
                    context! {
                        value => visible(&figure.value),
                        label => visible(&figure.label),
                        detail => visible(&figure.detail),
                        tone => class(figure.tone),
                    }
                })
                .collect();
            context! { kind => "figures", figures }
        }
        Block::Table(shown) => context! { kind => "table", table => table(shown) },
        Block::Chart(shown) => chart(shown),
    }
}

fn chart(chart: &Chart) -> Value {
    context! {
        kind => "chart",
        title => visible(chart.title()),
        wide => Value::from_safe_string(chart.svg(WIDE)),
        narrow => Value::from_safe_string(chart.svg(NARROW)),
        table => table(&chart.table()),
    }
}

fn table(table: &Table) -> Value {
    let align = |at: usize| {
        if table.align.get(at) == Some(&Align::Right) { "n" } else { "" }
    };
    let headers: Vec<Value> = table
        .headers
        .iter()
        .enumerate()
        .map(|(at, name)| context! { text => visible(name), align => align(at) })
        .collect();
    let rows: Vec<Vec<Value>> = table
        .rows
        .iter()
        .map(|row| {
            let cell = |at: usize| {
                let cell = row.get(at).cloned().unwrap_or_default();
                let tone = class(cell.tone);
                context! { text => visible(&cell.text), tone, align => align(at) }
            };
            (0..table.headers.len()).map(cell).collect()
        })
        .collect();
    let note = table.note.as_deref().map(visible);
    context! { caption => visible(&table.caption), headers, rows, note }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Strong => "strong",
        Tone::Dim => "dim",
        Tone::Good => "good",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
    }
}
