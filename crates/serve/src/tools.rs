//! Calls of functions: from a request to a constraint, from an answer to the protocol.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use crate::wire::{Function, ToolEntry};
use serde_json::{Value, json};
use sprat_infer::constraint::Call;
use sprat_infer::{Tool, ToolChoice, Tools};

/// What a request says of tools: what the template is told, and what binds the answer.
pub(crate) struct Asked {
    /// The tools as the template reads them.
    pub(crate) shown: Vec<Value>,
    /// None where no tool may be called.
    pub(crate) bound: Option<Tools>,
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
pub(crate) fn asked(
    tools: Option<Vec<ToolEntry>>,
    choice: Option<&Value>,
    parallel: Option<bool>,
) -> ApiResult<Asked> {
    let tools = tools.unwrap_or_default();
    let refuse = |field: &str, what: String| Err(ApiError::field(&codes::PARAMETER, field, what));
    let choice = match choice {
        None => ToolChoice::Auto,
        Some(Value::String(text)) if text == "auto" => ToolChoice::Auto,
        Some(Value::String(text)) if text == "required" => ToolChoice::Required,
        Some(Value::String(text)) if text == "none" => {
            return Ok(Asked { shown: Vec::new(), bound: None });
        }
        Some(value) => match value.pointer("/function/name").and_then(Value::as_str) {
            Some(name) if tools.iter().any(|tool| tool.function.name == name) => {
                ToolChoice::Named(name.to_owned())
            }
            Some(name) => {
                let what =
                    format!("there is no tool `{}`", name.chars().take(64).collect::<String>());
                return refuse("tool_choice", what);
            }
            None => {
                let what = "`tool_choice` must be `none`, `auto`, `required`, or name a function";
                return refuse("tool_choice", what.to_owned());
            }
        },
    };
    if tools.is_empty() {
        return match choice {
            ToolChoice::Auto => Ok(Asked { shown: Vec::new(), bound: None }),
            _ => refuse("tools", "`tool_choice` asks for a call, but there are no tools".into()),
        };
    }
    let mut shown = Vec::with_capacity(tools.len());
    let mut bound = Vec::with_capacity(tools.len());
    for (index, tool) in tools.into_iter().enumerate() {
        if tool.kind != "function" {
            let what = "only tools of the type `function` are supported".to_owned();
            return refuse(&format!("tools[{index}].type"), what);
        }
        let Function { name, description, parameters, .. } = tool.function;
        let nothing =
            || json!({ "type": "object", "properties": {}, "additionalProperties": false });
        let parameters = parameters.unwrap_or_else(nothing);
        shown.push(json!({ "type": "function", "function": {
            "name": name, "description": description, "parameters": parameters } }));
        bound.push(Tool { name, description, parameters });
    }
    // Without a word on it one call is made: small models are better at one.
    let parallel = parallel.unwrap_or(false);
    Ok(Asked { shown, bound: Some(Tools { tools: bound, choice, parallel }) })
}

/// Calls in the protocol's form. `id` is the answer's.
pub(crate) fn written(calls: &[Call], id: &str) -> Vec<Value> {
    let call = |(index, call): (usize, &Call)| {
        json!({
            "index": index,
            "id": format!("call_{id}_{index}"),
            "type": "function",
            "function": { "name": call.name, "arguments": call.arguments.to_string() },
        })
    };
    calls.iter().enumerate().map(call).collect()
}
