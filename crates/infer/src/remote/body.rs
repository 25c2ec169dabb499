//! Bodies of the chat completions protocol: requests out, answers in.
//!
//! The fields are those of OpenAI's "Create chat completion" reference.

use super::label;
use super::settings::Settings;
use crate::answer::{Answer, Finish};
use crate::codes;
use crate::estimate::Length;
use crate::request::{Constraint, Input, Message, Request, Role};
use crate::sampling::Sampling;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use sprat_task::{Error, Result};

/// What the endpoint is known to understand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// `response_format` for labels.
    pub(super) structured: bool,
    /// `max_completion_tokens` instead of `max_tokens`.
    pub(super) new_limit: bool,
    /// `stream_options`, with which a stream counts its tokens.
    pub(super) counted: bool,
}

/// A request on its way out.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Messages<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    tools: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

/// A `response_format`: the JSON schema that an answer must satisfy.
#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    json_schema: Named<'a>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'static str,
    strict: bool,
    schema: Schema<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Label(label::Schema<'a>),
    Given(&'a Value),
}

impl<'a> Format<'a> {
    fn new(name: &'static str, schema: Schema<'a>) -> Self {
        Format { r#type: "json_schema", json_schema: Named { name, strict: true, schema } }
    }
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// The conversation with the instructions in front.
struct Messages<'a> {
    system: String,
    input: &'a Input,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Plain<'a> {
            role: Role,
            content: &'a str,
        }
        let mut list = serializer.serialize_seq(None)?;
        if !self.system.is_empty() {
            list.serialize_element(&Plain { role: Role::System, content: &self.system })?;
        }
        match self.input {
            Input::Messages(given) => {
                for message in given {
                    list.serialize_element::<Message>(message)?;
                }
            }
            Input::Text(text) | Input::Prompt(text) => {
                list.serialize_element(&Plain { role: Role::User, content: text })?;
            }
            // `submit` refuses tokens of another model.
            Input::Tokens(_) => {}
        }
        list.end()
    }
}

/// Whether the pieces of an answer are passed on as they come: not where the answer counts only as
/// a whole.
pub(super) fn streams(request: &Request) -> bool {
    request.stream && request.constraint.is_none()
}

/// The body of a request, in bytes.
pub(super) fn build(settings: &Settings, request: &Request, dialect: Dialect) -> Vec<u8> {
    // Nothing in it can fail to be written: no map has other keys than texts.
    serde_json::to_vec(&laid_out(settings, request, dialect)).unwrap_or_default()
}

/// How many tokens the body of a request has, rather too many than too few.
pub(super) fn tokens_at_most(settings: &Settings, request: &Request, dialect: Dialect) -> f64 {
    let mut length = Length::default();
    // As above; and counting does not fail either.
    let _ = serde_json::to_writer(&mut length, &laid_out(settings, request, dialect));
    length.tokens_at_most()
}

fn laid_out<'a>(settings: &'a Settings, request: &'a Request, dialect: Dialect) -> Body<'a> {
    let mut system = settings.instruction.clone().unwrap_or_default();
    let mut response_format = None;
    match &request.constraint {
        Some(Constraint::Labels(labels)) => {
            if !system.is_empty() {
                system += "\n\n";
            }
            system += &label::instruction(labels, dialect.structured);
            if dialect.structured {
                let schema = Schema::Label(label::schema(labels));
                response_format = Some(Format::new("label", schema));
            }
        }
        Some(Constraint::JsonSchema(schema)) => {
            response_format = Some(Format::new("answer", Schema::Given(schema)));
        }
        // The others are refused before they come here.
        _ => {}
    }
    let (sampling, plain) = (&request.sampling, Sampling::default());
    // Through decimal text: 0.7f32 must not be sent as 0.699999988.
    let shortest = |number: f32| number.to_string().parse::<f64>().unwrap_or_default();
    let unless = |value: f32, unset: f32| (value != unset).then(|| shortest(value));
    let (old_limit, new_limit) = match dialect.new_limit {
        false => (request.max_tokens, None),
        true => (None, request.max_tokens),
    };
    let stream = streams(request);
    Body {
        model: &settings.model,
        messages: Messages { system, input: &request.input },
        response_format,
        max_tokens: old_limit,
        max_completion_tokens: new_limit,
        temperature: sampling.temperature.map(shortest),
        top_p: unless(sampling.top_p, plain.top_p),
        presence_penalty: unless(sampling.presence_penalty, plain.presence_penalty),
        frequency_penalty: unless(sampling.frequency_penalty, plain.frequency_penalty),
        seed: sampling.seed,
        stop: &request.stop,
        tools: &request.tools,
        stream: stream.then_some(true),
        stream_options: (stream && dialect.counted)
            .then_some(StreamOptions { include_usage: true }),
    }
}

impl Finish {
    /// What a `finish_reason` means.
    pub(super) fn named(reason: &str) -> Finish {
        match reason {
            "length" => Finish::Length,
            "content_filter" => Finish::Filtered,
            _ => Finish::Stop,
        }
    }
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
    let finish = choice.get("finish_reason").and_then(Value::as_str);
    let finish = finish.map_or(Finish::Stop, Finish::named);
    let mut answer = Answer { output: content, finish, ..Answer::default() };
    let usage = received.get("usage").and_then(|usage| Tokens::deserialize(usage).ok());
    count(settings, usage, &mut answer);
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

/// What an endpoint counted.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct Tokens {
    prompt_tokens: Option<usize>,
    completion_tokens: Option<usize>,
}

/// Tokens and their price, where the endpoint counts them.
pub(super) fn count(settings: &Settings, usage: Option<Tokens>, answer: &mut Answer) {
    let read = usage.and_then(|usage| usage.prompt_tokens);
    let written = usage.and_then(|usage| usage.completion_tokens);
    answer.prompt_tokens = read.unwrap_or(0);
    answer.completion_tokens = written.unwrap_or(0);
    if let (Some(prices), Some(read), Some(written)) = (settings.prices, read, written) {
        answer.usd = Some(prices.of(read, written));
    }
}
