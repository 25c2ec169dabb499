//! A project: its settings, its state folder and the surroundings of a run.

use crate::codes;
use crate::engines::Engines;
use crate::step::Steps;
use sprat_hub::Pulled;
use sprat_registry::Registry;
use sprat_task::settings::{Candidate, Settings};
use sprat_task::{Clock, Error, Interrupt, Progress, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the steps of the lifecycle work on.
pub struct Project {
    /// The settings, with the flags of the command put over them.
    pub settings: Settings,
    /// The folder of all state: `.sprat` beside the settings file.
    pub state: PathBuf,
    /// Versions, aliases and blobs.
    pub registry: Registry,
    /// Never use the network.
    pub offline: bool,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub progress: Arc<dyn Progress>,
    /// Who may ask to stop.
    pub interrupt: Interrupt,
    /// The program that measures a candidate in a process of its own (`sprat measure`); without
    /// it the measuring happens in this process.
    pub executable: Option<PathBuf>,
    /// The models that this run has looked at.
    pub(crate) models: RefCell<BTreeMap<String, Pulled>>,
    /// The engines of models that write which are open.
    pub(crate) engines: RefCell<Engines>,
}

/// The surroundings of a run, as the command line knows them.
pub struct Surroundings {
    /// Never use the network.
    pub offline: bool,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub progress: Arc<dyn Progress>,
    /// Who may ask to stop.
    pub interrupt: Interrupt,
    /// The program that measures candidates.
    pub executable: Option<PathBuf>,
}

impl Project {
    /// Opens the state folder beside the settings file, making it if need be.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn open(settings: Settings, around: Surroundings) -> Result<Self> {
        let state = settings.folder.join(".sprat");
        let registry = Registry::open(&state, Arc::clone(&around.clock))?;
        let Surroundings { offline, clock, progress, interrupt, executable } = around;
        let (models, engines) = (RefCell::default(), RefCell::default());
        Ok(Project {
            settings,
            state,
            registry,
            offline,
            clock,
            progress,
            interrupt,
            executable,
            models,
            engines,
        })
    }

    /// The task's name.
    pub fn task(&self) -> &str {
        &self.settings.task.name
    }

    /// The finished steps.
    pub(crate) fn steps(&self) -> Steps<'_> {
        Steps { project: self }
    }

    /// The folder of the HTML reports.
    pub fn reports(&self) -> PathBuf {
        self.state.join("reports")
    }

    /// The candidate that is tuned: the first local one.
    ///
    /// # Errors
    /// `SPRAT-FLOW-NO-BASE` when there is none.
    pub(crate) fn base_candidate(&self) -> Result<&Candidate> {
        self.settings
            .candidates
            .iter()
            .find(|candidate| !is_hosted(candidate))
            .ok_or_else(|| Error::new(&codes::NO_BASE, "there is no local model to tune"))
    }
}

/// Whether a candidate runs on somebody else's machines.
pub(crate) fn is_hosted(candidate: &Candidate) -> bool {
    candidate.model.starts_with("openai:")
}

/// A candidate's name in tables: the one given, or the last part of its reference.
pub(crate) fn short_name(candidate: &Candidate) -> String {
    candidate.name.clone().unwrap_or_else(|| last_part(&candidate.model).to_string())
}

/// The last part of a reference, without what says which version it is or what kind of file.
pub(crate) fn last_part(reference: &str) -> &str {
    let last = reference.trim_end_matches('/').rsplit(['/', ':', '#']).next().unwrap_or(reference);
    let last = last.split(['=', '@']).next().unwrap_or(last);
    last.strip_suffix(".gguf").unwrap_or(last)
}

/// Reads a JSON file of the project.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|error| unread(path, &error))?;
    parse_json(path, &bytes)
}

/// Reads a JSON file of the project, if there is one. It may go at any moment: another process
/// takes some of them away.
pub(crate) fn read_json_if_any<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => parse_json(path, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(path, &error)),
    }
}

fn unread(path: &Path, error: &std::io::Error) -> Error {
    Error::io(&codes::READ, "read a file of the project", path, error)
}

fn parse_json<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::new(&codes::READ, "a file of the project is not what it should be")
            .file(path)
            .why(error.to_string())
    })
}

/// Writes a JSON file of the project, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let failed = |why: String| {
        Error::new(&codes::WRITE, "could not write a file of the project").file(path).why(why)
    };
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| failed(error.to_string()))?;
    sprat_task::write::bytes(path, &bytes).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_the_last_part_of_the_reference() {
        let name =
            |model: &str| short_name(&Candidate { model: model.into(), ..Default::default() });
        assert_eq!(name("hf:org/name@main"), "name");
        assert_eq!(name("pypi:package==1.0"), "package");
        assert_eq!(name("openai:gpt-large"), "gpt-large");
        assert_eq!(name("models/minilm"), "minilm");
        assert_eq!(name("hf:org/Small-135M#small-q8_0.gguf"), "small-q8_0");
        assert_eq!(name("file:models/small/"), "small");
    }
}
