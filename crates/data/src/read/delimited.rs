//! CSV and TSV (RFC 4180). Own parser: a torn quote must be named by the line where it opened, and
//! a monstrous cell must be refused before it is in memory.

use super::Sink;
use super::columns::Columns;
use super::utf8::TextChunks;
use crate::codes;
use sprat_task::{Error, Result};
use std::io::Read;

pub(super) fn read(input: impl Read, delimiter: u8, sink: &mut Sink<'_>) -> Result<()> {
    let mut chunks = TextChunks::new(input, &sink.path);
    let mut parser = Parser::new(delimiter);
    let mut columns = None;
    while let Some(text) = chunks.next()? {
        parser.feed(text, sink, &mut columns)?;
    }
    parser.end(sink, &mut columns)?;
    if columns.is_none() {
        return Err(sink.error(&codes::EMPTY, "the file holds no header"));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Before the first character of a cell.
    Start,
    Bare,
    Quoted,
    /// After a quote in a quoted cell: its end, or half of a doubled quote.
    Closing,
}

struct Parser {
    delimiter: u8,
    state: State,
    /// Cells of the present record, glued together, and where each ends.
    cells: String,
    ends: Vec<usize>,
    cell_start: usize,
    /// Line on which the present record, and the present quote, begins.
    record_line: u64,
    quote_line: u64,
    line: u64,
    /// The last character was a carriage return that ended a line.
    after_return: bool,
    /// The present record had a quote, so it is not a blank line.
    quoted: bool,
}

impl Parser {
    fn new(delimiter: u8) -> Self {
        Parser {
            delimiter,
            state: State::Start,
            cells: String::new(),
            ends: Vec::new(),
            cell_start: 0,
            record_line: 1,
            quote_line: 1,
            line: 1,
            after_return: false,
            quoted: false,
        }
    }

    fn feed(
        &mut self,
        text: &str,
        sink: &mut Sink<'_>,
        columns: &mut Option<Columns>,
    ) -> Result<()> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if std::mem::take(&mut self.after_return) && byte == b'\n' {
                // The line was counted at its carriage return.
                if self.state == State::Quoted {
                    self.cells.push('\n');
                }
                at += 1;
                continue;
            }
            match self.state {
                State::Start | State::Bare => match byte {
                    b'"' if self.state == State::Start => {
                        self.state = State::Quoted;
                        self.quoted = true;
                        self.quote_line = self.line;
                        at += 1;
                    }
                    b'\n' | b'\r' => {
                        self.end_record(sink, columns)?;
                        self.newline(byte);
                        self.record_line = self.line;
                        at += 1;
                    }
                    byte if byte == self.delimiter => {
                        self.end_cell();
                        at += 1;
                    }
                    _ => {
                        let run = plain(&bytes[at..], |b| {
                            b != self.delimiter && b != b'\n' && b != b'\r'
                        });
                        self.state = State::Bare;
                        self.take(&text[at..at + run], sink, columns.as_ref())?;
                        at += run;
                    }
                },
                State::Quoted => match byte {
                    b'"' => {
                        self.state = State::Closing;
                        at += 1;
                    }
                    b'\n' | b'\r' => {
                        self.newline(byte);
                        self.take(&text[at..=at], sink, columns.as_ref())?;
                        at += 1;
                    }
                    _ => {
                        let run = plain(&bytes[at..], |b| b != b'"' && b != b'\n' && b != b'\r');
                        self.take(&text[at..at + run], sink, columns.as_ref())?;
                        at += run;
                    }
                },
                State::Closing => match byte {
                    b'"' => {
                        self.state = State::Quoted;
                        self.take("\"", sink, columns.as_ref())?;
                        at += 1;
                    }
                    b'\n' | b'\r' => self.state = State::Bare,
                    byte if byte == self.delimiter => self.state = State::Bare,
                    _ => return Err(self.torn(sink, "text follows the closing quote of a cell")),
                },
            }
        }
        Ok(())
    }

    fn newline(&mut self, byte: u8) {
        self.line += 1;
        self.after_return = byte == b'\r';
    }

    fn take(&mut self, text: &str, sink: &Sink<'_>, columns: Option<&Columns>) -> Result<()> {
        self.cells.push_str(text);
        let bytes = self.cells.len() - self.cell_start;
        if bytes > sink.options.max_cell_bytes {
            let at = self.ends.len();
            let name = columns.and_then(|columns| columns.names.get(at).cloned());
            sink.fits(bytes, self.record_line, &name.unwrap_or(format!("column {}", at + 1)))?;
        }
        Ok(())
    }

    fn end_cell(&mut self) {
        self.ends.push(self.cells.len());
        self.cell_start = self.cells.len();
        self.state = State::Start;
    }

    fn end_record(&mut self, sink: &mut Sink<'_>, columns: &mut Option<Columns>) -> Result<()> {
        let blank = self.ends.is_empty() && self.cells.is_empty() && !self.quoted;
        self.end_cell();
        if !blank {
            self.record(sink, columns)?;
        }
        self.cells.clear();
        self.ends.clear();
        self.cell_start = 0;
        self.quoted = false;
        Ok(())
    }

    fn record(&self, sink: &mut Sink<'_>, columns: &mut Option<Columns>) -> Result<()> {
        let start = |at: usize| if at == 0 { 0 } else { self.ends[at - 1] };
        let cell = |at: usize| &self.cells[start(at)..self.ends[at]];
        let Some(columns) = columns else {
            let names = (0..self.ends.len()).map(|at| cell(at).trim().to_owned()).collect();
            *columns = Some(Columns::resolve(names, self.record_line, sink)?);
            return Ok(());
        };
        if self.ends.len() != columns.names.len() {
            let what = format!(
                "a row has {} cells where the header has {} columns",
                self.ends.len(),
                columns.names.len()
            );
            return Err(sink.error(&codes::RAGGED, what).line(self.record_line));
        }
        sink.push(columns.example(self.record_line, |at| Some(cell(at))))
    }

    fn end(&mut self, sink: &mut Sink<'_>, columns: &mut Option<Columns>) -> Result<()> {
        match self.state {
            State::Quoted => Err(self.torn(sink, "a quote is never closed")),
            State::Start if self.ends.is_empty() => Ok(()),
            _ => self.end_record(sink, columns),
        }
    }

    fn torn(&self, sink: &Sink<'_>, what: &str) -> Error {
        let error = sink.error(&codes::QUOTE, what).line(self.quote_line);
        error.why(format!("the quote opened on line {}", self.quote_line))
    }
}

/// How many leading bytes are plain.
fn plain(bytes: &[u8], plain: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !plain(*byte)).unwrap_or(bytes.len())
}
