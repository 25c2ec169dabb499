//! Releasing: an artefact that passed its gate becomes an immutable version.

use crate::tree::{self, TreeFile};
use crate::version::{BODY_FORMAT, Body};
use crate::{Base, Content, Origin, Registry, Tree, Version, codes, names};
use serde_json::Value;
use sprat_eval::PassedGate;
use sprat_store::NewVersion;
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::fs::File;
use std::path::Path;

/// What is released; the evidence comes from the gate.
#[derive(Clone, Debug)]
pub struct Release<'a> {
    /// The task.
    pub task: &'a str,
    /// What it was tuned from.
    pub base: Base,
    /// The digest of the data, before splitting.
    pub data: Digest,
    /// The digest of the split.
    pub split: Digest,
    /// The resolved settings.
    pub settings: Value,
    /// The prompt template or prefix; empty where there is none.
    pub template: String,
    /// The version of the code.
    pub code: String,
    /// The measured figures.
    pub metrics: Value,
    /// The folder with the artefact's files.
    pub artefact: &'a Path,
    /// The digest of the version that it succeeds.
    pub parent: Option<Digest>,
    /// Who releases it.
    pub who: String,
    /// A remark.
    pub note: String,
}

/// The outcome of a release or an import.
#[derive(Clone, Debug, PartialEq)]
pub struct Released {
    /// The version as stored.
    pub version: Version,
    /// Whether it is new; if not, exactly the same content was there already.
    pub new: bool,
}

/// What a version carries besides its content.
pub(crate) struct Envelope {
    pub(crate) parent: Option<Digest>,
    pub(crate) who: String,
    pub(crate) note: String,
    pub(crate) origin: Option<Origin>,
}

impl Registry {
    /// Stores the artefact's files and adds the version: all or nothing. Releasing exactly the
    /// same content again gives the version that is there.
    ///
    /// # Errors
    /// [`codes::GATE`] when the gate judged another artefact (its subject must be the
    /// [`Tree::digest`] of the folder), [`codes::ARTEFACT`], [`codes::NAME`], the store's (a full disk among them, which leaves
    /// the registry as it was), or an interruption.
    pub fn release(
        &self,
        release: &Release<'_>,
        gate: &PassedGate,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Released> {
        names::task(release.task)?;
        let _held = self.hold_blobs()?;
        let artefact = self.store_folder(release.artefact, progress, interrupt)?;
        if artefact.digest() != gate.subject() {
            return Err(Error::new(&codes::GATE, "the gate judged another artefact than this")
                .file(release.artefact)
                .why(format!("it judged {}, this is {}", gate.subject(), artefact.digest())));
        }
        let evidence = serde_json::to_value(gate.record()).map_err(|why| unwritable(&why))?;
        let content = Content {
            task: release.task.to_owned(),
            base: release.base.clone(),
            data: release.data,
            split: release.split,
            settings: release.settings.clone(),
            template: release.template.clone(),
            code: release.code.clone(),
            metrics: release.metrics.clone(),
            evidence,
            artefact,
        };
        let envelope = Envelope {
            parent: release.parent,
            who: release.who.clone(),
            note: release.note.clone(),
            origin: None,
        };
        self.add(content, envelope)
    }

    /// Adds a version whose blobs are all stored. The caller holds the blobs' lock.
    pub(crate) fn add(&self, content: Content, envelope: Envelope) -> Result<Released> {
        let digest = content.digest();
        let (task, blobs) = (content.task.clone(), content.artefact.blobs());
        let Envelope { parent, who, note, origin } = envelope;
        let body = Body { format: BODY_FORMAT, who, note, origin, content };
        let body = serde_json::to_string(&body).map_err(|why| unwritable(&why))?;
        let created = self.now();
        let (task, body, blobs) = (&*task, &*body, &blobs);
        let new = NewVersion { task, digest, parent, created, body, blobs };
        let added = self.rows.add_version(&new)?;
        Ok(Released { version: Version::from_row(added.row)?, new: added.new })
    }

    fn store_folder(
        &self,
        folder: &Path,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Tree> {
        let files = tree::files(folder)?;
        progress.start("store the artefact", Some(files.len() as u64), "files");
        let mut tree = Tree::default();
        for (name, path) in files {
            interrupt.check()?;
            let mut file = File::open(&path).map_err(|why| {
                Error::io(&codes::ARTEFACT, "read the artefact's file", &path, &why)
            })?;
            let (digest, bytes) = self.blobs.put(&mut file)?;
            tree.0.insert(name, TreeFile { digest, bytes });
            progress.advance(1);
        }
        progress.finish();
        Ok(tree)
    }
}

fn unwritable(why: &serde_json::Error) -> Error {
    Error::new(&codes::ARTEFACT, "could not write the version down").why(why.to_string())
}
