//! What differs between two versions, or between a version and its reproduction.

use crate::{Content, Tree, TreeFile};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Where, in dotted form; array positions count from 0.
    pub path: String,
    /// The value before; none where it is new.
    pub from: Option<Value>,
    /// The value after; none where it is gone.
    pub to: Option<Value>,
    /// `to − from`, where both are numbers.
    pub delta: Option<f64>,
}

/// One file that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// The file before; none where it is new.
    pub from: Option<TreeFile>,
    /// The file after; none where it is gone.
    pub to: Option<TreeFile>,
}

/// Everything that differs between two contents, by area. Empty lists mean equality.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Base, template and code.
    pub model: Vec<Change>,
    /// Data and split.
    pub data: Vec<Change>,
    /// Settings.
    pub settings: Vec<Change>,
    /// Metrics.
    pub metrics: Vec<Change>,
    /// The gate's evidence.
    pub evidence: Vec<Change>,
    /// The artefact's files.
    pub files: Vec<FileChange>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.same_inputs()
            && self.metrics.is_empty()
            && self.evidence.is_empty()
            && self.files.is_empty()
    }

    /// Whether both were made from the same base, data, split, settings, template and code: then
    /// a reproduction must give the same files.
    pub fn same_inputs(&self) -> bool {
        self.model.is_empty() && self.data.is_empty() && self.settings.is_empty()
    }
}

/// Compares two contents.
pub fn diff(from: &Content, to: &Content) -> Diff {
    let model = |content: &Content| {
        serde_json::json!({
            "base": { "reference": content.base.reference, "digest": content.base.digest },
            "template": content.template,
            "code": content.code,
            "task": content.task,
        })
    };
    let data =
        |content: &Content| serde_json::json!({"data": content.data, "split": content.split});
    Diff {
        model: changes(&model(from), &model(to)),
        data: changes(&data(from), &data(to)),
        settings: changes(&from.settings, &to.settings),
        metrics: changes(&from.metrics, &to.metrics),
        evidence: changes(&from.evidence, &to.evidence),
        files: file_changes(&from.artefact, &to.artefact),
    }
}

fn changes(from: &Value, to: &Value) -> Vec<Change> {
    let mut leaves: BTreeMap<String, (Option<&Value>, Option<&Value>)> = BTreeMap::new();
    flatten(from, String::new(), &mut |path, value| {
        leaves.entry(path).or_default().0 = Some(value)
    });
    flatten(to, String::new(), &mut |path, value| leaves.entry(path).or_default().1 = Some(value));
    let differing = leaves.into_iter().filter(|(_, (from, to))| from != to);
    let change = |(path, (from, to)): (String, (Option<&Value>, Option<&Value>))| {
        let number = |value: Option<&Value>| value.and_then(Value::as_f64);
        let delta = number(from).zip(number(to)).map(|(from, to)| to - from);
        Change { path, from: from.cloned(), to: to.cloned(), delta }
    };
    differing.map(change).collect()
}

/// Calls `visit` with each leaf. Empty objects and arrays are leaves: they are something.
fn flatten<'a>(value: &'a Value, path: String, visit: &mut impl FnMut(String, &'a Value)) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                flatten(value, below(name), visit);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                flatten(value, below(&at.to_string()), visit);
            }
        }
        leaf => visit(path, leaf),
    }
}

fn file_changes(from: &Tree, to: &Tree) -> Vec<FileChange> {
    let mut paths: Vec<&String> = from.0.keys().chain(to.0.keys()).collect();
    paths.sort();
    paths.dedup();
    let change = |path: &String| {
        let (from, to) = (from.0.get(path).copied(), to.0.get(path).copied());
        (from != to).then(|| FileChange { path: path.clone(), from, to })
    };
    paths.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_names_its_path_and_the_difference() {
        let from = json!({"lora": {"rank": 8, "alpha": 16}, "layers": ["q", "v"], "old": true});
        let to = json!({"lora": {"rank": 16, "alpha": 16}, "layers": ["q", "k"], "new": {}});
        let found = changes(&from, &to);
        let paths: Vec<&str> = found.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["layers.1", "lora.rank", "new", "old"]);
        assert_eq!(found[1].delta, Some(8.0));
        assert_eq!((&found[2].from, &found[2].to), (&None, &Some(json!({}))));
        assert_eq!((&found[3].from, &found[3].to), (&Some(json!(true)), &None));
        assert!(changes(&from, &from).is_empty());
    }
}
