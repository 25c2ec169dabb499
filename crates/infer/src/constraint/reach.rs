//! Which schemas apply to the same value, to refuse those that would never end.

use super::bounds;
use crate::codes;
use serde_json::{Map, Value};
use sprat_task::{Error, Result};
use std::collections::HashMap;

/// A graph over schemas, known by their addresses: an edge leads from a schema to one that
/// applies to the very same value.
#[derive(Default)]
pub(super) struct Reach {
    edges: HashMap<usize, Vec<usize>>,
    anchors: HashMap<String, Vec<usize>>,
    dynamic: Vec<(usize, String)>,
}

impl Reach {
    /// Notes that `to` applies to whatever `from` applies to.
    pub(super) fn apply(&mut self, from: usize, to: usize) {
        self.edges.entry(from).or_default().push(to);
    }

    /// Notes the anchors of a schema that dynamic references may lead to.
    pub(super) fn anchor(&mut self, schema: usize, members: &Map<String, Value>) {
        if let Some(Value::String(name)) = members.get("$dynamicAnchor") {
            self.anchors.entry(format!("#{name}")).or_default().push(schema);
        }
        if members.get("$recursiveAnchor") == Some(&Value::Bool(true)) {
            self.anchors.entry("#".into()).or_default().push(schema);
        }
    }

    /// Notes a dynamic reference: it may lead to any anchor of its name.
    pub(super) fn apply_dynamic(&mut self, from: usize, reference: &Value) {
        let text = reference.as_str().unwrap_or_default();
        let name = text.find('#').and_then(|at| text.get(at..)).unwrap_or_default();
        self.dynamic.push((from, name.to_owned()));
    }

    /// Checks that no schema applies to the same value as itself, and that no value has too
    /// many schemas.
    pub(super) fn check(mut self) -> Result<()> {
        for (from, name) in std::mem::take(&mut self.dynamic) {
            let targets = self.anchors.get(&name).cloned().unwrap_or_default();
            self.edges.entry(from).or_default().extend(targets);
        }
        // How many schemas apply where one does, itself included; 0 while it is being counted.
        let mut counts: HashMap<usize, u64> = HashMap::new();
        let starts: Vec<usize> = self.edges.keys().copied().collect();
        for start in starts {
            self.count(start, &mut counts)?;
        }
        match counts.values().any(|&count| count > bounds::APPLIED) {
            true => Err(bounds::too_complex("too many parts of the schema apply to one value")),
            false => Ok(()),
        }
    }

    /// Counts from `start` in depth, without recursion.
    fn count(&self, start: usize, counts: &mut HashMap<usize, u64>) -> Result<()> {
        let mut open = vec![start];
        while let Some(&schema) = open.last() {
            let edges = self.edges.get(&schema).map(Vec::as_slice).unwrap_or_default();
            match counts.get(&schema) {
                None => {
                    counts.insert(schema, 0);
                    for next in edges {
                        match counts.get(next) {
                            None => open.push(*next),
                            Some(0) => return Err(endless()),
                            Some(_) => {}
                        }
                    }
                }
                Some(0) => {
                    let mut sum = 1u64;
                    for next in edges {
                        match counts.get(next) {
                            Some(0) | None => return Err(endless()),
                            Some(count) => sum = sum.saturating_add(*count),
                        }
                    }
                    counts.insert(schema, sum);
                    open.pop();
                }
                Some(_) => {
                    open.pop();
                }
            }
        }
        Ok(())
    }
}

fn endless() -> Error {
    Error::new(&codes::SCHEMA, "a part of the schema refers to itself for the same value")
        .why("checking a value against it would never end")
        .help("Let the reference stand below `properties` or `items`.")
}
