//! Feedback on answers, the labelling queue and the state of the watch: `/v1/feedback`,
//! `/v1/labels`, `/v1/watch`. What keeps them stands behind [`Watcher`]; the server knows no
//! storage.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use crate::state::{Admission, State};
use axum::Json;
use axum::extract::{Extension, RawQuery, State as Shared};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sprat_monitor::{Said, Verdict};
use sprat_task::Result;
use std::sync::Arc;
use utoipa::ToSchema;

/// The most entries of the labelling queue in one response.
const MOST_LABELS: usize = 500;
/// Entries where the request does not say how many.
const LABELS: usize = 20;

/// A figure of the watch for `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// The metric's name; those that end with `_total` only ever grow.
    pub name: &'static str,
    /// Its label, name and value, if it has one.
    pub label: Option<(&'static str, String)>,
    /// The figure.
    pub value: f64,
}

/// Keeps feedback and knows how the watch stands. Its methods may block: they are called on
/// threads for that.
pub trait Watcher: Send + Sync {
    /// Keeps what somebody says about an answer, on disk before it returns; `false` when exactly
    /// this had been said already.
    ///
    /// # Errors
    /// An id that nothing is known of, feedback that contradicts itself, the storage's.
    fn feedback(&self, said: &Said) -> Result<bool>;

    /// The labelling queue, as the document `sprat.labels/1`.
    ///
    /// # Errors
    /// Those of the storage; that there is nothing to label.
    fn labels(&self, limit: usize) -> Result<Value>;

    /// How the watch stands, as the document `sprat.watch/1`.
    ///
    /// # Errors
    /// Those of the storage.
    fn state(&self) -> Result<Value>;

    /// The figures for `/metrics`; must not block.
    fn gauges(&self) -> Vec<Gauge>;
}

impl std::fmt::Debug for dyn Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}

/// Feedback on one answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedbackRequest {
    /// The request's id: the header `x-request-id` of its response.
    id: String,
    /// Which input of the request, from 0.
    #[serde(default)]
    index: usize,
    /// Whether the answer was right.
    verdict: FeedbackVerdict,
    /// The right label, where it is known.
    label: Option<String>,
    /// The right answer of a model that writes, where it is known.
    output: Option<String>,
    /// Who says it; by default the name of the API key. What the same person said before about the
    /// same answer is replaced.
    by: Option<String>,
}

/// Whether an answer was right.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum FeedbackVerdict {
    Right,
    Wrong,
}

/// Feedback that was kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct FeedbackResponse {
    /// `feedback`.
    object: &'static str,
    /// The request's id.
    id: String,
    /// Which input of it.
    index: usize,
    /// `false` when exactly this had been said already.
    new: bool,
}

/// What keeps feedback, where there is one.
fn watcher(state: &State) -> ApiResult<Arc<dyn Watcher>> {
    state.config.watcher.clone().ok_or_else(|| {
        ApiError::plain(&codes::ADDRESS, "this server keeps no feedback and watches nothing")
    })
}

/// Runs what may block away from the threads that answer other clients.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> ApiResult<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::plain(&codes::PANIC, "the work broke off"))?.map_err(Into::into)
}

/// Keeps what a client says about an answer: right, wrong, and what would have been right. It is on
/// disk before it is acknowledged; sent twice, it is kept once.
#[utoipa::path(post, path = "/v1/feedback", tag = "Watch",
    request_body = FeedbackRequest,
    responses(
        (status = 200, description = "It is kept", body = FeedbackResponse),
        (status = 400, description = "The feedback is not valid", body = crate::wire::ErrorBody),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No trace of such a request", body = crate::wire::ErrorBody),
        (status = 413, description = "Too large", body = crate::wire::ErrorBody)))]
pub(crate) async fn feedback(
    Shared(state): Shared<Arc<State>>,
    Extension(admission): Extension<Admission>,
    headers: axum::http::HeaderMap,
    body: axum::body::Body,
) -> ApiResult<Json<FeedbackResponse>> {
    crate::guard::same_site(&headers)?;
    let bytes = crate::body::read(body, state.config.body_limit).await?;
    let request: FeedbackRequest = crate::body::parse(&bytes)?;
    let watcher = watcher(&state)?;
    let said = Said {
        id: request.id,
        index: request.index,
        verdict: match request.verdict {
            FeedbackVerdict::Right => Verdict::Right,
            FeedbackVerdict::Wrong => Verdict::Wrong,
        },
        label: request.label,
        output: request.output,
        by: request.by.or(admission.client),
    };
    let (said, new) = blocking(move || watcher.feedback(&said).map(|new| (said, new))).await?;
    Ok(Json(FeedbackResponse { object: "feedback", id: said.id, index: said.index, new }))
}

/// What is to be labelled: the traces whose labels tell the most. Labels are given by
/// `/v1/feedback`.
#[utoipa::path(get, path = "/v1/labels", tag = "Watch",
    params(("limit" = Option<usize>, Query, description = "Entries at most: 1 to 500; 20 without")),
    responses(
        (status = 200, description = "The queue, as `sprat.labels/1`", body = Value),
        (status = 400, description = "No number", body = crate::wire::ErrorBody)))]
pub(crate) async fn labels(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Value>> {
    let watcher = watcher(&state)?;
    let given = query.as_deref().unwrap_or_default().split('&');
    let limit = given.filter_map(|pair| pair.strip_prefix("limit=")).next_back();
    let limit = match limit.map(str::parse) {
        None => LABELS,
        Some(Ok(limit @ 1..=MOST_LABELS)) => limit,
        Some(_) => {
            let what = format!("`limit` must be a number from 1 to {MOST_LABELS}");
            return Err(ApiError::field(&codes::BODY, "limit", what));
        }
    };
    blocking(move || watcher.labels(limit)).await.map(Json)
}

/// How the watch stands: its tests with their evidence, alarms and what followed them, and the
/// accuracy.
#[utoipa::path(get, path = "/v1/watch", tag = "Watch",
    responses((status = 200, description = "The state, as `sprat.watch/1`", body = Value)))]
pub(crate) async fn watch(Shared(state): Shared<Arc<State>>) -> ApiResult<Json<Value>> {
    let watcher = watcher(&state)?;
    blocking(move || watcher.state()).await.map(Json)
}
