//! `sprat export`, `import`, `gc` and `doctor`.

use crate::{Done, Project, codes};
use serde_json::json;
use sprat_registry::{GcOptions, Limits};
use sprat_report::{Page, Table, Tone, number};
use sprat_task::{Error, Result};
use std::path::Path;

impl Project {
    /// Writes a version into one file.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn export(&self, reference: &str, file: &Path) -> Result<Done> {
        let version = self.version(reference)?;
        let bytes =
            self.registry.export(&version, file, self.progress.as_ref(), &self.interrupt)?;
        let text = format!("{version} → {} ({})", file.display(), number::bytes(bytes));
        let body = json!({ "version": version.to_string(), "file": file, "bytes": bytes });
        Ok(Done::new("sprat.export/1", body, Page::new("Export").verdict(Tone::Good, text)))
    }

    /// Takes a version out of a file, every digest checked.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn import(&self, file: &Path) -> Result<Done> {
        let limits = Limits::default();
        let imported =
            self.registry.import(file, &limits, self.progress.as_ref(), &self.interrupt)?;
        let version = &imported.version;
        let state = if imported.new { "imported as" } else { "is here already as" };
        let text = format!("{} {state} {version}", file.display());
        let body = json!({ "version": version, "new": imported.new });
        Ok(Done::new("sprat.import/1", body, Page::new("Import").verdict(Tone::Good, text)))
    }

    /// Removes what no version needs any more.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn gc(&self, dry_run: bool) -> Result<Done> {
        let collected = self.registry.gc(&GcOptions { dry_run, ..GcOptions::default() })?;
        let verb = if dry_run { "would be removed" } else { "removed" };
        let page = Page::new("Garbage collection").facts([
            ("blobs in use", collected.used.to_string()),
            ("too young to judge", collected.young.to_string()),
            (verb, format!("{} ({})", collected.removed, number::bytes(collected.bytes))),
            ("leftovers of interrupted work", collected.leftovers.to_string()),
            ("checkouts", collected.checkouts.to_string()),
        ]);
        Ok(Done::new("sprat.gc/1", json!({ "collected": collected }), page))
    }

    /// Checks every row, blob, alias and checkout.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn doctor(&self) -> Result<Done> {
        let found = self.registry.doctor(self.progress.as_ref(), &self.interrupt)?;
        let checked = found.checked;
        let mut page = Page::new("Doctor").facts([
            ("versions", checked.versions.to_string()),
            ("aliases", checked.aliases.to_string()),
            ("blobs", format!("{} ({})", checked.blobs, number::bytes(checked.bytes))),
            ("checkouts", checked.checkouts.to_string()),
        ]);
        page = page.list(found.notes.clone());
        let mut refused = None;
        if found.is_sound() {
            page = page.verdict(Tone::Good, "the store is sound");
        } else {
            let mut table = Table::new("Problems", &["what", "problem", "what to do"]);
            for problem in &found.problems {
                table.push([problem.subject.clone(), problem.what.clone(), problem.help.clone()]);
            }
            page = page.table(table);
            let what = format!("{} problem(s) in the store", found.problems.len());
            refused = Some(Error::new(&codes::UNSOUND, what).file(&self.state));
        }
        let body = json!({ "sound": found.is_sound(), "diagnosis": found });
        Ok(Done::new("sprat.doctor/1", body, page).refused_by(refused))
    }
}
