//! The gate's report: data first, then as a page for terminals and browsers.

use crate::check::{Finding, Severity};
use crate::codes;
use crate::example::Dataset;
use crate::part::Part;
use serde::{Deserialize, Serialize};
use sprat_report::{Cell, Page, Table, Terminal, Tone, number};
use sprat_task::{Digest, Error, Result};
use std::path::PathBuf;

/// All that the gate found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout: [`Report::SCHEMA`].
    pub schema: String,
    /// The parts that were looked at.
    pub parts: Vec<PartReport>,
    /// Every check, in the gate's order.
    pub checks: Vec<CheckReport>,
    /// What follows from it.
    pub verdict: Verdict,
}

/// A part that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReport {
    /// Which part.
    pub part: Part,
    /// Its file.
    pub source: PathBuf,
    /// The digest of its content.
    pub digest: Digest,
    /// How many rows it has.
    pub rows: u64,
    /// How many distinct labels.
    pub labels: u64,
}

impl PartReport {
    pub(crate) fn of(part: Part, data: &Dataset) -> Self {
        PartReport {
            part,
            source: data.source.clone(),
            digest: data.digest,
            rows: data.len() as u64,
            labels: data.label_counts().len() as u64,
        }
    }
}

/// What a check ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing was found.
    Passed,
    /// Something worth knowing was found.
    Noted,
    /// Something probably harmful was found.
    Warned,
    /// Something was found that blocks.
    Blocked,
    /// Something was found, and the check is waived.
    Waived,
    /// The check did not look.
    Skipped,
}

impl Status {
    /// The status as one word.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Passed => "passed",
            Status::Noted => "noted",
            Status::Warned => "warned",
            Status::Blocked => "blocked",
            Status::Waived => "waived",
            Status::Skipped => "skipped",
        }
    }
}

/// One check's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The check's stable name.
    pub id: String,
    /// What it looks for.
    pub title: String,
    /// How grave its findings are here.
    pub severity: Severity,
    /// How it looked.
    pub method: String,
    /// What to do about findings.
    pub advice: String,
    /// What it ended with.
    pub status: Status,
    /// Why it did not look, if it did not.
    pub skipped: Option<String>,
    /// How many rows its findings are about; a row may count for several findings.
    pub rows: u64,
    /// How many findings there are.
    pub total: u64,
    /// How many of them are not listed.
    pub left_out: u64,
    /// A figure about all findings.
    pub summary: Option<String>,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// What follows from the checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the gate refuses the data.
    pub blocked: bool,
    /// The checks that block.
    pub blocking: Vec<String>,
    /// The checks that would have spoken and are waived.
    pub waived: Vec<String>,
}

impl Report {
    /// Version of the report's layout.
    pub const SCHEMA: &'static str = "sprat.data-check/1";

    /// The report as JSON, with its `schema`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// A check's result, by its name.
    pub fn check(&self, id: &str) -> Option<&CheckReport> {
        self.checks.iter().find(|check| check.id == id)
    }

    /// # Errors
    /// [`codes::BLOCKED`] when the gate refuses the data; names the checks and the first row.
    pub fn gate(&self) -> Result<()> {
        if !self.verdict.blocked {
            return Ok(());
        }
        let blocking = self.verdict.blocking.join(", ");
        let mut error =
            Error::new(&codes::BLOCKED, format!("the data gate refuses the data: {blocking}"));
        let first = self.checks.iter().find(|check| check.status == Status::Blocked);
        if let Some(finding) = first.and_then(|check| check.findings.first()) {
            error = error.why(format!("{} at {}", finding.message, self.places(finding)));
        }
        if let Some(check) = first {
            let waive = format!("Waive it with `--waive {}` if it is meant.", check.id);
            error = error.help(format!("{} {waive}", check.advice));
        }
        Err(error)
    }

    /// The report as people read it on a terminal.
    pub fn text(&self, terminal: &Terminal) -> String {
        self.page(5).text(terminal)
    }

    /// The report as a self-contained HTML page.
    ///
    /// # Errors
    /// What the page's template says.
    pub fn html(&self) -> Result<String> {
        self.page(200).render()
    }

    /// The report as a page that lists at most so many findings a check.
    pub fn page(&self, listed: usize) -> Page {
        let rows = |part: &PartReport| {
            [
                part.part.name().to_owned(),
                part.source.display().to_string(),
                number::count(part.rows),
                number::count(part.labels),
                part.digest.short(),
            ]
        };
        let mut parts =
            Table::new("Parts", &["part", "file", "rows", "labels", "digest"]).numeric(&[2, 3]);
        self.parts.iter().for_each(|part| parts.push(rows(part)));
        let mut checks = Table::new("Checks", &["check", "result", "findings", "rows", "remark"])
            .numeric(&[2, 3]);
        for check in &self.checks {
            let remark = check.skipped.as_ref().or(check.summary.as_ref());
            checks.push([
                Cell::from(check.id.clone()),
                Cell::toned(tone(check.status), check.status.name()),
                Cell::from(number::count(check.total)),
                Cell::from(number::count(check.rows)),
                Cell::from(remark.cloned().unwrap_or_default()),
            ]);
        }
        let mut page = Page::new("Data gate").section("Verdict");
        let blocking = self.verdict.blocking.join(", ");
        page = if self.verdict.blocked {
            page.verdict(Tone::Bad, format!("Blocked by {blocking}."))
        } else {
            page.verdict(Tone::Good, "Nothing blocks.")
        };
        if !self.verdict.waived.is_empty() {
            page = page.paragraph(format!("Waived: {}.", self.verdict.waived.join(", ")));
        }
        page = page.table(parts).table(checks);
        for check in self.checks.iter().filter(|check| check.total > 0) {
            page = page.section(check.title.clone()).paragraph(check.method.clone());
            page = page.paragraph(check.advice.clone()).table(self.findings(check, listed));
        }
        page
    }

    fn findings(&self, check: &CheckReport, listed: usize) -> Table {
        let shown = check.findings.len().min(listed);
        let mut table =
            Table::new(check.id.clone(), &["where", "finding", "score", "text"]).numeric(&[2]);
        for finding in &check.findings[..shown] {
            let score = finding.score.map(|score| number::fixed(f64::from(score), 2));
            table.push([
                self.places(finding),
                finding.message.clone(),
                score.unwrap_or_default(),
                finding.excerpt.clone().unwrap_or_default(),
            ]);
        }
        let hidden = check.total - shown as u64;
        if hidden > 0 {
            table = table.note(format!("{} more are in the JSON report.", number::count(hidden)));
        }
        table
    }

    /// The rows of a finding as `part:line`, the first four of them.
    fn places(&self, finding: &Finding) -> String {
        let named = finding.rows.iter().take(4);
        let mut places: Vec<_> = named.map(|row| format!("{}:{}", row.part, row.line)).collect();
        let more = finding.rows_total - places.len() as u64;
        if more > 0 {
            places.push(format!("{more} more"));
        }
        places.join(", ")
    }
}

fn tone(status: Status) -> Tone {
    match status {
        Status::Passed => Tone::Good,
        Status::Warned | Status::Waived => Tone::Warn,
        Status::Blocked => Tone::Bad,
        Status::Noted | Status::Skipped => Tone::Plain,
    }
}
