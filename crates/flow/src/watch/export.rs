//! `sprat traces export`: traces for other tools, and as examples to tune on.

use crate::{Done, Project, codes};
use serde_json::{Value, json};
use sprat_data::Cells;
use sprat_monitor::{FeedbackRow, TraceFilter, TraceRow, gold_label};
use sprat_report::{Page, Tone};
use sprat_task::{Error, Result, write};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Rows of a Parquet group.
const GROUP: usize = 20_000;

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object a trace, with the feedback on it.
    Jsonl,
    /// The same columns as Parquet, with the last verdict and the right label.
    Parquet,
    /// OpenAI's form of fine-tuning examples: conversations with the right answer.
    OpenAi,
}

/// What is exported.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The form.
    pub format: ExportFormat,
    /// Only traces of this version.
    pub version: Option<String>,
    /// As examples also take answers that nobody has said anything about.
    pub unconfirmed: bool,
}

/// All feedback by the position of its trace, oldest first.
type Said = BTreeMap<u64, Vec<FeedbackRow>>;

impl Project {
    pub(crate) fn said(&self) -> Result<Said> {
        let mut said = Said::new();
        self.feedback()?.each(|feedback, _| {
            said.entry(feedback.trace).or_default().push(feedback);
            Ok(())
        })?;
        Ok(said)
    }

    /// Writes traces into a file, whole or not at all.
    ///
    /// # Errors
    /// `SPRAT-WATCH-NO-TEXTS` where examples are wanted and no text was kept; the store's and those
    /// of writing.
    pub fn traces_export(&self, file: &Path, options: &ExportOptions) -> Result<Done> {
        let said = self.said()?;
        let filter = TraceFilter { version: options.version.clone(), ..TraceFilter::default() };
        let (seen, rows) = match options.format {
            ExportFormat::Parquet => self.export_parquet(file, &filter, &said)?,
            ExportFormat::Jsonl => self.export_lines(file, &filter, |position, row| {
                let mut line = serde_json::to_value(row).unwrap_or(Value::Null);
                if let Some(said) = said.get(&position) {
                    line["feedback"] = json!(said);
                }
                Some(line)
            })?,
            ExportFormat::OpenAi => self.export_lines(file, &filter, |position, row| {
                let said = said.get(&position).and_then(|said| said.last());
                self.example(row, said, options.unconfirmed)
            })?,
        };
        let texts = options.format != ExportFormat::OpenAi || rows > 0 || seen == 0;
        if !texts && !self.any_text(&filter)? {
            return Err(Error::new(&codes::NO_TEXTS, "no trace holds its text"));
        }
        let page = Page::new("Export")
            .verdict(Tone::Good, format!("{rows} of {seen} traces in {}", file.display()));
        let body = json!({ "file": file, "traces": seen, "rows": rows });
        Ok(Done::new("sprat.traces-export/1", body, page))
    }

    fn any_text(&self, filter: &TraceFilter) -> Result<bool> {
        let mut any = false;
        self.traces()?.each(filter, |row| {
            any |= row.text.is_some();
            Ok(())
        })?;
        Ok(any)
    }

    fn export_lines(
        &self,
        file: &Path,
        filter: &TraceFilter,
        line: impl Fn(u64, &TraceRow) -> Option<Value>,
    ) -> Result<(u64, u64)> {
        let log = self.traces()?;
        let (mut seen, mut rows) = (0, 0);
        let mut failed = None;
        let written = write::atomically(file, |out| {
            let done = log.each_at(filter, |position, row| {
                self.interrupt.check()?;
                seen += 1;
                if let Some(line) = line(position, &row) {
                    rows += 1;
                    writeln!(out, "{line}")
                        .map_err(|why| Error::io(&codes::WRITE, "write the export", file, &why))?;
                }
                Ok(())
            });
            done.map(drop).map_err(|error| {
                failed = Some(error);
                std::io::Error::other("the traces ended early")
            })
        });
        match (failed, written) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok((seen, rows)),
            (None, Err(why)) => Err(Error::io(&codes::WRITE, "write the export", file, &why)),
        }
    }

    /// A trace as an example to tune on: its text, and what would have been the right answer. None
    /// where that is not known, or nobody has said that the answer was right.
    fn example(
        &self,
        row: &TraceRow,
        said: Option<&FeedbackRow>,
        unconfirmed: bool,
    ) -> Option<Value> {
        let text = row.text.as_deref()?;
        let answered = row.label.as_deref().or(row.output.as_deref());
        let right = match said {
            Some(said) => right_answer(said, row),
            None => answered.filter(|_| unconfirmed),
        }?;
        let mut messages = Vec::new();
        if let Some(instruction) = &self.settings.task.instruction {
            messages.push(json!({ "role": "system", "content": instruction }));
        }
        messages.push(json!({ "role": "user", "content": text }));
        messages.push(json!({ "role": "assistant", "content": right }));
        Some(json!({ "messages": messages }))
    }

    fn export_parquet(&self, file: &Path, filter: &TraceFilter, said: &Said) -> Result<(u64, u64)> {
        const NAMES: [&str; 19] = [
            "id",
            "at",
            "task",
            "version",
            "text",
            "text_hash",
            "label",
            "confidence",
            "latency_ms",
            "prompt_tokens",
            "completion_tokens",
            "status",
            "route",
            "usd",
            "valid",
            "output",
            "verdict",
            "right_label",
            "right_output",
        ];
        let log = self.traces()?;
        let mut filter = TraceFilter { limit: Some(GROUP as u64), ..filter.clone() };
        let (mut rows, mut first) = (0, true);
        sprat_data::write_parquet(file, &NAMES, || {
            self.interrupt.check()?;
            let page = log.read(&filter)?;
            if let Some((last, _)) = page.last() {
                filter.after = *last;
            } else if !std::mem::take(&mut first) {
                return Ok(None);
            }
            first = false;
            rows += page.len() as u64;
            Ok(Some(columns(&page, said)))
        })?;
        Ok((rows, rows))
    }
}

/// The right answer by what was said of an answer: the corrected one, or the answered one where it
/// was right.
pub(super) fn right_answer<'a>(said: &'a FeedbackRow, row: &'a TraceRow) -> Option<&'a str> {
    let answered = row.output.as_deref().filter(|_| said.good);
    gold_label(said, row).or(said.output.as_deref()).or(answered)
}

/// The cells of a page of traces, in the order of the columns.
fn columns(page: &[(u64, TraceRow)], said: &Said) -> Vec<Cells> {
    let text = |cell: &dyn Fn(&TraceRow) -> Option<String>| {
        Cells::Text(page.iter().map(|(_, row)| cell(row)).collect())
    };
    let number = |cell: &dyn Fn(&TraceRow) -> Option<f64>| {
        Cells::Number(page.iter().map(|(_, row)| cell(row)).collect())
    };
    let whole = |cell: &dyn Fn(&TraceRow) -> u64| {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Cells::Whole(page.iter().map(|(_, row)| Some(signed(cell(row)))).collect())
    };
    let feedback = |cell: &dyn Fn(&FeedbackRow, &TraceRow) -> Option<String>| {
        let last = |position: &u64| said.get(position).and_then(|said| said.last());
        Cells::Text(page.iter().map(|(at, row)| cell(last(at)?, row)).collect())
    };
    vec![
        text(&|row| Some(row.id.clone())),
        whole(&|row| row.at.0),
        text(&|row| Some(row.task.clone())),
        text(&|row| Some(row.version.clone())),
        text(&|row| row.text.clone()),
        text(&|row| row.text_hash.clone()),
        text(&|row| row.label.clone()),
        number(&|row| row.confidence),
        number(&|row| Some(row.latency_ms)),
        whole(&|row| row.prompt_tokens),
        whole(&|row| row.completion_tokens),
        whole(&|row| u64::from(row.status)),
        text(&|row| row.route.clone()),
        number(&|row| row.usd),
        Cells::Flag(page.iter().map(|(_, row)| row.valid).collect()),
        text(&|row| row.output.clone()),
        feedback(&|said, _| Some(if said.good { "right" } else { "wrong" }.to_owned())),
        feedback(&|said, row| gold_label(said, row).map(str::to_owned)),
        feedback(&|said, _| said.output.clone()),
    ]
}
