//! `sprat shrink` for models that write: smaller variants, and the proof that the tuned skill is
//! unhurt.

use super::bundle::Writer;
use super::manifest::{WriterManifest, WriterWeights};
use super::score::{Asked, Given, Judge};
use super::tune::WriterRecord;
use super::variant::{Making, merged};
use crate::prepare::Prepared;
use crate::step::Stepped;
use crate::{Done, Project, bundle, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_eval::{Margins, PairedScores, Retention, retention};
use sprat_infer::Request;
use sprat_model::decoder::{Formats, StoredMatrix, write_gguf};
use sprat_model::{LanguageModel, gguf_file};
use sprat_report::{Page, Table, Tone, number};
use sprat_task::settings::TaskKind;
use sprat_task::{Error, Result};
use sprat_train::TokenExample;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How many texts the general measure uses at most.
const GENERAL: usize = 200;

/// One variant with its evidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WriterVariant {
    /// Its weights.
    pub(crate) weights: WriterWeights,
    /// Size of the bundle, in bytes.
    pub(crate) bytes: u64,
    /// Bytes that the weights take in memory.
    pub(crate) memory_bytes: u64,
    /// Mean loss of the wanted answers' tokens, in nats.
    pub(crate) loss: f64,
    /// Of a GGUF file, the formats of its matrices.
    pub(crate) matrices: Vec<MatrixKind>,
    /// The evidence.
    pub(crate) retention: Retention,
}

/// The matrices of all layers that have the same part in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MatrixKind {
    /// The name in the file, without the layer.
    pub(crate) kind: String,
    /// How many matrices are in each format.
    pub(crate) formats: BTreeMap<String, u64>,
    /// Bits that a weight takes on average.
    pub(crate) bits: f64,
}

/// The variants and the choice among them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WriterShrink {
    /// Bytes that the tuned model's weights take in memory.
    pub(crate) full_memory_bytes: u64,
    /// Size of the tuned model's bundle, in bytes.
    pub(crate) full_bytes: u64,
    /// Mean loss of the tuned model as trained.
    pub(crate) full_loss: f64,
    /// The variants, in the order of the settings.
    pub(crate) variants: Vec<WriterVariant>,
    /// The index of the one that takes least memory among those that pass.
    pub(crate) chosen: Option<usize>,
}

impl Stepped<WriterShrink> {
    /// The variant that was chosen.
    pub(crate) fn winner(&self) -> Option<&WriterVariant> {
        self.value.variants.get(self.value.chosen?)
    }

    /// The bundle of a variant.
    pub(crate) fn bundle(&self, weights: WriterWeights) -> PathBuf {
        self.folder.join(weights.name())
    }
}

/// What variants are compared by.
struct Yardstick<'a> {
    asked: &'a Asked,
    judge: &'a Judge<'a>,
    /// The class of each row, for the check by class.
    classes: (Vec<String>, Vec<usize>),
    before: Vec<f64>,
    texts: Vec<TokenExample>,
    general_before: Vec<f64>,
    margins: Margins,
}

impl Project {
    /// # Errors
    /// `SPRAT-SETTINGS-INVALID` for a format that is not one.
    fn writer_formats(&self, base: &Path) -> Result<Vec<WriterWeights>> {
        let file = gguf_file(base)?.is_some();
        let parse = |format: &String| {
            WriterWeights::by_name(format).ok_or_else(|| {
                let known = WriterWeights::SMALLER.map(WriterWeights::name).join(", ");
                let what = format!("`{format}` is not a format of decoders");
                Error::new(&sprat_task::settings::INVALID, what)
                    .field("shrink.formats")
                    .help(format!("Known formats: {known}."))
            })
        };
        let mut formats = Vec::new();
        for format in &self.settings.shrink.formats {
            let format = match parse(format)? {
                // What has 8 bits in a GGUF file.
                WriterWeights::Int8 if file => WriterWeights::Q8,
                other => other,
            };
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
        Ok(formats)
    }

    /// The variants of a tuned model with their evidence.
    ///
    /// # Errors
    /// `SPRAT-FLOW-KIND` for a base that can't be merged; those of the models.
    pub(crate) fn shrunk_writer(
        &self,
        tuned: &Stepped<WriterRecord>,
        prepared: &Prepared,
    ) -> Result<Stepped<WriterShrink>> {
        let formats = self.writer_formats(&tuned.value.base.dir)?;
        let inputs = json!({
            "artefact": tuned.value.artefact,
            "train": prepared.train.digest,
            "validation": prepared.validation.digest,
            "settings": self.settings.shrink,
        });
        self.steps().run("shrink-writer", &inputs, |folder| {
            let full = tuned.bundle();
            let schema = self.answer_schema()?;
            let asked = Asked::of(&prepared.validation);
            let judge = Judge {
                kind: self.settings.task.kind,
                schema: schema.as_ref(),
                labels: prepared.labels(),
                gold: &asked.gold,
            };
            let before = Writer::open("before", &full, self.decoder_limits())?;
            let sum = before.losses(&asked)?;
            let texts = texts(before.engine.model(), &asked)?;
            let shrink = &self.settings.shrink;
            let yardstick = Yardstick {
                classes: classes(&judge),
                before: self.scores(&before, &asked, &judge)?,
                general_before: general(&base_alone(tuned, &tuned.value.manifest)?, &texts),
                asked: &asked,
                judge: &judge,
                texts,
                margins: Margins {
                    task: shrink.margin,
                    alpha: 1.0 - shrink.confidence,
                    ..Margins::default()
                },
            };
            let full_memory_bytes = before.engine.model().decoder().bytes() as u64;
            let making = self.making(&before, &prepared.train, &formats)?;
            drop(before);
            let mut variants = Vec::new();
            self.progress.start("shrink and verify", Some(formats.len() as u64), "variants");
            for weights in formats {
                self.interrupt.check()?;
                self.progress.note(weights.name());
                variants.push(self.writer_variant(weights, &making, tuned, folder, &yardstick)?);
                self.progress.advance(1);
            }
            self.progress.finish();
            let chosen = variants
                .iter()
                .enumerate()
                .filter(|(_, variant)| variant.retention.passed())
                .min_by_key(|(_, variant)| variant.memory_bytes)
                .map(|(index, _)| index);
            Ok(WriterShrink {
                full_memory_bytes,
                full_bytes: bundle::size(&full)?,
                full_loss: sum.loss / sum.tokens.max(1) as f64,
                variants,
                chosen,
            })
        })
    }

    fn scores(&self, writer: &Writer, asked: &Asked, judge: &Judge<'_>) -> Result<Vec<f64>> {
        let model = writer.answering("shrink");
        let request = |text: &str| Request::text(text);
        let given = Given::from(&model, &request, &asked.texts, &self.interrupt)?;
        Ok(judge.scores(&given.outputs))
    }

    fn writer_variant(
        &self,
        weights: WriterWeights,
        making: &Making,
        tuned: &Stepped<WriterRecord>,
        folder: &Path,
        yardstick: &Yardstick<'_>,
    ) -> Result<WriterVariant> {
        let target = folder.join(weights.name());
        if target.exists() {
            std::fs::remove_dir_all(&target).map_err(|why| {
                Error::io(&codes::WRITE, "remove an unfinished one", &target, &why)
            })?;
        }
        let matrices = merged(&tuned.bundle(), weights, making, &target)?;
        let after = Writer::open(weights.name(), &target, self.decoder_limits())?;
        let Yardstick { asked, judge, classes, before, texts, general_before, margins } = yardstick;
        let task_after = self.scores(&after, asked, judge)?;
        let sum = after.losses(asked)?;
        let general_after = match &matrices[..] {
            [] => general(&base_alone(tuned, &after.manifest)?, texts),
            _ => {
                let beside = folder.join("untuned.gguf");
                let base = base_alike(tuned, &matrices, making, &beside)?;
                let found = general(&base, texts);
                drop(base);
                std::fs::remove_file(&beside).map_err(|why| {
                    Error::io(&codes::WRITE, "remove what was measured", &beside, &why)
                })?;
                found
            }
        };
        let retention = retention(
            weights.name(),
            (&classes.0, &classes.1),
            PairedScores { measure: "answers on the validation part", before, after: &task_after },
            PairedScores {
                measure: "next tokens of the texts (untuned base)",
                before: general_before,
                after: &general_after,
            },
            *margins,
            0,
        )?;
        Ok(WriterVariant {
            weights,
            bytes: bundle::size(&target)?,
            memory_bytes: after.engine.model().decoder().bytes() as u64,
            loss: sum.loss / sum.tokens.max(1) as f64,
            matrices: kinds(&matrices),
            retention,
        })
    }

    /// `sprat shrink` for a task whose model writes.
    ///
    /// # Errors
    /// Those of the data gate, the trainer and the models.
    pub(crate) fn shrink_writer(&self) -> Result<Done> {
        let prepared = self.prepared()?;
        let tuned = self.tuned_writer(&prepared)?;
        let shrunk = self.shrunk_writer(&tuned, &prepared)?;
        let page = page(&shrunk);
        page.write(&self.reports().join("shrink.html"))?;
        let refused = shrunk.winner().is_none().then(|| refusal(&shrunk));
        let body = json!({
            "skipped": shrunk.skipped,
            "folder": shrunk.folder,
            "full_bytes": shrunk.value.full_bytes,
            "full_memory_bytes": shrunk.value.full_memory_bytes,
            "full_loss": shrunk.value.full_loss,
            "variants": shrunk.value.variants,
            "chosen": shrunk.winner().map(|variant| variant.weights.name()),
        });
        Ok(Done::new("sprat.shrink-writer/1", body, page).refused_by(refused))
    }
}

/// The untuned base in the format of a manifest.
fn base_alone(tuned: &Stepped<WriterRecord>, manifest: &WriterManifest) -> Result<LanguageModel> {
    LanguageModel::open(&tuned.value.base.dir, manifest.format(), None)
}

/// The untuned base, written in `file` with its matrices in the formats of a variant.
fn base_alike(
    tuned: &Stepped<WriterRecord>,
    matrices: &[StoredMatrix],
    making: &Making,
    file: &Path,
) -> Result<LanguageModel> {
    let (base, importance) = (&tuned.value.base.dir, making.importance.as_ref());
    write_gguf(base, None, Formats::Like(matrices), importance, file)?;
    LanguageModel::open(file, tuned.value.manifest.format(), None)
}

/// The formats of matrices, by the part that they have in their layers, in the order of the file.
fn kinds(matrices: &[StoredMatrix]) -> Vec<MatrixKind> {
    let mut all: Vec<(MatrixKind, usize, usize)> = Vec::new();
    for matrix in matrices {
        let name = matrix.name.strip_suffix(".weight").unwrap_or(&matrix.name);
        let kind = name.rsplit('.').next().unwrap_or(name);
        let at = all.iter().position(|(known, ..)| known.kind == kind).unwrap_or_else(|| {
            let kind = kind.to_owned();
            all.push((MatrixKind { kind, formats: BTreeMap::new(), bits: 0.0 }, 0, 0));
            all.len() - 1
        });
        let (own, bytes, weights) = &mut all[at];
        *own.formats.entry(matrix.format.name().to_owned()).or_default() += 1;
        *bytes += matrix.bytes();
        *weights += matrix.weights;
        own.bits = *bytes as f64 * 8.0 / *weights as f64;
    }
    all.into_iter().map(|(kind, ..)| kind).collect()
}

/// Why no variant was chosen.
fn refusal(shrunk: &Stepped<WriterShrink>) -> Error {
    let why: Vec<String> = shrunk
        .value
        .variants
        .iter()
        .map(|v| format!("{}: {}", v.weights.name(), v.retention.objections().join(", ")))
        .collect();
    Error::new(&codes::SHRINK_REFUSED, "no smaller variant is verified").why(why.join("; "))
}

/// The texts as examples of which every token is to be told in advance.
fn texts(model: &LanguageModel, asked: &Asked) -> Result<Vec<TokenExample>> {
    let mut found = Vec::new();
    for text in asked.texts.iter().take(GENERAL) {
        let mut ids = model.encode_text(text)?;
        ids.truncate(model.decoder().context());
        if ids.len() > 1 {
            found.push(TokenExample { answer: 1..ids.len(), ids });
        }
    }
    Ok(found)
}

/// For each text the share of its tokens that the model would have written itself.
fn general(model: &LanguageModel, texts: &[TokenExample]) -> Vec<f64> {
    let share = |text: &TokenExample| {
        let sum = model.decoder().measure(std::slice::from_ref(text), None, usize::MAX);
        sum.hits as f64 / sum.tokens.max(1) as f64
    };
    texts.iter().map(share).collect()
}

/// The classes whose changes are tested one by one: labels, or all rows as one.
fn classes(judge: &Judge<'_>) -> (Vec<String>, Vec<usize>) {
    if judge.kind != TaskKind::Classify {
        return (vec!["all".to_owned()], vec![0; judge.gold.len()]);
    }
    let place = |gold: &String| judge.labels.binary_search(gold).unwrap_or_default();
    (judge.labels.to_vec(), judge.gold.iter().map(place).collect())
}

fn page(shrunk: &Stepped<WriterShrink>) -> Page {
    let value = &shrunk.value;
    let evidence: Vec<Retention> =
        value.variants.iter().map(|variant| variant.retention.clone()).collect();
    let headers = ["variant", "weights in memory", "of the tuned model", "on disk", "token loss"];
    let mut sizes = Table::new("Sizes and losses", &headers).numeric(&[1, 2, 3, 4]);
    let loss = |loss: f64| format!("{loss:.4}");
    sizes.push([
        "tuned".to_string(),
        number::bytes(value.full_memory_bytes),
        String::new(),
        number::bytes(value.full_bytes),
        loss(value.full_loss),
    ]);
    for variant in &value.variants {
        let share = variant.memory_bytes as f64 / value.full_memory_bytes.max(1) as f64;
        sizes.push([
            variant.weights.name().to_string(),
            number::bytes(variant.memory_bytes),
            number::percent(share),
            number::bytes(variant.bytes),
            loss(variant.loss),
        ]);
    }
    let page = Retention::page_of(&evidence).table(sizes);
    let page = match chosen_formats(&value.variants) {
        Some(table) => page.table(table),
        None => page,
    };
    match shrunk.winner() {
        Some(winner) => page.verdict(
            Tone::Good,
            format!("{} takes least memory among those that pass", winner.weights.name()),
        ),
        None => page.verdict(Tone::Bad, "no variant passes: the tuned model stays as it is"),
    }
}

/// The formats of those variants that mix several.
fn chosen_formats(variants: &[WriterVariant]) -> Option<Table> {
    let headers = ["variant", "matrices", "formats", "bits a weight"];
    let mut table = Table::new("Formats of the matrices", &headers).numeric(&[3]);
    let mixes = |variant: &&WriterVariant| {
        let mut names = variant.matrices.iter().flat_map(|kind| kind.formats.keys());
        names.next().is_some_and(|first| names.any(|other| other != first))
    };
    let mut any = false;
    for variant in variants.iter().filter(mixes) {
        for kind in &variant.matrices {
            let formats = kind.formats.iter().map(|(name, count)| format!("{count} × {name}"));
            table.push([
                variant.weights.name().to_string(),
                kind.kind.clone(),
                formats.collect::<Vec<_>>().join(", "),
                format!("{:.2}", kind.bits),
            ]);
            any = true;
        }
    }
    any.then_some(table)
}
