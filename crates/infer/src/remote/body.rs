//! Bodies of the chat completions protocol: requests out, answers in.
//!
//! The fields are those of OpenAI's "Create chat completion" reference.

use super::label;
use super::settings::Settings;
use crate::answer::{Answer, Finish};
use crate::codes;
use crate::request::{Constraint, Input, Message, Request, Role};
use crate::sampling::Sampling;
use serde_json::{Value, json};
use sprat_task::{Error, Result};

/// What the endpoint is known to understand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// `response_format` for labels.
    pub(super) structured: bool,
    /// `max_completion_tokens` instead of `max_tokens`.
    pub(super) new_limit: bool,
}

/// The body of a request.
pub(super) fn build(settings: &Settings, request: &Request, dialect: Dialect) -> Value {
    let mut system = settings.instruction.clone().unwrap_or_default();
    let mut format = None;
    match &request.constraint {
        Some(Constraint::Labels(labels)) => {
            if !system.is_empty() {
                system += "\n\n";
            }
            system += &label::instruction(labels, dialect.structured);
            if dialect.structured {
                format = Some(named_schema("label", label::schema(labels)));
            }
        }
        Some(Constraint::JsonSchema(schema)) => {
            format = Some(named_schema("answer", schema.clone()));
        }
        // The others are refused before they come here.
        _ => {}
    }
    let mut messages = Vec::new();
    if !system.is_empty() {
        messages.push(Message::new(Role::System, system));
    }
    match &request.input {
        Input::Messages(given) => messages.extend(given.iter().cloned()),
        Input::Text(text) | Input::Prompt(text) => {
            messages.push(Message::new(Role::User, text.clone()));
        }
        // `submit` refuses tokens of another model.
        Input::Tokens(_) => {}
    }
    let mut body = json!({ "model": settings.model, "messages": messages });
    let mut set = |name: &str, value: Value| body[name] = value;
    if let Some(format) = format {
        set("response_format", format);
    }
    if let Some(limit) = request.max_tokens {
        let name = if dialect.new_limit { "max_completion_tokens" } else { "max_tokens" };
        set(name, limit.into());
    }
    let (sampling, plain) = (&request.sampling, Sampling::default());
    // Through decimal text: 0.7f32 must not be sent as 0.699999988.
    let shortest = |number: f32| number.to_string().parse::<f64>().unwrap_or_default();
    if let Some(temperature) = sampling.temperature {
        set("temperature", shortest(temperature).into());
    }
    for (name, value, unset) in [
        ("top_p", sampling.top_p, plain.top_p),
        ("presence_penalty", sampling.presence_penalty, plain.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty, plain.frequency_penalty),
    ] {
        if value != unset {
            set(name, shortest(value).into());
        }
    }
    if let Some(seed) = sampling.seed {
        set("seed", seed.into());
    }
    if !request.stop.is_empty() {
        set("stop", request.stop.clone().into());
    }
    if !request.tools.is_empty() {
        set("tools", request.tools.clone().into());
    }
    body
}

fn named_schema(name: &str, schema: Value) -> Value {
    json!({
        "type": "json_schema",
        "json_schema": { "name": name, "strict": true, "schema": schema },
    })
}

/// Reads a response. An answer that does not satisfy the request's constraint is an answer with
/// `invalid` set, for it was given and paid for; a response that is not of the protocol is an
/// error.
pub(super) fn parse(settings: &Settings, request: &Request, received: &Value) -> Result<Answer> {
    let garbage = |what: &str| {
        let what = format!("the answer of `{}` {what}", settings.name);
        Error::new(&codes::REMOTE_GARBAGE, what)
    };
    let choice = received.pointer("/choices/0").ok_or_else(|| garbage("has no choices"))?;
    let message = choice.get("message").ok_or_else(|| garbage("has no message"))?;
    let refusal = message.get("refusal").and_then(Value::as_str).filter(|text| !text.is_empty());
    let content = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(_) => return Err(garbage("has a content that is not text")),
    };
    let finish = match choice.get("finish_reason").and_then(Value::as_str) {
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::Filtered,
        _ => Finish::Stop,
    };
    let mut answer = Answer { output: content, finish, ..Answer::default() };
    count(settings, received, &mut answer);
    if let Some(refusal) = refusal {
        answer.invalid = Some(format!("the model refused: {refusal}"));
        return Ok(answer);
    }
    match &request.constraint {
        Some(Constraint::Labels(labels)) => match label::parse(&answer.output, labels) {
            Ok(label) => {
                answer.output.clone_from(&label);
                answer.label = Some(label);
            }
            Err(why) => answer.invalid = Some(why),
        },
        Some(Constraint::JsonSchema(schema)) => {
            answer.invalid = mismatch(&answer.output, schema);
        }
        _ => {}
    }
    Ok(answer)
}

/// Why a text does not satisfy a JSON schema, if it does not.
fn mismatch(text: &str, schema: &Value) -> Option<String> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(why) => return Some(format!("the answer is not JSON: {why}")),
    };
    match jsonschema::validator_for(schema) {
        Ok(validator) => validator.validate(&value).err().map(|why| why.to_string()),
        Err(why) => Some(format!("the schema is not valid: {why}")),
    }
}

/// Tokens and their price, where the endpoint counts them.
fn count(settings: &Settings, received: &Value, answer: &mut Answer) {
    let tokens = |name: &str| {
        received.pointer(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
    };
    let read = tokens("/usage/prompt_tokens");
    let written = tokens("/usage/completion_tokens");
    answer.prompt_tokens = read.unwrap_or(0);
    answer.completion_tokens = written.unwrap_or(0);
    if let (Some(prices), Some(read), Some(written)) = (settings.prices, read, written) {
        answer.usd = Some(
            (read as f64 * prices.usd_per_million_input_tokens
                + written as f64 * prices.usd_per_million_output_tokens)
                / 1e6,
        );
    }
}
