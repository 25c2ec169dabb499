//! `/v1/completions`: OpenAI's older protocol, in which the model goes on with a text.

use crate::codes;
use crate::drawing::{self, MOST_LOGPROBS};
use crate::error::{ApiError, ApiResult};
use crate::exchange::{self, Exchange, Protocol};
use crate::sse;
use crate::state::{Admission, State};
use crate::wire::{CompletionRequest, Prompt};
use axum::extract::Extension;
use axum::response::Response;
use sprat_infer::{Input, Request};
use std::sync::Arc;

/// Tokens of an answer where the request does not say it, as OpenAI has it.
const TOKENS: u32 = 16;

/// Goes on with a text.
#[utoipa::path(post, path = "/v1/completions", tag = "OpenAI",
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The text; with `stream` a series of server-sent events",
            body = crate::wire::ChatResponse),
        (status = 400, description = "The request is not valid", body = crate::wire::ErrorBody),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No such model", body = crate::wire::ErrorBody),
        (status = 413, description = "Too large", body = crate::wire::ErrorBody),
        (status = 429, description = "Too many requests", body = crate::wire::ErrorBody)))]
pub(crate) async fn completions(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    Extension(admission): Extension<Admission>,
    body: axum::body::Body,
) -> ApiResult<Response> {
    let bytes = crate::body::read(body, state.config.body_limit).await?;
    let mut request: CompletionRequest = crate::body::parse(&bytes)?;
    let drawing = request.drawing();
    let (stream, include_usage) = sse::asked(request.stream, request.stream_options)?;
    let n = drawing.n.unwrap_or(1);
    let refuse = |field: &str, what: &str| Err(ApiError::field(&codes::PARAMETER, field, what));
    if request.suffix.is_some_and(|suffix| !suffix.is_empty()) {
        return refuse("suffix", "`suffix` is not supported");
    }
    if request.best_of.is_some_and(|best| best != n) {
        return refuse("best_of", "`best_of` must be as large as `n`");
    }
    if request.logprobs.is_some_and(|count| count > MOST_LOGPROBS) {
        return refuse("logprobs", "`logprobs` must be at most 20");
    }
    let echo = request.echo.unwrap_or(false);
    if echo && stream {
        return refuse("echo", "`echo` is not supported in a stream");
    }
    let served = state.model(Some(&request.model))?;
    let generator = served.generator.clone().filter(|generator| generator.converses());
    let Some(generator) = generator else {
        let what = format!("`{}` does not write texts", served.id);
        return Err(ApiError::field(&codes::ABILITY, "model", what));
    };
    let inputs = inputs(request.prompt);
    let shown: Vec<&str> = inputs
        .iter()
        .map(|input| match input {
            Input::Prompt(text) => text.as_str(),
            _ => "",
        })
        .collect();
    state.check_inputs(&shown, "prompt")?;
    let mut asked = Request {
        max_tokens: Some(request.max_tokens.unwrap_or(TOKENS) as usize),
        logprobs: request.logprobs.map(|count| count as usize),
        prompt_logprobs: echo,
        stream,
        private: admission.private,
        caller: admission.caller(request.user.as_deref()),
        deadline: Some(admission.deadline),
        ..Request::new(Input::Tokens(Vec::new()))
    };
    let n = drawing::apply(drawing, &mut asked, true)?;
    let input = shown.join("\n");
    let mut requests = Vec::with_capacity(inputs.len() * n as usize);
    for input in inputs {
        let one = Request { input, ..asked.clone() };
        requests.extend(drawing::each(&one, n));
    }
    let exchange = Exchange {
        created: state.clock.now().0 / 1000,
        state,
        admission,
        served,
        protocol: Protocol::Completion { echo },
        input,
        include_usage,
        logprobs: request.logprobs.is_some(),
    };
    if stream {
        let pending = exchange::submit(generator, requests, bytes.len()).await?;
        return sse::stream(exchange, pending).await;
    }
    exchange.response(exchange::ask(generator, requests, bytes.len()).await?).await
}

fn inputs(prompt: Prompt) -> Vec<Input> {
    match prompt {
        Prompt::Text(text) => vec![Input::Prompt(text)],
        Prompt::Texts(texts) => texts.into_iter().map(Input::Prompt).collect(),
        Prompt::Tokens(ids) => vec![Input::Tokens(ids)],
        Prompt::ManyTokens(many) => many.into_iter().map(Input::Tokens).collect(),
    }
}
