//! What is put into a template.

use crate::codes;
use serde_json::{Map, Value};
use sprat_task::{Error, Result};

/// A conversation, in the form of the chat completions API.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// The messages: objects with a `role`, a `content`, and what else the template reads
    /// (`tool_calls`, `name`, `reasoning_content`).
    pub messages: Vec<Value>,
    /// The tools that the model may call, as JSON schemas of functions. Empty for none.
    pub tools: Vec<Value>,
    /// Whether the text ends with the beginning of an answer, for the model to go on.
    pub add_generation_prompt: bool,
    /// Further variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
}

/// The roles that messages may have. Templates write roles into control tokens
/// (`<|user|>`), so a role that anybody could choose would let them choose a token.
const ROLES: [&str; 8] =
    ["system", "developer", "user", "assistant", "tool", "function", "ipython", "context"];

/// How deeply values may be nested.
pub(super) const DEEPEST: usize = 64;

impl Conversation {
    /// A conversation of messages, each a role and a text.
    pub fn of(messages: &[(&str, &str)]) -> Self {
        let message =
            |(role, content): &(&str, &str)| serde_json::json!({"role": role, "content": content});
        Conversation { messages: messages.iter().map(message).collect(), ..Default::default() }
    }

    /// The role of a message.
    pub(super) fn role(&self, at: usize) -> Option<&str> {
        self.messages.get(at)?["role"].as_str()
    }

    /// The messages as templates expect them: known roles, and the arguments of tool calls as
    /// objects where they are written as text, as the API does.
    pub(super) fn prepared(&self) -> Result<Vec<Value>> {
        let mut messages = self.messages.clone();
        for (at, message) in messages.iter_mut().enumerate() {
            let refuse = |what: String| {
                Err(Error::new(&codes::CONVERSATION, what).field(format!("messages[{at}].role")))
            };
            match message["role"].as_str() {
                Some(role) if ROLES.contains(&role) => {}
                Some(role) => {
                    return refuse(format!("`{role}` is no known role"))
                        .map_err(|error| error.help(format!("Known are {}.", ROLES.join(", "))));
                }
                None => return refuse("a message has no role".to_owned()),
            }
            alias_reasoning(message);
            let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
            for call in calls.into_iter().flatten() {
                let function = match call.get("function") {
                    Some(_) => &mut call["function"],
                    None => call,
                };
                let Some(written) = function.get("arguments").and_then(Value::as_str) else {
                    continue;
                };
                if let Ok(Value::Object(arguments)) = serde_json::from_str(written) {
                    function["arguments"] = Value::Object(arguments);
                }
            }
        }
        Ok(messages)
    }
}

/// Fills `reasoning_content` from other names for it, and `thinking`, which some templates
/// read, as `transformers` does.
fn alias_reasoning(message: &mut Value) {
    let given = ["reasoning_content", "thinking", "reasoning"];
    let given = given.iter().find_map(|name| message.get(name).filter(|text| !text.is_null()));
    let Some(reasoning) = given.cloned() else { return };
    let Some(fields) = message.as_object_mut() else { return };
    fields.entry("thinking").or_insert_with(|| reasoning.clone());
    fields.insert("reasoning_content".to_owned(), reasoning);
}
