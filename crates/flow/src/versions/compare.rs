//! `sprat diff`: what differs between two versions.

use crate::{Done, Project};
use serde_json::{Value, json};
use sprat_registry::Change;
use sprat_report::{Page, Table, number};
use sprat_task::Result;

impl Project {
    /// What differs between two versions, by area.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn diff(&self, from: &str, to: &str) -> Result<Done> {
        let (from, to) = (self.version(from)?, self.version(to)?);
        let diff = sprat_registry::diff(&from.content, &to.content);
        let mut page = Page::new(format!("{from} → {to}"));
        if diff.is_empty() {
            page = page.paragraph("Nothing differs.");
        }
        let areas = [
            ("Model", &diff.model),
            ("Data", &diff.data),
            ("Settings", &diff.settings),
            ("Metrics", &diff.metrics),
        ];
        for (title, changes) in areas {
            if !changes.is_empty() {
                page = page.table(table(title, changes, &from.to_string(), &to.to_string()));
            }
        }
        if !diff.files.is_empty() {
            let mut files = Table::new("Files", &["file", "before", "after"]).numeric(&[1, 2]);
            for change in &diff.files {
                let size = |file: &Option<sprat_registry::TreeFile>| {
                    file.as_ref().map_or("–".into(), |file| {
                        format!("{} {}", file.digest.short(), number::bytes(file.bytes))
                    })
                };
                files.push([change.path.clone(), size(&change.from), size(&change.to)]);
            }
            page = page.table(files);
        }
        let body = json!({ "from": from.to_string(), "to": to.to_string(), "diff": diff });
        Ok(Done::new("sprat.diff/1", body, page))
    }
}

fn table(title: &str, changes: &[Change], from: &str, to: &str) -> Table {
    let mut table = Table::new(title, &["what", from, to, "change"]).numeric(&[3]);
    // Long lists (per class, per bin) are in the JSON document; people read single figures.
    let single: Vec<&Change> = changes.iter().filter(|c| !c.path.contains("per_class")).collect();
    const SHOWN: usize = 30;
    for change in single.iter().take(SHOWN) {
        let number = |value: &Option<Value>| value.as_ref().and_then(Value::as_f64);
        let delta = match (number(&change.from), number(&change.to)) {
            (Some(before), Some(after)) => number::signed(after - before, 4),
            _ => String::new(),
        };
        table.push([change.path.clone(), shown(&change.from), shown(&change.to), delta]);
    }
    if single.len() > SHOWN {
        table = table.note(format!("and {} more; --json lists all", single.len() - SHOWN));
    }
    table
}

fn shown(value: &Option<Value>) -> String {
    match value {
        None => "–".into(),
        Some(Value::String(text)) => text.chars().take(40).collect(),
        Some(Value::Number(x)) if x.is_f64() => number::significant(x.as_f64().unwrap_or(0.0)),
        Some(other) => other.to_string().chars().take(40).collect(),
    }
}
