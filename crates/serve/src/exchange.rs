//! What the two protocols of written answers have in common: a checked request on its way to
//! one or several answers.

use crate::error::{ApiError, ApiResult};
use crate::models::Served;
use crate::schema::Plan;
use crate::state::{Admission, State, until};
use crate::tools;
use crate::trace::Trace;
use crate::wire::Routed;
use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use sprat_infer::constraint::{Call, Enforced, calls};
use sprat_infer::{Answer, Asking, Finish, Generator, Pending, Request, Route, TokenScore};
use std::sync::Arc;

/// The longest request that is handed to a generator in passing, in bytes.
const AT_ONCE: usize = 16 << 10;

/// Which protocol, and how the answer leaves.
pub(crate) enum Protocol {
    /// `/v1/chat/completions`.
    Chat(Form),
    /// `/v1/completions`; with `echo` the prompt stands before the answer.
    Completion {
        /// The prompt stands before the answer.
        echo: bool,
    },
}

/// How a chat's answer leaves.
pub(crate) enum Form {
    /// As the model wrote it.
    Text,
    /// A label as JSON that satisfies a schema.
    Json(Box<Plan>),
    /// A text, or calls of tools.
    Tools,
}

/// A request that the engine has.
pub(crate) struct Exchange {
    pub(crate) state: Arc<State>,
    pub(crate) admission: Admission,
    pub(crate) served: Arc<Served>,
    pub(crate) protocol: Protocol,
    pub(crate) input: String,
    pub(crate) created: u64,
    pub(crate) include_usage: bool,
    /// Whether scores of tokens were asked for.
    pub(crate) logprobs: bool,
}

/// An answer as it leaves.
pub(crate) struct Outgoing {
    pub(crate) text: String,
    pub(crate) calls: Vec<Call>,
}

impl Exchange {
    /// The name of the response's kind; `chunk`: of a piece of it.
    fn object(&self, chunk: bool) -> &'static str {
        match (&self.protocol, chunk) {
            (Protocol::Chat(_), false) => "chat.completion",
            (Protocol::Chat(_), true) => "chat.completion.chunk",
            (Protocol::Completion { .. }, _) => "text_completion",
        }
    }

    /// What every response and every chunk begins with.
    pub(crate) fn head(&self, chunk: bool) -> Value {
        let prefix = match self.protocol {
            Protocol::Chat(_) => "chatcmpl",
            Protocol::Completion { .. } => "cmpl",
        };
        json!({
            "id": format!("{prefix}-{}", self.admission.id),
            "object": self.object(chunk),
            "created": self.created,
            "model": self.served.id,
            "system_fingerprint": self.served.version,
        })
    }

    /// The answer in its form.
    pub(crate) fn outgoing(&self, answer: &Answer) -> ApiResult<Outgoing> {
        if let Some(why) = &answer.invalid {
            let what = "the model's answer does not satisfy the request's constraint";
            return Err(ApiError::plain(&sprat_infer::codes::REMOTE_GARBAGE, what).because(why));
        }
        let mut outgoing = Outgoing { text: answer.output.clone(), calls: Vec::new() };
        match &self.protocol {
            Protocol::Chat(Form::Json(plan)) => {
                let label = answer.label.as_deref().unwrap_or_default();
                outgoing.text = plan.write(label, answer.confidence)?;
            }
            Protocol::Chat(Form::Tools) => outgoing.calls = calls(&answer.output)?,
            Protocol::Completion { echo: true } => {
                let bytes: Vec<u8> =
                    answer.prompt_scores.iter().flat_map(|token| token.bytes.clone()).collect();
                outgoing.text = String::from_utf8_lossy(&bytes).into_owned() + &answer.output;
            }
            Protocol::Chat(Form::Text) | Protocol::Completion { echo: false } => {}
        }
        Ok(outgoing)
    }

    /// Waits for all answers and puts them into one response; where a route decided, a header says
    /// which side answered.
    pub(crate) async fn response(&self, asked: Vec<Asking>) -> ApiResult<Response> {
        let mut choices = Vec::with_capacity(asked.len());
        let mut used = Used::default();
        for (index, asked) in asked.into_iter().enumerate() {
            let answer = until(self.admission.deadline, asked)
                .await
                .inspect_err(|error| self.failed(error))?;
            let outgoing = self.outgoing(&answer).inspect_err(|error| self.failed(error))?;
            choices.push(self.choice(index, &answer, &outgoing));
            used.add(&answer);
            self.answered(answer, outgoing.text);
        }
        let mut body = self.head(false);
        body["choices"] = choices.into();
        body["usage"] = used.usage();
        if let Some(sprat) = used.sprat() {
            body["sprat"] = sprat;
        }
        Ok(by_side(Json(body).into_response(), used.route.as_ref().map(Route::side)))
    }

    fn choice(&self, index: usize, answer: &Answer, outgoing: &Outgoing) -> Value {
        let finish = self.finish_reason(answer, outgoing);
        let logprobs = self.logprobs.then(|| self.scores(answer));
        match &self.protocol {
            Protocol::Chat(_) => {
                let mut message =
                    json!({ "role": "assistant", "content": outgoing.text, "refusal": null });
                if !outgoing.calls.is_empty() {
                    message["content"] = Value::Null;
                    let mut calls = tools::written(&outgoing.calls, &self.admission.id);
                    // Only pieces of a stream are numbered.
                    for call in calls.iter_mut().filter_map(Value::as_object_mut) {
                        call.remove("index");
                    }
                    message["tool_calls"] = calls.into();
                }
                json!({ "index": index, "message": message, "logprobs": logprobs,
                    "finish_reason": finish })
            }
            Protocol::Completion { .. } => json!({ "index": index, "text": outgoing.text,
                "logprobs": logprobs, "finish_reason": finish }),
        }
    }

    /// Why an answer ended, in the protocol's words.
    pub(crate) fn finish_reason(&self, answer: &Answer, outgoing: &Outgoing) -> &'static str {
        match answer.finish {
            _ if !outgoing.calls.is_empty() => "tool_calls",
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Filtered => "content_filter",
        }
    }

    fn scores(&self, answer: &Answer) -> Value {
        match self.protocol {
            Protocol::Chat(_) => chat_scores(&answer.tokens),
            Protocol::Completion { echo } => {
                let prompt = if echo { &answer.prompt_scores[..] } else { &[] };
                completion_scores(prompt, &answer.tokens, 0)
            }
        }
    }

    /// Scores of tokens that go out with a piece of a stream.
    pub(crate) fn piece_scores(&self, tokens: &[TokenScore], offset: usize) -> Value {
        match self.protocol {
            _ if !self.logprobs => Value::Null,
            Protocol::Chat(_) => chat_scores(tokens),
            Protocol::Completion { .. } => completion_scores(&[], tokens, offset),
        }
    }

    /// Leaves metrics and a trace of an answer.
    pub(crate) fn answered(&self, answer: Answer, output: String) {
        let served = &self.served;
        let version = crate::classify::version(served, &answer).to_owned();
        self.state.meter.answer(&served.id, &version, &answer, false);
        self.state.traces.record(Trace {
            version,
            status: 200,
            output,
            route: answer.route.as_ref().map(Route::side),
            usd: answer.usd,
            embedding: answer.embedding,
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
        let endpoint = match self.protocol {
            Protocol::Chat(_) => "/v1/chat/completions",
            Protocol::Completion { .. } => "/v1/completions",
        };
        Trace {
            request: self.admission.id.clone(),
            at: Some(self.state.clock.now()),
            endpoint,
            client: self.admission.client.clone(),
            model: self.served.id.clone(),
            version: self.served.version.clone(),
            input: self.input.clone(),
            ..Trace::default()
        }
    }
}

/// Hands requests to a generator, away from the threads that answer other clients unless it only
/// queues them. `bytes`: how long the request was; a route looks through long ones, too.
pub(crate) async fn submit(
    generator: Arc<dyn Generator>,
    requests: Vec<Request>,
    bytes: usize,
) -> ApiResult<Vec<Pending>> {
    let at_once = at_once(generator.as_ref(), &requests, bytes);
    handed(at_once, move || requests.into_iter().map(|one| generator.submit(one)).collect()).await
}

/// The same for whoever waits for complete answers alone. Several are under way at the same time.
pub(crate) async fn ask(
    generator: Arc<dyn Generator>,
    requests: Vec<Request>,
    bytes: usize,
) -> ApiResult<Vec<Asking>> {
    if requests.len() == 1 {
        let at_once = at_once(generator.as_ref(), &requests, bytes);
        let ask = move || requests.into_iter().map(|one| generator.ask(one)).collect();
        return handed(at_once, ask).await;
    }
    let submitted = submit(generator, requests, bytes).await?;
    let waits = |pending: Pending| -> Asking { Box::pin(pending.answer()) };
    Ok(submitted.into_iter().map(waits).collect())
}

fn at_once(generator: &dyn Generator, requests: &[Request], bytes: usize) -> bool {
    bytes <= AT_ONCE && requests.iter().all(|one| generator.submits_at_once(one))
}

async fn handed<T: Send + 'static>(
    at_once: bool,
    work: impl FnOnce() -> sprat_task::Result<T> + Send + 'static,
) -> ApiResult<T> {
    if at_once {
        return Ok(work()?);
    }
    let handed = tokio::task::spawn_blocking(work).await.map_err(|_| {
        let what = "the request could not be prepared";
        ApiError::plain(&sprat_infer::codes::PANIC, what)
    })?;
    Ok(handed?)
}

/// Says in a header which side of a route answered, where there was a choice.
pub(crate) fn by_side(mut response: Response, side: Option<&'static str>) -> Response {
    if let Some(side) = side {
        let side = HeaderValue::from_static(side);
        response.headers_mut().insert(HeaderName::from_static("x-sprat-route"), side);
    }
    response
}

/// What the answers of a request took together.
#[derive(Default)]
pub(crate) struct Used {
    /// The last one that a large model gave, or else the last one.
    route: Option<Route>,
    prompt: usize,
    cached: usize,
    written: usize,
    enforced: Option<Enforced>,
}

impl Used {
    pub(crate) fn add(&mut self, answer: &Answer) {
        // All answers to a prompt read the same one.
        self.prompt = self.prompt.max(answer.prompt_tokens);
        self.cached = self.cached.max(answer.cached_tokens);
        self.written += answer.completion_tokens;
        if let Some(route) = &answer.route
            && (route.large || self.route.as_ref().is_none_or(|before| !before.large))
        {
            self.route = Some(route.clone());
        }
        if let Some(enforced) = &answer.enforced {
            self.enforced = Some(match (self.enforced.take(), enforced.clone()) {
                (
                    Some(Enforced::Validated { retries: before, .. }),
                    Enforced::Validated { keywords, retries },
                ) => Enforced::Validated { keywords, retries: before + retries },
                (_, enforced) => enforced,
            });
        }
    }

    pub(crate) fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.written,
            "total_tokens": self.prompt + self.written,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }

    /// How a constraint was enforced, and which model of a route answered.
    pub(crate) fn sprat(&self) -> Option<Value> {
        let mut told = match &self.enforced {
            Some(Enforced::Exact) => json!({ "constraint": "exact" }),
            Some(Enforced::Validated { keywords, retries }) => {
                json!({ "constraint": "validated", "keywords": keywords, "retries": retries })
            }
            None if self.route.is_none() => return None,
            None => json!({}),
        };
        if let Some(route) = &self.route {
            told["route"] = json!(Routed::from(route));
        }
        Some(told)
    }
}

fn chat_scores(tokens: &[TokenScore]) -> Value {
    let one = |token: &TokenScore| json!({ "token": token.text, "logprob": token.logprob, "bytes": token.bytes });
    let content: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let mut entry = one(token);
            entry["top_logprobs"] = token.top.iter().map(one).collect();
            entry
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

/// `offset`: characters of the text before the first of the tokens.
fn completion_scores(prompt: &[TokenScore], tokens: &[TokenScore], offset: usize) -> Value {
    let (mut texts, mut scores, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
    let mut at = offset;
    for (index, token) in prompt.iter().chain(tokens).enumerate() {
        // Nothing stands before the first token of a prompt that could make it likely.
        let first = index == 0 && !prompt.is_empty();
        texts.push(Value::from(token.text.clone()));
        scores.push(if first { Value::Null } else { token.logprob.into() });
        let top: Map<String, Value> =
            token.top.iter().map(|top| (top.text.clone(), top.logprob.into())).collect();
        tops.push(if first || token.top.is_empty() { Value::Null } else { top.into() });
        offsets.push(at);
        at += token.text.chars().count();
    }
    json!({ "tokens": texts, "token_logprobs": scores, "top_logprobs": tops,
        "text_offset": offsets })
}
