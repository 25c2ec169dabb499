//! The project behind the page and the admin API. It has handles of its own, so that looking never
//! waits for a model that is being opened.

use serde_json::{Value, json};
use sprat_flow::Project;
use sprat_monitor::{TraceFilter, TraceLog, TraceRow};
use sprat_registry::{Alias, Expect, Registry, Version};
use sprat_serve::console::{Change, Console, Prices, Report};
use sprat_task::settings::Settings;
use sprat_task::{Error, Result, Timestamp};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The largest report that is shown.
const REPORT_BYTES: u64 = 32 << 20;

/// The project of a server.
pub(super) struct OfProject {
    registry: Registry,
    traces: TraceLog,
    task: String,
    alias: String,
    reports: PathBuf,
    prices: Option<Prices>,
}

impl OfProject {
    /// # Errors
    /// Those of the traces' database.
    pub(super) fn new(project: &Project) -> Result<Self> {
        Ok(OfProject {
            registry: project.registry.clone(),
            traces: TraceLog::open(&project.registry.traces_path())?,
            task: project.task().to_owned(),
            alias: project.settings.release.alias.clone(),
            reports: project.reports(),
            prices: prices(&project.settings),
        })
    }

    fn version(&self, reference: &str) -> Result<Version> {
        let full = match reference.contains('@') || reference == self.task {
            true => reference.to_owned(),
            false => format!("{}@{reference}", self.task),
        };
        Ok(self.registry.resolve(&full)?.version)
    }

    fn summary(&self, version: &Version, aliases: &[Alias]) -> Value {
        let content = &version.content;
        let pointing: Vec<&str> = aliases
            .iter()
            .filter(|alias| alias.version == version.number)
            .map(|alias| alias.name.as_str())
            .collect();
        json!({
            "number": version.number,
            "digest": version.digest,
            "parent": version.parent,
            "created": version.created,
            "who": version.who,
            "note": version.note,
            "base": content.base.reference,
            "data": content.data,
            "bytes": content.artefact.bytes(),
            "variant": content.metrics.get("variant"),
            "metrics": content.metrics.get("test").map(intervals),
            "aliases": pointing,
        })
    }
}

/// The figures of a part that have an interval, and how many rows there were.
fn intervals(part: &Value) -> Value {
    let figures = part.as_object().into_iter().flatten();
    let kept = figures.filter(|(name, value)| value.get("estimate").is_some() || *name == "rows");
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The prices of the route's first large model, or else of the first candidate that has any.
fn prices(settings: &Settings) -> Option<Prices> {
    let priced = |one: &&sprat_task::settings::Candidate| {
        one.usd_per_million_input_tokens > 0.0 || one.usd_per_million_output_tokens > 0.0
    };
    let candidates = || settings.candidates.iter().filter(priced);
    let routed = settings.route.large.first();
    let found = candidates().find(|one| Some(&one.model) == routed).or_else(|| candidates().next());
    found.map(|one| Prices {
        model: one.model.clone(),
        input: one.usd_per_million_input_tokens,
        output: one.usd_per_million_output_tokens,
    })
}

impl Console for OfProject {
    fn traces(&self, after: u64, since: Timestamp, most: u64) -> Result<Vec<(u64, TraceRow)>> {
        let filter =
            TraceFilter { after, since: Some(since), limit: Some(most), ..TraceFilter::default() };
        self.traces.read(&filter)
    }

    fn prices(&self) -> Option<Prices> {
        self.prices.clone()
    }

    fn releases(&self) -> Result<Value> {
        let versions = self.registry.versions(Some(&self.task))?;
        let aliases = self.registry.aliases(Some(&self.task))?;
        let moves = self.registry.moves(&self.task, None)?;
        let openings = self.registry.openings(Some(&self.task))?.len();
        let versions: Vec<Value> =
            versions.iter().map(|version| self.summary(version, &aliases)).collect();
        Ok(json!({
            "schema": "sprat.releases/1", "task": self.task, "alias": self.alias,
            "versions": versions, "aliases": aliases, "moves": moves, "test_openings": openings,
        }))
    }

    fn release(&self, reference: &str) -> Result<Value> {
        let version = self.version(reference)?;
        let lineage = self.registry.lineage(&version)?;
        Ok(json!({ "schema": "sprat.show/1", "version": version, "lineage": lineage }))
    }

    fn diff(&self, from: &str, to: &str) -> Result<Value> {
        let (from, to) = (self.version(from)?, self.version(to)?);
        let diff = sprat_registry::diff(&from.content, &to.content);
        let (from, to) = (from.to_string(), to.to_string());
        Ok(json!({ "schema": "sprat.diff/1", "from": from, "to": to, "diff": diff }))
    }

    fn promote(&self, version: &str, change: &Change<'_>) -> Result<Value> {
        let version = self.version(version)?;
        let alias = change.alias.unwrap_or(&self.alias);
        let expect = change.revision.map_or(Expect::Any, Expect::Revision);
        let moved = self.registry.promote(&version, alias, expect, change.who, change.why)?;
        let version = version.to_string();
        Ok(json!({
            "schema": "sprat.promote/1", "version": version, "alias": alias, "move": moved,
        }))
    }

    fn rollback(&self, change: &Change<'_>) -> Result<Value> {
        let alias = change.alias.unwrap_or(&self.alias);
        let expect = change.revision.map_or(Expect::Any, Expect::Revision);
        let moved =
            self.registry.rollback_from(&self.task, alias, expect, change.who, change.why)?;
        Ok(json!({ "schema": "sprat.rollback/1", "alias": alias, "move": moved }))
    }

    fn reports(&self) -> Result<Vec<Report>> {
        let entries = match std::fs::read_dir(&self.reports) {
            Ok(entries) => entries,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(unreadable(&self.reports, &why)),
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let html = path.extension().is_some_and(|end| end == "html");
            // A link could lead out of the folder.
            let (Some(name), true, Ok(about)) = (name, html, entry.metadata()) else { continue };
            if !about.is_file() || !plain(name) || about.len() > REPORT_BYTES {
                continue;
            }
            let since = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let modified = Timestamp(since.map_or(0, |since| since.as_millis() as u64));
            found.push(Report { name: name.to_owned(), bytes: about.len(), modified });
        }
        Ok(found)
    }

    fn report(&self, name: &str) -> Result<Option<String>> {
        // Only what the list shows: no name reaches a file that is not in the folder.
        if !self.reports()?.iter().any(|report| report.name == name) {
            return Ok(None);
        }
        let path = self.reports.join(format!("{name}.html"));
        std::fs::read_to_string(&path).map(Some).map_err(|why| unreadable(&path, &why))
    }
}

fn plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn unreadable(path: &Path, why: &std::io::Error) -> Error {
    Error::io(&crate::codes::INPUT, "read the reports", path, why)
}
