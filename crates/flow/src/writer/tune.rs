//! `sprat tune` for models that write: examples of conversations, LoRA or all weights, the bundle,
//! and the proof that it serves what was trained.

use super::bundle::{self, Writer, adapter_digest};
use super::examples::{Teller, pairs, writable};
use super::manifest::{Digests, SCHEMA, WriterManifest, WriterWeights};
use super::replay::{Replay, replay};
use crate::prepare::Prepared;
use crate::project::short_name;
use crate::step::Stepped;
use crate::tune::{Base, losses};
use crate::{Done, Project};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_infer::{Generator, Request};
use sprat_model::{Format, LanguageModel, gguf_file};
use sprat_report::{Page, number};
use sprat_task::settings::{Method, Precision, TaskKind, TrainingMemory, Tune};
use sprat_task::{Digest, Result};
use sprat_train::{DecoderJob, DecoderOutcome, MODEL_FOLDER, Memory, TokenExample};
use std::path::{Path, PathBuf};

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WriterRecord {
    /// The candidate's name.
    pub(crate) name: String,
    /// The base model.
    pub(crate) base: Base,
    /// The digest of the run's artefact: the same recipe on the same data gives the same.
    pub(crate) artefact: Digest,
    /// The trainer's record.
    pub(crate) outcome: DecoderOutcome,
    /// The bundle's manifest.
    pub(crate) manifest: WriterManifest,
    /// The equivalence check.
    pub(crate) replay: Replay,
}

impl Stepped<WriterRecord> {
    /// The bundle: everything that the tuned model needs.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.folder.join(BUNDLE)
    }
}

/// The bundle's folder in the step's.
pub(crate) const BUNDLE: &str = "bundle";

/// Examples of both parts.
pub(crate) struct Examples {
    pub(crate) train: Vec<TokenExample>,
    pub(crate) valid: Vec<TokenExample>,
}

/// What is to be trained besides the recipe.
struct Plan<'a> {
    base: &'a Base,
    recipe: &'a Tune,
    prepared: &'a Prepared,
    examples: &'a Examples,
    ends: &'a [u32],
    folder: &'a Path,
}

impl Project {
    /// Tunes the base candidate as the settings say; a run that has finished on the same data
    /// with the same recipe is not repeated, one that was stopped goes on.
    ///
    /// # Errors
    /// Those of the data gate and of the trainer; `SPRAT-FLOW-NOT-EQUIVALENT` when the tuned model
    /// does not serve what was trained.
    pub(crate) fn tuned_writer(&self, prepared: &Prepared) -> Result<Stepped<WriterRecord>> {
        let candidate = self.base_candidate()?.clone();
        let pulled = self.fetched(&candidate.model)?;
        let base = Base::of(&candidate, &pulled);
        let recipe = &self.settings.tune;
        let task = &self.settings.task;
        let schema = self.answer_schema()?;
        let inputs = json!({
            "base": base.digest,
            "train": prepared.train.digest,
            "validation": prepared.validation.digest,
            "kind": task.kind,
            "instruction": task.instruction,
            "schema": schema.as_ref().map(|schema| &schema.document),
            "max_answer_tokens": task.max_answer_tokens,
            "recipe": sprat_train::recipe_digest(recipe),
            "budget": recipe.budget.map(|budget| budget.to_string()),
        });
        self.steps().run("tune-writer", &inputs, |folder| {
            let name = short_name(&candidate);
            self.make_writer((name, base), recipe, prepared, folder)
        })
    }

    /// Tunes a base in a folder, whatever was made before elsewhere.
    ///
    /// # Errors
    /// As [`Self::tuned_writer`].
    pub(crate) fn make_writer(
        &self,
        (name, base): (String, Base),
        recipe: &Tune,
        prepared: &Prepared,
        folder: &Path,
    ) -> Result<WriterRecord> {
        let task = &self.settings.task;
        let schema = self.answer_schema()?;
        let model = LanguageModel::open(&base.dir, format(recipe), None)?;
        let teller = Teller { model: &model, instruction: task.instruction.as_deref() };
        let examples = Examples {
            train: teller.examples(&prepared.train)?,
            valid: teller.examples(&prepared.validation)?,
        };
        if let Some(schema) = &schema {
            writable(&model, schema, &prepared.train, &examples.train)?;
        }
        let ends = model.tokenizer().ends().to_vec();
        let manifest = WriterManifest {
            schema: SCHEMA.to_owned(),
            kind: task.kind,
            base: base.for_manifest(),
            weights: weights(recipe),
            precision: recipe.precision,
            instruction: task.instruction.clone(),
            answer_schema: schema.map(|schema| schema.document),
            labels: prepared.labels().to_vec(),
            temperature: 1.0,
            max_answer_tokens: task.max_answer_tokens,
            digests: Digests {
                template: model.template_digest(),
                tokenizer: model.tokenizer().digest()?,
                adapter: None,
            },
        };
        // The trainer opens the weights itself: not twice in memory.
        drop(model);
        let plan = Plan { base: &base, recipe, prepared, examples: &examples, ends: &ends, folder };
        self.train_writer(&plan, manifest, name)
    }

    fn train_writer(
        &self,
        plan: &Plan<'_>,
        mut manifest: WriterManifest,
        name: String,
    ) -> Result<WriterRecord> {
        let Plan { base, recipe, prepared, examples, ends, folder } = *plan;
        let base_model = base.for_manifest();
        let file = gguf_file(&base.dir)?;
        let job = DecoderJob {
            base: file.as_deref().unwrap_or(&base.dir),
            base_model: &base_model,
            train: &examples.train,
            valid: &examples.valid,
            ends,
            context: None,
            memory: match recipe.memory {
                TrainingMemory::Low => Memory::Low,
                TrainingMemory::High => Memory::Normal,
            },
            recipe,
            folder,
            progress: self.progress.as_ref(),
            interrupt: &self.interrupt,
        };
        let outcome = sprat_train::tune_decoder(&job)?;
        let model = folder.join(MODEL_FOLDER);
        if manifest.weights == WriterWeights::Adapter {
            manifest.digests.adapter = Some(adapter_digest(&model)?);
        }
        manifest.write(&model)?;
        let to = folder.join(BUNDLE);
        bundle::assemble(&model, &base.dir, &to)?;
        let writer = Writer::open(&name, &to, self.decoder_limits())?;
        self.progress.start("equivalence check", None, "examples");
        let trainer = |examples: &[TokenExample]| sprat_train::replay(&job, &model, examples);
        let replayed = replay(&writer, &trainer, &examples.valid, &self.interrupt)?;
        replayed.require("tune")?;
        if manifest.kind == TaskKind::Classify {
            manifest.temperature = self.calibrated(&writer, prepared)?;
            manifest.write(&model)?;
            drop(writer);
            bundle::assemble(&model, &base.dir, &to)?;
        }
        self.progress.finish();
        let artefact = sprat_registry::Tree::of_folder(&model)?.digest();
        Ok(WriterRecord { name, base: base.clone(), artefact, outcome, manifest, replay: replayed })
    }

    /// The temperature of the labels' scores that suits the validation part best.
    fn calibrated(&self, writer: &Writer, prepared: &Prepared) -> Result<f32> {
        let model = writer.answering("calibration");
        let labels = prepared.labels();
        let (mut logits, mut gold) = (Vec::new(), Vec::new());
        for (text, label) in pairs(&prepared.validation) {
            self.interrupt.check()?;
            let Ok(class) = labels.binary_search_by(|known| known.as_str().cmp(label)) else {
                continue;
            };
            let answer = model.answer(Request::text(text))?;
            // A softmax does not change when all logits do by the same number.
            logits.extend(answer.scores.iter().map(|(_, p)| p.max(f32::MIN_POSITIVE).ln()));
            gold.push(class);
        }
        if gold.is_empty() {
            return Ok(1.0);
        }
        Ok(sprat_train::temperature(&logits, &gold, labels.len()) as f32)
    }

    /// `sprat tune` for a task whose model writes.
    ///
    /// # Errors
    /// Those of the data gate and of the trainer.
    pub(crate) fn tune_writer(&self) -> Result<Done> {
        let prepared = self.prepared()?;
        let tuned = self.tuned_writer(&prepared)?;
        let page = page(&tuned);
        page.write(&self.reports().join("tune.html"))?;
        let record = &tuned.value;
        let body = json!({
            "skipped": tuned.skipped,
            "folder": tuned.bundle(),
            "artefact": record.artefact,
            "base": record.base,
            "outcome": record.outcome,
            "manifest": record.manifest,
            "equivalence": record.replay,
        });
        Ok(Done::new("sprat.tune-writer/1", body, page))
    }
}

/// How the trainer multiplies the base's matrices.
fn format(recipe: &Tune) -> Format {
    match (recipe.method, recipe.precision) {
        (Method::Lora, Precision::Bf16) => Format::Bf16,
        _ => Format::F32,
    }
}

fn weights(recipe: &Tune) -> WriterWeights {
    match recipe.method {
        Method::Full => WriterWeights::Full,
        Method::Lora | Method::Head => WriterWeights::Adapter,
    }
}

/// The run for people: what was trained, how it went, what came out.
fn page(tuned: &Stepped<WriterRecord>) -> Page {
    let record = &tuned.value;
    let outcome = &record.outcome;
    let recipe = &outcome.recipe;
    let method = match recipe.method {
        Method::Head | Method::Lora => {
            format!("LoRA, rank {}, alpha {}", recipe.rank, recipe.alpha)
        }
        Method::Full => "full fine-tuning".to_string(),
    };
    let share = outcome.trainable_parameters as f64 / outcome.total_parameters.max(1) as f64;
    let loss = |loss: f64| format!("{loss:.4}");
    let mut facts = vec![
        ("base".to_string(), record.base.reference.clone()),
        ("method".into(), method),
        ("learning rate".into(), recipe.learning_rate.map_or("–".into(), number::significant)),
        (
            "trained weights".into(),
            format!(
                "{} of {} ({})",
                number::count(outcome.trainable_parameters),
                number::count(outcome.total_parameters),
                number::percent(share)
            ),
        ),
        (
            "examples".into(),
            format!("{} to train, {} to validate", outcome.train_examples, outcome.valid_examples),
        ),
        (
            "steps".into(),
            format!(
                "{} of {} planned, best at {}",
                outcome.steps, outcome.planned_steps, outcome.best_step
            ),
        ),
        (
            "validation loss".into(),
            format!(
                "{} nats a token (untuned {})",
                loss(outcome.validation.loss),
                loss(outcome.untuned.loss)
            ),
        ),
        (
            "equivalence".into(),
            format!(
                "{} examples: loss {} trained, {} served, differs by {:.1e} at most ({:.0e} \
                 allowed); {} of {} greedy answers differ",
                record.replay.rows,
                loss(record.replay.trained_loss),
                loss(record.replay.served_loss),
                record.replay.greatest,
                record.replay.tolerance,
                record.replay.changed,
                record.replay.written,
            ),
        ),
        ("time".into(), number::duration(outcome.seconds)),
    ];
    if let Some(peak) = outcome.peak_memory_bytes {
        facts.push(("peak memory".into(), number::bytes(peak)));
    }
    if let Some(found) = &outcome.search {
        facts.push(("search".into(), format!("{} trials", found.trials.len())));
    }
    facts.push(("artefact".into(), record.artefact.short()));
    facts.push(("model".into(), tuned.bundle().display().to_string()));
    let chart = losses(
        &outcome.history,
        |point| point.validation.as_ref().map(|m| m.loss),
        (outcome.best_step, outcome.validation.loss),
    );
    let title = if tuned.skipped { "Tune (nothing had changed)" } else { "Tune" };
    Page::new(title).facts(facts).chart(chart).list(outcome.notes.clone())
}
