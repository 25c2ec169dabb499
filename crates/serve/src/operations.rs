//! Addresses for those who run the server: models, health, metrics, the API's document.

use crate::codes;
use crate::error::ApiError;
use crate::state::State;
use crate::wire::{ModelCard, ModelList};
use axum::Json;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Lists the models.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI",
    responses((status = 200, description = "The models", body = ModelList)))]
pub(crate) async fn models(Shared(state): Shared<Arc<State>>) -> Json<ModelList> {
    let data = state.models.list().iter().map(|served| card(served)).collect();
    Json(ModelList { object: "list", data })
}

/// Describes one model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "OpenAI",
    params(("model" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The model", body = ModelCard),
        (status = 404, description = "No such model", body = crate::wire::ErrorBody)))]
pub(crate) async fn model(
    Shared(state): Shared<Arc<State>>,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<Json<ModelCard>, ApiError> {
    let served = state.model(Some(&name))?;
    Ok(Json(card(&served)))
}

fn card(served: &crate::Served) -> ModelCard {
    let labels = served.generator.as_ref().map(|model| model.labels().to_vec()).unwrap_or_default();
    let mut abilities = Vec::new();
    if let Some(generator) = &served.generator {
        if !labels.is_empty() {
            abilities.push("classify");
        }
        abilities.push("chat");
        if generator.converses() {
            abilities.push("complete");
        }
    }
    if served.embedder.is_some() {
        abilities.push("embed");
    }
    ModelCard {
        id: served.id.clone(),
        object: "model",
        created: served.created.0 / 1000,
        owned_by: "sprat",
        version: served.version.clone(),
        aliases: served.aliases.clone(),
        abilities,
        labels,
    }
}

/// The route behind the preferred model: its policy, its threshold with the bound, the curve of
/// quality against cost, what was spent.
#[utoipa::path(get, path = "/v1/route", tag = "Operations",
    responses(
        (status = 200, description = "The route", body = serde_json::Value),
        (status = 404, description = "No route is set up", body = crate::wire::ErrorBody)))]
pub(crate) async fn route(Shared(state): Shared<Arc<State>>) -> Result<Response, ApiError> {
    match state.config.route.tell() {
        Some(document) => Ok(Json(document).into_response()),
        None => {
            let what = "no large model stands behind what is served: see [route] in sprat.toml";
            Err(ApiError::plain(&codes::ADDRESS, what))
        }
    }
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "Operations",
    responses((status = 200, description = "It lives")))]
pub(crate) async fn healthz() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Whether requests can be answered.
#[utoipa::path(get, path = "/readyz", tag = "Operations",
    responses(
        (status = 200, description = "Requests can be answered"),
        (status = 503, description = "No model yet, or the server is stopping")))]
pub(crate) async fn readyz(Shared(state): Shared<Arc<State>>) -> Response {
    let (status, text) = if state.draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if state.models.ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no model")
    };
    (status, Json(json!({ "status": text }))).into_response()
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "Operations",
    responses((status = 200, description = "Metrics in Prometheus' text format",
        content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    for served in state.models.list() {
        let waiting = served.generator.as_ref().map_or(0, |model| model.load().waiting)
            + served.embedder.as_ref().map_or(0, |model| model.load().waiting);
        state.meter.waiting(&served.id, waiting);
    }
    if let Some(watcher) = &state.config.watcher {
        watcher.gauges().into_iter().for_each(|gauge| state.meter.watched(gauge));
    }
    state.config.route.shadowed().into_iter().for_each(|one| state.meter.shadowed(one));
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], state.meter.render()).into_response()
}

/// This document.
pub(crate) async fn openapi() -> Response {
    Json(crate::openapi()).into_response()
}

/// Where to go from here.
pub(crate) async fn index(Shared(state): Shared<Arc<State>>) -> Response {
    let models: Vec<String> = state.models.list().iter().map(|m| m.id.clone()).collect();
    let models = if state.config.keys.is_empty() { Some(models) } else { None };
    Json(json!({
        "name": "sprat",
        "version": env!("CARGO_PKG_VERSION"),
        "models": models,
        "api": "/openapi.json",
        "endpoints": ["/v1/models", "/v1/classify", "/v1/chat/completions", "/v1/embeddings",
                      "/v1/route", "/v1/feedback", "/v1/labels", "/v1/watch", "/healthz",
                      "/readyz", "/metrics"],
    }))
    .into_response()
}

/// Any other address.
pub(crate) async fn nowhere(uri: axum::http::Uri) -> ApiError {
    let path: String = uri.path().chars().take(100).collect();
    ApiError::plain(&codes::ADDRESS, format!("there is nothing at `{path}`"))
}

/// A known address with a wrong method.
pub(crate) async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    let what = format!("`{}` does not know the method {method}", uri.path());
    ApiError::plain(&codes::ADDRESS, what).with_status(StatusCode::METHOD_NOT_ALLOWED)
}
