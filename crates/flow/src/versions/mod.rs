//! The commands on versions: promote, rollback, log, show, diff, export, import, gc, doctor.

mod compare;
mod list;
mod upkeep;

use crate::{Done, Project};
use serde_json::json;
use sprat_registry::{Expect, Move, Version};
use sprat_report::{Page, Tone};
use sprat_task::Result;

impl Project {
    /// The version that a reference names: `task`, `task@alias`, `task@v3`, `v3`, `latest`, an
    /// alias, or a digest's beginning.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn version(&self, reference: &str) -> Result<Version> {
        let task = self.task();
        let full = if reference == task || reference.contains('@') {
            reference.to_string()
        } else {
            format!("{task}@{reference}")
        };
        Ok(self.registry.resolve(&full)?.version)
    }

    fn alias_name<'a>(&'a self, alias: Option<&'a str>) -> &'a str {
        alias.unwrap_or(&self.settings.release.alias)
    }

    /// Points an alias at a version.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn promote(&self, reference: &str, alias: Option<&str>, why: &str) -> Result<Done> {
        let version = self.version(reference)?;
        let alias = self.alias_name(alias);
        let moved = self.registry.promote(&version, alias, Expect::Any, &who(), why)?;
        let text = match &moved {
            Some(moved) => describe(moved),
            None => format!("{}@{alias} points to v{} already", version.task, version.number),
        };
        let body = json!({ "version": version.to_string(), "alias": alias, "move": moved });
        Ok(Done::new("sprat.promote/1", body, Page::new("Promote").verdict(Tone::Good, text)))
    }

    /// Points an alias back at its previous version.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn rollback(&self, alias: Option<&str>, why: &str) -> Result<Done> {
        let alias = self.alias_name(alias);
        let moved = self.registry.rollback(self.task(), alias, &who(), why)?;
        let page = Page::new("Roll back")
            .verdict(Tone::Good, describe(&moved))
            .paragraph("A running server picks this up within a second.");
        Ok(Done::new("sprat.rollback/1", json!({ "alias": alias, "move": moved }), page))
    }
}

/// Who runs this: the user's name as the system knows it.
pub fn who() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| "unknown".into())
}

fn describe(moved: &Move) -> String {
    let from = match moved.from {
        Some(from) => format!("from v{from} "),
        None => String::new(),
    };
    format!("{}@{} moved {from}to v{}", moved.task, moved.alias, moved.to)
}
