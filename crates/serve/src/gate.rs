//! What every request passes: id, key, admission, time limit, metrics.

use crate::body::too_slow;
use crate::codes;
use crate::error::{ApiError, ApiResult, Failure};
use crate::state::{Admission, State};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The header with a request's id.
const REQUEST_ID: &str = "x-request-id";

/// The header of requests that must not leave the user's machines.
const PRIVATE: &str = "x-sprat-private";

/// The header with a word that fixed rules of a route may look at.
const TAG: &str = "x-sprat-tag";

/// Gives the request its id, and measures it. The outermost layer.
pub(crate) async fn measure(state: Arc<State>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers()).unwrap_or_else(|| state.new_id());
    // Paths that match no route would give every scanner a metric of its own.
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("(unknown)".to_owned(), |path| path.as_str().to_owned());
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "PATCH") => known,
        _ => "(other)",
    }
    .to_owned();
    request.extensions_mut().insert(RequestId(id.clone()));
    state.meter.in_flight(1.0);
    let mut response = next.run(request).await;
    state.meter.in_flight(-1.0);
    let failure = response.extensions().get::<Failure>().map(|failure| failure.0);
    let status = response.status().as_u16();
    state.meter.response(&path, &method, status, begun.elapsed(), failure);
    tracing::debug!(id, method, path, status, code = failure, "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// A request's id, between the layers.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// The id that the client gave, if it is fit to be logged.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fit = (1..=64).contains(&given.len())
        && given.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    fit.then(|| given.to_owned())
}

impl State {
    fn new_id(&self) -> String {
        let number = self.id_next.fetch_add(1, Ordering::Relaxed);
        format!("req-{:08x}{number:08x}", self.id_prefix)
    }

    /// The name of the key that a request carries.
    pub(crate) fn authorize(&self, headers: &HeaderMap) -> ApiResult<Option<String>> {
        let keys = &self.config.keys;
        if keys.is_empty() {
            return Ok(None);
        }
        if headers.get(header::AUTHORIZATION).is_none() {
            return Err(ApiError::plain(&codes::KEY, "the request carries no API key"));
        }
        let admins = &self.config.admins;
        match bearer(headers).and_then(|key| keys.name_of(key).or_else(|| admins.name_of(key))) {
            Some(name) => Ok(Some(name.to_owned())),
            None => Err(ApiError::plain(&codes::KEY, "the API key is not valid")),
        }
    }
}

/// The key that a request carries.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Whether a client wants its request to stay. Whatever the header says but a clear no is a yes:
/// who sends it means it.
fn is_private(headers: &HeaderMap) -> bool {
    let no = |value: &HeaderValue| {
        ["0", "false", "no"].iter().any(|no| value.as_bytes().eq_ignore_ascii_case(no.as_bytes()))
    };
    headers.get_all(PRIVATE).iter().any(|value| !no(value))
}

/// The word that a client marked its request with: a short one of plain characters, so that it can
/// be logged and compared; anything else is none.
fn tag(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(TAG)?.to_str().ok()?.trim();
    let fit = (1..=64).contains(&given.len())
        && given.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    fit.then(|| given.to_owned())
}

/// Lets a request to a model in: a valid key, and a free place.
pub(crate) async fn admit(state: Arc<State>, mut request: Request, next: Next) -> Response {
    let client = match state.authorize(request.headers()) {
        Ok(client) => client,
        Err(error) => return error.into_response(),
    };
    let Ok(permit) = Arc::clone(&state.permits).try_acquire_owned() else {
        let what = "the server works on as many requests as it may";
        return ApiError::plain(&codes::BUSY, what).into_response();
    };
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let limit = state.config.request_timeout;
    let admission = Admission {
        id,
        client,
        private: is_private(request.headers()),
        tag: tag(request.headers()),
        deadline: Instant::now() + limit,
        _permit: Arc::new(permit),
    };
    request.extensions_mut().insert(admission);
    // The deadline inside answers more precisely; this one catches a body that never ends.
    match tokio::time::timeout(limit + Duration::from_millis(100), next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_slow().into_response(),
    }
}

/// Lets a request in that only looks: a valid key unless the address is open.
pub(crate) async fn look(state: Arc<State>, request: Request, next: Next) -> Response {
    match state.authorize(request.headers()) {
        Ok(_) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}
