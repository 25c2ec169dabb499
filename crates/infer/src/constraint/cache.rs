//! What was compiled, for the next request with the same constraint.

use super::bounds;
use crate::request::{Constraint, ToolChoice};
use serde_json::json;
use sprat_task::{Digest, Result};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The last few results, the one used last in front.
pub(super) struct Cache<T> {
    kept: Mutex<VecDeque<(Digest, T)>>,
    capacity: usize,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Cache { kept: Mutex::new(VecDeque::new()), capacity }
    }

    pub(super) fn get(&self, key: &Digest) -> Option<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(other, _)| other == key)?;
        let found = kept.remove(at)?;
        let value = found.1.clone();
        kept.push_front(found);
        Some(value)
    }

    pub(super) fn put(&self, key: Digest, value: T) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(other, _)| *other != key);
        kept.push_front((key, value));
        kept.truncate(self.capacity);
    }
}

/// What a constraint is kept under. The order of members matters: answers follow it.
pub(super) fn key(constraint: &Constraint) -> Result<Digest> {
    let text = match constraint {
        Constraint::Labels(labels) => json!(["labels", labels]),
        Constraint::Regex(pattern) => json!(["regex", pattern]),
        Constraint::Lark(grammar) => json!(["lark", grammar]),
        Constraint::JsonObject => json!(["object"]),
        Constraint::JsonSchema(schema) => {
            bounds::check_schema(schema)?;
            json!(["schema", schema])
        }
        Constraint::Tools(tools) => {
            let mut parts = Vec::new();
            for tool in &tools.tools {
                bounds::check_schema(&tool.parameters)?;
                parts.push(json!([tool.name, tool.parameters]));
            }
            let choice = match &tools.choice {
                ToolChoice::Auto => json!("auto"),
                ToolChoice::Required => json!("required"),
                ToolChoice::Named(name) => json!([name]),
            };
            json!(["tools", parts, choice, tools.parallel])
        }
    };
    Ok(Digest::of(text.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_goes_first() {
        let cache = Cache::new(2);
        let keys = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes()));
        cache.put(keys[0], 0);
        cache.put(keys[1], 1);
        assert_eq!(cache.get(&keys[0]), Some(0));
        cache.put(keys[2], 2);
        assert_eq!(keys.map(|key| cache.get(&key)), [Some(0), None, Some(2)]);
    }
}
