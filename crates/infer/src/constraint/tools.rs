//! Calls of tools: the schema that they follow, and reading them.

use crate::codes;
use serde::Deserialize;
use serde_json::{Value, json};
use sprat_task::{Error, Result};

/// A call that a model asks for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Call {
    /// The name of the tool.
    pub name: String,
    /// Its arguments, an object.
    pub arguments: Value,
}

/// Reads the calls in a finished answer: JSON objects one after the other. None where the
/// answer is a text that calls nothing.
///
/// # Errors
/// [`codes::CONSTRAINT`] when it begins like a call and is none, for example because it was cut.
pub fn calls(text: &str) -> Result<Vec<Call>> {
    if !text.starts_with('{') {
        return Ok(Vec::new());
    }
    let read: serde_json::Result<Vec<Call>> =
        serde_json::Deserializer::from_str(text).into_iter().collect();
    read.map_err(|why| {
        Error::new(&codes::CONSTRAINT, "the answer is not a call of a tool")
            .why(why.to_string())
            .help("If the answer was cut, allow more tokens.")
    })
}

/// The schema of a call of one tool.
pub(super) fn schema(name: &str, parameters: &Value) -> Value {
    json!({
        "type": "object",
        "properties": { "name": { "const": name }, "arguments": parameters },
        "required": ["name", "arguments"],
        "additionalProperties": false,
    })
}
