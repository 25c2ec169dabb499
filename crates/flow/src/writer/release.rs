//! `sprat release` for models that write: the sealed test, the equivalence check, the gate.

use super::bundle::Writer;
use super::examples::Teller;
use super::manifest::WriterWeights;
use super::replay::{REPLAYED, replay};
use super::score::{Asked, Given, Judge, Score};
use super::shrink::WriterShrink;
use super::tune::WriterRecord;
use crate::prepare::Prepared;
use crate::release::{Judged, ReleaseRecord};
use crate::step::Stepped;
use crate::versions::who;
use crate::{Done, Project, codes};
use serde_json::{Value, json};
use sprat_eval::{Equivalence, Evidence, Gate, GateRecord, Quality, Weights};
use sprat_infer::{Generator, Request};
use sprat_registry::{Base, Release, Tree, Version};
use sprat_task::settings::TrainingMemory;
use sprat_task::{Error, Result};
use sprat_train::{DecoderJob, MODEL_FOLDER, Memory, TokenExample};
use std::path::{Path, PathBuf};

/// Answers that are asked for again, one at a time.
const AGAIN: usize = 32;

/// What is to be released.
pub(crate) struct WriterSubject<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) tuned: &'a Stepped<WriterRecord>,
    pub(crate) shrunk: &'a Stepped<WriterShrink>,
}

impl WriterSubject<'_> {
    /// The bundle: the chosen variant, or the tuned model where none passed.
    pub(crate) fn bundle(&self) -> PathBuf {
        match self.shrunk.winner() {
            Some(winner) => self.shrunk.bundle(winner.weights),
            None => self.tuned.bundle(),
        }
    }

    fn weights(&self) -> Weights {
        match self.shrunk.winner() {
            Some(winner) => Weights::Shrunk { retention: Box::new(winner.retention.clone()) },
            None => Weights::AsTrained,
        }
    }

    fn variant(&self) -> &'static str {
        self.shrunk.winner().map_or("as trained", |winner| winner.weights.name())
    }
}

impl Project {
    /// Judges and releases; exactly the same subject is not judged twice.
    ///
    /// # Errors
    /// Those of the models and the registry; a refusal is a value.
    pub(crate) fn released_writer(
        &self,
        subject: &WriterSubject<'_>,
        note: &str,
    ) -> Result<Judged> {
        self.judged_once("release-writer", &subject.bundle(), subject.prepared, || {
            self.judge_writer(subject, note)
        })
    }

    fn judge_writer(
        &self,
        subject: &WriterSubject<'_>,
        note: &str,
    ) -> Result<std::result::Result<ReleaseRecord, GateRecord>> {
        let prepared = subject.prepared;
        let folder = subject.bundle();
        let artefact = Tree::of_folder(&folder)?.digest();
        let current = self.current()?;
        let writer = Writer::open("release", &folder, self.decoder_limits())?;
        // Before the seal is broken: a model that is not what was measured has no test to see.
        let equivalence = self.writer_equivalence(subject, &writer)?;
        let test = self.open_test(prepared, artefact, subject.variant())?;
        self.progress.start("release gate", None, "models");
        let schema = self.answer_schema()?;
        let asked = Asked::of(&test);
        let judge = Judge {
            kind: self.settings.task.kind,
            schema: schema.as_ref(),
            labels: prepared.labels(),
            gold: &asked.gold,
        };
        let request = |text: &str| Request::text(text);
        let model = writer.answering("candidate");
        let given = Given::from(&model, &request, &asked.texts, &self.interrupt)?;
        let score = judge.score(&given.outputs)?;
        let against_current = match &current {
            Some(version) => {
                let theirs = self.answers_of(version, &asked)?;
                let name = version.to_string();
                Some(judge.compare(("candidate", &given.outputs), (&name, &theirs))?)
            }
            None => None,
        };
        let (leakage, seal) = self.test_part(prepared)?;
        let rows = asked.gold.len() as u64;
        let evidence = Evidence {
            subject: artefact,
            test_data: prepared.seal.digest(),
            quality: Quality { metric: score.metric.clone(), value: score.quality, rows },
            against_current,
            equivalence,
            weights: subject.weights(),
            leakage,
            seal,
        };
        self.progress.finish();
        let passed = match (Gate { rules: self.gate_rules() }).judge(&evidence) {
            Ok(passed) => passed,
            Err(refusal) => return Ok(Err(refusal.record().clone())),
        };
        let tuned = &subject.tuned.value;
        let released = self.registry.release(
            &Release {
                task: self.task(),
                base: Base { reference: tuned.base.reference.clone(), digest: tuned.base.digest },
                data: prepared.data,
                split: prepared.split,
                settings: self.writer_settings(subject)?,
                template: writer.manifest.instruction.clone().unwrap_or_default(),
                code: env!("CARGO_PKG_VERSION").into(),
                metrics: metrics(&score, rows, subject),
                artefact: &folder,
                parent: current.map(|version| version.digest),
                who: who(),
                note: note.into(),
            },
            &passed,
            self.progress.as_ref(),
            &self.interrupt,
        )?;
        Ok(Ok(ReleaseRecord {
            version: released.version.number,
            new: released.new,
            gate: passed.record().clone(),
        }))
    }

    /// What was trained against what will be served. A shrunk model has other losses by design,
    /// which its own evidence is about; of it, answers given together are asked for one by one.
    fn writer_equivalence(
        &self,
        subject: &WriterSubject<'_>,
        writer: &Writer,
    ) -> Result<Equivalence> {
        let tuned = subject.tuned;
        let as_trained =
            matches!(writer.manifest.weights, WriterWeights::Adapter | WriterWeights::Full);
        if as_trained {
            let model = writer.engine.model();
            let teller = Teller { model, instruction: writer.manifest.instruction.as_deref() };
            let mut part = subject.prepared.validation.clone();
            part.examples.truncate(REPLAYED);
            let examples = teller.examples(&part)?;
            let found = self.replayed(tuned, writer, &examples)?;
            return Ok(found.evidence("tuned → released"));
        }
        let asked = Asked::of(&subject.prepared.validation).at_most(Some(AGAIN));
        let model = writer.answering("replay");
        let request = |text: &str| Request::text(text);
        let together = Given::from(&model, &request, &asked.texts, &self.interrupt)?.outputs;
        let mut changed = 0;
        for (text, before) in asked.texts.iter().zip(&together) {
            let alone = model.answer(request(text)).map(|a| a.output).unwrap_or_default();
            changed += u64::from(alone != *before);
        }
        Ok(Equivalence {
            step: "measured → served one at a time".to_owned(),
            rows: asked.texts.len() as u64,
            changed,
            greatest: 0.0,
            worst_row: 1,
            tolerance: 0.0,
        })
    }

    /// Replays examples through the forward of the trainer that made a tuned model.
    ///
    /// # Errors
    /// Those of the trainer and the engine.
    pub(crate) fn replayed(
        &self,
        tuned: &Stepped<WriterRecord>,
        writer: &Writer,
        examples: &[TokenExample],
    ) -> Result<super::replay::Replay> {
        let record = &tuned.value;
        let base_model = record.base.for_manifest();
        let file = sprat_model::gguf_file(&record.base.dir)?;
        let job = DecoderJob {
            base: file.as_deref().unwrap_or(&record.base.dir),
            base_model: &base_model,
            train: &[],
            valid: &[],
            ends: &[],
            context: None,
            memory: match self.settings.tune.memory {
                TrainingMemory::Low => Memory::Low,
                TrainingMemory::High => Memory::Normal,
            },
            recipe: &record.outcome.recipe,
            folder: &tuned.folder,
            progress: self.progress.as_ref(),
            interrupt: &self.interrupt,
        };
        let model = tuned.folder.join(MODEL_FOLDER);
        let trainer = |examples: &[TokenExample]| sprat_train::replay(&job, &model, examples);
        replay(writer, &trainer, examples, &self.interrupt)
    }

    fn answers_of(&self, version: &Version, asked: &Asked) -> Result<Vec<String>> {
        self.answers_in(&version.to_string(), &self.registry.checkout(version)?, asked)
    }

    /// What the model in a folder answers.
    ///
    /// # Errors
    /// Those of opening it; an interruption.
    pub(crate) fn answers_in(
        &self,
        name: &str,
        folder: &Path,
        asked: &Asked,
    ) -> Result<Vec<String>> {
        let model = self.local(name, folder)?;
        let request = |text: &str| Request::text(text);
        Ok(Given::from(model.as_ref(), &request, &asked.texts, &self.interrupt)?.outputs)
    }

    fn writer_settings(&self, subject: &WriterSubject<'_>) -> Result<Value> {
        let settings = serde_json::to_value(&self.settings).map_err(|why| {
            Error::new(&codes::WRITE, "the settings can't be kept").why(why.to_string())
        })?;
        Ok(json!({
            "settings": settings,
            "recipe": subject.tuned.value.outcome.recipe,
            "variant": subject.variant(),
            "manifest": subject.tuned.value.manifest,
        }))
    }

    /// `sprat release` for a task whose model writes.
    ///
    /// # Errors
    /// Those of all steps before.
    pub(crate) fn release_writer(&self, note: &str) -> Result<Done> {
        let prepared = self.prepared()?;
        let tuned = self.tuned_writer(&prepared)?;
        let shrunk = self.shrunk_writer(&tuned, &prepared)?;
        let subject = WriterSubject { prepared: &prepared, tuned: &tuned, shrunk: &shrunk };
        let judged = self.released_writer(&subject, note)?;
        self.release_done(&judged)
    }
}

/// None of them depends on the machine, so that the same release has the same digest everywhere.
fn metrics(score: &Score, rows: u64, subject: &WriterSubject<'_>) -> Value {
    json!({
        "test": {
            "rows": rows,
            // The figure that lists of versions show, whatever it is called.
            "accuracy": score.quality,
            "score": score,
        },
        "validation": subject.tuned.value.outcome.validation,
        "equivalence": subject.tuned.value.replay,
        "variant": subject.variant(),
    })
}
