//! What a model is asked.

use crate::codes;
use crate::sampling::Sampling;
use serde_json::{Map, Value};
use sprat_task::{Error, Result};
use std::time::Instant;

/// Who speaks in a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of whoever runs the application.
    System,
    /// The person or program that asks.
    User,
    /// The model's earlier answer.
    Assistant,
    /// What a tool gave that the model called.
    Tool,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// What else a template reads: `tool_calls`, `tool_call_id`, `name`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Message {
    /// A turn that is nothing but text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into(), more: Map::new() }
    }
}

/// What the model reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One text.
    Text(String),
    /// A conversation, to be put into the model's template.
    Messages(Vec<Message>),
    /// The beginning of a text that the model goes on with, without any template.
    Prompt(String),
    /// The same in the model's own tokens.
    Tokens(Vec<u32>),
}

impl Input {
    /// The one text to read, for models that know no conversation: the text itself, or the
    /// content of the only user message. System messages are instructions to a general model;
    /// a tuned classifier has its instructions in its weights and does not read them.
    ///
    /// # Errors
    /// [`codes::INPUT`] when there is no user message, more than one, or an earlier answer: the
    /// meaning of those would be lost.
    pub fn single_text(&self) -> Result<&str> {
        let messages = match self {
            Input::Text(text) | Input::Prompt(text) => return Ok(text),
            Input::Messages(messages) => messages,
            Input::Tokens(_) => {
                let what = "this model reads a text, not the tokens of another one";
                return Err(Error::new(&codes::INPUT, what));
            }
        };
        let mut text = None;
        for (index, message) in messages.iter().enumerate() {
            let fault = match message.role {
                Role::System => continue,
                Role::Assistant => "an earlier answer",
                Role::Tool => "the result of a tool",
                Role::User if text.is_some() => "a second user message",
                Role::User => {
                    text = Some(message.content.as_str());
                    continue;
                }
            };
            let what = format!("messages[{index}] is {fault}, but this model reads a single text");
            return Err(Error::new(&codes::INPUT, what).field(format!("messages[{index}]")));
        }
        text.ok_or_else(|| {
            Error::new(&codes::INPUT, "the messages hold no user message").field("messages")
        })
    }
}

/// What the answer must satisfy. A generator satisfies it or refuses the request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Constraint {
    /// Exactly one of these labels.
    Labels(Vec<String>),
    /// A JSON text that satisfies this JSON Schema.
    JsonSchema(serde_json::Value),
    /// Any JSON object.
    JsonObject,
    /// A text that matches this regular expression from its beginning to its end.
    Regex(String),
    /// A text of this grammar, in the Lark dialect of llguidance.
    Lark(String),
    /// A call of a tool.
    Tools(Tools),
}

/// A function that the model may ask for.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Tool {
    /// The name under which it is called.
    pub name: String,
    /// What it does, for the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its arguments; it must describe an object.
    pub parameters: serde_json::Value,
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// It decides: it calls tools, or it writes a text that does not begin with `{`.
    #[default]
    Auto,
    /// It must call one of them.
    Required,
    /// It must call the one of this name.
    Named(String),
}

/// The tools that a model may call. A call is the text `{"name":…,"arguments":{…}}`;
/// [`crate::constraint::calls`] reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// The tools, each under a name of its own.
    pub tools: Vec<Tool>,
    /// Whether one must be called.
    pub choice: ToolChoice,
    /// Whether several may be called, one a line.
    pub parallel: bool,
}

/// Who asks, as far as a route may care. None of it is ever sent to a model, and none of it comes
/// from the text of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The identifier under which the request is traced.
    pub id: Option<String>,
    /// The name of the client's key.
    pub client: Option<String>,
    /// Whom the client asks for, in its own terms.
    pub user: Option<String>,
    /// The word that the client marked the request with.
    pub tag: Option<String>,
}

/// One request to a [`crate::Generator`].
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the model reads.
    pub input: Input,
    /// What the answer must satisfy, if anything.
    pub constraint: Option<Constraint>,
    /// Which of the engine's adapters to use; none: the one it was opened with.
    pub adapter: Option<String>,
    /// At most so many tokens are written; none: the generator's own limit.
    pub max_tokens: Option<usize>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts at which the answer ends; they are not part of it.
    pub stop: Vec<String>,
    /// With so many of the most likely tokens, and the answer's own, come the logarithms of their
    /// probabilities.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt.
    pub prompt_logprobs: bool,
    /// The tools that the template tells the model of, as JSON schemas of functions.
    pub tools: Vec<Value>,
    /// Pieces of the answer are wanted as they come. Engines of this process send them in any
    /// case, hosted models only when it is asked for.
    pub stream: bool,
    /// It must not leave the user's machines.
    pub private: bool,
    /// Who asks.
    pub caller: Caller,
    /// After this moment nobody wants the answer any more.
    pub deadline: Option<Instant>,
}

impl Request {
    /// A request with `input` and no special wishes.
    pub fn new(input: Input) -> Self {
        Request {
            input,
            constraint: None,
            adapter: None,
            max_tokens: None,
            sampling: Sampling::default(),
            stop: Vec::new(),
            logprobs: None,
            prompt_logprobs: false,
            tools: Vec::new(),
            stream: false,
            private: false,
            caller: Caller::default(),
            deadline: None,
        }
    }

    /// A request that reads one text.
    pub fn text(text: impl Into<String>) -> Self {
        Request::new(Input::Text(text.into()))
    }

    /// The same request under a constraint.
    #[must_use]
    pub fn constrained(mut self, constraint: Constraint) -> Self {
        self.constraint = Some(constraint);
        self
    }

    /// The same request with a deadline.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(role: Role, content: &str) -> Message {
        Message::new(role, content)
    }

    #[test]
    fn a_conversation_with_one_user_message_is_one_text() {
        let input = Input::Messages(vec![say(Role::System, "classify"), say(Role::User, "hi")]);
        assert_eq!(input.single_text().unwrap(), "hi");
    }

    #[test]
    fn turns_whose_meaning_would_be_lost_are_refused() {
        let two = Input::Messages(vec![say(Role::User, "a"), say(Role::User, "b")]);
        let error = two.single_text().unwrap_err();
        assert_eq!(error.place().field.as_deref(), Some("messages[1]"));
        let answer = Input::Messages(vec![say(Role::Assistant, "a"), say(Role::User, "b")]);
        assert!(answer.single_text().is_err());
        assert!(Input::Messages(vec![]).single_text().is_err());
    }
}
