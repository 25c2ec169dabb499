//! Looking at every row, blob, alias and checkout.

use crate::{Registry, Tree, Version, alias};
use serde::Serialize;
use sprat_store::VersionRow;
use sprat_task::{Interrupt, Progress, Result};
use std::collections::BTreeSet;
use std::time::Duration;

/// Something that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it is about: a version, an alias, a blob, a path.
    pub subject: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub help: String,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Versions.
    pub versions: u64,
    /// Aliases.
    pub aliases: u64,
    /// Moves of aliases.
    pub moves: u64,
    /// Blobs, every byte of each.
    pub blobs: u64,
    /// Their size.
    pub bytes: u64,
    /// Checkouts, every byte of each.
    pub checkouts: u64,
}

/// What the doctor found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// How much was looked at.
    pub checked: Checked,
    /// What is broken; none means that the registry is sound.
    pub problems: Vec<Problem>,
    /// What is harmless but worth knowing, such as files that interrupted work left behind.
    pub notes: Vec<String>,
}

impl Diagnosis {
    /// Whether nothing is broken.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, subject: impl Into<String>, what: impl Into<String>, help: &str) {
        let (subject, what) = (subject.into(), what.into());
        self.problems.push(Problem { subject, what, help: help.to_owned() });
    }

    /// What was read; rows that cannot be read are a finding, other failures are failures.
    fn readable<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(why) if why.code() == &sprat_store::codes::DAMAGED => {
                self.problem("registry.sqlite", why.to_string(), TAMPERED);
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }
}

const RESTORE: &str = "Restore it from a backup, import an exported copy, or release it again.";
const TAMPERED: &str =
    "Restore `registry.sqlite` from a backup; the file was changed from outside.";

impl Registry {
    /// Checks everything and changes nothing.
    ///
    /// # Errors
    /// Only where looking itself fails; what is broken is reported in the diagnosis.
    pub fn doctor(&self, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Diagnosis> {
        let _held = self.hold_blobs()?;
        let mut found = Diagnosis::default();
        for line in self.rows.check()? {
            found.problem("registry.sqlite", line, TAMPERED);
        }
        let damaged = self.check_blobs(&mut found, progress, interrupt)?;
        let Some(rows) = found.readable(self.rows.versions(None))? else { return Ok(found) };
        for row in &rows {
            let checked = self.check_version(row, &damaged, &mut found);
            found.readable(checked)?;
        }
        let checked = self.check_aliases(&rows, &mut found);
        found.readable(checked)?;
        self.check_checkouts(&rows, &mut found, interrupt)?;
        for (name, bytes) in self.blobs.leftovers()? {
            found
                .notes
                .push(format!("{name}: leftover file, {bytes} bytes; `sprat gc` removes it"));
        }
        for path in self.stale_checkouts(Duration::ZERO)? {
            let path = path.display();
            found.notes.push(format!("{path}: belongs to no version; `sprat gc` removes it"));
        }
        Ok(found)
    }

    /// Reads every blob through; gives the names of those that are damaged.
    fn check_blobs(
        &self,
        found: &mut Diagnosis,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<BTreeSet<String>> {
        let blobs = self.blobs.list()?;
        let total = blobs.iter().map(|blob| blob.bytes).sum();
        progress.start("check blobs", Some(total), "bytes");
        let mut damaged = BTreeSet::new();
        for blob in blobs {
            interrupt.check()?;
            if let Err(why) = self.blobs.verify(&blob.digest) {
                damaged.insert(blob.digest.to_string());
                found.problem(format!("blob {}", blob.digest), why.to_string(), RESTORE);
            }
            found.checked.blobs += 1;
            found.checked.bytes += blob.bytes;
            progress.advance(blob.bytes);
        }
        progress.finish();
        Ok(damaged)
    }

    fn check_version(
        &self,
        row: &VersionRow,
        damaged: &BTreeSet<String>,
        found: &mut Diagnosis,
    ) -> Result<()> {
        found.checked.versions += 1;
        let name = format!("{}@v{}", row.task, row.number);
        let version = match Version::from_row(row.clone()) {
            Ok(version) => version,
            Err(why) => {
                found.problem(name, why.to_string(), TAMPERED);
                return Ok(());
            }
        };
        let tree = &version.content.artefact;
        if let Some(fault) = tree.fault() {
            found.problem(&name, fault, RESTORE);
        }
        if self.rows.blobs_of(&row.task, row.number)? != tree.blobs() {
            found.problem(&name, "its list of blobs is not that of its files", TAMPERED);
        }
        for (path, file) in &tree.0 {
            if damaged.contains(&file.digest.to_string()) {
                found.problem(&name, format!("its file `{path}` is damaged"), RESTORE);
            } else if !self.blobs.has(&file.digest)? {
                let what = format!("its file `{path}` is missing (blob {})", file.digest);
                found.problem(&name, what, RESTORE);
            }
        }
        if let Some(parent) = version.parent
            && self.rows.versions_by_digest(&row.task, &parent.to_string())?.is_empty()
        {
            found.notes.push(format!("{name}: its parent {} is not here", parent.short()));
        }
        Ok(())
    }

    fn check_aliases(&self, rows: &[VersionRow], found: &mut Diagnosis) -> Result<()> {
        let known: BTreeSet<(&str, u32)> =
            rows.iter().map(|row| (row.task.as_str(), row.number)).collect();
        for alias in self.rows.aliases(None)? {
            found.checked.aliases += 1;
            let name = format!("{}@{}", alias.task, alias.name);
            if !known.contains(&(alias.task.as_str(), alias.version)) {
                found.problem(&name, format!("v{} does not exist", alias.version), TAMPERED);
            }
            let mut moves = self.rows.moves(&alias.task, Some(&alias.name))?;
            moves.sort_by_key(|m| m.revision);
            found.checked.moves += moves.len() as u64;
            let mut at = None;
            let whole = moves.iter().zip(1..).all(|(m, revision)| {
                let before = alias::previous(&moves, revision - 1);
                let fits = m.revision == revision
                    && m.from == at
                    && known.contains(&(m.task.as_str(), m.to))
                    && (m.kind != "rollback" || before == Some(m.to));
                at = Some(m.to);
                fits
            });
            if !whole || at != Some(alias.version) || moves.len() as u64 != alias.revision {
                found.problem(&name, "its history does not lead to where it stands", TAMPERED);
            }
        }
        Ok(())
    }

    fn check_checkouts(
        &self,
        rows: &[VersionRow],
        found: &mut Diagnosis,
        interrupt: &Interrupt,
    ) -> Result<()> {
        for row in rows {
            interrupt.check()?;
            let folder = self.checkouts().join(row.digest.to_string());
            let Ok(version) = Version::from_row(row.clone()) else { continue };
            if !folder.exists() {
                continue;
            }
            found.checked.checkouts += 1;
            if Tree::of_folder(&folder).ok().as_ref() != Some(&version.content.artefact) {
                let help = "Delete this folder; it is a cache and is made again when needed.";
                let what = format!("it is not what {version} consists of");
                found.problem(folder.display().to_string(), what, help);
            }
        }
        Ok(())
    }
}
