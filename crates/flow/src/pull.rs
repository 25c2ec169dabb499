//! `sprat pull`: models by reference into the local cache.

use crate::{Done, Project};
use serde_json::json;
use sprat_hub::{Environment, ModelRef, PullOptions, Pulled};
use sprat_report::{Page, Table, number};
use sprat_task::{Interrupt, Progress, Result};

/// How models are fetched in this run.
pub fn pull_options(offline: bool) -> PullOptions {
    let mut options = PullOptions::new(Environment::read());
    options.offline |= offline;
    options
}

/// Fetches the named models, or reuses the copies that are here.
///
/// # Errors
/// Those of `hub`.
pub fn pull(
    references: &[ModelRef],
    verify: bool,
    offline: bool,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Done> {
    let options = pull_options(offline);
    let mut table = Table::new("Models", &["model", "digest", "files", "size", "state", "folder"])
        .numeric(&[2, 3]);
    let mut models = Vec::new();
    for reference in references {
        let pulled = sprat_hub::pull(reference, &options, progress, interrupt)?;
        if verify && !matches!(reference, ModelRef::Path(_)) {
            options.cache().verify(reference, progress, interrupt)?;
        }
        let state = match (pulled.reused, verify) {
            (true, true) => "here, verified",
            (true, false) => "here",
            (false, _) => "fetched",
        };
        table.push([
            reference.to_string(),
            pulled.digest.short(),
            pulled.files.len().to_string(),
            number::bytes(pulled.bytes),
            state.into(),
            pulled.dir.display().to_string(),
        ]);
        models.push(json!({
            "model": reference.to_string(),
            "digest": pulled.digest,
            "resolved": pulled.resolved,
            "dir": pulled.dir,
            "bytes": pulled.bytes,
            "reused": pulled.reused,
            "files": pulled.files,
        }));
    }
    Ok(Done::new("sprat.pull/1", json!({ "models": models }), Page::new("Models").table(table)))
}

impl Project {
    /// A model of the settings, fetched if it is not here.
    ///
    /// # Errors
    /// Those of `hub`.
    pub(crate) fn fetched(&self, reference: &str) -> Result<Pulled> {
        let reference: ModelRef = match reference.parse()? {
            // Paths in the settings are meant from the settings file.
            ModelRef::Path(path) => ModelRef::Path(self.settings.resolve(&path)),
            other => other,
        };
        // A folder is read through to name its content: once a run is enough.
        let name = reference.to_string();
        if let Some(known) = self.models.borrow().get(&name) {
            return Ok(known.clone());
        }
        let options = pull_options(self.offline);
        let pulled =
            sprat_hub::pull(&reference, &options, self.progress.as_ref(), &self.interrupt)?;
        self.models.borrow_mut().insert(name, pulled.clone());
        Ok(pulled)
    }
}
