//! Removing what nothing needs any more.

use crate::Registry;
use serde::Serialize;
use sprat_task::{Result, Timestamp};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

/// How to collect.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// What was put more recently than this is left alone.
    pub grace: Duration,
    /// Only say what would be removed.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        GcOptions { grace: Duration::from_secs(24 * 3600), dry_run: false }
    }
}

/// What was, or would be, removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Blobs that stay because something needs them.
    pub used: u64,
    /// Blobs that nothing needs, but that are too young.
    pub young: u64,
    /// Blobs removed.
    pub removed: u64,
    /// Their size.
    pub bytes: u64,
    /// Leftover temporary files removed.
    pub leftovers: u64,
    /// Checkouts removed: half-made ones and those of versions that are not here.
    pub checkouts: u64,
    /// Whether nothing was really removed.
    pub dry_run: bool,
}

impl Registry {
    /// Removes blobs that no version and no recorded step needs, and what interrupted work left.
    /// Waits for running releases and imports, and holds new ones up while it works.
    ///
    /// # Errors
    /// The store's.
    pub fn gc(&self, options: &GcOptions) -> Result<Collected> {
        let _alone = self.hold_all()?;
        let mut used = self.rows.used_blobs()?;
        used.extend(self.rows.steps()?.iter().map(|step| step.outputs));
        let mut collected = Collected { dry_run: options.dry_run, ..Collected::default() };
        for blob in self.blobs.list()? {
            if used.contains(&blob.digest) {
                collected.used += 1;
            } else if self.is_young(blob.put, options.grace) {
                collected.young += 1;
            } else if options.dry_run || self.blobs.remove(&blob.digest)? {
                collected.removed += 1;
                collected.bytes += blob.bytes;
            }
        }
        for path in self.stale_checkouts(options.grace)? {
            if options.dry_run || fs::remove_dir_all(&path).is_ok() {
                collected.checkouts += 1;
            }
        }
        collected.leftovers = if options.dry_run {
            self.blobs.leftovers()?.len() as u64
        } else {
            self.blobs.remove_leftovers(options.grace)?
        };
        Ok(collected)
    }

    fn is_young(&self, put: Timestamp, grace: Duration) -> bool {
        u128::from(self.now().0.saturating_sub(put.0)) < grace.as_millis()
    }

    /// Checkouts whose version is not here, half-made ones among them, past their grace.
    pub(crate) fn stale_checkouts(&self, grace: Duration) -> Result<Vec<PathBuf>> {
        let versions = self.rows.versions(None)?;
        let known: BTreeSet<String> = versions.iter().map(|row| row.digest.to_string()).collect();
        let Ok(listing) = fs::read_dir(self.checkouts()) else { return Ok(Vec::new()) };
        let mut stale = Vec::new();
        for entry in listing.flatten() {
            let since = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let since = since.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            let named = entry.file_name().to_str().is_some_and(|name| known.contains(name));
            if !named && !self.is_young(Timestamp(since.as_millis() as u64), grace) {
                stale.push(entry.path());
            }
        }
        stale.sort();
        Ok(stale)
    }
}
