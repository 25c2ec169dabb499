//! `sprat shrink`: smaller variants of the tuned model, and the proof that its skill is unhurt.

use crate::answers::{Given, Questions};
use crate::prepare::Prepared;
use crate::step::Stepped;
use crate::tune::TuneRecord;
use crate::{Done, Project, bundle, cloze, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_eval::{Margins, PairedScores, Retention, retention};
use sprat_model::{Classifier, Encoder, Stored};
use sprat_report::{Page, Table, Tone, number};
use sprat_task::{Error, Result};
use std::path::{Path, PathBuf};

/// How many texts the general measure uses at most.
const GENERAL: usize = 400;

/// One variant with its evidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Variant {
    /// The format.
    pub(crate) stored: Stored,
    /// Size of the bundle, in bytes.
    pub(crate) bytes: u64,
    /// The evidence.
    pub(crate) retention: Retention,
}

impl Variant {
    /// What tables call it.
    pub(crate) fn name(&self, tuned: &TuneRecord) -> String {
        format!("{} tuned {}", tuned.name, name(self.stored))
    }
}

/// The variants and the choice among them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShrinkRecord {
    /// Size of the tuned model's bundle, in bytes.
    pub(crate) full_bytes: u64,
    /// The variants, in the order of the settings.
    pub(crate) variants: Vec<Variant>,
    /// The index of the smallest that passes.
    pub(crate) chosen: Option<usize>,
}

impl Stepped<ShrinkRecord> {
    /// The variant that was chosen.
    pub(crate) fn winner(&self) -> Option<&Variant> {
        self.value.variants.get(self.value.chosen?)
    }

    /// The bundle of a variant.
    pub(crate) fn bundle(&self, stored: Stored) -> PathBuf {
        self.folder.join(name(stored))
    }

    /// The bundle of the tuned model as trained.
    pub(crate) fn full(&self) -> PathBuf {
        self.folder.join("full")
    }
}

/// A format's name in settings, folders and tables.
pub(crate) fn name(stored: Stored) -> &'static str {
    match stored {
        Stored::Int8 => "int8",
        Stored::Bf16 => "bf16",
        Stored::Full => "full",
        Stored::Adapter => "adapter",
        Stored::Head => "head",
    }
}

/// Texts and their right answers, by which variants are compared.
struct Yardstick {
    questions: Questions,
    halves: Vec<String>,
    before: Vec<f64>,
    general_before: Vec<f64>,
    margins: Margins,
}

impl Project {
    /// # Errors
    /// `SPRAT-SETTINGS-INVALID` for a format that is not one.
    fn formats(&self) -> Result<Vec<Stored>> {
        let parse = |format: &String| match format.as_str() {
            "int8" => Ok(Stored::Int8),
            "bf16" => Ok(Stored::Bf16),
            other => {
                let what = format!("`{other}` is not a format");
                Err(Error::new(&sprat_task::settings::INVALID, what)
                    .field("shrink.formats")
                    .help("Known formats: int8, bf16."))
            }
        };
        self.settings.shrink.formats.iter().map(parse).collect()
    }

    /// The variants of a tuned model with their evidence.
    ///
    /// # Errors
    /// Those of the models.
    pub(crate) fn shrunk(
        &self,
        tuned: &Stepped<TuneRecord>,
        prepared: &Prepared,
    ) -> Result<Stepped<ShrinkRecord>> {
        let formats = self.formats()?;
        let inputs = json!({
            "artefact": tuned.value.artefact,
            "validation": prepared.validation.digest,
            "settings": self.settings.shrink,
        });
        self.steps().run("shrink", &inputs, |folder| {
            let base = &tuned.value.base.dir;
            let full = folder.join("full");
            bundle::assemble(&tuned.model(), base, &full)?;
            let before = bundle::open(&full)?;
            let general_base = Encoder::open(base, sprat_model::Format::F32)?;
            let yardstick = self.yardstick(prepared, &before, &general_base)?;
            let mut variants = Vec::new();
            self.progress.start("shrink and verify", Some(formats.len() as u64), "variants");
            for stored in formats {
                self.interrupt.check()?;
                self.progress.note(name(stored));
                variants.push(variant(stored, &full, base, folder, &yardstick)?);
                self.progress.advance(1);
            }
            self.progress.finish();
            let chosen = variants
                .iter()
                .enumerate()
                .filter(|(_, variant)| variant.retention.passed())
                .min_by_key(|(_, variant)| variant.bytes)
                .map(|(index, _)| index);
            Ok(ShrinkRecord { full_bytes: bundle::size(&full)?, variants, chosen })
        })
    }

    fn yardstick(
        &self,
        prepared: &Prepared,
        full: &Classifier,
        base: &Encoder,
    ) -> Result<Yardstick> {
        let questions = Questions::of(&prepared.validation, prepared.labels());
        let rows = prepared.validation.examples.iter().chain(&prepared.train.examples);
        let texts: Vec<&str> = rows.map(|row| row.text.as_str()).collect();
        let halves = cloze::halves(&texts, GENERAL);
        let shrink = &self.settings.shrink;
        Ok(Yardstick {
            before: right(full, &questions)?,
            general_before: cloze::hits(base, &halves)?,
            questions,
            halves,
            margins: Margins {
                task: shrink.margin,
                alpha: 1.0 - shrink.confidence,
                ..Margins::default()
            },
        })
    }

    /// `sprat shrink`.
    ///
    /// # Errors
    /// Those of the data gate, the trainer and the models.
    pub fn shrink(&self) -> Result<Done> {
        if self.writes()? {
            return self.shrink_writer();
        }
        let prepared = self.prepared()?;
        let tuned = self.tuned(&prepared)?;
        let shrunk = self.shrunk(&tuned, &prepared)?;
        let page = page(&shrunk);
        page.write(&self.reports().join("shrink.html"))?;
        let refused = shrunk.winner().is_none().then(|| refusal(&shrunk));
        let body = json!({
            "skipped": shrunk.skipped,
            "folder": shrunk.folder,
            "full_bytes": shrunk.value.full_bytes,
            "variants": shrunk.value.variants,
            "chosen": shrunk.winner().map(|variant| name(variant.stored)),
        });
        Ok(Done::new("sprat.shrink/1", body, page).refused_by(refused))
    }
}

/// Why no variant was chosen.
pub(crate) fn refusal(shrunk: &Stepped<ShrinkRecord>) -> Error {
    let why: Vec<String> = shrunk
        .value
        .variants
        .iter()
        .map(|v| format!("{}: {}", name(v.stored), v.retention.objections().join(", ")))
        .collect();
    Error::new(&codes::SHRINK_REFUSED, "no smaller variant is verified").why(why.join("; "))
}

fn variant(
    stored: Stored,
    full: &Path,
    base: &Path,
    folder: &Path,
    yardstick: &Yardstick,
) -> Result<Variant> {
    let target = folder.join(name(stored));
    if target.exists() {
        std::fs::remove_dir_all(&target)
            .map_err(|why| Error::io(&codes::WRITE, "remove an unfinished one", &target, &why))?;
    }
    bundle::shrink(full, stored, &target)?;
    let after = bundle::open(&target)?;
    let general = Encoder::open(base, stored.format())?;
    let questions = &yardstick.questions;
    let task_after = right(&after, questions)?;
    let general_after = cloze::hits(&general, &yardstick.halves)?;
    let retention = retention(
        name(stored),
        (&questions.labels, &questions.gold),
        PairedScores {
            measure: "right answers on the validation part",
            before: &yardstick.before,
            after: &task_after,
        },
        PairedScores {
            measure: "halves of a text that find each other (untuned base)",
            before: &yardstick.general_before,
            after: &general_after,
        },
        yardstick.margins,
        0,
    )?;
    Ok(Variant { stored, bytes: bundle::size(&target)?, retention })
}

/// For each question 1 where the model is right, else 0.
fn right(model: &Classifier, questions: &Questions) -> Result<Vec<f64>> {
    let texts: Vec<&str> = questions.texts.iter().map(String::as_str).collect();
    let rows: Vec<Vec<f32>> = model.predict(&texts)?.into_iter().map(|p| p.probabilities).collect();
    let given = Given::of(model.labels(), &rows, &questions.labels);
    let score = |(gold, predicted)| f64::from(u8::from(gold == predicted));
    Ok(questions.gold.iter().zip(&given.predicted).map(score).collect())
}

fn page(shrunk: &Stepped<ShrinkRecord>) -> Page {
    let evidence: Vec<Retention> =
        shrunk.value.variants.iter().map(|variant| variant.retention.clone()).collect();
    let mut sizes =
        Table::new("Sizes", &["variant", "size", "of the tuned model"]).numeric(&[1, 2]);
    let full = shrunk.value.full_bytes;
    sizes.push(["tuned".to_string(), number::bytes(full), String::new()]);
    for variant in &shrunk.value.variants {
        let share = variant.bytes as f64 / full.max(1) as f64;
        sizes.push([
            name(variant.stored).to_string(),
            number::bytes(variant.bytes),
            number::percent(share),
        ]);
    }
    let page = Retention::page_of(&evidence).table(sizes);
    match shrunk.winner() {
        Some(winner) => page.verdict(
            Tone::Good,
            format!("{} is the smallest variant that passes", name(winner.stored)),
        ),
        None => page.verdict(Tone::Bad, "no variant passes: the tuned model stays as it is"),
    }
}
