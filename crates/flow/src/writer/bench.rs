//! `sprat bench` for models that write: every base as it is, the tuned model, its variants, the
//! named versions and hosted candidates on the same rows of the validation part.

use super::bundle::Writer;
use super::examples::Teller;
use super::judging::Kept;
use super::score::{Asked, Given, Judge, Score};
use super::shrink::WriterShrink;
use super::tune::WriterRecord;
use super::{AnswerSchema, is_decoder};
use crate::bench::machine;
use crate::prepare::Prepared;
use crate::project::{is_hosted, short_name};
use crate::step::Stepped;
use crate::{Done, Project, bundle};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_eval::{Comparison, Latency, Measurement, Place, Pricing, holm, latency};
use sprat_infer::{Constraint, Input, Message, Request, Role};
use sprat_report::number::{bytes, count, millis, p_value, significant};
use sprat_report::{Page, Table, Tone};
use sprat_task::settings::{Candidate, TaskKind};
use sprat_task::{Digest, Kind, Result};
use std::path::{Path, PathBuf};

/// One candidate with its figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WriterScored {
    /// Its name.
    pub(crate) name: String,
    /// Where it runs.
    pub(crate) place: Place,
    /// Whether it answered without the schema: shown, never chosen.
    pub(crate) free: bool,
    /// How good its answers are.
    pub(crate) score: Score,
    /// `exp` of the mean loss of the wanted answers' tokens, where the model tells.
    pub(crate) perplexity: Option<f64>,
    /// Latency at one client.
    pub(crate) latency: Option<Latency>,
    /// Answers a second, many at once.
    pub(crate) requests_per_s: f64,
    /// Tokens written a second, many at once.
    pub(crate) tokens_per_s: f64,
    /// Requests without an answer.
    pub(crate) failed: u64,
    /// Answers that the limit on tokens cut.
    pub(crate) cut: u64,
    /// Size of the artefact, bytes.
    pub(crate) size_bytes: Option<u64>,
    /// How it is paid for.
    pub(crate) pricing: Option<Pricing>,
}

/// The finished benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WriterBench {
    pub(crate) task: String,
    pub(crate) kind: TaskKind,
    /// The rows in words.
    pub(crate) data: String,
    /// The machine in words.
    pub(crate) machine: String,
    /// Rows.
    pub(crate) rows: u64,
    /// The candidates.
    pub(crate) candidates: Vec<WriterScored>,
    /// Each other candidate against the reference, p-values adjusted (Holm).
    pub(crate) comparisons: Vec<Comparison>,
    /// Candidates that could not be measured, and why.
    pub(crate) unmeasured: Vec<(String, String)>,
}

/// A local candidate.
struct Local {
    name: String,
    folder: PathBuf,
    digest: Digest,
    /// A base as it is: its folder has no manifest.
    untuned: bool,
    /// Answers without the schema, to show what it is worth.
    free: bool,
}

/// A candidate's figures, and its answers for the paired tests.
type Row = (WriterScored, Vec<String>);

impl Project {
    /// The benchmark of all candidates and of some versions, tested against the candidate called
    /// `reference` or the tuned model; taken as it is when nothing has changed. Free texts stay in
    /// the step's folder, for a judge.
    ///
    /// # Errors
    /// Those of the models. Hosted candidates that can't be asked are listed, not errors.
    pub(crate) fn benched_writer(
        &self,
        prepared: &Prepared,
        tuned: &Stepped<WriterRecord>,
        shrunk: Option<&Stepped<WriterShrink>>,
        versions: &[String],
        reference: Option<&str>,
    ) -> Result<Stepped<WriterBench>> {
        let mut unmeasured = Vec::new();
        let locals = self.writer_locals(tuned, shrunk, versions, &mut unmeasured)?;
        let hosted: Vec<&Candidate> =
            self.settings.candidates.iter().filter(|c| is_hosted(c)).collect();
        let inputs = json!({
            "validation": prepared.validation.digest,
            "locals": locals.iter().map(|l| json!([l.name, l.digest])).collect::<Vec<_>>(),
            "manifest": tuned.value.manifest,
            "hosted": hosted,
            "cost": self.settings.cost,
            "reference": reference,
            "machine": machine(),
            // The form of what the step leaves in its folder.
            "kept": 1,
        });
        self.steps().run("bench-writer", &inputs, |folder| {
            let schema = self.answer_schema()?;
            let most = hosted.iter().map(|c| c.max_examples).min();
            let asked = Asked::of(&prepared.validation).at_most(most);
            let judge = Judge {
                kind: self.settings.task.kind,
                schema: schema.as_ref(),
                labels: prepared.labels(),
                gold: &asked.gold,
            };
            let total = (locals.len() + hosted.len()) as u64;
            self.progress.start("bench", Some(total), "candidates");
            let mut rows: Vec<Row> = Vec::new();
            for local in &locals {
                self.progress.note(&local.name);
                rows.push(self.bench_writer_local(local, tuned, &asked, &judge)?);
                self.progress.advance(1);
            }
            for candidate in &hosted {
                self.progress.note(&candidate.model);
                match self.bench_writer_hosted(candidate, schema.as_ref(), &asked, &judge) {
                    Ok(row) => rows.push(row),
                    Err(error) if error.code().kind == Kind::Interrupted => return Err(error),
                    Err(error) => unmeasured.push((candidate.model.clone(), error.to_string())),
                }
                self.progress.advance(1);
            }
            self.progress.finish();
            let own = format!("{} tuned", tuned.value.name);
            let reference = reference.unwrap_or(&own);
            let comparisons = compare(&judge, &rows, reference)?;
            if self.settings.task.kind == TaskKind::Generate {
                kept(reference, &asked, &rows).write(folder)?;
            }
            Ok(WriterBench {
                task: self.task().to_owned(),
                kind: self.settings.task.kind,
                data: format!(
                    "validation part, {} rows, digest {}",
                    asked.texts.len(),
                    prepared.validation.digest.short()
                ),
                machine: machine(),
                rows: asked.texts.len() as u64,
                candidates: rows.into_iter().map(|(scored, _)| scored).collect(),
                comparisons,
                unmeasured,
            })
        })
    }

    fn writer_locals(
        &self,
        tuned: &Stepped<WriterRecord>,
        shrunk: Option<&Stepped<WriterShrink>>,
        versions: &[String],
        unmeasured: &mut Vec<(String, String)>,
    ) -> Result<Vec<Local>> {
        let mut locals = Vec::new();
        for candidate in self.settings.candidates.iter().filter(|c| !is_hosted(c)) {
            let pulled = self.fetched(&candidate.model)?;
            if is_decoder(&pulled.dir)? {
                let name = format!("{} base", short_name(candidate));
                let (folder, digest) = (pulled.dir, pulled.digest);
                locals.push(Local { name, folder, digest, untuned: true, free: false });
            } else {
                let why = "it is an encoder, and this task's model writes";
                unmeasured.push((candidate.model.clone(), why.to_owned()));
            }
        }
        let name = format!("{} tuned", tuned.value.name);
        let (folder, digest) = (tuned.bundle(), tuned.value.artefact);
        locals.push(Local { name, folder, digest, untuned: false, free: false });
        self.freely(&mut locals);
        if let Some(shrunk) = shrunk {
            for variant in &shrunk.value.variants {
                locals.push(Local {
                    name: format!("{} tuned {}", tuned.value.name, variant.weights.name()),
                    folder: shrunk.bundle(variant.weights),
                    digest: shrunk.inputs,
                    untuned: false,
                    free: false,
                });
            }
        }
        for reference in versions {
            let version = self.version(reference)?;
            let name = version.to_string();
            if locals.iter().all(|local| local.name != name) {
                let folder = self.registry.checkout(&version)?;
                let digest = version.digest;
                locals.push(Local { name, folder, digest, untuned: false, free: false });
            }
        }
        Ok(locals)
    }

    /// Adds every candidate so far once more, answering without the schema, where there is one.
    fn freely(&self, locals: &mut Vec<Local>) {
        if self.settings.task.schema.is_none() {
            return;
        }
        let free = locals.iter().map(|local| Local {
            name: format!("{}, no schema", local.name),
            folder: local.folder.clone(),
            digest: local.digest,
            untuned: local.untuned,
            free: true,
        });
        let free: Vec<Local> = free.collect();
        locals.extend(free);
    }

    fn bench_writer_local(
        &self,
        local: &Local,
        tuned: &Stepped<WriterRecord>,
        asked: &Asked,
        judge: &Judge<'_>,
    ) -> Result<Row> {
        let limits = self.decoder_limits();
        let writer = match local.untuned {
            true => Writer::bare(&local.name, &local.folder, &tuned.value.manifest, limits)?,
            false => Writer::open(&local.name, &local.folder, limits)?,
        };
        let mut behaviour = writer.manifest.behaviour();
        if local.free {
            behaviour.constraint = None;
        }
        let model = writer.behaving(&local.name, behaviour);
        let request = |text: &str| Request::text(text);
        let given = Given::from(&model, &request, &asked.texts, &self.interrupt)?;
        let cost = &self.settings.cost;
        let pricing = Pricing::Machine {
            usd_per_hour: cost.usd_per_machine_hour,
            requests_per_s: given.requests_per_s,
            utilisation: cost.utilization,
        };
        let mut scored = scored(&local.name, Place::Local, &given, judge)?;
        scored.perplexity = perplexity(&writer, asked)?;
        scored.size_bytes = Some(bundle::size(&local.folder)?);
        scored.pricing = Some(pricing);
        scored.free = local.free;
        Ok((scored, given.outputs))
    }

    fn bench_writer_hosted(
        &self,
        candidate: &Candidate,
        schema: Option<&AnswerSchema>,
        asked: &Asked,
        judge: &Judge<'_>,
    ) -> Result<Row> {
        let task = &self.settings.task;
        let labels = if task.kind == TaskKind::Classify { judge.labels } else { &[] };
        let remote = self.hosted(candidate, labels.to_vec())?;
        let request = |text: &str| {
            let told = task.instruction.iter().map(|told| Message::new(Role::System, told.clone()));
            let asked = [Message::new(Role::User, text)];
            let request = Request::new(Input::Messages(told.chain(asked).collect()));
            match schema {
                Some(schema) => {
                    request.constrained(Constraint::JsonSchema(schema.document.clone()))
                }
                None => request,
            }
        };
        let given = Given::from(&remote, &request, &asked.texts, &self.interrupt)?;
        if given.failed.len() == asked.texts.len()
            && let Some((_, why)) = given.failed.first()
        {
            let error = sprat_task::Error::new(&crate::codes::MEASURE, "no request was answered");
            return Err(error.why(why.clone()));
        }
        let mut scored = scored(&candidate.model, Place::Hosted, &given, judge)?;
        scored.pricing = Some(Pricing::Tokens {
            usd_per_million_input: candidate.usd_per_million_input_tokens,
            usd_per_million_output: candidate.usd_per_million_output_tokens,
            input_tokens: given.tokens.0,
            output_tokens: given.tokens.1,
        });
        Ok((scored, given.outputs))
    }

    /// `sprat choose` for a task whose model writes.
    ///
    /// # Errors
    /// Those of all steps before.
    pub(crate) fn choose_writer(&self) -> Result<Done> {
        let prepared = self.prepared()?;
        let tuned = self.tuned_writer(&prepared)?;
        let shrunk = self.shrunk_writer(&tuned, &prepared)?;
        let bench = self.benched_writer(&prepared, &tuned, Some(&shrunk), &[], None)?.value;
        let mut measurements = bench.measurements();
        for variant in &shrunk.value.variants {
            let objections = variant.retention.objections();
            let name = format!("{} tuned {}", tuned.value.name, variant.weights.name());
            let measured = measurements.iter_mut().find(|measured| measured.name == name);
            if let (false, Some(measured)) = (objections.is_empty(), measured) {
                measured.refusal = Some(format!("refused by shrink: {}", objections.join(", ")));
            }
        }
        let metric = bench.best().map_or("quality", |best| best.score.metric.as_str());
        self.choice(metric, prepared.labels().len(), &prepared, bench.rows, measurements)
    }

    /// `sprat bench` for a task whose model writes.
    ///
    /// # Errors
    /// Those of all steps before.
    pub(crate) fn bench_writer(&self, more: &[String], html: Option<&Path>) -> Result<Done> {
        let prepared = self.prepared()?;
        let tuned = self.tuned_writer(&prepared)?;
        let current = self.current_name()?;
        let versions: Vec<String> = current.iter().chain(more).cloned().collect();
        let record = self.benched_writer(&prepared, &tuned, None, &versions, current.as_deref())?;
        let judged = self.judged(&record)?;
        let page = record.value.page();
        let page = judged.iter().fold(page, |page, judged| judged.show(page));
        let file = html.map_or_else(|| self.reports().join("bench.html"), Path::to_path_buf);
        page.write(&file)?;
        let page = page.paragraph(format!("The same as a page: {}", file.display()));
        let body = json!({
            "skipped": record.skipped,
            "bench": record.value,
            "judged": judged,
            "html": file,
        });
        Ok(Done::new("sprat.bench-writer/1", body, page))
    }
}

fn scored(name: &str, place: Place, given: &Given, judge: &Judge<'_>) -> Result<WriterScored> {
    Ok(WriterScored {
        name: name.to_owned(),
        place,
        free: false,
        score: judge.score(&given.outputs)?,
        perplexity: None,
        latency: latency(&given.latencies_ms),
        requests_per_s: given.requests_per_s,
        tokens_per_s: given.tokens_per_s,
        failed: given.failed.len() as u64,
        cut: given.cut,
        size_bytes: None,
        pricing: None,
    })
}

/// `exp` of the mean loss of the wanted answers' tokens.
fn perplexity(writer: &Writer, asked: &Asked) -> Result<Option<f64>> {
    let sum = writer.losses(asked)?;
    Ok((sum.tokens > 0).then(|| (sum.loss / sum.tokens as f64).exp()))
}

impl Writer {
    /// The losses of the wanted answers' tokens, as they are served.
    ///
    /// # Errors
    /// Those of the template.
    pub(crate) fn losses(&self, asked: &Asked) -> Result<sprat_model::decoder::TokenSum> {
        /// Tokens read at once.
        const TOKENS: usize = 2048;
        let model = self.engine.model();
        let teller = Teller { model, instruction: self.manifest.instruction.as_deref() };
        let pairs = asked.texts.iter().zip(&asked.gold);
        let mut examples =
            pairs.map(|(text, gold)| teller.example(text, gold)).collect::<Result<Vec<_>>>()?;
        examples.retain(|example| example.answer.end <= model.decoder().context());
        Ok(model.decoder().measure(&examples, self.adapter.as_deref(), TOKENS))
    }
}

fn compare(judge: &Judge<'_>, rows: &[Row], reference: &str) -> Result<Vec<Comparison>> {
    let Some((_, theirs)) = rows.iter().find(|(row, _)| row.name == reference) else {
        return Ok(Vec::new());
    };
    let others =
        rows.iter().filter(|(row, answers)| row.name != reference && answers.len() == theirs.len());
    let mut comparisons = others
        .map(|(row, ours)| judge.compare((&row.name, ours), (reference, theirs)))
        .collect::<Result<Vec<_>>>()?;
    let adjusted = holm(&comparisons.iter().map(|c| c.mcnemar.mid_p).collect::<Vec<_>>());
    comparisons.iter_mut().zip(adjusted).for_each(|(one, p)| one.adjusted_p = p);
    Ok(comparisons)
}

/// The local candidates' answers, for a judge; those without the schema are never chosen.
fn kept(reference: &str, asked: &Asked, rows: &[Row]) -> Kept {
    let judged = rows.iter().filter(|(row, _)| row.place == Place::Local && !row.free);
    Kept {
        reference: reference.to_owned(),
        texts: asked.texts.clone(),
        answers: judged.map(|(row, answers)| (row.name.clone(), answers.clone())).collect(),
    }
}

impl WriterBench {
    /// The candidates as `choose` weighs them.
    pub(crate) fn measurements(&self) -> Vec<Measurement> {
        let one = |scored: &WriterScored| Measurement {
            name: scored.name.clone(),
            place: scored.place,
            quality: scored.score.quality,
            latency: scored.latency,
            memory_bytes: None,
            size_bytes: scored.size_bytes,
            pricing: scored.pricing,
            refusal: None,
        };
        self.candidates.iter().filter(|one| !one.free).map(one).collect()
    }

    /// The candidate with the best quality.
    pub(crate) fn best(&self) -> Option<&WriterScored> {
        let quality = |one: &&WriterScored| one.score.quality.estimate;
        self.candidates
            .iter()
            .filter(|one| !one.free)
            .max_by(|a, b| quality(a).total_cmp(&quality(b)))
    }

    /// The report.
    pub(crate) fn page(&self) -> Page {
        let mut page = Page::new(format!("Benchmark: {}", self.task))
            .subtitle(format!("{} rows of {}", count(self.rows), self.data))
            .footer(format!(
                "Intervals are 95% (Wilson for shares, percentile bootstrap for F1 and ROUGE-L, \
                 order statistics for latency). Machine: {}.",
                self.machine
            ))
            .section("Candidates")
            .table(self.quality_table())
            .table(self.speed_table());
        if !self.comparisons.is_empty() {
            page = page.section("Paired tests").table(self.tests_table());
        }
        if let Some(best) = self.best()
            && let Some(found) = &best.score.extraction
        {
            page = page.section(format!("Fields of {}", best.name)).table(fields(found));
        }
        for (model, why) in &self.unmeasured {
            page = page.verdict(Tone::Warn, format!("{model} was not measured: {why}"));
        }
        page
    }

    /// How good the candidates' answers are.
    pub(crate) fn quality_table(&self) -> Table {
        let headers: &[&str] = match self.kind {
            TaskKind::Classify => &["candidate", "accuracy", "valid", "perplexity"],
            TaskKind::Extract => {
                &["candidate", "exact match", "micro-F1", "macro-F1", "valid", "perplexity"]
            }
            TaskKind::Generate => {
                &["candidate", "token F1", "ROUGE-L", "exact match", "perplexity"]
            }
        };
        let numeric: Vec<usize> = (1..headers.len()).collect();
        let mut table = Table::new("Quality", headers).numeric(&numeric);
        for one in &self.candidates {
            let score = &one.score;
            let perplexity = one.perplexity.map_or("–".into(), significant);
            let mut row = vec![one.name.clone()];
            match (&score.extraction, &score.generation) {
                (Some(found), _) => row.extend([
                    score.exact.percent(),
                    found.micro_f1.percent(),
                    found.macro_f1.percent(),
                    score.valid.percent(),
                ]),
                (_, Some(found)) => row.extend([
                    found.token_f1.percent(),
                    found.rouge_l.percent(),
                    found.exact.percent(),
                ]),
                _ => row.extend([score.exact.percent(), score.valid.percent()]),
            }
            row.push(perplexity);
            table.push(row);
        }
        table.note("perplexity of the wanted answers, without the constraint")
    }

    fn speed_table(&self) -> Table {
        let headers = ["candidate", "p50", "p95", "answers/s", "tokens/s", "size", "failed", "cut"];
        let mut table = Table::new("Speed and size", &headers).numeric(&[1, 2, 3, 4, 5, 6, 7]);
        for one in &self.candidates {
            let at = |of: fn(&Latency) -> f64| {
                one.latency.as_ref().map_or("–".into(), |l| millis(of(l)))
            };
            table.push([
                one.name.clone(),
                at(|l| l.p50.ms),
                at(|l| l.p95.ms),
                significant(one.requests_per_s),
                significant(one.tokens_per_s),
                one.size_bytes.map_or("–".into(), bytes),
                one.failed.to_string(),
                one.cut.to_string(),
            ]);
        }
        table.note("latency with one request at a time, throughput with many at once")
    }

    fn tests_table(&self) -> Table {
        let headers = ["candidate", "against", "exact match", "F1", "p (McNemar, Holm)"];
        let mut table = Table::new("Against the reference", &headers).numeric(&[2, 3, 4]);
        for one in &self.comparisons {
            table.push([
                one.candidate.clone(),
                one.reference.clone(),
                one.accuracy.points(),
                one.macro_f1.points(),
                p_value(one.adjusted_p),
            ]);
        }
        table
    }
}

fn fields(found: &sprat_eval::Extraction) -> Table {
    let headers = ["field", "values", "answered", "precision", "recall", "F1"];
    let mut table = Table::new("Fields", &headers).numeric(&[1, 2, 3, 4, 5]);
    for field in &found.fields {
        table.push([
            field.field.clone(),
            field.counts.gold.to_string(),
            field.counts.predicted.to_string(),
            sprat_report::number::percent(field.precision),
            sprat_report::number::percent(field.recall),
            field.f1.percent(),
        ]);
    }
    table
}
