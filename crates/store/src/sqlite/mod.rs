//! The SQLite backend. One file, write-ahead log, several processes at once.
//!
//! | file | schema | holds |
//! |---|---|---|
//! | `registry.sqlite` | [`REGISTRY_SCHEMA`] | versions, aliases and their moves, steps, journal |
//! | `traces.sqlite` | [`TRACES_SCHEMA`] | traces of served requests |
//!
//! The schema version stands in the table `schema_version` of each file. Older files are brought
//! up to date when opened, one migration and one transaction at a time; newer ones are refused.

mod aliases;
mod connection;
mod journal;
mod migrate;
mod schema;
mod steps;
mod traces;
mod versions;

pub use connection::Sqlite;
pub use schema::{REGISTRY_SCHEMA, TRACES_SCHEMA};
pub use traces::SqliteTraces;
