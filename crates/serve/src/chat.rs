//! `/v1/chat/completions`: OpenAI's chat protocol.

use crate::codes;
use crate::drawing::{self, MOST_LOGPROBS};
use crate::error::{ApiError, ApiResult};
use crate::exchange::{self, Exchange, Form, Protocol};
use crate::schema::Plan;
use crate::sse;
use crate::state::{Admission, State};
use crate::tools;
use crate::wire::{ChatRequest, Content, Guided, ResponseFormat};
use axum::extract::Extension;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde_json::{Value, json};
use sprat_infer::{Constraint, Generator, Input, Message, Request, Role};
use std::sync::Arc;

/// Answers a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer; with `stream` a series of server-sent events",
            body = crate::wire::ChatResponse),
        (status = 400, description = "The request is not valid", body = crate::wire::ErrorBody),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No such model", body = crate::wire::ErrorBody),
        (status = 413, description = "Too large", body = crate::wire::ErrorBody),
        (status = 429, description = "Too many requests", body = crate::wire::ErrorBody)))]
pub(crate) async fn chat(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    Extension(admission): Extension<Admission>,
    body: axum::body::Body,
) -> ApiResult<Response> {
    let bytes = crate::body::read(body, state.config.body_limit).await?;
    let mut request: ChatRequest = crate::body::parse(&bytes)?;
    let drawing = request.drawing();
    let (stream, include_usage) = sse::asked(request.stream, request.stream_options)?;
    let served = state.model(Some(&request.model))?;
    let Some(generator) = served.generator.clone() else {
        let what = format!("`{}` gives vectors and does not answer", served.id);
        return Err(ApiError::field(&codes::ABILITY, "model", what));
    };
    let messages = messages(&request)?;
    let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
    state.check_inputs(&texts, "messages")?;
    let unread =
        !generator.converses() && messages.iter().any(|message| message.role == Role::System);
    let input = messages.last().map(|message| message.content.clone()).unwrap_or_default();
    let mut asked = Request {
        max_tokens: max_tokens(&request)?,
        logprobs: logprobs(&request, generator.converses())?,
        stream,
        private: admission.private,
        caller: admission.caller(request.user.as_deref()),
        deadline: Some(admission.deadline),
        ..Request::new(Input::Messages(messages))
    };
    let n = drawing::apply(drawing, &mut asked, generator.converses())?;
    let form = constrain(&mut request, &mut asked, generator.as_ref())?;
    let requests: Vec<Request> = drawing::each(&asked, n).collect();
    let exchange = Exchange {
        created: state.clock.now().0 / 1000,
        state,
        admission,
        served,
        protocol: Protocol::Chat(form),
        input,
        include_usage,
        logprobs: asked.logprobs.is_some(),
    };
    let mut response = if stream {
        let pending = exchange::submit(generator, requests, bytes.len()).await?;
        sse::stream(exchange, pending).await?
    } else {
        exchange.response(exchange::ask(generator, requests, bytes.len()).await?).await?
    };
    if unread {
        // A tuned classifier has its instructions in its weights. Not silently:
        let name = HeaderName::from_static("x-sprat-not-read");
        response.headers_mut().insert(name, HeaderValue::from_static("system messages"));
    }
    Ok(response)
}

fn max_tokens(request: &ChatRequest) -> ApiResult<Option<usize>> {
    match (request.max_completion_tokens, request.max_tokens) {
        (Some(0), _) | (None, Some(0)) => {
            let what = "`max_tokens` must be at least 1";
            Err(ApiError::field(&codes::PARAMETER, "max_tokens", what))
        }
        (new, old) => Ok(new.or(old).map(|most| most as usize)),
    }
}

fn logprobs(request: &ChatRequest, converses: bool) -> ApiResult<Option<usize>> {
    let refuse = |field: &str, what: &str| Err(ApiError::field(&codes::PARAMETER, field, what));
    let wanted = request.logprobs.unwrap_or(false);
    if wanted && !converses {
        return refuse("logprobs", "a model that classifies writes no tokens: use /v1/classify");
    }
    match request.top_logprobs {
        Some(count) if count > MOST_LOGPROBS => {
            refuse("top_logprobs", "`top_logprobs` must be at most 20")
        }
        Some(count) if count > 0 && !wanted => {
            refuse("top_logprobs", "`top_logprobs` has a meaning only with `logprobs`")
        }
        count => Ok(wanted.then(|| count.unwrap_or(0) as usize)),
    }
}

/// Puts `response_format`, `guided` and the tools into the engine's request; says how the answer
/// leaves.
fn constrain(
    request: &mut ChatRequest,
    asked: &mut Request,
    generator: &dyn Generator,
) -> ApiResult<Form> {
    let refuse = |field: &str, what: &str| Err(ApiError::field(&codes::PARAMETER, field, what));
    let tools = tools::asked(
        request.tools.take(),
        request.tool_choice.as_ref(),
        request.parallel_tool_calls,
    )?;
    let (mut form, constraint) = form(request.response_format.as_ref(), generator.labels())?;
    asked.constraint = constraint;
    if let Some(guided) = request.guided.take() {
        if asked.constraint.is_some() {
            return refuse("guided", "`guided` and `response_format` exclude each other");
        }
        asked.constraint = Some(match guided {
            Guided::Regex(regex) => Constraint::Regex(regex),
            Guided::Lark(grammar) => Constraint::Lark(grammar),
            Guided::Choice(texts) => Constraint::Labels(texts),
        });
    }
    if let Some(bound) = tools.bound {
        if !generator.labels().is_empty() {
            return refuse("tools", "a model that classifies calls no tools");
        }
        if asked.constraint.is_some() {
            return refuse("tools", "`tools` and another constraint exclude each other");
        }
        asked.tools = tools.shown;
        asked.constraint = Some(Constraint::Tools(bound));
        form = Form::Tools;
    }
    Ok(form)
}

/// The conversation with its text parts joined.
fn messages(request: &ChatRequest) -> ApiResult<Vec<Message>> {
    let mut messages = Vec::with_capacity(request.messages.len());
    for (index, message) in request.messages.iter().enumerate() {
        let role = match message.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => {
                let field = format!("messages[{index}].role");
                let shown: String = other.chars().take(40).collect();
                let what = format!("the role `{shown}` is not supported");
                return Err(ApiError::field(&codes::PARAMETER, field, what));
            }
        };
        let content = match &message.content {
            None if message.tool_calls.is_some() => String::new(),
            None => {
                let field = format!("messages[{index}].content");
                return Err(ApiError::field(&codes::BODY, field, "a message has no content"));
            }
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let mut texts = Vec::with_capacity(parts.len());
                for (part_index, part) in parts.iter().enumerate() {
                    if part.kind != "text" {
                        let field = format!("messages[{index}].content[{part_index}].type");
                        let what = "only parts of the type `text` are supported";
                        return Err(ApiError::field(&codes::PARAMETER, field, what));
                    }
                    texts.push(part.text.as_str());
                }
                texts.join("\n")
            }
        };
        let mut message_out = Message::new(role, content);
        let more = [
            ("name", message.name.clone().map(Value::from)),
            ("tool_calls", message.tool_calls.clone()),
            ("tool_call_id", message.tool_call_id.clone().map(Value::from)),
        ];
        for (name, value) in more {
            message_out.more.extend(value.map(|value| (name.to_owned(), value)));
        }
        messages.push(message_out);
    }
    Ok(messages)
}

/// How the answer leaves, and what that asks of the model.
fn form(
    format: Option<&ResponseFormat>,
    labels: &[String],
) -> ApiResult<(Form, Option<Constraint>)> {
    let field = "response_format";
    let empty = json!({ "type": "object" });
    if labels.is_empty() && format.is_some_and(|format| format.kind == "json_object") {
        return Ok((Form::Text, Some(Constraint::JsonObject)));
    }
    let (schema, field) = match format.map(|format| (format.kind.as_str(), &format.json_schema)) {
        None | Some(("text", None)) => return Ok((Form::Text, None)),
        Some(("json_object", None)) => (&empty, field),
        Some(("json_schema", Some(named))) => {
            (named.schema.as_ref().unwrap_or(&empty), "response_format.json_schema.schema")
        }
        Some(("json_schema", None)) => {
            let what = "a `response_format` of the type `json_schema` needs `json_schema`";
            return Err(ApiError::field(&codes::BODY, "response_format.json_schema", what));
        }
        Some(("text" | "json_object", Some(_))) => {
            let what = "`json_schema` belongs to the type `json_schema` only";
            return Err(ApiError::field(&codes::BODY, "response_format.json_schema", what));
        }
        Some(_) => {
            let what = "`response_format.type` must be `text`, `json_object` or `json_schema`";
            return Err(ApiError::field(&codes::PARAMETER, "response_format.type", what));
        }
    };
    if labels.is_empty() {
        return Ok((Form::Text, Some(Constraint::JsonSchema(schema.clone()))));
    }
    let plan = Plan::new(schema, labels, field)?;
    let constraint = Constraint::Labels(plan.allowed.clone());
    Ok((Form::Json(Box::new(plan)), Some(constraint)))
}
