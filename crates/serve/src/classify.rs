//! `/v1/classify`: labels with calibrated confidence.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use crate::exchange::by_side;
use crate::models::Served;
use crate::state::{Admission, State, until};
use crate::trace::Trace;
use crate::wire::{Classified, ClassifyRequest, ClassifyResponse, Routed, Score, Usage};
use axum::Json;
use axum::extract::Extension;
use axum::response::{IntoResponse, Response};
use sprat_infer::{Answer, Caller, Generator, Pending, Request, Route};
use std::collections::VecDeque;
use std::sync::Arc;

/// Gives one or several texts their labels.
#[utoipa::path(post, path = "/v1/classify", tag = "Classification",
    request_body = ClassifyRequest,
    responses(
        (status = 200, description = "One result per input", body = ClassifyResponse),
        (status = 400, description = "The request is not valid", body = crate::wire::ErrorBody),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No such model", body = crate::wire::ErrorBody),
        (status = 413, description = "Too large", body = crate::wire::ErrorBody),
        (status = 429, description = "Too many requests", body = crate::wire::ErrorBody)))]
pub(crate) async fn classify(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    Extension(admission): Extension<Admission>,
    body: axum::body::Body,
) -> ApiResult<Response> {
    let bytes = crate::body::read(body, state.config.body_limit).await?;
    let request: ClassifyRequest = crate::body::parse(&bytes)?;
    if request.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
        let what = "`threshold` must be from 0 to 1";
        return Err(ApiError::field(&codes::BODY, "threshold", what));
    }
    if request.top_k == Some(0) {
        return Err(ApiError::field(&codes::BODY, "top_k", "`top_k` must be at least 1"));
    }
    let texts = request.input.into_vec();
    state.check_inputs(&texts.iter().map(String::as_str).collect::<Vec<_>>(), "input")?;
    let served = state.model(request.model.as_deref())?;
    let generator = served.generator.as_ref().filter(|model| !model.labels().is_empty());
    let Some(generator) = generator else {
        let what = format!("`{}` is no classifier", served.id);
        return Err(ApiError::field(&codes::ABILITY, "model", what));
    };
    let threshold = request.threshold.or(served.threshold);
    let top_k = request.top_k.map_or(usize::MAX, |k| k as usize);

    let mut data = Vec::with_capacity(texts.len());
    let mut tokens = 0;
    // A large model's, where one gave any of the answers.
    let mut side = None;
    let mut run = Run {
        generator: generator.as_ref(),
        deadline: admission.deadline,
        private: admission.private,
        caller: admission.caller(request.user.as_deref()),
        waiting: VecDeque::new(),
        next: 0,
    };
    for (index, text) in texts.iter().enumerate() {
        let trace = Trace {
            request: admission.id.clone(),
            index,
            at: Some(state.clock.now()),
            endpoint: "/v1/classify",
            client: admission.client.clone(),
            model: served.id.clone(),
            version: served.version.clone(),
            input: text.clone(),
            ..Trace::default()
        };
        match run.answer(&texts).await.and_then(valid) {
            Ok(answer) => {
                tokens += answer.prompt_tokens;
                if let Some(route) = answer.route.as_ref().filter(|one| one.large || side.is_none())
                {
                    side = Some(route.side());
                }
                let abstained = abstains(&answer, threshold);
                leave_trace(&state, &served, trace, &answer, abstained);
                data.push(classified(index, answer, abstained, top_k));
            }
            Err(error) => {
                let code = Some(error.error.code().id);
                let status = error.status();
                state.traces.record(Trace { error: code, status, ..trace });
                return Err(error);
            }
        }
    }
    let response = ClassifyResponse {
        object: "list",
        model: served.id.clone(),
        version: served.version.clone(),
        data,
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    Ok(by_side(Json(response).into_response(), side))
}

/// The inputs of one request on their way through the engine: as many at once as the queue takes,
/// so that they share batches, and never more, so that one large request does not fail by itself.
struct Run<'a> {
    generator: &'a dyn Generator,
    deadline: std::time::Instant,
    private: bool,
    caller: Caller,
    waiting: VecDeque<Pending>,
    next: usize,
}

impl Run<'_> {
    fn request(&self, text: &str) -> Request {
        Request {
            private: self.private,
            caller: self.caller.clone(),
            ..Request::text(text).until(self.deadline)
        }
    }

    /// The answer to the oldest input that has none yet.
    async fn answer(&mut self, texts: &[String]) -> ApiResult<Answer> {
        if let [text] = texts {
            return until(self.deadline, self.generator.ask(self.request(text))?).await;
        }
        while let Some(text) = texts.get(self.next) {
            match self.generator.submit(self.request(text)) {
                Ok(pending) => self.waiting.push_back(pending),
                // The queue is full with our own inputs or those of others: one at least waits.
                Err(error)
                    if *error.code() == sprat_infer::codes::BUSY && !self.waiting.is_empty() =>
                {
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            self.next += 1;
        }
        let Some(pending) = self.waiting.pop_front() else {
            return Err(ApiError::plain(&codes::PANIC, "an input was lost"));
        };
        until(self.deadline, pending.answer()).await
    }
}

/// An answer that is a label, or why it is none.
fn valid(answer: Answer) -> ApiResult<Answer> {
    match &answer.invalid {
        None => Ok(answer),
        Some(why) => {
            let what = "the model did not answer with a label";
            Err(ApiError::plain(&sprat_infer::codes::REMOTE_GARBAGE, what).because(why))
        }
    }
}

fn abstains(answer: &Answer, threshold: Option<f32>) -> bool {
    if answer.route.as_ref().is_some_and(|route| route.large) {
        // The threshold is the small model's; it was not sure enough, and the large one decided.
        return false;
    }
    match (answer.confidence, threshold) {
        (Some(confidence), Some(threshold)) => confidence < threshold,
        // A model that does not say how sure it is cannot be held to a threshold: no label.
        (None, Some(threshold)) => threshold > 0.0,
        (_, None) => false,
    }
}

/// The version that a request was given to: where requests are split, not always the one behind
/// the name.
pub(crate) fn version<'a>(served: &'a Served, answer: &'a Answer) -> &'a str {
    let variant = answer.route.as_ref().and_then(|route| route.variant.as_ref());
    variant.map_or(&served.version, |variant| &variant.name)
}

fn leave_trace(state: &State, served: &Served, trace: Trace, answer: &Answer, abstained: bool) {
    let version = version(served, answer);
    state.meter.answer(&served.id, version, answer, abstained);
    state.traces.record(Trace {
        version: version.to_owned(),
        status: 200,
        output: answer.output.clone(),
        label: answer.label.clone(),
        confidence: answer.confidence,
        scores: answer.scores.clone(),
        abstained,
        route: answer.route.as_ref().map(Route::side),
        usd: answer.usd,
        embedding: answer.embedding.clone(),
        prompt_tokens: answer.prompt_tokens,
        completion_tokens: answer.completion_tokens,
        latency: answer.latency,
        queued: answer.timing.queued,
        ..trace
    });
}

fn classified(index: usize, answer: Answer, abstained: bool, top_k: usize) -> Classified {
    let mut scores: Vec<Score> =
        answer.scores.into_iter().map(|(label, score)| Score { label, score }).collect();
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    scores.truncate(top_k);
    Classified {
        index,
        label: answer.label.filter(|_| !abstained),
        confidence: answer.confidence,
        abstained,
        truncated: answer.cut_tokens > 0,
        scores,
        route: answer.route.as_ref().map(Routed::from),
    }
}
