//! The local model cache: one folder a model, each whole or absent.
//!
//! ```text
//! $SPRAT_HOME/models/
//!   hf--org--name@main--1a2b3c4d/      one per reference
//!     manifest.json                    reference, commit, source, digest of every file
//!     model/config.json …              the files
//!   .locks/hf--…                       held while a model is brought
//!   .partial/hf--…/<commit>/           what an interrupted pull has so far
//! ```
//!
//! A model is put together under `.partial` and renamed into place, so a crash leaves either
//! nothing or the whole of it under its name.

use crate::codes::{CACHE, DAMAGED, DISK_FULL};
use crate::folder;
use crate::manifest::Manifest;
use crate::pull::Pulled;
use crate::reference::ModelRef;
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The models on this machine.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// A file in the cache that is not what its manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The file's path inside the model's folder.
    pub path: String,
    /// The digest on record.
    pub expected: Digest,
    /// The digest now; `None` when the file is missing or cannot be read.
    pub found: Option<Digest>,
}

/// Holds a model's lock; dropping it, or the end of the process, releases it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// An error of the cache's file system, which has its own code when the disk is full.
pub(crate) fn trouble(doing: &str, path: &Path, error: &io::Error) -> Error {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    );
    Error::io(if full { &DISK_FULL } else { &CACHE }, doing, path, error)
}

impl Cache {
    /// The cache in a folder, which is made when the first model comes.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The cache's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name of a model's folder: readable, and distinct for distinct references also where
    /// file systems ignore case.
    fn key(reference: &ModelRef) -> String {
        let text = reference.to_string();
        let mut readable = String::new();
        for c in text.chars().take(100) {
            match c {
                ':' | '/' => readable.push_str("--"),
                c if c.is_ascii_alphanumeric() || "._-@=".contains(c) => readable.push(c),
                _ => readable.push('_'),
            }
        }
        let digest = Digest::of(text.as_bytes()).to_string();
        format!("{readable}--{}", &digest[..8])
    }

    fn home(&self, reference: &ModelRef) -> PathBuf {
        self.folder.join(Self::key(reference))
    }

    /// Where a model is put together before it is renamed into place.
    pub(crate) fn staging(&self, reference: &ModelRef) -> PathBuf {
        self.folder.join(".partial").join(Self::key(reference))
    }

    /// The model, if it is here with every file at its recorded size.
    ///
    /// # Errors
    /// [`DAMAGED`] when its manifest cannot be read.
    pub fn find(&self, reference: &ModelRef) -> Result<Option<Pulled>> {
        let home = self.home(reference);
        let Some(manifest) = Manifest::read(&home.join("manifest.json"))? else { return Ok(None) };
        let dir = home.join("model");
        let whole = manifest.files.iter().all(|file| {
            fs::metadata(dir.join(&file.path)).is_ok_and(|data| data.len() == file.bytes)
        });
        Ok(whole.then(|| Pulled::new(manifest, dir, true)))
    }

    /// The manifests of all models here, sorted by reference.
    ///
    /// # Errors
    /// When the folder cannot be read, or [`DAMAGED`].
    pub fn list(&self) -> Result<Vec<Manifest>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(trouble("list the model cache", &self.folder, &error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry =
                entry.map_err(|error| trouble("list the model cache", &self.folder, &error))?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                found.extend(Manifest::read(&entry.path().join("manifest.json"))?);
            }
        }
        found.sort_by_key(|manifest| manifest.reference.to_string());
        Ok(found)
    }

    /// Removes a model and what an interrupted pull left of it; whether there was a model.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn remove(&self, reference: &ModelRef) -> Result<bool> {
        let home = self.home(reference);
        let there = home.exists();
        if there {
            self.discard(&home)?;
        }
        remove_folder(&self.staging(reference))?;
        Ok(there)
    }

    /// Digests every file of a model again.
    ///
    /// # Errors
    /// [`DAMAGED`], naming the files that changed; [`CACHE`] when the model is not here; an
    /// interruption.
    pub fn verify(
        &self,
        reference: &ModelRef,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let wrong = self.mismatches(reference, progress, interrupt)?;
        if wrong.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = wrong.iter().map(|file| file.path.as_str()).collect();
        let home = self.home(reference);
        Err(Error::new(&DAMAGED, format!("the copy of `{reference}` has changed since it came"))
            .file(&home)
            .why(format!("other contents than the manifest says: {}", names.join(", ")))
            .help(format!("Remove the folder `{}` and pull the model again.", home.display())))
    }

    /// Digests every file of a model again, and names those that changed; empty when it is sound.
    ///
    /// # Errors
    /// [`CACHE`] when the model is not here, [`DAMAGED`] for its manifest, or an interruption.
    pub fn mismatches(
        &self,
        reference: &ModelRef,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Vec<Mismatch>> {
        let home = self.home(reference);
        let Some(manifest) = Manifest::read(&home.join("manifest.json"))? else {
            return Err(Error::new(&CACHE, format!("`{reference}` is not in the cache"))
                .file(&self.folder)
                .help(format!("Run `sprat pull {reference}`.")));
        };
        progress.start("verify", Some(manifest.bytes()), "bytes");
        let mut wrong = Vec::new();
        for file in &manifest.files {
            let found =
                match folder::digest(&home.join("model").join(&file.path), progress, interrupt) {
                    Ok((digest, _)) => Some(digest),
                    Err(_) => {
                        interrupt.check()?;
                        None
                    }
                };
            if found != Some(file.sha256) {
                wrong.push(Mismatch { path: file.path.clone(), expected: file.sha256, found });
            }
        }
        progress.finish();
        Ok(wrong)
    }

    /// Waits until no other process brings the same model.
    pub(crate) fn lock(
        &self,
        reference: &ModelRef,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Lock> {
        let locks = self.folder.join(".locks");
        fs::create_dir_all(&locks).map_err(|error| trouble("make the cache", &locks, &error))?;
        let path = locks.join(Self::key(reference));
        let file = File::create(&path).map_err(|error| trouble("lock the cache", &path, &error))?;
        let mut waiting = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(trouble("lock the cache", &path, &error));
                }
            }
            if !waiting {
                progress.note("waiting for another process that brings the same model");
                waiting = true;
            }
            interrupt.check()?;
            sleep(Duration::from_millis(50));
        }
    }

    /// Moves the finished folder `whole` (which holds the manifest's files) into place under the
    /// model's name, and clears what is left of its staging.
    pub(crate) fn install(&self, manifest: Manifest, whole: &Path) -> Result<Pulled> {
        let home = self.home(&manifest.reference);
        let staging = self.staging(&manifest.reference);
        let ready = staging.join("ready");
        remove_folder(&ready)?;
        let failed = |error: io::Error| trouble("put a model into the cache", &home, &error);
        fs::create_dir_all(&ready).map_err(failed)?;
        fs::rename(whole, ready.join("model")).map_err(failed)?;
        sprat_task::write::bytes(&ready.join("manifest.json"), &manifest.to_bytes()?)
            .map_err(failed)?;
        if home.exists() {
            self.discard(&home)?;
        }
        fs::rename(&ready, &home).map_err(failed)?;
        // The rename lasts only once the folder is on disk; not every system can sync a folder.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        remove_folder(&staging)?;
        Ok(Pulled::new(manifest, home.join("model"), false))
    }

    /// Takes a folder out of sight in one step, then removes it: a crash between the two leaves
    /// no half model under a model's name.
    fn discard(&self, home: &Path) -> Result<()> {
        let partial = self.folder.join(".partial");
        let name = home.file_name().unwrap_or_default().to_string_lossy();
        let aside = partial.join(format!("{name}.removed.{}", std::process::id()));
        remove_folder(&aside)?;
        fs::create_dir_all(&partial)
            .and_then(|()| fs::rename(home, &aside))
            .map_err(|error| trouble("remove a model", home, &error))?;
        remove_folder(&aside)
    }
}

/// Removes a folder if it is there.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(trouble("remove a folder", path, &error))
        }
        _ => Ok(()),
    }
}

/// Refuses before the first byte when the disk has no room for `bytes` more.
pub(crate) fn require_space(folder: &Path, bytes: u64) -> Result<()> {
    // A file system that does not tell its free space is tried all the same.
    let Ok(free) = fs4::available_space(folder) else { return Ok(()) };
    if free >= bytes {
        return Ok(());
    }
    Err(Error::new(&DISK_FULL, "the disk has too little room for the model")
        .file(folder)
        .why(format!("{} MB are needed and {} MB are free", bytes.div_ceil(1 << 20), free >> 20)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_task::Quiet;

    fn reference() -> ModelRef {
        "hf:org/name".parse().unwrap()
    }

    /// A cache that holds one model of two files.
    fn filled() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("models"));
        let whole = cache.staging(&reference()).join("whole");
        fs::create_dir_all(&whole).unwrap();
        fs::write(whole.join("config.json"), "{}").unwrap();
        fs::write(whole.join("model.safetensors"), "weights").unwrap();
        let paths = ["config.json".to_owned(), "model.safetensors".to_owned()];
        let files = folder::digests(&whole, &paths, &Quiet, &Interrupt::default()).unwrap();
        let manifest = Manifest::new(&reference(), Some("c0ffee".into()), "a test".into(), files);
        cache.install(manifest, &whole).unwrap();
        (dir, cache)
    }

    #[test]
    fn an_installed_model_is_found_listed_and_removed() {
        let (_dir, cache) = filled();
        let found = cache.find(&reference()).unwrap().unwrap();
        assert!(found.reused);
        assert_eq!(found.bytes, 9);
        assert_eq!(fs::read_to_string(found.dir.join("model.safetensors")).unwrap(), "weights");
        assert_eq!(cache.list().unwrap().len(), 1);
        assert!(!cache.staging(&reference()).exists());
        assert!(cache.remove(&reference()).unwrap());
        assert!(!cache.remove(&reference()).unwrap());
        assert_eq!(cache.find(&reference()).unwrap(), None);
        assert_eq!(cache.list().unwrap(), []);
    }

    #[test]
    fn verify_names_the_file_that_changed() {
        let (_dir, cache) = filled();
        let verify = || cache.mismatches(&reference(), &Quiet, &Interrupt::default()).unwrap();
        assert_eq!(verify(), []);
        let dir = cache.find(&reference()).unwrap().unwrap().dir;
        fs::write(dir.join("model.safetensors"), "Weights").unwrap();
        let error = cache.verify(&reference(), &Quiet, &Interrupt::default()).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-HUB-DAMAGED");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        let wrong = verify();
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].path, "model.safetensors");
        assert_eq!(wrong[0].found, Some(Digest::of(b"Weights")));
        fs::remove_file(dir.join("model.safetensors")).unwrap();
        assert_eq!(verify()[0].found, None);
        // A file of another size is not taken for the model.
        assert_eq!(cache.find(&reference()).unwrap(), None);
    }

    #[test]
    fn references_that_differ_in_anything_have_different_folders() {
        let key = |text: &str| Cache::key(&text.parse().unwrap()).to_ascii_lowercase();
        let texts =
            ["hf:a/b", "hf:A/b", "hf:a/b@x", "hf:a/b@x/y", "hf:a/b@x--y", "hf:a/b#x.safetensors"];
        let keys: std::collections::BTreeSet<String> = texts.iter().map(|text| key(text)).collect();
        assert_eq!(keys.len(), texts.len());
        assert!(keys.iter().all(|key| !key.contains('/')));
    }

    #[test]
    fn a_manifest_of_the_future_is_refused() {
        let (_dir, cache) = filled();
        let path = cache.home(&reference()).join("manifest.json");
        let text = fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 9");
        fs::write(&path, text).unwrap();
        let error = cache.find(&reference()).unwrap_err();
        assert!(error.to_string().contains("format 9"), "{error}");
        fs::write(&path, "{torn").unwrap();
        assert_eq!(cache.find(&reference()).unwrap_err().code().id, "SPRAT-HUB-DAMAGED");
    }

    #[test]
    fn a_full_disk_has_its_own_code_and_is_seen_before_the_first_byte() {
        let error = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(trouble("write", Path::new("x"), &error).code().id, "SPRAT-HUB-DISK-FULL");
        let dir = tempfile::tempdir().unwrap();
        assert!(require_space(dir.path(), 1).is_ok());
        let error = require_space(dir.path(), u64::MAX).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-HUB-DISK-FULL");
    }

    #[test]
    fn the_lock_is_waited_for_and_the_wait_can_be_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let interrupt = Interrupt::default();
        let held = cache.lock(&reference(), &Quiet, &interrupt).unwrap();
        interrupt.request();
        let error = cache.lock(&reference(), &Quiet, &interrupt).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-INTERRUPTED");
        drop(held);
        cache.lock(&reference(), &Quiet, &Interrupt::default()).unwrap();
    }
}
