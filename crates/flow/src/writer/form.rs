//! What answers look like: JSON under a schema, or any text.

use crate::{Project, codes};
use serde_json::{Map, Value};
use sprat_infer::constraint::SchemaCheck;
use sprat_task::settings::TaskKind;
use sprat_task::{Error, Result};
use std::path::Path;

/// The schema of a task's answers.
pub(crate) struct AnswerSchema {
    /// The schema as it is written.
    pub(crate) document: Value,
    check: SchemaCheck,
}

/// References are followed so deep at most when members are put in order.
const DEEPEST: usize = 64;

impl AnswerSchema {
    /// Takes a schema.
    ///
    /// # Errors
    /// `SPRAT-INFER-SCHEMA` when it is no valid one.
    pub(crate) fn new(document: Value) -> Result<Self> {
        let check = SchemaCheck::new(&document)?;
        Ok(AnswerSchema { document, check })
    }

    fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .map_err(|why| Error::io(&codes::ANSWER_SCHEMA, "read the schema", path, &why))?;
        let document = serde_json::from_slice(&bytes).map_err(|why| {
            Error::new(&codes::ANSWER_SCHEMA, "the schema is no JSON")
                .file(path)
                .why(why.to_string())
        })?;
        AnswerSchema::new(document).map_err(|error| error.file(path))
    }

    /// What is wrong with an answer, if anything is.
    pub(crate) fn fault(&self, answer: &str) -> Option<String> {
        match serde_json::from_str(answer) {
            Err(why) => Some(format!("the target is no JSON: {why}")),
            Ok(value) => self.check.fault(&value).map(|why| format!("against the schema: {why}")),
        }
    }

    /// An answer as the model is to write it: without white space, the members of objects in the
    /// order in which the schema names them, others behind them. As it is where it is no JSON.
    pub(crate) fn canonical(&self, answer: &str) -> String {
        match serde_json::from_str(answer) {
            Ok(value) => self.ordered(value, &self.document, 0).to_string(),
            Err(_) => answer.to_owned(),
        }
    }

    fn ordered(&self, value: Value, schema: &Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return value;
        }
        match value {
            Value::Object(mut members) => {
                let mut named = Vec::new();
                self.members(schema, depth, &mut named);
                let mut out = Map::new();
                for (name, schema) in named {
                    if let Some(value) = members.shift_remove(name) {
                        out.insert(name.to_owned(), self.ordered(value, schema, depth + 1));
                    }
                }
                out.extend(members);
                Value::Object(out)
            }
            Value::Array(items) => {
                let schema = self.target(schema, depth);
                let ahead = schema["prefixItems"].as_array().map_or(0, Vec::len);
                let own = |at: usize| match at < ahead {
                    true => &schema["prefixItems"][at],
                    false => &schema["items"],
                };
                let items = items.into_iter().enumerate();
                items.map(|(at, item)| self.ordered(item, own(at), depth + 1)).collect()
            }
            leaf => leaf,
        }
    }

    /// The members that a schema names, each with its schema, in order.
    fn members<'a>(
        &'a self,
        schema: &'a Value,
        depth: usize,
        found: &mut Vec<(&'a str, &'a Value)>,
    ) {
        if depth > DEEPEST {
            return;
        }
        let schema = self.target(schema, depth);
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if found.iter().all(|(known, _)| known != name) {
                found.push((name, schema));
            }
        }
        for part in ["allOf", "anyOf", "oneOf"] {
            for schema in schema[part].as_array().into_iter().flatten() {
                self.members(schema, depth + 1, found);
            }
        }
    }

    /// The schema that a reference inside of the document names, or the schema itself.
    fn target<'a>(&'a self, schema: &'a Value, depth: usize) -> &'a Value {
        let place = schema["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
        match place.and_then(|place| self.document.pointer(place)) {
            Some(inner) if depth < DEEPEST => self.target(inner, depth + 1),
            _ => schema,
        }
    }
}

impl Project {
    /// The schema of the task's answers, where it extracts.
    ///
    /// # Errors
    /// `SPRAT-FLOW-ANSWER-SCHEMA` for a missing file, `SPRAT-INFER-SCHEMA` for a wrong schema.
    pub(crate) fn answer_schema(&self) -> Result<Option<AnswerSchema>> {
        let task = &self.settings.task;
        match (task.kind, &task.schema) {
            (TaskKind::Extract, Some(path)) => {
                AnswerSchema::read(&self.settings.resolve(path)).map(Some)
            }
            (TaskKind::Extract, None) => {
                let what = "extraction needs the JSON Schema of its answers";
                Err(Error::new(&codes::ANSWER_SCHEMA, what).field("task.schema"))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> AnswerSchema {
        AnswerSchema::new(json!({
            "type": "object",
            "properties": {
                "time": {"type": "string"},
                "guest": {"$ref": "#/$defs/guest"},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/guest"}},
            },
            "required": ["time"],
            "$defs": {"guest": {"type": "object", "properties": {
                "name": {"type": "string"}, "age": {"type": "integer"},
            }}},
        }))
        .unwrap()
    }

    #[test]
    fn answers_are_written_in_the_order_of_the_schema() {
        let answer = r#"{ "more": 1, "guest": {"age": 3, "name": "Ö"}, "time": "8",
            "tags": [{"age": 1, "name": "b"}] }"#;
        let want =
            r#"{"time":"8","guest":{"name":"Ö","age":3},"tags":[{"name":"b","age":1}],"more":1}"#;
        assert_eq!(schema().canonical(answer), want);
        assert_eq!(schema().canonical("no json"), "no json");
    }

    #[test]
    fn faults_say_where_they_are() {
        let schema = schema();
        assert_eq!(schema.fault(r#"{"time": "8"}"#), None);
        assert!(schema.fault("nine").unwrap().contains("no JSON"));
        assert!(schema.fault("{}").unwrap().contains("time"));
        assert!(
            schema.fault(r#"{"time": "8", "guest": {"age": "x"}}"#).unwrap().contains("/guest/age")
        );
        assert!(AnswerSchema::new(json!({"type": "nonsense"})).is_err());
    }
}
