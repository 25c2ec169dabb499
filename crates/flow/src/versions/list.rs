//! `sprat log` and `sprat show`.

use crate::{Done, Project};
use serde_json::{Value, json};
use sprat_registry::LogEntry;
use sprat_report::{Page, Table, number};
use sprat_task::Result;

impl Project {
    /// Versions, where the aliases stand, and everything that happened, oldest first.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn log(&self) -> Result<Done> {
        let task = self.task();
        let versions = self.registry.versions(Some(task))?;
        let aliases = self.registry.aliases(Some(task))?;
        let log = self.registry.log(task)?;
        let headers = ["version", "digest", "released", "size", "test accuracy", "aliases", "note"];
        let mut table = Table::new("Versions", &headers).numeric(&[3, 4]);
        for version in &versions {
            let pointing: Vec<_> = aliases
                .iter()
                .filter(|alias| alias.version == version.number)
                .map(|alias| alias.name.as_str())
                .collect();
            let accuracy = version.content.metrics["test"]["accuracy"]["estimate"].as_f64();
            table.push([
                format!("v{}", version.number),
                version.digest.short(),
                version.created.to_rfc3339(),
                number::bytes(version.content.artefact.bytes()),
                accuracy.map_or("–".into(), number::percent),
                pointing.join(", "),
                version.note.clone(),
            ]);
        }
        let mut history = Table::new("History", &["when", "what"]);
        for entry in &log {
            history.push([entry.at().to_rfc3339(), sentence(entry)]);
        }
        let page = Page::new(format!("Log of {task}")).table(table).table(history);
        let body = json!({ "task": task, "versions": versions, "aliases": aliases, "log": log });
        Ok(Done::new("sprat.log/1", body, page))
    }

    /// One version in full, with its lineage.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn show(&self, reference: &str) -> Result<Done> {
        let version = self.version(reference)?;
        let lineage = self.registry.lineage(&version)?;
        let content = &version.content;
        let parent = version.parent.map_or("–".into(), |parent| parent.short());
        let page = Page::new(version.to_string())
            .facts([
                ("digest", version.digest.to_string()),
                ("released", format!("{} by {}", version.created.to_rfc3339(), version.who)),
                ("note", version.note.clone()),
                ("base", format!("{} ({})", content.base.reference, content.base.digest.short())),
                ("data", content.data.short()),
                ("split", content.split.short()),
                ("code", content.code.clone()),
                ("successor of", parent),
            ])
            .section("Metrics")
            .facts(flat(&content.metrics, 24))
            .section("Files")
            .table(files(&version));
        let body = json!({ "version": version, "lineage": lineage });
        Ok(Done::new("sprat.show/1", body, page))
    }
}

fn files(version: &sprat_registry::Version) -> Table {
    let mut table = Table::new("Artefact", &["file", "size", "digest"]).numeric(&[1]);
    for (path, file) in &version.content.artefact.0 {
        table.push([path.clone(), number::bytes(file.bytes), file.digest.short()]);
    }
    table
}

/// The numbers and texts of a JSON value under their dotted paths, lists left out.
fn flat(value: &Value, most: usize) -> Vec<(String, String)> {
    let mut out = Vec::new();
    walk("", value, &mut out);
    out.truncate(most);
    out
}

fn walk(path: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, value, out);
            }
        }
        Value::Array(_) | Value::Null => {}
        Value::Number(x) if x.is_f64() => {
            out.push((path.into(), number::significant(x.as_f64().unwrap_or(0.0))));
        }
        Value::String(text) => out.push((path.into(), text.clone())),
        other => out.push((path.into(), other.to_string())),
    }
}

fn sentence(entry: &LogEntry) -> String {
    match entry {
        LogEntry::Version(version) => {
            format!("v{} released by {} ({})", version.number, version.who, version.digest.short())
        }
        LogEntry::Move(moved) => {
            let from = moved.from.map_or("nothing".into(), |from| format!("v{from}"));
            let why = if moved.why.is_empty() { String::new() } else { format!(": {}", moved.why) };
            format!(
                "{}: {} moved from {from} to v{} by {}{why}",
                moved.kind, moved.alias, moved.to, moved.who
            )
        }
        LogEntry::Opening(opening) => {
            format!("the sealed test was opened by {}: {}", opening.who, opening.purpose)
        }
        LogEntry::Event(event) => format!("{}: {}", event.label, event.body),
    }
}
