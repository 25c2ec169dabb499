//! A classifier's folder.
//!
//! | file | what it holds |
//! |---|---|
//! | `classifier.json` | [`Manifest`]: labels, calibration, preparation of texts, kind of weights |
//! | `head.safetensors` | `weight` `[labels, hidden]` and `bias` `[labels]` |
//! | `adapter_config.json`, `adapter_model.safetensors` | with weights `adapter`: PEFT layout |
//! | `model.safetensors`, `config.json`, `tokenizer.json`, … | with weights `full`, `bf16`, `int8`: a whole encoder, so that the base model is not needed |

use crate::codes;
use crate::files::{TensorData, TensorWriter, Weights, json_file};
use serde::{Deserialize, Serialize};
use sprat_nn::{Format, Mat, Pooling};
use sprat_task::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// The version of the format, the value of `schema` in `classifier.json`.
pub const SCHEMA: &str = "sprat-classifier/1";
/// File name of the manifest.
pub const MANIFEST: &str = "classifier.json";
/// File name of the head.
pub const HEAD: &str = "head.safetensors";

/// Which weights a classifier's folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// The head alone: the encoder is the base model.
    Head,
    /// A LoRA adapter to the base model.
    Adapter,
    /// All weights, F32.
    Full,
    /// All weights, matrices in bfloat16.
    Bf16,
    /// All weights, matrices in 8-bit integers with a scale a row.
    Int8,
}

impl Stored {
    /// The number format in which these weights are multiplied.
    pub fn format(self) -> Format {
        match self {
            Stored::Head | Stored::Adapter | Stored::Full => Format::F32,
            Stored::Bf16 => Format::Bf16,
            Stored::Int8 => Format::Int8,
        }
    }

    /// Whether the folder has no encoder of its own.
    pub fn needs_base(self) -> bool {
        matches!(self, Stored::Head | Stored::Adapter)
    }
}

/// The base model a classifier was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseModel {
    /// The model reference, such as `hf:sentence-transformers/all-MiniLM-L6-v2`.
    pub reference: String,
    /// The digest under which the store knows the model.
    pub digest: String,
}

/// What `classifier.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// The base model.
    pub base: BaseModel,
    /// The names of the classes, in the order of the head's outputs.
    pub labels: Vec<String>,
    /// Logits are divided by this before the softmax (Guo et al. 2017, arXiv 1706.04599).
    pub temperature: f32,
    /// How token states become one vector.
    #[serde(with = "pooling_name")]
    pub pooling: Pooling,
    /// Whether that vector is scaled to length 1 before the head.
    pub normalize: bool,
    /// What is put before every text.
    pub prefix: String,
    /// Whether texts are put in lower case first.
    pub lowercase: bool,
    /// Where texts are cut, in tokens with the special ones.
    pub max_tokens: usize,
    /// Which weights the folder holds.
    pub weights: Stored,
}

impl Manifest {
    /// Reads and checks a folder's manifest.
    ///
    /// # Errors
    /// `SPRAT-MODEL-ARTEFACT` when it is of another version or contradicts itself; those of
    /// reading the file otherwise.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let value: serde_json::Value = json_file(&path)?;
        let wrong =
            |field: &str, what: String| Error::new(&codes::ARTEFACT, what).file(&path).field(field);
        match value.get("schema").and_then(|schema| schema.as_str()) {
            Some(SCHEMA) => {}
            found => {
                let found = found.unwrap_or("none");
                let what = format!("the version is `{found}`, but this program reads `{SCHEMA}`");
                return Err(wrong("schema", what));
            }
        }
        let manifest: Manifest = serde_json::from_value(value).map_err(|why| {
            Error::new(&codes::ARTEFACT, "a setting is wrong").file(&path).why(why.to_string())
        })?;
        if !(manifest.temperature.is_finite() && manifest.temperature > 0.0) {
            let what = format!("the temperature is {}, not positive", manifest.temperature);
            return Err(wrong("temperature", what));
        }
        let mut sorted: Vec<&String> = manifest.labels.iter().collect();
        sorted.sort();
        sorted.dedup();
        if manifest.labels.is_empty() || sorted.len() != manifest.labels.len() {
            return Err(wrong("labels", "labels must be there, each once".to_owned()));
        }
        Ok(manifest)
    }

    /// Writes the manifest, whole or not at all.
    ///
    /// # Errors
    /// `SPRAT-MODEL-WRITE`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(MANIFEST), self)
    }
}

/// The linear layer that turns an embedding into one logit a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `[labels, hidden]`.
    pub weight: Mat,
    /// `[labels]`.
    pub bias: Vec<f32>,
}

impl Head {
    /// Reads a folder's head for `labels` classes and embeddings of width `hidden`.
    ///
    /// # Errors
    /// Those of reading tensors.
    pub fn read(folder: &Path, labels: usize, hidden: usize) -> Result<Self> {
        let file = Weights::open_file(&folder.join(HEAD))?;
        let weight = file.tensor("weight")?.f32(&[labels, hidden])?;
        let bias = file.tensor("bias")?.f32(&[labels])?;
        Ok(Head { weight: Mat::new(labels, hidden, weight), bias })
    }

    /// Writes the head, whole or not at all.
    ///
    /// # Errors
    /// `SPRAT-MODEL-WRITE`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut writer = TensorWriter::new();
        let (rows, cols) = (self.weight.rows, self.weight.cols);
        let weight = TensorData::F32(Cow::Borrowed(&self.weight.data[..]));
        writer.add("weight", &[rows, cols], weight)?;
        writer.add("bias", &[rows], TensorData::F32(Cow::Borrowed(&self.bias[..])))?;
        writer.write(&folder.join(HEAD)).map(|_| ())
    }
}

/// The files besides the weights that make a folder an encoder.
pub(crate) const ENCODER_FILES: &[&str] = &[
    "config.json",
    "tokenizer.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];

/// Copies the files besides the weights that make a folder an encoder, where `from` has them.
///
/// # Errors
/// `SPRAT-MODEL-READ`, `SPRAT-MODEL-WRITE`.
pub fn copy_encoder_files(from: &Path, to: &Path) -> Result<()> {
    copy_files(ENCODER_FILES, from, to)
}

/// Copies those of the files that `from` has.
///
/// # Errors
/// `SPRAT-MODEL-READ`, `SPRAT-MODEL-WRITE`.
pub(crate) fn copy_files(names: &[&str], from: &Path, to: &Path) -> Result<()> {
    for name in names {
        let source = from.join(name);
        let content = match std::fs::read(&source) {
            Ok(content) => content,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => continue,
            Err(why) => return Err(Error::io(&codes::READ, "copy a file", &source, &why)),
        };
        let target = to.join(name);
        sprat_task::write::bytes(&target, &content)
            .map_err(|why| Error::io(&codes::WRITE, "write a file", &target, &why))?;
    }
    Ok(())
}

/// Writes a value as indented JSON, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|why| Error::new(&codes::WRITE, why.to_string()).file(path))?;
    sprat_task::write::bytes(path, format!("{text}\n").as_bytes())
        .map_err(|why| Error::io(&codes::WRITE, "write a file", path, &why))
}

/// Poolings by name in JSON.
mod pooling_name {
    use serde::{Deserialize, Deserializer, Serializer};
    use sprat_nn::Pooling;

    pub(super) fn serialize<S: Serializer>(pooling: &Pooling, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(match pooling {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
            Pooling::Last => "last",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pooling, D::Error> {
        match String::deserialize(from)?.as_str() {
            "mean" => Ok(Pooling::Mean),
            "cls" => Ok(Pooling::Cls),
            "last" => Ok(Pooling::Last),
            other => Err(serde::de::Error::custom(format!("unknown pooling `{other}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(crate) fn manifest() -> Manifest {
        Manifest {
            schema: SCHEMA.to_owned(),
            base: BaseModel { reference: "hf:a/b".to_owned(), digest: "00".to_owned() },
            labels: vec!["no".to_owned(), "yes".to_owned()],
            temperature: 1.5,
            pooling: Pooling::Mean,
            normalize: false,
            prefix: "query: ".to_owned(),
            lowercase: false,
            max_tokens: 128,
            weights: Stored::Int8,
        }
    }

    #[test]
    fn a_folder_reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        manifest().write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), manifest());
        let head = Head { weight: Mat::new(2, 3, vec![0.5; 6]), bias: vec![0.0, 1.0] };
        head.write(folder.path()).unwrap();
        assert_eq!(Head::read(folder.path(), 2, 3).unwrap(), head);
        assert_eq!(Head::read(folder.path(), 3, 3).unwrap_err().code().id, "SPRAT-MODEL-SHAPE");
    }

    #[test]
    fn a_manifest_of_another_version_or_with_nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = serde_json::to_value(manifest()).unwrap();
        for (field, value) in [
            ("schema", json!("sprat-classifier/9")),
            ("schema", Value::Null),
            ("labels", json!([])),
            ("labels", json!(["a", "a"])),
            ("temperature", json!(0.0)),
            ("weights", json!("int2")),
            ("pooling", json!("sideways")),
            ("surprise", json!(1)),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            std::fs::write(folder.path().join(MANIFEST), bad.to_string()).unwrap();
            let error = Manifest::read(folder.path()).unwrap_err();
            assert_eq!(error.code().id, "SPRAT-MODEL-ARTEFACT", "{field}");
        }
    }
}
