//! `/v1/chat/completions`: OpenAI's chat protocol.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use crate::models::Served;
use crate::schema::Plan;
use crate::sse;
use crate::state::{Admission, State};
use crate::trace::Trace;
use crate::wire::{ChatRequest, Content, ResponseFormat};
use axum::Json;
use axum::extract::Extension;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sprat_infer::{Answer, Constraint, Finish, Input, Message, Request, Role};
use std::sync::Arc;

/// How the answer leaves.
pub(crate) enum Form {
    /// As the model wrote it.
    Text,
    /// As JSON that satisfies a schema.
    Json(Box<Plan>),
}

/// One chat request, checked.
pub(crate) struct Chat {
    pub(crate) state: Arc<State>,
    pub(crate) admission: Admission,
    pub(crate) served: Arc<Served>,
    pub(crate) form: Form,
    pub(crate) input: String,
    pub(crate) created: u64,
    pub(crate) include_usage: bool,
}

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
    let request: ChatRequest = crate::body::parse(&bytes)?;
    check(&request)?;
    let served = state.model(Some(&request.model))?;
    let Some(generator) = served.generator.clone() else {
        let what = format!("`{}` gives vectors and does not answer", served.id);
        return Err(ApiError::field(&codes::ABILITY, "model", what));
    };
    let messages = messages(&request)?;
    let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
    state.check_inputs(&texts, "messages")?;
    let unread = !generator.labels().is_empty()
        && messages.iter().any(|message| message.role == Role::System);
    let input = messages.last().map(|message| message.content.clone()).unwrap_or_default();

    let (form, constraint) = form(request.response_format.as_ref(), generator.labels())?;
    let asked = Request {
        constraint,
        max_tokens: request.max_completion_tokens.or(request.max_tokens).map(|n| n as usize),
        temperature: request.temperature,
        seed: request.seed,
        deadline: Some(admission.deadline),
        ..Request::new(Input::Messages(messages))
    };
    let pending = generator.submit(asked)?;
    let created = state.clock.now().0 / 1000;
    let include_usage = request.stream_options.is_some_and(|options| options.include_usage);
    let stream = request.stream.unwrap_or(false);
    let chat = Chat { state, admission, served, form, input, created, include_usage };
    let mut response = if stream {
        sse::stream(chat, pending).await?
    } else {
        let answer = chat.within(pending.answer()).await?;
        Json(chat.response(answer)?).into_response()
    };
    if unread {
        // A tuned classifier has its instructions in its weights. Not silently:
        let name = HeaderName::from_static("x-sprat-not-read");
        response.headers_mut().insert(name, HeaderValue::from_static("system messages"));
    }
    Ok(response)
}

/// Refuses values that would have to be ignored.
fn check(request: &ChatRequest) -> ApiResult<()> {
    let refuse = |field: &str, what: &str| Err(ApiError::field(&codes::PARAMETER, field, what));
    if request.n.is_some_and(|n| n != 1) {
        return refuse("n", "`n` other than 1 is not supported");
    }
    if request.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
        return refuse("temperature", "`temperature` must be from 0 to 2");
    }
    if request.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
        return refuse("top_p", "`top_p` must be over 0 and at most 1");
    }
    if request.top_p.is_some_and(|p| p < 1.0) {
        return refuse("top_p", "`top_p` under 1 is not supported");
    }
    if request.max_tokens == Some(0) || request.max_completion_tokens == Some(0) {
        return refuse("max_tokens", "`max_tokens` must be at least 1");
    }
    if request.stream_options.is_some() && !request.stream.unwrap_or(false) {
        return refuse("stream_options", "`stream_options` has a meaning only with `stream`");
    }
    Ok(())
}

/// The conversation with its text parts joined.
fn messages(request: &ChatRequest) -> ApiResult<Vec<Message>> {
    let mut messages = Vec::with_capacity(request.messages.len());
    for (index, message) in request.messages.iter().enumerate() {
        let role = match message.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => {
                let field = format!("messages[{index}].role");
                let shown: String = other.chars().take(40).collect();
                let what = format!("the role `{shown}` is not supported");
                return Err(ApiError::field(&codes::PARAMETER, field, what));
            }
        };
        let content = match &message.content {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => {
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
        messages.push(Message { role, content });
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

impl Chat {
    /// Waits for an answer no longer than the deadline; leaves a trace of a failure.
    async fn within(
        &self,
        answer: impl Future<Output = sprat_task::Result<Answer>>,
    ) -> ApiResult<Answer> {
        let result = crate::state::until(self.admission.deadline, answer).await;
        if let Err(error) = &result {
            self.failed(error);
        }
        result
    }

    /// The text of an answer in its form.
    pub(crate) fn text(&self, answer: &Answer) -> ApiResult<String> {
        if let Some(why) = &answer.invalid {
            let what = "the model's answer does not satisfy the request's constraint";
            return Err(ApiError::plain(&sprat_infer::codes::REMOTE_GARBAGE, what).because(why));
        }
        match &self.form {
            Form::Text => Ok(answer.output.clone()),
            Form::Json(plan) => {
                plan.write(answer.label.as_deref().unwrap_or_default(), answer.confidence)
            }
        }
    }

    pub(crate) fn id(&self) -> String {
        format!("chatcmpl-{}", self.admission.id)
    }

    fn response(&self, answer: Answer) -> ApiResult<Value> {
        let text = self.text(&answer).inspect_err(|error| self.failed(error))?;
        let finish = finish_reason(answer.finish);
        let usage = usage(&answer);
        let response = json!({
            "id": self.id(),
            "object": "chat.completion",
            "created": self.created,
            "model": self.served.id,
            "system_fingerprint": self.served.version,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": null,
                "finish_reason": finish,
            }],
            "usage": usage,
        });
        self.answered(answer, text);
        Ok(response)
    }

    /// Leaves metrics and a trace of an answer.
    pub(crate) fn answered(&self, answer: Answer, output: String) {
        let served = &self.served;
        self.state.meter.answer(&served.id, &served.version, &answer, false);
        self.state.traces.record(Trace {
            status: 200,
            output,
            label: answer.label,
            confidence: answer.confidence,
            scores: answer.scores,
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            latency: answer.latency,
            queued: answer.timing.queued,
            ..self.trace()
        });
    }

    /// Leaves a trace of a failure.
    pub(crate) fn failed(&self, error: &ApiError) {
        let error_code = Some(error.error.code().id);
        let status = error.status();
        self.state.traces.record(Trace { error: error_code, status, ..self.trace() });
    }

    fn trace(&self) -> Trace {
        Trace {
            request: self.admission.id.clone(),
            at: Some(self.state.clock.now()),
            endpoint: "/v1/chat/completions",
            client: self.admission.client.clone(),
            model: self.served.id.clone(),
            version: self.served.version.clone(),
            input: self.input.clone(),
            ..Trace::default()
        }
    }
}

pub(crate) fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Filtered => "content_filter",
    }
}

pub(crate) fn usage(answer: &Answer) -> Value {
    json!({
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    })
}
