//! `sprat up`: the whole path in one command, and one summary with the evidence.

use crate::bench::BenchRecord;
use crate::prepare::Prepared;
use crate::release::{ReleaseRecord, Subject, refusal as release_refusal};
use crate::shrink::{ShrinkRecord, name};
use crate::step::Stepped;
use crate::tune::TuneRecord;
use crate::{Done, Project, choose};
use serde::Serialize;
use serde_json::json;
use sprat_eval::{Choice, GateRecord};
use sprat_report::{Page, Table, Tone, number};
use sprat_task::settings::{Method, TraceText};
use sprat_task::{Error, Result};
use std::time::Instant;

/// One step of the path as the summary shows it.
#[derive(Serialize)]
pub(crate) struct Line {
    step: &'static str,
    state: &'static str,
    seconds: f64,
    result: String,
}

/// The steps so far.
#[derive(Default)]
pub(crate) struct Path {
    lines: Vec<Line>,
}

impl Path {
    /// Runs a step and notes how long it took; `tell` says whether it was skipped, and the result.
    pub(crate) fn step<T>(
        &mut self,
        step: &'static str,
        run: impl FnOnce() -> Result<T>,
        tell: impl FnOnce(&T) -> (bool, String),
    ) -> Result<T> {
        let started = Instant::now();
        let value = run()?;
        let (skipped, result) = tell(&value);
        let state = if skipped { "unchanged" } else { "done" };
        self.lines.push(Line { step, state, seconds: started.elapsed().as_secs_f64(), result });
        Ok(value)
    }

    /// The steps so far, for scripts.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The steps so far, for people.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new("Steps", &["step", "state", "time", "result"]).numeric(&[2]);
        for line in &self.lines {
            table.push([
                line.step.to_string(),
                line.state.to_string(),
                number::duration(line.seconds),
                line.result.clone(),
            ]);
        }
        table
    }
}

/// Everything that the path made.
struct Made {
    prepared: Prepared,
    tuned: Stepped<TuneRecord>,
    shrunk: Stepped<ShrinkRecord>,
    bench: Stepped<BenchRecord>,
    choice: Choice,
    release: Stepped<ReleaseRecord>,
}

impl Project {
    /// Data gate, tune, shrink, bench, choose, release, promote; steps whose inputs have not
    /// changed are skipped.
    ///
    /// # Errors
    /// Those of the steps; a gate's refusal is in the result.
    pub fn up(&self) -> Result<Done> {
        if self.writes()? {
            return self.up_writer();
        }
        let mut path = Path::default();
        let prepared = path.step("data", || self.prepared(), |p| (p.step.skipped, data_line(p)))?;
        let tuned = path.step("tune", || self.tuned(&prepared), |t| (t.skipped, tune_line(t)))?;
        let shrunk = path.step(
            "shrink",
            || self.shrunk(&tuned, &prepared),
            |shrunk| (shrunk.skipped, shrink_line(shrunk)),
        )?;
        // The release that is current now is compared in the release gate; the benchmark is
        // about the candidates, so that promoting does not make it stale.
        let bench = path.step(
            "bench",
            || self.benched(&prepared, &tuned, &shrunk, &[], None),
            |bench| (bench.skipped, bench_line(bench)),
        )?;
        let choice = path.step(
            "choose",
            || self.chosen(&prepared, &tuned.value, &shrunk.value, &bench.value),
            |choice| (bench.skipped, choose_line(choice)),
        )?;
        if let Some(error) = choose::refusal(&choice) {
            return Ok(self.refused(&path, choice.page(), error));
        }
        let subject = Subject { prepared: &prepared, tuned: &tuned, shrunk: &shrunk };
        let judged = path.step(
            "release",
            || self.released(&subject, "sprat up"),
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
        let made = Made { prepared, tuned, shrunk, bench, choice, release };
        self.summary(&path, &made)
    }

    pub(crate) fn refused(&self, path: &Path, page: Page, error: Error) -> Done {
        let page = page.section("Steps").table(path.table());
        let body = json!({ "task": self.task(), "steps": path.lines });
        Done::new("sprat.up/1", body, page).refused_by(Some(error))
    }

    fn summary(&self, path: &Path, made: &Made) -> Result<Done> {
        let version = format!("{}@v{}", self.task(), made.release.value.version);
        let practices = self.practices(made);
        let mut evidence = Table::new("Evidence", &["practice", "evidence"]);
        for (practice, text) in &practices {
            evidence.push([(*practice).to_string(), text.clone()]);
        }
        let gate = &made.release.value.gate;
        let page = Page::new(format!("{version} is ready"))
            .table(path.table())
            .table(evidence)
            .table(gate.table())
            .facts([("reports", self.reports().display().to_string())]);
        let page = match &made.choice.winner() {
            Some(winner) if !winner.measured.name.starts_with(&self.tuned_name(made)) => page
                .verdict(
                    Tone::Warn,
                    format!(
                        "`sprat choose` recommends {}; released is {}. The choice report says why.",
                        winner.measured.name,
                        self.subject_name(made)
                    ),
                ),
            _ => page,
        };
        self.write_reports(made, &page)?;
        let body = json!({
            "task": self.task(),
            "version": version,
            "steps": path.lines,
            "practices": practices
                .iter()
                .map(|(name, text)| ((*name).to_string(), json!(text)))
                .collect::<serde_json::Map<_, _>>(),
            "gate": gate,
            "reports": self.reports(),
        });
        Ok(Done::new("sprat.up/1", body, page))
    }

    /// How the tuned model and its variants are called in the benchmark.
    fn tuned_name(&self, made: &Made) -> String {
        format!("{} tuned", made.tuned.value.name)
    }

    /// The released candidate's name in the benchmark.
    fn subject_name(&self, made: &Made) -> String {
        let tuned = self.tuned_name(made);
        match made.shrunk.winner() {
            Some(winner) => format!("{tuned} {}", name(winner.stored)),
            None => tuned,
        }
    }

    /// The reports of all steps as pages; unchanged ones are written already.
    fn write_reports(&self, made: &Made, summary: &Page) -> Result<()> {
        let folder = self.reports();
        let write = |name: &str, page: &Page, fresh: bool| {
            let file = folder.join(name);
            if fresh || !file.exists() { page.write(&file) } else { Ok(()) }
        };
        let fresh = !made.bench.skipped;
        write(
            "data-check.html",
            &made.prepared.step.value.report.page(crate::data::LISTED_ON_PAGE),
            !made.prepared.step.skipped,
        )?;
        write("bench.html", &made.bench.value.bench.page(), fresh)?;
        write("choose.html", &made.choice.page(), fresh)?;
        write("release.html", &made.release.value.gate.page(), !made.release.skipped)?;
        write("up.html", summary, true)
    }

    /// What stands behind the released model, and what decides when it is asked.
    fn route_line(&self) -> String {
        let route = &self.settings.route;
        let by = match route.keep_above {
            _ if route.large.is_empty() => {
                return "not configured; the confidence is calibrated for it".into();
            }
            Some(least) => format!("answers are kept from confidence {least}"),
            None => "the threshold comes from `sprat route fit`".into(),
        };
        format!("{} behind it; {by}", route.large.join(", "))
    }

    fn practices(&self, made: &Made) -> Vec<(&'static str, String)> {
        let outcome = &made.tuned.value.outcome;
        let gain = outcome.validation.accuracy - outcome.frozen_head.accuracy;
        let labels = made.prepared.labels().len();
        let removed: u64 = made.prepared.step.value.cleaned.iter().map(|(_, rows)| rows).sum();
        let quality = quality(&made.release.value.gate);
        let traced = match self.settings.serve.trace_text {
            TraceText::Keep => "texts kept",
            TraceText::Hash => "texts hashed",
            TraceText::Drop => "texts dropped",
        };
        let tuning = match outcome.recipe.method {
            Method::Lora => format!("LoRA rank {}", outcome.recipe.rank),
            Method::Head => "head only".into(),
            Method::Full => "all weights".into(),
        };
        vec![
            ("1 benchmark on your data", bench_line(&made.bench)),
            (
                "2 fine-tune first",
                format!(
                    "frozen head {} → tuned {} on validation ({})",
                    number::percent(outcome.frozen_head.accuracy),
                    number::percent(outcome.validation.accuracy),
                    number::points(gain),
                ),
            ),
            ("3 constrain output", format!("every answer is one of {labels} labels, or refused")),
            ("4 route by difficulty", self.route_line()),
            ("5 monitor", format!("every request leaves a trace, {traced}")),
            (
                "6 data quality",
                format!(
                    "{removed} training rows removed or changed, {} left",
                    made.prepared.step.value.train_rows
                ),
            ),
            (
                "7 LoRA by default",
                format!(
                    "{tuning}: {} of the weights trained",
                    number::percent(outcome.trainable_share())
                ),
            ),
            (
                "8 validate, stop early",
                format!(
                    "best at step {} of {} done ({} planned); sealed test: {quality}",
                    outcome.best_step, outcome.steps, outcome.planned_steps
                ),
            ),
            ("9 verify quantization", shrink_line(&made.shrunk)),
            (
                "10 version everything",
                format!(
                    "v{}, artefact {}",
                    made.release.value.version,
                    made.release.value.gate.subject.short()
                ),
            ),
        ]
    }
}

fn quality(gate: &GateRecord) -> String {
    format!("{} {}", gate.evidence.quality.metric, gate.evidence.quality.value.percent())
}

pub(crate) fn data_line(prepared: &Prepared) -> String {
    let record = &prepared.step.value;
    let [train, validation, test] = record.rows;
    let answers = match record.labels.len() {
        0 => "written answers".to_owned(),
        labels => format!("{labels} labels"),
    };
    format!("{answers}; {train} + {validation} + {test} rows, {} to train on", record.train_rows)
}

pub(crate) fn tune_line(tuned: &Stepped<TuneRecord>) -> String {
    let outcome = &tuned.value.outcome;
    format!(
        "validation accuracy {} in {} steps",
        number::percent(outcome.validation.accuracy),
        outcome.steps
    )
}

pub(crate) fn shrink_line(shrunk: &Stepped<ShrinkRecord>) -> String {
    match shrunk.winner() {
        Some(winner) => format!(
            "{} passes: task loss {}, {} of {}",
            name(winner.stored),
            winner.retention.task_loss.points(),
            number::bytes(winner.bytes),
            number::bytes(shrunk.value.full_bytes),
        ),
        None => "no variant passes; the tuned model stays as it is".into(),
    }
}

fn bench_line(bench: &Stepped<BenchRecord>) -> String {
    let bench = &bench.value.bench;
    match bench.best() {
        Some(best) => format!(
            "{} candidates; best {}: {}",
            bench.candidates.len(),
            best.name,
            best.accuracy.percent()
        ),
        None => "no candidates".into(),
    }
}

fn choose_line(choice: &Choice) -> String {
    match choice.winner() {
        Some(winner) => format!("recommended: {}", winner.measured.name),
        None => "no candidate meets the needs".into(),
    }
}
