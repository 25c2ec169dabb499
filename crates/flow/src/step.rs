//! Cached steps: a step whose inputs have not changed does not run again.

use crate::{Project, codes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sprat_task::{Digest, Error, Result};
use std::path::{Path, PathBuf};

/// What a step gave, and whether it had to run.
#[derive(Clone, Debug)]
pub(crate) struct Stepped<T> {
    /// The step's result.
    pub(crate) value: T,
    /// The step's own folder.
    pub(crate) folder: PathBuf,
    /// The digest of everything that went in.
    pub(crate) inputs: Digest,
    /// Nothing had changed: the earlier result was taken.
    pub(crate) skipped: bool,
}

/// The steps of a project.
pub(crate) struct Steps<'a> {
    pub(crate) project: &'a Project,
}

impl Steps<'_> {
    /// The digest under which a step on these inputs is kept. The code's version counts as input.
    pub(crate) fn key(&self, step: &str, inputs: &Value) -> Digest {
        let all = serde_json::json!([step, env!("CARGO_PKG_VERSION"), inputs]);
        Digest::of_json(&all)
    }

    /// The folder of a step on these inputs.
    pub(crate) fn folder(&self, step: &str, key: &Digest) -> PathBuf {
        self.project.state.join("steps").join(format!("{step}-{}", key.short()))
    }

    /// The result of an earlier run on these inputs; otherwise runs the step, which may leave
    /// files in its folder, and keeps its result.
    pub(crate) fn run<T: Serialize + DeserializeOwned>(
        &self,
        step: &str,
        inputs: &Value,
        work: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<Stepped<T>> {
        let inputs = self.key(step, inputs);
        let folder = self.folder(step, &inputs);
        if folder.is_dir()
            && let Some(done) = self.project.registry.step(step, &inputs)?
            && let Ok(value) = serde_json::from_value(done.summary)
        {
            return Ok(Stepped { value, folder, inputs, skipped: true });
        }
        std::fs::create_dir_all(&folder)
            .map_err(|why| Error::io(&codes::WRITE, "make a step's folder", &folder, &why))?;
        let value = work(&folder)?;
        let summary = serde_json::to_value(&value).map_err(|why| {
            Error::new(&codes::WRITE, "a step's result can't be kept").why(why.to_string())
        })?;
        let outputs = Digest::of_json(&summary);
        self.project.registry.record_step(step, &inputs, &outputs, &summary)?;
        Ok(Stepped { value, folder, inputs, skipped: false })
    }
}
