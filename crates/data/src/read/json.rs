//! JSON Lines, and JSON arrays cut into their objects while streaming, so that a large array is
//! never in memory and every record knows its line.

use super::utf8::TextChunks;
use super::{Sink, chat, columns};
use crate::codes;
use crate::example::Example;
use serde_json::{Map, Value};
use sprat_task::Result;
use std::borrow::Cow;
use std::io::Read;

/// How the records stand in the file.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Layout {
    /// `[{…}, {…}]`, or objects one after the other.
    Array,
    /// One object a line.
    Lines,
    /// One chat record a line.
    Chat,
}

pub(super) fn read(input: impl Read, layout: Layout, sink: &mut Sink<'_>) -> Result<()> {
    let mut chunks = TextChunks::new(input, &sink.path);
    let mut cutter = Cutter { layout, ..Cutter::default() };
    while let Some(text) = chunks.next()? {
        cutter.feed(text, sink)?;
    }
    cutter.end(sink)
}

/// Cuts a stream of text into records.
struct Cutter {
    layout: Layout,
    record: String,
    record_line: u64,
    line: u64,
    /// Array layout: open brackets of the present object; in a string; after a backslash.
    depth: usize,
    in_string: bool,
    escaped: bool,
    array: Bracket,
}

#[derive(Clone, Copy, PartialEq)]
enum Bracket {
    None,
    Open(u64),
    Closed,
}

impl Default for Cutter {
    fn default() -> Self {
        Cutter {
            layout: Layout::Lines,
            record: String::new(),
            record_line: 1,
            line: 1,
            depth: 0,
            in_string: false,
            escaped: false,
            array: Bracket::None,
        }
    }
}

impl Cutter {
    fn feed(&mut self, text: &str, sink: &mut Sink<'_>) -> Result<()> {
        if self.layout == Layout::Array { self.array(text, sink) } else { self.lines(text, sink) }
    }

    fn lines(&mut self, mut text: &str, sink: &mut Sink<'_>) -> Result<()> {
        while let Some(end) = text.find('\n') {
            self.take(&text[..end], sink)?;
            self.flush(sink)?;
            self.line += 1;
            self.record_line = self.line;
            text = &text[end + 1..];
        }
        self.take(text, sink)
    }

    fn array(&mut self, text: &str, sink: &mut Sink<'_>) -> Result<()> {
        // Start of the part of `text` that belongs to the present record.
        let mut from = 0;
        for (at, byte) in text.bytes().enumerate() {
            if self.depth == 0 {
                self.between(byte, sink)?;
                from = at;
            } else if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            self.take(&text[from..=at], sink)?;
                            self.flush(sink)?;
                        }
                    }
                    _ => {}
                }
            }
            self.line += u64::from(byte == b'\n');
        }
        if self.depth > 0 { self.take(&text[from..], sink) } else { Ok(()) }
    }

    /// A byte outside of any object.
    fn between(&mut self, byte: u8, sink: &Sink<'_>) -> Result<()> {
        match (byte, self.array) {
            (b'{', _) if self.array != Bracket::Closed => {
                self.depth = 1;
                self.record_line = self.line;
            }
            (b'[', Bracket::None) if sink.examples.is_empty() => {
                self.array = Bracket::Open(self.line);
            }
            (b']', Bracket::Open(_)) => self.array = Bracket::Closed,
            (b' ' | b'\t' | b'\r' | b'\n' | b',', _) => {}
            _ => {
                let what = "the file is not an array of objects";
                return Err(sink.error(&codes::RECORD, what).line(self.line));
            }
        }
        Ok(())
    }

    fn take(&mut self, text: &str, sink: &Sink<'_>) -> Result<()> {
        let limit = sink.options.max_record_bytes;
        if self.record.len() + text.len() > limit {
            let what = format!("a record is larger than {limit} bytes");
            let error = sink.error(&codes::TOO_LARGE, what).line(self.record_line);
            return Err(error.help("If the size is meant, raise `max_record_bytes`."));
        }
        self.record.push_str(text);
        Ok(())
    }

    fn flush(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        if !self.record.trim().is_empty() {
            let line = self.record_line;
            let value: Map<String, Value> = serde_json::from_str(&self.record).map_err(|why| {
                let line = line + (why.line() as u64).saturating_sub(1);
                let error = sink.error(&codes::RECORD, "a record is not a JSON object");
                error.line(line).column(why.column() as u64).why(why.to_string())
            })?;
            if sink.examples.is_empty()
                && !value.contains_key(&sink.options.text)
                && value.get("messages").is_some_and(Value::is_array)
            {
                self.layout = Layout::Chat;
            }
            let example = if self.layout == Layout::Chat {
                chat::example(&value, line, sink)?
            } else {
                object(&value, line, sink)?
            };
            sink.push(example)?;
        }
        self.record.clear();
        Ok(())
    }

    fn end(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        if self.layout != Layout::Array {
            return self.flush(sink);
        }
        let opened = match self.array {
            _ if self.depth > 0 => Some(self.record_line),
            Bracket::Open(line) => Some(line),
            _ => None,
        };
        match opened {
            Some(line) => {
                let what = "the file ends in the middle of a JSON value";
                let why = format!("what opens on line {line} is never closed");
                Err(sink.error(&codes::RECORD, what).line(line).why(why))
            }
            None => Ok(()),
        }
    }
}

/// An object with one value a column.
fn object(value: &Map<String, Value>, line: u64, sink: &Sink<'_>) -> Result<Example> {
    let options = sink.options;
    let cell = |name: &str| -> Result<Option<Cow<'_, str>>> {
        let Some(cell) = value.get(name).and_then(text_of) else { return Ok(None) };
        sink.fits(cell.len(), line, name)?;
        Ok(Some(cell))
    };
    if !value.contains_key(&options.text) {
        let known = value.keys().map(String::as_str);
        return Err(columns::missing(sink, &options.text, known).line(line));
    }
    if let Some(Value::Array(_) | Value::Object(_)) = value.get(&options.text) {
        let what = "the input is not a string";
        return Err(sink.error(&codes::RECORD, what).line(line).field(&options.text));
    }
    let named = |name: &Option<String>| match name {
        // A column that no record has so far is a wrong name rather than an unlabelled row.
        Some(name) if !value.contains_key(name) && sink.examples.is_empty() => {
            Err(columns::missing(sink, name, value.keys().map(String::as_str)).line(line))
        }
        Some(name) => Ok(cell(name)?.and_then(|cell| columns::label(&cell))),
        None => Ok(None),
    };
    let mut example = Example {
        line,
        text: cell(&options.text)?.unwrap_or_default().into_owned(),
        label: named(&options.label)?,
        group: named(&options.group)?,
        ..Example::default()
    };
    let roles = [Some(&options.text), options.label.as_ref(), options.group.as_ref()];
    for name in value.keys() {
        let kept = options.extra.as_ref().is_none_or(|kept| kept.contains(name));
        if !kept || roles.contains(&Some(name)) {
            continue;
        }
        if let Some(cell) = cell(name)? {
            example.extra.insert(name.clone(), cell.into_owned());
        }
    }
    Ok(example)
}

/// A value as a cell: strings as they are, null as none, everything else as its JSON.
pub(super) fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}
