//! What `model.json` says: everything about a model that writes besides its weights.

use crate::codes;
use crate::project::{read_json, write_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sprat_infer::{Behaviour, Constraint};
use sprat_model::{BaseModel, Format, LanguageModel};
use sprat_task::settings::{Precision, TaskKind};
use sprat_task::{Digest, Error, Result};
use std::path::Path;

/// The version of the format, the value of `schema` in `model.json`.
pub(crate) const SCHEMA: &str = "sprat-writer/1";
/// File name of the manifest.
pub(crate) const FILE: &str = "model.json";

/// Which weights a bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WriterWeights {
    /// A LoRA adapter in the PEFT layout; the base model is in `base/`.
    Adapter,
    /// A whole model, in floats.
    Full,
    /// A whole model, the adapter merged, matrices multiplied in bfloat16.
    Bf16,
    /// The same, matrices in 8-bit integers with a scale a row.
    Int8,
    /// The same, matrices in blocks of 32 signed bytes.
    #[serde(rename = "q8_0")]
    Q8,
    /// The same, matrices in blocks of 32 numbers of 4 bits.
    #[serde(rename = "q4_0")]
    Q4,
    /// The same, matrices in blocks of 256 numbers of 4 bits, of 6 where errors hurt most.
    #[serde(rename = "q4_k_m")]
    Q4KM,
    /// The same, matrices in blocks of 256 numbers of 6 bits.
    #[serde(rename = "q6_k")]
    Q6K,
    /// The same, each matrix in a format of its own, within a size budget.
    Mixed,
}

impl WriterWeights {
    /// The smaller formats.
    pub(crate) const SMALLER: [WriterWeights; 7] = [
        WriterWeights::Int8,
        WriterWeights::Bf16,
        WriterWeights::Q8,
        WriterWeights::Q6K,
        WriterWeights::Q4KM,
        WriterWeights::Q4,
        WriterWeights::Mixed,
    ];

    /// The smaller format of a name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::SMALLER.into_iter().find(|weights| weights.name() == name)
    }

    /// The name in settings, folders and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            WriterWeights::Adapter => "adapter",
            WriterWeights::Full => "full",
            WriterWeights::Bf16 => "bf16",
            WriterWeights::Int8 => "int8",
            WriterWeights::Q8 => "q8_0",
            WriterWeights::Q4 => "q4_0",
            WriterWeights::Q4KM => "q4_k_m",
            WriterWeights::Q6K => "q6_k",
            WriterWeights::Mixed => "mixed",
        }
    }

    /// Whether matrices are stored in blocks, which only GGUF files have.
    pub(crate) fn is_blocks(self) -> bool {
        matches!(self, WriterWeights::Q8 | WriterWeights::Q4) || self.is_calibrated()
    }

    /// Whether the importance of columns has a say in how it is made.
    pub(crate) fn is_calibrated(self) -> bool {
        matches!(self, WriterWeights::Q4KM | WriterWeights::Q6K | WriterWeights::Mixed)
    }
}

/// The digests of what belongs to a model and is no base weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Digests {
    /// Of the chat template.
    pub(crate) template: Digest,
    /// Of the tokenizer.
    pub(crate) tokenizer: Digest,
    /// Of the adapter's settings and matrices, where there is an adapter.
    pub(crate) adapter: Option<Digest>,
}

/// What `model.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriterManifest {
    /// [`SCHEMA`].
    pub(crate) schema: String,
    /// What kind of answer it gives.
    pub(crate) kind: TaskKind,
    /// The base model.
    pub(crate) base: BaseModel,
    /// Which weights the folder holds.
    pub(crate) weights: WriterWeights,
    /// How the matrices of weights `adapter` and `full` are multiplied: as in training.
    pub(crate) precision: Precision,
    /// The system message.
    pub(crate) instruction: Option<String>,
    /// The JSON Schema of the answers, where they are JSON.
    pub(crate) answer_schema: Option<Value>,
    /// The labels, sorted, where it chooses among them.
    pub(crate) labels: Vec<String>,
    /// Divides the labels' scores: calibrated on the validation part.
    pub(crate) temperature: f32,
    /// Tokens of an answer, at most.
    pub(crate) max_answer_tokens: usize,
    /// What the model is recognized by.
    pub(crate) digests: Digests,
}

impl WriterManifest {
    /// Reads a folder's manifest.
    ///
    /// # Errors
    /// `SPRAT-FLOW-READ` when it is of another version or contradicts itself.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let value: Value = read_json(&path)?;
        let wrong = |what: String| Error::new(&codes::READ, what).file(&path);
        match value["schema"].as_str() {
            Some(SCHEMA) => {}
            found => {
                let found = found.unwrap_or("none");
                return Err(wrong(format!(
                    "the version is `{found}`, but this program reads `{SCHEMA}`"
                )));
            }
        }
        let manifest: WriterManifest = serde_json::from_value(value)
            .map_err(|why| wrong("a setting is wrong".to_owned()).why(why.to_string()))?;
        if !(manifest.temperature.is_finite() && manifest.temperature > 0.0) {
            return Err(wrong("the temperature is not positive".into()).field("temperature"));
        }
        Ok(manifest)
    }

    /// Writes the manifest, whole or not at all.
    ///
    /// # Errors
    /// `SPRAT-FLOW-WRITE`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(FILE), self)
    }

    /// The number format in which the weights are multiplied.
    pub(crate) fn format(&self) -> Format {
        use sprat_model::BlockFormat;
        match (self.weights, self.precision) {
            (WriterWeights::Int8, _) => Format::Int8,
            (WriterWeights::Q8, _) => Format::Blocks(BlockFormat::Q8_0),
            (WriterWeights::Q4, _) => Format::Blocks(BlockFormat::Q4_0),
            (WriterWeights::Bf16, _) | (WriterWeights::Adapter, Precision::Bf16) => Format::Bf16,
            // Of files alone, whose matrices are multiplied as they are stored.
            (WriterWeights::Q6K | WriterWeights::Q4KM | WriterWeights::Mixed, _) => Format::Bf16,
            (WriterWeights::Full, _) | (WriterWeights::Adapter, Precision::F32) => Format::F32,
        }
    }

    /// The digest of the base model where its very weights are used, beside an adapter: then
    /// others may use them too.
    pub(crate) fn shared_base(&self) -> Option<&str> {
        (self.weights == WriterWeights::Adapter).then_some(self.base.digest.as_str())
    }

    /// How the model answers.
    pub(crate) fn behaviour(&self) -> Behaviour {
        Behaviour {
            instruction: self.instruction.clone(),
            labels: self.labels.clone(),
            label_temperature: self.temperature,
            constraint: self.answer_schema.clone().map(Constraint::JsonSchema),
            max_tokens: self.max_answer_tokens,
            temperature: 0.0,
        }
    }

    /// Checks that a model reads texts as the tuned one did.
    ///
    /// # Errors
    /// `SPRAT-FLOW-OTHER-TOKENIZER`, `SPRAT-FLOW-OTHER-TEMPLATE`.
    pub(crate) fn reads_alike(&self, model: &LanguageModel, folder: &Path) -> Result<()> {
        let tokenizer = model.tokenizer().digest()?;
        let template = model.template_digest();
        let Digests { tokenizer: ours, template: own, .. } = &self.digests;
        let other = |code, what: &str, ours: &Digest, found: Digest| {
            let why = format!("tuned with {}, here is {}", ours.short(), found.short());
            Err(Error::new(code, what).file(folder).why(why))
        };
        if *ours != tokenizer {
            let what = "the tokenizer is not the one that the model was tuned with";
            return other(&codes::OTHER_TOKENIZER, what, ours, tokenizer);
        }
        if *own != template {
            let what = "the chat template is not the one that the model was tuned with";
            return other(&codes::OTHER_TEMPLATE, what, own, template);
        }
        Ok(())
    }
}
