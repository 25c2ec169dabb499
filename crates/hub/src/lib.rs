//! Model references: fetching, pinning by digest and the local model cache.
//!
//! [`pull()`] brings the files of a [`ModelRef`] into a local [`Cache`], whole or not at all, with
//! the SHA-256 digest of every file on record; [`find`] looks only at what is already here. The
//! same files have the same digest, whether they came from a hub, from a wheel or from a folder.

mod cache;
pub mod codes;
mod download;
mod environment;
mod files;
mod folder;
mod http;
mod hub;
mod manifest;
mod pull;
mod python;
mod reference;
mod retry;
mod snapshot;
mod wheel;

pub use cache::{Cache, Mismatch};
pub use environment::{Environment, Secret};
pub use manifest::{FileRecord, Manifest};
pub use pull::{Limits, PullOptions, Pulled, find, pull};
pub use reference::ModelRef;
