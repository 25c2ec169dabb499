//! The files of an artefact, by path and digest.

use crate::codes;
use serde::{Deserialize, Serialize};
use sprat_task::{Digest, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// One file of an artefact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeFile {
    /// The digest of its content.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// The files of an artefact by relative path, with `/` between folders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tree(pub BTreeMap<String, TreeFile>);

impl Tree {
    /// The tree of a folder; nothing is stored.
    ///
    /// # Errors
    /// [`codes::ARTEFACT`] when the folder cannot be read, is empty, or holds links or the like.
    pub fn of_folder(folder: &Path) -> Result<Tree> {
        let mut tree = Tree::default();
        for (name, path) in files(folder)? {
            let (digest, bytes) =
                File::open(&path).and_then(|mut file| Digest::of_reader(&mut file)).map_err(
                    |why| Error::io(&codes::ARTEFACT, "read the artefact's file", &path, &why),
                )?;
            tree.0.insert(name, TreeFile { digest, bytes });
        }
        Ok(tree)
    }

    /// The digest over all paths and contents.
    pub fn digest(&self) -> Digest {
        let files =
            self.0.iter().map(|(path, file)| (path.clone(), file.digest.to_string().into()));
        Digest::of_json(&serde_json::Value::Object(files.collect()))
    }

    /// The blobs that the tree needs.
    pub fn blobs(&self) -> BTreeSet<Digest> {
        self.0.values().map(|file| file.digest).collect()
    }

    /// The size of all files together.
    pub fn bytes(&self) -> u64 {
        self.0.values().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Says what is wrong with the paths, if anything: they must stay inside the folder that they
    /// are laid out in, on every system, and not stand in each other's way.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.0.is_empty() {
            return Some("there is no file".to_owned());
        }
        for path in self.0.keys() {
            if !is_safe(path) {
                return Some(format!("the path {path:?} is not allowed"));
            }
            for (at, _) in path.match_indices('/') {
                if self.0.contains_key(&path[..at]) {
                    return Some(format!("{:?} is a file as well as a folder", &path[..at]));
                }
            }
        }
        None
    }
}

/// Whether a path is relative, plain and means the same on every system.
fn is_safe(path: &str) -> bool {
    path.len() <= 1000
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.chars().any(|c| matches!(c, '\\' | ':') || c.is_control())
}

/// The plain files under a folder, with their names in a tree, ordered by name.
pub(crate) fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let fail = |path: &Path, why: &std::io::Error| {
        Error::io(&codes::ARTEFACT, "read the artefact's folder", path, why)
    };
    let odd = |path: &Path, why: &str| {
        Error::new(&codes::ARTEFACT, "the artefact holds something that cannot be released")
            .file(path)
            .why(why)
    };
    let mut found = BTreeMap::new();
    let mut folders = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|why| fail(&folder, &why))? {
            let entry = entry.map_err(|why| fail(&folder, &why))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|why| fail(&path, &why))?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| odd(&path, "its name is not UTF-8"))?;
            let name = format!("{prefix}{name}");
            if kind.is_dir() {
                folders.push((path, format!("{name}/")));
            } else if !kind.is_file() {
                return Err(odd(&path, "it is neither a plain file nor a folder"));
            } else if !is_safe(&name) {
                return Err(odd(&path, "its name would not work on every system"));
            } else {
                found.insert(name, path);
            }
        }
    }
    if found.is_empty() {
        return Err(Error::new(&codes::ARTEFACT, "the artefact's folder is empty").file(folder));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let file = TreeFile { digest: Digest::of(b""), bytes: 0 };
        Tree(paths.iter().map(|path| ((*path).to_owned(), file)).collect())
    }

    #[test]
    fn a_path_never_leaves_its_folder() {
        assert_eq!(tree(&["classifier.json", "a/b/c.bin", "..hidden", "ü"]).fault(), None);
        for bad in ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a/.", "C:\\x", "a\0b", "a\nb"]
        {
            assert!(tree(&[bad]).fault().is_some(), "{bad:?}");
        }
        assert!(tree(&["a", "a/b"]).fault().unwrap().contains("as well as"));
        assert!(tree(&[]).fault().is_some());
    }

    #[test]
    fn the_tree_of_a_folder_changes_with_names_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/head"), "1").unwrap();
        let first = Tree::of_folder(folder.path()).unwrap();
        assert_eq!(first.0["inner/head"], TreeFile { digest: Digest::of(b"1"), bytes: 1 });
        fs::write(folder.path().join("inner/head"), "2").unwrap();
        let second = Tree::of_folder(folder.path()).unwrap();
        fs::rename(folder.path().join("inner/head"), folder.path().join("head")).unwrap();
        let third = Tree::of_folder(folder.path()).unwrap();
        assert!(first.digest() != second.digest() && second.digest() != third.digest());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("x")).unwrap();
        let error = Tree::of_folder(folder.path()).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-REGISTRY-ARTEFACT");
    }
}
