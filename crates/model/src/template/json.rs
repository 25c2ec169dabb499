//! `tojson`, as Python's `json.dumps` writes it.
//!
//! Jinja's own filter escapes characters of HTML, which models were not trained on.

use super::budget::LONGEST;
use super::functions::failed;
use super::python::{DEEPEST, number};
use minijinja::Error;
use minijinja::value::{Kwargs, Value, ValueKind};
use std::fmt::Write;

/// How JSON is written.
struct Style {
    ascii: bool,
    /// What one level is indented by.
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sorted: bool,
}

/// The filter, with the arguments that `transformers` gives it.
pub(super) fn filter(value: &Value, indent: Option<Value>, args: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => indent,
        None => args.get::<Option<Value>>("indent")?.unwrap_or_default(),
    };
    let indent = match (indent.as_str(), indent.as_usize()) {
        (Some(text), _) if text.len() <= 64 => Some(text.to_owned()),
        (None, Some(width)) if width <= 64 => Some(" ".repeat(width)),
        (Some(_), _) | (_, Some(_)) => return Err(failed("an indent of more than 64 spaces")),
        _ => None,
    };
    let separators = args.get::<Option<Value>>("separators")?.filter(|value| !value.is_none());
    let (between_items, after_key) = match &separators {
        Some(pair) => (part(pair, 0)?, part(pair, 1)?),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let style = Style {
        ascii: args.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        indent,
        between_items,
        after_key,
        sorted: args.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    args.assert_all_used()?;
    let mut out = String::new();
    style.write(value, 0, &mut out)?;
    Ok(out)
}

fn part(pair: &Value, at: usize) -> Result<String, Error> {
    let part = pair.get_item_by_index(at)?;
    part.as_str().map(str::to_owned).ok_or_else(|| failed("separators are two texts"))
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > DEEPEST || out.len() > LONGEST {
            return Err(failed("a value is too deep or too long for JSON"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value, ["Infinity", "-Infinity", "NaN"])),
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.block(['[', ']'], &items, depth, out, |item, out| {
                    self.write(item, depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.block(['{', '}'], &keys, depth, out, |key, out| {
                    match key.as_str() {
                        Some(text) => self.text(text, out),
                        None => {
                            out.push('"');
                            self.write(key, depth + 1, out)?;
                            out.push('"');
                        }
                    }
                    out.push_str(&self.after_key);
                    self.write(&value.get_item(key)?, depth + 1, out)
                })?;
            }
            other => return Err(failed(format!("a value of type {other} is no JSON"))),
        }
        Ok(())
    }

    /// Items between brackets, each on its own line where lines are indented.
    fn block(
        &self,
        [open, close]: [char; 2],
        items: &[Value],
        depth: usize,
        out: &mut String,
        mut each: impl FnMut(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize, out: &mut String| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                (0..depth).for_each(|_| out.push_str(indent));
            }
        };
        out.push(open);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(&self.between_items);
            }
            line(depth + 1, out);
            each(item, out)?;
        }
        if !items.is_empty() {
            line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                // Our own marks are no part of the text.
                '\u{fdd0}'..='\u{fdef}' => out.push(letter),
                letter if letter < ' ' || (self.ascii && !letter.is_ascii()) => {
                    let mut units = [0; 2];
                    for unit in letter.encode_utf16(&mut units) {
                        // Writing into a text cannot fail.
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                letter => out.push(letter),
            }
        }
        out.push('"');
    }
}
