//! Versions, lineage, aliases, artefacts and rollback.
//!
//! A [`Version`] is immutable: one digest stands over the base model, the data, the split, the
//! settings, the template, the code, the metrics, the gate's evidence and every file of the
//! artefact ([`Content`]). Versions of a task are numbered v1, v2, …; aliases such as
//! `production` point to them and move atomically, and every move is kept.
//!
//! The state folder (by default `.sprat/`):
//!
//! | name | holds |
//! |---|---|
//! | `registry.sqlite` | rows: versions, aliases and moves, finished steps, openings, events |
//! | `blobs/` | the artefacts' files, named by digest |
//! | `checkouts/` | artefacts laid out as folders; a cache that may be deleted |
//! | `gc.lock` | held shared by whoever stores blobs, alone by `gc` |
//! | `traces.sqlite` | traces of served requests (not the registry's) |

mod alias;
mod archive;
mod checkout;
pub mod codes;
mod diff;
mod doctor;
mod gc;
mod history;
mod names;
mod registry;
mod release;
mod resolve;
mod tree;
mod version;

pub use alias::{DEFAULT_ALIAS, Expect, MoveKind};
pub use archive::{Imported, Limits};
pub use diff::{Change, Diff, FileChange, diff};
pub use doctor::{Checked, Diagnosis, Problem};
pub use gc::{Collected, GcOptions};
pub use history::{Ancestor, Event, LogEntry, Step};
pub use names::check_name;
pub use registry::Registry;
pub use release::{Release, Released};
pub use resolve::{Resolved, Via};
pub use sprat_store::{AliasRow as Alias, MoveRow as Move, OpeningRow as Opening};
pub use tree::{Tree, TreeFile};
pub use version::{Base, Content, Origin, Version};
