//! `sprat up` for models that write.

use super::bench::WriterBench;
use super::release::WriterSubject;
use super::shrink::WriterShrink;
use super::tune::WriterRecord;
use crate::release::refusal as release_refusal;
use crate::step::Stepped;
use crate::up::{Path, data_line};
use crate::{Done, Project};
use serde_json::json;
use sprat_report::{Page, Table, Tone, number};
use sprat_task::Result;

impl Project {
    /// Data gate, tune, shrink, bench, release, promote; steps whose inputs have not changed are
    /// skipped.
    ///
    /// # Errors
    /// Those of the steps; a gate's refusal is in the result.
    pub(crate) fn up_writer(&self) -> Result<Done> {
        let mut path = Path::default();
        let prepared = path.step("data", || self.prepared(), |p| (p.step.skipped, data_line(p)))?;
        let tuned =
            path.step("tune", || self.tuned_writer(&prepared), |t| (t.skipped, tune_line(t)))?;
        let shrunk = path.step(
            "shrink",
            || self.shrunk_writer(&tuned, &prepared),
            |shrunk| (shrunk.skipped, shrink_line(shrunk)),
        )?;
        let bench = path.step(
            "bench",
            || self.benched_writer(&prepared, &tuned, Some(&shrunk), &[], None),
            |bench| (bench.skipped, bench_line(&bench.value)),
        )?;
        let subject = WriterSubject { prepared: &prepared, tuned: &tuned, shrunk: &shrunk };
        let judged = path.step(
            "release",
            || self.released_writer(&subject, "sprat up"),
            |judged| match judged {
                Ok(made) => (made.skipped, format!("{}@v{}", self.task(), made.value.version)),
                Err(_) => (false, "refused".to_string()),
            },
        )?;
        let release = match judged {
            Ok(release) => release,
            Err(record) => {
                return Ok(self.refused(&path, record.page(), release_refusal(&record)));
            }
        };
        let alias = &self.settings.release.alias;
        path.step(
            "promote",
            || self.promote(&format!("v{}", release.value.version), None, "sprat up"),
            |done| {
                let moved = !done.document["move"].is_null();
                (!moved, format!("{alias} → v{}", release.value.version))
            },
        )?;
        let version = format!("{}@v{}", self.task(), release.value.version);
        let gate = &release.value.gate;
        let mut evidence = Table::new("Evidence", &["step", "evidence"]);
        let rows = [
            ("benchmark on your data", bench_line(&bench.value)),
            ("fine-tuning", tune_line(&tuned)),
            ("shrinking", shrink_line(&shrunk)),
            ("what is measured is what is served", equivalence_line(&tuned.value)),
        ];
        for (step, text) in &rows {
            evidence.push([(*step).to_string(), text.clone()]);
        }
        let page = Page::new(format!("{version} is ready"))
            .table(path.table())
            .table(evidence)
            .table(bench.value.quality_table())
            .table(gate.table())
            .facts([("reports", self.reports().display().to_string())])
            .verdict(Tone::Good, format!("{version} passed its gate"));
        let folder = self.reports();
        let report = &prepared.step.value.report;
        report.page(crate::data::LISTED_ON_PAGE).write(&folder.join("data-check.html"))?;
        bench.value.page().write(&folder.join("bench.html"))?;
        gate.page().write(&folder.join("release.html"))?;
        page.write(&folder.join("up.html"))?;
        let body = json!({
            "task": self.task(),
            "version": version,
            "steps": path.lines(),
            "evidence": rows
                .iter()
                .map(|(name, text)| ((*name).to_string(), json!(text)))
                .collect::<serde_json::Map<_, _>>(),
            "gate": gate,
            "reports": folder,
        });
        Ok(Done::new("sprat.up-writer/1", body, page))
    }
}

pub(crate) fn tune_line(tuned: &Stepped<WriterRecord>) -> String {
    let outcome = &tuned.value.outcome;
    format!(
        "validation loss {:.4} → {:.4} nats a token, best at step {} of {}",
        outcome.untuned.loss, outcome.validation.loss, outcome.best_step, outcome.steps
    )
}

pub(crate) fn shrink_line(shrunk: &Stepped<WriterShrink>) -> String {
    match shrunk.winner() {
        Some(winner) => format!(
            "{}: loss {}, {} of {} in memory",
            winner.weights.name(),
            winner.retention.task_loss.points(),
            number::bytes(winner.memory_bytes),
            number::bytes(shrunk.value.full_memory_bytes),
        ),
        None => "no variant passes; the tuned model stays as it is".into(),
    }
}

fn bench_line(bench: &WriterBench) -> String {
    match bench.best() {
        Some(best) => format!(
            "{} candidates; best {}: {} {}",
            bench.measurements().len(),
            best.name,
            best.score.metric,
            best.score.quality.percent()
        ),
        None => "no candidates".into(),
    }
}

fn equivalence_line(tuned: &WriterRecord) -> String {
    format!(
        "{} examples: token losses differ by {:.1e} nats at most, {} of {} answers differ",
        tuned.replay.rows, tuned.replay.greatest, tuned.replay.changed, tuned.replay.written
    )
}
