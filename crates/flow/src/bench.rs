//! `sprat bench`: every candidate and version on the same rows of the validation part. The sealed
//! test stays closed: it is for the release gate.

use crate::answers::{Given, Questions};
use crate::prepare::Prepared;
use crate::project::{is_hosted, short_name};
use crate::shrink::ShrinkRecord;
use crate::step::Stepped;
use crate::tune::TuneRecord;
use crate::{Done, Project, bundle};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_eval::{Bench, Entry, NO_ANSWER, Place, Pricing, Resources, Setup, bench, bootstrap};
use sprat_infer::{Answer, Generator, Pending, Request};
use sprat_report::Tone;
use sprat_task::settings::Candidate;
use sprat_task::{Digest, Kind, Result};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// The finished benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BenchRecord {
    /// The figures.
    pub(crate) bench: Bench,
    /// Candidates that could not be measured, and why.
    pub(crate) unmeasured: Vec<(String, String)>,
}

/// A local candidate: its name in the tables and its bundle.
struct Local {
    name: String,
    folder: PathBuf,
    digest: Digest,
}

/// What one candidate gave.
struct Row {
    name: String,
    place: Place,
    given: Given,
    resources: Resources,
}

impl Project {
    /// The benchmark of all candidates and of some versions, tested against the candidate called
    /// `reference` or the best one; taken as it is when nothing has changed.
    ///
    /// # Errors
    /// Those of the models. Hosted candidates that can't be asked are listed, not errors.
    pub(crate) fn benched(
        &self,
        prepared: &Prepared,
        tuned: &Stepped<TuneRecord>,
        shrunk: &Stepped<ShrinkRecord>,
        versions: &[String],
        reference: Option<&str>,
    ) -> Result<Stepped<BenchRecord>> {
        let locals = self.locals(prepared, tuned, shrunk, versions)?;
        let hosted: Vec<&Candidate> =
            self.settings.candidates.iter().filter(|c| is_hosted(c)).collect();
        let inputs = json!({
            "validation": prepared.validation.digest,
            "locals": locals.iter().map(|l| json!([l.name, l.digest])).collect::<Vec<_>>(),
            "hosted": hosted,
            "slices": self.settings.data.slices,
            "cost": self.settings.cost,
            "reference": reference,
            "machine": machine(),
        });
        self.steps().run("bench", &inputs, |_| {
            let most = hosted.iter().map(|c| c.max_examples).min();
            let questions = Questions::of(&prepared.validation, prepared.labels()).at_most(most);
            let total = (locals.len() + hosted.len()) as u64;
            self.progress.start("bench", Some(total), "candidates");
            let mut rows = Vec::new();
            for local in &locals {
                self.progress.note(&local.name);
                rows.push(self.bench_local(local, &questions)?);
                self.progress.advance(1);
            }
            let mut unmeasured = Vec::new();
            for candidate in &hosted {
                self.progress.note(&candidate.model);
                match self.bench_hosted(candidate, &questions) {
                    Ok(row) => rows.push(row),
                    Err(error) if error.code().kind == Kind::Interrupted => return Err(error),
                    Err(error) => unmeasured.push((candidate.model.clone(), error.to_string())),
                }
                self.progress.advance(1);
            }
            self.progress.finish();
            let bench = self.judge(prepared, &questions, &rows, reference)?;
            Ok(BenchRecord { bench, unmeasured })
        })
    }

    /// The local candidates: each base with a new head, the tuned model, its variants, and the
    /// named versions.
    fn locals(
        &self,
        prepared: &Prepared,
        tuned: &Stepped<TuneRecord>,
        shrunk: &Stepped<ShrinkRecord>,
        versions: &[String],
    ) -> Result<Vec<Local>> {
        let mut locals = Vec::new();
        for candidate in self.settings.candidates.iter().filter(|c| !is_hosted(c)) {
            let frozen = self.frozen(candidate, prepared)?;
            let folder = frozen.folder.join("bundle");
            if !bundle::is_bundle(&folder) {
                bundle::assemble(&frozen.model(), &frozen.value.base.dir, &folder)?;
            }
            let name = format!("{} frozen", short_name(candidate));
            locals.push(Local { name, folder, digest: frozen.value.artefact });
        }
        locals.push(Local {
            name: format!("{} tuned", tuned.value.name),
            folder: shrunk.full(),
            digest: tuned.value.artefact,
        });
        for variant in &shrunk.value.variants {
            locals.push(Local {
                name: variant.name(&tuned.value),
                folder: shrunk.bundle(variant.stored),
                digest: shrunk.inputs,
            });
        }
        for reference in versions {
            let version = self.version(reference)?;
            let name = version.to_string();
            if locals.iter().all(|local| local.name != name) {
                let folder = self.registry.checkout(&version)?;
                locals.push(Local { name, folder, digest: version.digest });
            }
        }
        Ok(locals)
    }

    /// The current release, as its fixed reference.
    pub(crate) fn current_name(&self) -> Result<Option<String>> {
        let alias = self.registry.alias(self.task(), &self.settings.release.alias)?;
        Ok(alias.map(|alias| format!("{}@v{}", self.task(), alias.version)))
    }

    fn bench_local(&self, local: &Local, questions: &Questions) -> Result<Row> {
        let measured = self.measured(&local.folder, &questions.texts)?;
        let given = Given::of(&measured.labels, &measured.probabilities, &questions.labels);
        let cost = &self.settings.cost;
        let resources = Resources {
            latencies_ms: measured.latencies_ms,
            requests_per_s: Some(measured.texts_per_second),
            memory_bytes: measured.peak_bytes,
            size_bytes: Some(bundle::size(&local.folder)?),
            pricing: Some(Pricing::Machine {
                usd_per_hour: cost.usd_per_machine_hour,
                requests_per_s: measured.texts_per_second,
                utilisation: cost.utilization,
            }),
        };
        Ok(Row { name: local.name.clone(), place: Place::Local, given, resources })
    }

    fn bench_hosted(&self, candidate: &Candidate, questions: &Questions) -> Result<Row> {
        let remote = self.hosted(candidate, questions.labels.clone())?;
        let answers = ask(&remote, &questions.texts, &self.interrupt)?;
        let index = |answer: &Answer| {
            let label = answer.label.as_ref()?;
            questions.labels.binary_search(label).ok()
        };
        let predicted = answers.iter().map(|a| index(a).unwrap_or(NO_ANSWER)).collect();
        let mean = |tokens: &dyn Fn(&Answer) -> usize| {
            answers.iter().map(tokens).sum::<usize>() as f64 / answers.len().max(1) as f64
        };
        let resources = Resources {
            latencies_ms: answers.iter().map(|a| a.timing.computed.as_secs_f64() * 1e3).collect(),
            pricing: Some(Pricing::Tokens {
                usd_per_million_input: candidate.usd_per_million_input_tokens,
                usd_per_million_output: candidate.usd_per_million_output_tokens,
                input_tokens: mean(&|a| a.prompt_tokens),
                output_tokens: mean(&|a| a.completion_tokens),
            }),
            ..Resources::default()
        };
        let given = Given { predicted, probabilities: None };
        Ok(Row { name: candidate.model.clone(), place: Place::Hosted, given, resources })
    }

    fn judge(
        &self,
        prepared: &Prepared,
        questions: &Questions,
        rows: &[Row],
        reference: Option<&str>,
    ) -> Result<Bench> {
        let slices: Vec<(String, Vec<String>)> = self
            .settings
            .data
            .slices
            .iter()
            .map(|column| (column.clone(), questions.column(&prepared.validation, column)))
            .collect();
        let entries: Vec<Entry<'_>> = rows
            .iter()
            .map(|row| Entry {
                name: &row.name,
                place: row.place,
                predicted: &row.given.predicted,
                probabilities: row.given.probabilities.as_deref(),
                resources: &row.resources,
            })
            .collect();
        let data = format!(
            "validation part, {} rows, digest {}",
            questions.texts.len(),
            prepared.validation.digest.short()
        );
        let setup = Setup {
            task: self.task(),
            data: &data,
            machine: &machine(),
            labels: &questions.labels,
            gold: &questions.gold,
            slices: &slices,
            reference,
            seed: 0,
            resamples: bootstrap::RESAMPLES,
        };
        bench(&setup, &entries)
    }

    /// `sprat bench`.
    ///
    /// # Errors
    /// Those of all steps before.
    pub fn bench(&self, more: &[String], html: Option<&Path>) -> Result<Done> {
        if self.writes()? {
            return self.bench_writer(more, html);
        }
        let prepared = self.prepared()?;
        let tuned = self.tuned(&prepared)?;
        let shrunk = self.shrunk(&tuned, &prepared)?;
        let current = self.current_name()?;
        let versions: Vec<String> = current.iter().chain(more).cloned().collect();
        let record = self.benched(&prepared, &tuned, &shrunk, &versions, current.as_deref())?;
        let mut page = record.value.bench.page();
        for (model, why) in &record.value.unmeasured {
            page = page.verdict(Tone::Warn, format!("{model} was not measured: {why}"));
        }
        let file = html.map_or_else(|| self.reports().join("bench.html"), Path::to_path_buf);
        page.write(&file)?;
        let page = page.paragraph(format!("The same as a page: {}", file.display()));
        let body = json!({
            "skipped": record.skipped,
            "bench": record.value.bench,
            "unmeasured": record.value.unmeasured,
            "html": file,
        });
        Ok(Done::new("sprat.bench/1", body, page))
    }
}

/// Asks a hosted model all questions, as many at once as its client allows.
///
/// # Errors
/// The first request's that failed: a part of the answers would not be comparable.
fn ask(
    model: &dyn Generator,
    texts: &[String],
    interrupt: &sprat_task::Interrupt,
) -> Result<Vec<Answer>> {
    const WINDOW: usize = 8;
    let mut waiting: VecDeque<Pending> = VecDeque::new();
    let mut answers = Vec::new();
    for text in texts {
        interrupt.check()?;
        if waiting.len() >= WINDOW
            && let Some(first) = waiting.pop_front()
        {
            answers.push(first.wait()?);
        }
        waiting.push_back(model.submit(Request::text(text.clone()))?);
    }
    for pending in waiting {
        answers.push(pending.wait()?);
    }
    Ok(answers)
}

/// The machine in words: its processor and how many of its threads compute.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_string())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_string());
    format!("{cpu}, {} threads", sprat_nn::threads::threads())
}
