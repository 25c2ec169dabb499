//! The cache of the hub's own client: files that are already on this machine.
//!
//! Its layout is `models--org--name/refs/<revision>` (a file with the commit) and
//! `models--org--name/snapshots/<commit>/<file>` (links to blobs): Hugging Face, "Understand
//! caching". With a network, the hub's list of files decides what belongs to the model and single
//! files are taken from there by digest. Without one, a snapshot is used only when it can be seen
//! to be complete: other tools fetch only parts of a model, and without its `modules.json` an
//! encoder would silently be pooled in another way.

use crate::cache::{Cache, trouble};
use crate::download::{Digests, Job};
use crate::hub::{Wanted, has_every_shard};
use crate::manifest::Manifest;
use crate::pull::{PullOptions, Pulled};
use crate::{files, folder};
use sprat_task::{Interrupt, Progress, Result};
use std::fs;
use std::path::{Path, PathBuf};

fn folder_of(options: &PullOptions, repo: &str) -> PathBuf {
    options.environment.hub_cache.join(format!("models--{}", repo.replace('/', "--")))
}

/// A file of a commit, if the snapshot has it.
pub(crate) fn file(options: &PullOptions, repo: &str, commit: &str, path: &str) -> Option<PathBuf> {
    let found = folder_of(options, repo).join("snapshots").join(commit).join(path);
    found.is_file().then_some(found)
}

/// Takes over a snapshot's file if it is what the hub announces; `None` if it is not.
pub(crate) fn copy(here: &Path, job: &Job<'_>) -> Result<Option<Digests>> {
    let digests = Digests::of(here, job.interrupt)?;
    if !digests.fit(&job.expected) || digests.bytes > job.limit {
        return Ok(None);
    }
    link(here, &job.to)?;
    job.progress.advance(digests.bytes);
    Ok(Some(digests))
}

/// A hard link where both are on one disk, a copy elsewhere.
fn link(from: &Path, to: &Path) -> Result<()> {
    let real = fs::canonicalize(from).unwrap_or_else(|_| from.to_path_buf());
    if fs::hard_link(&real, to).is_ok() {
        return Ok(());
    }
    fs::copy(&real, to).map(|_| ()).map_err(|error| trouble("copy a model's file", to, &error))
}

/// Offline: the whole model from a complete snapshot, or `None`.
pub(crate) fn take(
    wanted: &Wanted<'_>,
    options: &PullOptions,
    cache: &Cache,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Option<Pulled>> {
    if !options.offline {
        return Ok(None);
    }
    let home = folder_of(options, wanted.repo);
    let commit = match fs::read_to_string(home.join("refs").join(wanted.revision)) {
        Ok(commit) => commit.trim().to_owned(),
        Err(_) => wanted.revision.to_owned(),
    };
    let from = home.join("snapshots").join(&commit);
    let name = format!("the hub client's cache, {}", from.display());
    let Ok(listed) = folder::list(&from) else { return Ok(None) };
    let Ok(taken) = files::select(&listed, wanted.file, &name) else { return Ok(None) };
    if !is_complete(&from, &taken) {
        return Ok(None);
    }
    let whole = cache.staging(wanted.reference).join("snapshot");
    crate::cache::remove_folder(&whole)?;
    for path in &taken {
        let to = whole.join(path);
        let parent = to.parent().unwrap_or(&whole);
        fs::create_dir_all(parent).map_err(|error| trouble("make the cache", parent, &error))?;
        link(&from.join(path), &to)?;
    }
    let records = folder::digests(&whole, &taken, progress, interrupt)?;
    let manifest = Manifest::new(wanted.reference, Some(commit), name, records);
    cache.install(manifest, &whole).map(Some)
}

fn is_complete(from: &Path, taken: &[String]) -> bool {
    let has = |name: &str| taken.iter().any(|path| path == name);
    let generates =
        fs::read_to_string(from.join("config.json")).is_ok_and(|text| text.contains("ForCausalLM"));
    has("config.json")
        && has("tokenizer.json")
        && (has("modules.json") || generates)
        && modules_are_there(from)
        && has_every_shard(from)
}

/// Whether every module that `modules.json` lists with a folder of its own has its configuration.
fn modules_are_there(from: &Path) -> bool {
    let Ok(text) = fs::read(from.join("modules.json")) else { return true };
    let Ok(serde_json::Value::Array(modules)) = serde_json::from_slice(&text) else { return false };
    modules.iter().all(|module| {
        let path = module["path"].as_str().unwrap_or_default();
        let normalizes = module["type"].as_str().is_some_and(|kind| kind.ends_with("Normalize"));
        path.is_empty() || normalizes || from.join(path).join("config.json").is_file()
    })
}
