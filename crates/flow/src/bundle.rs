//! A bundle: a classifier's folder that needs nothing outside itself, which is what a version's
//! artefact is. Adapters and heads carry their base model in `base/`.

use crate::codes;
use sprat_model::{Classifier, MANIFEST, Manifest, Stored};
use sprat_quant::Variant;
use sprat_task::{Error, Result};
use std::path::{Path, PathBuf};

/// The folder of the base model in a bundle.
pub(crate) const BASE: &str = "base";

/// Lays a classifier out as a bundle in a new folder. Files are hard-linked where the file system
/// allows it, so that a base model is not copied for every version.
///
/// # Errors
/// `SPRAT-FLOW-WRITE`, and those of reading the classifier's manifest.
pub(crate) fn assemble(artefact: &Path, base: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        // Left by a run that ended early.
        std::fs::remove_dir_all(to)
            .map_err(|why| Error::io(&codes::WRITE, "remove an unfinished bundle", to, &why))?;
    }
    link_folder(artefact, to)?;
    if Manifest::read(artefact)?.weights.needs_base() {
        link_folder(base, &to.join(BASE))?;
    }
    Ok(())
}

/// Opens a bundle.
///
/// # Errors
/// Those of the classifier.
pub(crate) fn open(folder: &Path) -> Result<Classifier> {
    let base = folder.join(BASE);
    Classifier::open(folder, base.is_dir().then_some(base.as_path()))
}

/// Converts a bundle to a smaller number format, in a new folder.
///
/// # Errors
/// Those of the conversion.
pub(crate) fn shrink(full: &Path, stored: Stored, to: &Path) -> Result<()> {
    let variant = if stored == Stored::Int8 { Variant::Int8 } else { Variant::Bf16 };
    let base = full.join(BASE);
    sprat_quant::shrink_classifier(full, base.is_dir().then_some(&*base), variant, to).map(drop)
}

/// Whether a folder is a classifier's.
pub(crate) fn is_bundle(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file()
}

/// The size of all files in a folder, in bytes.
///
/// # Errors
/// `SPRAT-FLOW-READ`.
pub(crate) fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in files(folder)? {
        let path = inside(folder, &file);
        let meta = std::fs::metadata(&path)
            .map_err(|why| Error::io(&codes::READ, "look at a file", &path, &why))?;
        bytes += meta.len();
    }
    Ok(bytes)
}

/// Links, or copies, all files of a folder into another one.
///
/// # Errors
/// `SPRAT-FLOW-READ`, `SPRAT-FLOW-WRITE`.
pub(crate) fn link_folder(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let source = inside(from, &file);
        let target = to.join(&file);
        let parent = target.parent().unwrap_or(to);
        std::fs::create_dir_all(parent)
            .map_err(|why| Error::io(&codes::WRITE, "make a folder", parent, &why))?;
        let linked = std::fs::hard_link(&source, &target)
            .or_else(|_| std::fs::copy(&source, &target).map(drop));
        linked.map_err(|why| Error::io(&codes::WRITE, "copy a file", &target, &why))?;
    }
    Ok(())
}

/// A file of a folder, or a model that is one file.
fn inside(folder: &Path, file: &Path) -> PathBuf {
    if folder.is_file() { folder.to_owned() } else { folder.join(file) }
}

/// The files below a folder, as paths from it, sorted. A model that is one file has its name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Ok(folder.file_name().map(PathBuf::from).into_iter().collect());
    }
    let fail = |path: &Path, why| Error::io(&codes::READ, "list a folder", path, &why);
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let path = folder.join(&inner);
        for entry in std::fs::read_dir(&path).map_err(|why| fail(&path, why))? {
            let entry = entry.map_err(|why| fail(&path, why))?;
            let name = inner.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(name);
            } else if !entry.file_name().to_string_lossy().starts_with('.') {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_order_and_hidden_ones_left_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["b/2", "a", ".hidden"] {
            std::fs::write(folder.path().join(name), "xy").unwrap();
        }
        assert_eq!(files(folder.path()).unwrap(), [PathBuf::from("a"), PathBuf::from("b/2")]);
        assert_eq!(size(folder.path()).unwrap(), 4);
        assert_eq!(size(&folder.path().join("a")).unwrap(), 2, "a model that is one file");
        link_folder(&folder.path().join("a"), &folder.path().join("c")).unwrap();
        assert!(folder.path().join("c/a").is_file());
    }
}
