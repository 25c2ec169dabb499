//! Models that are folders or GGUF files on this machine: read where they are, never copied.

use crate::codes::PATH;
use crate::files;
use crate::manifest::{FileRecord, Manifest};
use crate::pull::Pulled;
use crate::reference::ModelRef;
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads the model folder at `path` and digests its files.
pub(crate) fn read(
    reference: &ModelRef,
    path: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Pulled> {
    let dir = expand_home(path);
    let name = dir.to_string_lossy().into_owned();
    if !dir.exists() {
        return Err(missing(path));
    }
    if files::is_gguf(&name) && !dir.is_dir() {
        // One file is the whole model.
        let folder = dir.parent().unwrap_or(Path::new("")).to_path_buf();
        let file = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let records = digests(&folder, &[file], progress, interrupt)?;
        let manifest = Manifest::new(reference, None, format!("the file {name}"), records);
        return Ok(Pulled::new(manifest, dir, true));
    }
    if !dir.is_dir() {
        return Err(Error::new(&PATH, "a model is a folder, and this is a file").file(&dir).help(
            "Name the folder that holds the file, with config.json and tokenizer.json beside it.",
        ));
    }
    let listed =
        list(&dir).map_err(|error| Error::io(&PATH, "list a model folder", &dir, &error))?;
    if !dir.join("config.json").is_file() && !listed.iter().any(|file| files::is_gguf(file)) {
        return Err(Error::new(&PATH, "the folder holds no config.json").file(&dir));
    }
    let taken = files::select(&listed, None, &name)?;
    let records = digests(&dir, &taken, progress, interrupt)?;
    let manifest = Manifest::new(reference, None, format!("the folder {name}"), records);
    Ok(Pulled::new(manifest, dir, true))
}

fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_path_buf(),
    }
}

fn missing(path: &Path) -> Error {
    let error = Error::new(&PATH, "there is no such model folder").file(path);
    let text = path.to_string_lossy();
    // `org/name` without its scheme is the most common slip.
    match format!("hf:{text}").parse::<ModelRef>() {
        Ok(ModelRef::Hub { .. }) if text.matches('/').count() == 1 && !text.starts_with('.') => {
            error.help(format!("For the model on the hub write `hf:{text}`."))
        }
        _ => error,
    }
}

/// The files below a folder, one folder deep: where a model's files are.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        // Through links: the hub's cache is made of them.
        if entry.path().is_dir() {
            for inner in fs::read_dir(entry.path())? {
                let inner = inner?;
                if let Ok(file) = inner.file_name().into_string()
                    && inner.path().is_file()
                {
                    found.push(format!("{name}/{file}"));
                }
            }
        } else if entry.path().is_file() {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// Digests files below `dir`, reporting progress by bytes.
pub(crate) fn digests(
    dir: &Path,
    paths: &[String],
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Vec<FileRecord>> {
    let size = |path: &String| fs::metadata(dir.join(path)).map_or(0, |data| data.len());
    progress.start("check", Some(paths.iter().map(size).sum()), "bytes");
    let records = paths
        .iter()
        .map(|path| {
            let (sha256, bytes) = digest(&dir.join(path), progress, interrupt)?;
            Ok(FileRecord { path: path.clone(), sha256, bytes })
        })
        .collect();
    progress.finish();
    records
}

/// The SHA-256 and size of one file.
pub(crate) fn digest(
    path: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(Digest, u64)> {
    let failed = |error: &io::Error| Error::io(&PATH, "read a model's file", path, error);
    let file = fs::File::open(path).map_err(|error| failed(&error))?;
    let mut watched = Watched { inner: file, progress, interrupt };
    let result = Digest::of_reader(&mut watched);
    interrupt.check()?;
    result.map_err(|error| failed(&error))
}

/// A reader that tells its progress and ends with an error when somebody interrupts.
pub(crate) struct Watched<'a, R> {
    pub(crate) inner: R,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) interrupt: &'a Interrupt,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interrupt.requested() {
            // Not `Interrupted`: the standard library would try again for ever.
            return Err(io::Error::other("interrupted"));
        }
        let read = self.inner.read(buffer)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_task::Quiet;

    fn open(path: &Path) -> Result<Pulled> {
        let reference = ModelRef::Path(path.to_path_buf());
        read(&reference, path, &Quiet, &Interrupt::default())
    }

    fn model() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
        fs::write(dir.path().join("model.safetensors"), "weights").unwrap();
        dir
    }

    #[test]
    fn a_folder_is_named_by_its_contents() {
        let (one, two) = (model(), model());
        fs::write(two.path().join("notes.txt"), "not part of the model").unwrap();
        let digest = open(one.path()).unwrap().digest;
        assert_eq!(digest, open(two.path()).unwrap().digest);
        fs::write(two.path().join("model.safetensors"), "Weights").unwrap();
        assert_ne!(digest, open(two.path()).unwrap().digest);
    }

    #[test]
    fn what_is_not_a_model_folder_says_so() {
        let dir = model();
        let error = open(&dir.path().join("absent")).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-HUB-PATH");
        let error = open(Path::new("org/name")).unwrap_err();
        assert!(error.remedy().contains("hf:org/name"), "{}", error.remedy());
        let error = open(&dir.path().join("model.safetensors")).unwrap_err();
        assert!(error.to_string().contains("this is a file"), "{error}");
        let error = open(Path::new("x.gguf")).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-HUB-PATH");
        fs::remove_file(dir.path().join("config.json")).unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("config.json"));
    }

    #[test]
    fn an_interrupt_stops_the_reading() {
        let dir = model();
        let interrupt = Interrupt::default();
        interrupt.request();
        let reference = ModelRef::Path(dir.path().to_path_buf());
        let error = read(&reference, dir.path(), &Quiet, &interrupt).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-INTERRUPTED");
    }
}
