//! Versions as single files: a tar archive with a manifest first, then each blob once.
//!
//! | entry | content |
//! |---|---|
//! | `manifest.json` | [`Manifest`] |
//! | `blobs/<digest>` | one per distinct file of the artefact, ordered by digest |
//!
//! The archive of a version is always the same bytes. An import believes nothing: sizes, names
//! and digests are checked against the manifest, and the manifest against the version's digest.

mod export;
mod import;

pub use import::{Imported, Limits};

use crate::{Content, Origin};
use serde::{Deserialize, Serialize};
use sprat_task::Digest;

/// What [`Manifest::kind`] says.
const KIND: &str = "sprat-version";

/// The layout of the archive. Raise it when the layout changes.
const FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.json";

/// What an archive says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    kind: String,
    format: u32,
    digest: Digest,
    parent: Option<Digest>,
    who: String,
    note: String,
    origin: Origin,
    content: Content,
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{digest}")
}
