//! The data gate: checks behind one trait, one file each, and the report they make together.

mod answers;
mod classes;
mod conflicts;
mod duplicates;
mod empty;
mod encoding;
mod findings;
mod label_errors;
mod leakage;
mod length;
mod options;
mod personal;

use crate::evidence::Evidence;
use crate::part::Parts;
use crate::report::{CheckReport, PartReport, Report, Status, Verdict};
pub use findings::{Finding, Findings, RowRef};
pub use options::{AnswerRule, CheckOptions, FromModel, Length, LengthLimit, Severity};
use sprat_task::{Interrupt, Progress, Result};

/// One thing the gate looks for.
pub trait Check: Sync {
    /// The stable name by which it is waived and its findings are cited.
    fn id(&self) -> &'static str;
    /// What it looks for, in a few words.
    fn title(&self) -> &'static str;
    /// How grave a finding is, unless the settings say otherwise.
    fn severity(&self) -> Severity;
    /// How it looks, in a sentence or two: normalization, thresholds, source.
    fn method(&self) -> &'static str;
    /// What to do about findings.
    fn advice(&self) -> &'static str;
    /// Looks.
    fn run(&self, evidence: &Look<'_>) -> Result<Outcome>;
}

/// What a check sees.
pub struct Look<'a>(pub(crate) &'a Evidence<'a>);

/// What a check found, or why it could not look.
pub enum Outcome {
    /// It looked.
    Looked(Findings),
    /// It did not look, and why.
    Skipped(String),
}

/// All checks, in the order of the report.
pub fn checks() -> &'static [&'static dyn Check] {
    &[
        &leakage::Exact,
        &leakage::Near,
        &leakage::Group,
        &classes::LabelOnlyInTest,
        &empty::MissingLabel,
        &empty::EmptyText,
        &answers::InvalidAnswer,
        &conflicts::ConflictingLabels,
        &duplicates::Exact,
        &duplicates::Near,
        &label_errors::LabelErrors,
        &personal::PersonalData,
        &personal::Secrets,
        &length::TooLong,
        &encoding::Encoding,
        &classes::RareClasses,
        &classes::Imbalance,
    ]
}

/// Runs all checks over the parts. The report is the same for the same data and options, whatever
/// the number of threads.
///
/// # Errors
/// [`crate::codes::SETTING`] for an unknown check or an impossible setting, and
/// [`sprat_task::INTERRUPTED`].
pub fn check(
    parts: &Parts<'_>,
    options: &CheckOptions,
    model: &FromModel<'_>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Report> {
    let evidence = Evidence::gather(*parts, options, model, progress, interrupt)?;
    report(&evidence, progress)
}

pub(crate) fn report(evidence: &Evidence<'_>, progress: &dyn Progress) -> Result<Report> {
    let options = evidence.options;
    progress.start("checks", Some(checks().len() as u64), "checks");
    let mut reports = Vec::new();
    for check in checks() {
        evidence.interrupt.check()?;
        let outcome = if options.skips(check.id()) {
            Outcome::Skipped("switched off".into())
        } else {
            check.run(&Look(evidence))?
        };
        reports.push(one(*check, outcome, options));
        progress.advance(1);
    }
    progress.finish();
    let of = |status| {
        let with = reports.iter().filter(|check: &&CheckReport| check.status == status);
        with.map(|check| check.id.clone()).collect::<Vec<_>>()
    };
    let blocking = of(Status::Blocked);
    let verdict = Verdict { blocked: !blocking.is_empty(), blocking, waived: of(Status::Waived) };
    let parts = evidence.parts.present().map(|(part, data)| PartReport::of(part, data)).collect();
    Ok(Report { schema: Report::SCHEMA.into(), parts, checks: reports, verdict })
}

fn one(check: &dyn Check, outcome: Outcome, options: &CheckOptions) -> CheckReport {
    let severity = options.severity.get(check.id()).copied().unwrap_or(check.severity());
    let (findings, skipped) = match outcome {
        Outcome::Looked(findings) => (findings, None),
        Outcome::Skipped(why) => (Findings::default(), Some(why)),
    };
    let waived = options.waive.iter().any(|id| id == check.id());
    let status = match severity {
        _ if skipped.is_some() => Status::Skipped,
        _ if findings.total == 0 => Status::Passed,
        _ if waived => Status::Waived,
        Severity::Block => Status::Blocked,
        Severity::Warn => Status::Warned,
        Severity::Info => Status::Noted,
    };
    CheckReport {
        id: check.id().into(),
        title: check.title().into(),
        severity,
        method: check.method().into(),
        advice: check.advice().into(),
        status,
        skipped,
        rows: findings.rows,
        total: findings.total,
        left_out: findings.total - findings.kept.len() as u64,
        summary: findings.summary,
        findings: findings.kept,
    }
}

#[cfg(test)]
mod tests;
