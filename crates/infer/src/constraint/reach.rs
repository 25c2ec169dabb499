//! Which schemas apply to which values, to refuse what would never end or take too long.

use super::bounds;
use crate::codes;
use serde_json::{Map, Value};
use sprat_task::{Error, Result};
use std::collections::HashMap;

/// To what a schema below another one applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// To the very same value.
    Applied,
    /// To the member of its name.
    Named,
    /// To any member or item.
    Every,
    /// To nothing by itself.
    Aside,
}

/// The schemas below one.
#[derive(Clone, Debug, Default)]
struct Below {
    applied: Vec<usize>,
    named: HashMap<String, Vec<usize>>,
    every: Vec<usize>,
}

/// A graph over schemas, known by their addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    below: HashMap<usize, Below>,
    anchors: HashMap<String, Vec<usize>>,
    dynamic: Vec<(usize, String)>,
}

impl Reach {
    /// Begins to note what stands below a schema, afresh where that was done before.
    pub(super) fn begin(&mut self, schema: usize, members: &Map<String, Value>) {
        self.below.insert(schema, Below::default());
        self.dynamic.retain(|(from, _)| *from != schema);
        self.anchor(schema, members);
    }

    /// Notes that `to` applies to whatever `from` applies to.
    pub(super) fn apply(&mut self, from: usize, to: usize) {
        self.add(from, to, Edge::Applied, "");
    }

    /// Notes that `to` stands below `from`, under `name`.
    pub(super) fn add(&mut self, from: usize, to: usize, edge: Edge, name: &str) {
        let below = self.below.entry(from).or_default();
        match edge {
            Edge::Applied => below.applied.push(to),
            Edge::Named => below.named.entry(name.to_owned()).or_default().push(to),
            Edge::Every => below.every.push(to),
            Edge::Aside => {}
        }
    }

    /// Notes the anchors of a schema that dynamic references may lead to.
    fn anchor(&mut self, schema: usize, members: &Map<String, Value>) {
        let mut note = |name: String| {
            let known = self.anchors.entry(name).or_default();
            if !known.contains(&schema) {
                known.push(schema);
            }
        };
        if let Some(Value::String(name)) = members.get("$dynamicAnchor") {
            note(format!("#{name}"));
        }
        if members.get("$recursiveAnchor") == Some(&Value::Bool(true)) {
            note("#".to_owned());
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
    pub(super) fn check(&mut self) -> Result<()> {
        for (from, name) in std::mem::take(&mut self.dynamic) {
            let targets = self.anchors.get(&name).cloned().unwrap_or_default();
            self.below.entry(from).or_default().applied.extend(targets);
        }
        // How many schemas apply where one does, itself included; 0 while it is being counted.
        let mut counts: HashMap<usize, u64> = HashMap::new();
        let starts: Vec<usize> = self.below.keys().copied().collect();
        for start in starts {
            self.count(start, &mut counts)?;
        }
        match counts.values().any(|&count| count > bounds::APPLIED) {
            true => Err(bounds::too_complex("too many parts of the schema apply to one value")),
            false => Ok(()),
        }
    }

    fn applied(&self, schema: usize) -> &[usize] {
        self.below.get(&schema).map(|below| below.applied.as_slice()).unwrap_or_default()
    }

    /// How many steps a validator may take to check `value` against the schema `root`: it goes
    /// every way through the graph, however often it was there. Values nested in each other can
    /// so be looked at exponentially often.
    ///
    /// # Errors
    /// [`codes::COMPLEX`] past the limit.
    pub(super) fn cost(&self, root: usize, value: &Value) -> Result<u64> {
        let mut known = HashMap::new();
        match self.steps(root, value, &mut known) {
            cost if cost <= bounds::STEPS && known.len() <= bounds::PAIRS => Ok(cost),
            _ => Err(bounds::too_complex("checking the answer against its schema takes too long")),
        }
    }

    fn steps(&self, schema: usize, value: &Value, known: &mut HashMap<(usize, usize), u64>) -> u64 {
        let key = (schema, std::ptr::from_ref(value) as usize);
        if let Some(steps) = known.get(&key) {
            return *steps;
        }
        let Some(below) = self.below.get(&schema) else { return 1 };
        let mut steps = 1u64;
        let mut add = |schema: &usize, value: &Value| {
            if steps <= bounds::STEPS && known.len() <= bounds::PAIRS {
                steps = steps.saturating_add(self.steps(*schema, value, known));
            }
        };
        below.applied.iter().for_each(|schema| add(schema, value));
        match value {
            Value::Array(items) => {
                items.iter().for_each(|item| below.every.iter().for_each(|next| add(next, item)));
            }
            Value::Object(members) => {
                for (name, member) in members {
                    let named = below.named.get(name).map(Vec::as_slice).unwrap_or_default();
                    below.every.iter().chain(named).for_each(|next| add(next, member));
                }
            }
            _ => {}
        }
        known.insert(key, steps);
        steps
    }

    /// Counts from `start` in depth, without recursion.
    fn count(&self, start: usize, counts: &mut HashMap<usize, u64>) -> Result<()> {
        let mut open = vec![start];
        while let Some(&schema) = open.last() {
            let edges = self.applied(schema);
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
