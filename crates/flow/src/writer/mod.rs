//! Tasks whose model writes: extraction, generation, and classification on a decoder.
//!
//! A tuned model that writes is a folder with `model.json` ([`manifest`]): [`bundle`] lays it out
//! and opens it, [`tune`] makes it, [`replay`] proves that it serves what was trained, [`score`]
//! and [`bench`] measure it, [`judging`] has its texts compared by a judge ([`panel`]), [`variant`]
//! makes it smaller and [`shrink`] proves that unhurt, [`release`] puts it behind the gate.

mod bench;
mod bundle;
mod examples;
mod form;
mod judging;
mod manifest;
mod panel;
mod release;
mod replay;
mod score;
mod shrink;
#[cfg(test)]
mod tests;
mod tune;
mod up;
mod variant;
mod verdict;

pub use bundle::is_writer;
pub(crate) use bundle::{Writer, adapter_digest, check_adapter};
pub(crate) use form::AnswerSchema;
pub(crate) use manifest::WriterManifest;
pub(crate) use panel::Verdicts;
pub(crate) use release::WriterSubject;
pub(crate) use score::{Asked, Judge, ask};
pub(crate) use shrink::WriterShrink;
pub(crate) use tune::WriterRecord;
pub(crate) use up::{shrink_line, tune_line};
pub(crate) use verdict::Duel;

use crate::project::read_json;
use crate::{Project, codes};
use manifest::WriterWeights;
use serde_json::Value;
use sprat_data::Dataset;
use sprat_model::decoder::DecoderFamily;
use sprat_model::gguf_file;
use sprat_task::settings::{Method, TaskKind};
use sprat_task::{Error, Result};
use std::path::{Path, PathBuf};

/// Whether a model's folder holds a decoder.
///
/// # Errors
/// Those of reading the folder.
pub(crate) fn is_decoder(folder: &Path) -> Result<bool> {
    if gguf_file(folder)?.is_some() {
        return Ok(true);
    }
    let path = folder.join("config.json");
    if !path.is_file() {
        return Ok(false);
    }
    let config: Value = read_json(&path)?;
    let known = config["model_type"].as_str().and_then(DecoderFamily::of).is_some();
    let listed = config["architectures"].as_array().into_iter().flatten();
    let causal = listed.filter_map(Value::as_str).any(|name| name.ends_with("ForCausalLM"));
    Ok(known || causal)
}

impl Project {
    /// The bundle of a run's folder, or its variant, made in a new folder with what the training
    /// part says.
    ///
    /// # Errors
    /// `SPRAT-FLOW-READ` for a variant that is none; those of making it.
    pub(crate) fn released_bundle(
        &self,
        run: &Path,
        variant: Option<&str>,
        train: &Dataset,
        to: &Path,
    ) -> Result<PathBuf> {
        let full = run.join(tune::BUNDLE);
        let weights = match variant {
            None | Some("as trained") => return Ok(full),
            Some(name) => WriterWeights::by_name(name).ok_or_else(|| {
                Error::new(&codes::READ, format!("the version names a variant `{name}`"))
            })?,
        };
        self.variant(&full, weights, train, to)?;
        Ok(to.to_owned())
    }

    /// Whether the task's model writes: it does where the answer is no label, and where the base
    /// is a decoder.
    ///
    /// # Errors
    /// `SPRAT-FLOW-KIND` for a base or a method that does not suit the task; those of fetching.
    pub(crate) fn writes(&self) -> Result<bool> {
        let kind = self.settings.task.kind;
        let Ok(candidate) = self.base_candidate() else { return Ok(kind != TaskKind::Classify) };
        let pulled = self.fetched(&candidate.model)?;
        let decoder = is_decoder(&pulled.dir)?;
        if kind != TaskKind::Classify && !decoder {
            let what =
                format!("`{}` is an encoder: it classifies and can't write", candidate.model);
            return Err(Error::new(&codes::KIND, what)
                .field("candidates.model")
                .help("Name a decoder, such as a small Llama, Qwen or SmolLM."));
        }
        if decoder && self.settings.tune.method == Method::Head {
            let what = "a decoder has no head that could be tuned alone";
            return Err(Error::new(&codes::KIND, what)
                .field("tune.method")
                .help("Set it to `lora` or `full`."));
        }
        Ok(decoder)
    }
}
