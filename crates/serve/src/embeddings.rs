//! `/v1/embeddings`: texts to vectors.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use crate::state::{Admission, State, until};
use crate::trace::Trace;
use crate::wire::{EmbeddingItem, EmbeddingsRequest, EmbeddingsResponse, Usage};
use axum::Json;
use axum::extract::Extension;
use base64::Engine;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

/// Gives one or several texts their vectors.
#[utoipa::path(post, path = "/v1/embeddings", tag = "OpenAI",
    request_body = EmbeddingsRequest,
    responses(
        (status = 200, description = "One vector per input", body = EmbeddingsResponse),
        (status = 400, description = "The request is not valid", body = crate::wire::ErrorBody),
        (status = 401, description = "No valid key", body = crate::wire::ErrorBody),
        (status = 404, description = "No such model", body = crate::wire::ErrorBody),
        (status = 413, description = "Too large", body = crate::wire::ErrorBody),
        (status = 429, description = "Too many requests", body = crate::wire::ErrorBody)))]
pub(crate) async fn embeddings(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    Extension(admission): Extension<Admission>,
    body: axum::body::Body,
) -> ApiResult<Json<EmbeddingsResponse>> {
    let bytes = crate::body::read(body, state.config.body_limit).await?;
    let request: EmbeddingsRequest = crate::body::parse(&bytes)?;
    if request.dimensions.is_some() {
        let what = "`dimensions` is not supported: a shortened vector would be a worse one";
        return Err(ApiError::field(&codes::PARAMETER, "dimensions", what));
    }
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let what = "`encoding_format` must be `float` or `base64`";
            return Err(ApiError::field(&codes::PARAMETER, "encoding_format", what));
        }
    };
    let texts = request.input.into_vec();
    state.check_inputs(&texts.iter().map(String::as_str).collect::<Vec<_>>(), "input")?;
    let served = state.model(Some(&request.model))?;
    let Some(embedder) = &served.embedder else {
        let what = format!("`{}` gives no vectors", served.id);
        return Err(ApiError::field(&codes::ABILITY, "model", what));
    };

    let mut data = Vec::with_capacity(texts.len());
    let (mut tokens, mut next) = (0, 0);
    let mut waiting = VecDeque::new();
    for (index, input) in texts.iter().enumerate() {
        let begun = std::time::Instant::now();
        while let Some(text) = texts.get(next) {
            match embedder.submit(text.clone(), Some(admission.deadline)) {
                Ok(pending) => waiting.push_back(pending),
                Err(error) if *error.code() == sprat_infer::codes::BUSY && !waiting.is_empty() => {
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            next += 1;
        }
        let Some(pending) = waiting.pop_front() else {
            return Err(ApiError::plain(&codes::PANIC, "an input was lost"));
        };
        let result = until(admission.deadline, pending.vector()).await;
        state.traces.record(Trace {
            request: admission.id.clone(),
            index,
            at: Some(state.clock.now()),
            endpoint: "/v1/embeddings",
            client: admission.client.clone(),
            model: served.id.clone(),
            version: served.version.clone(),
            input: input.clone(),
            prompt_tokens: result.as_ref().map_or(0, |embedding| embedding.tokens),
            latency: begun.elapsed(),
            status: result.as_ref().err().map_or(200, ApiError::status),
            error: result.as_ref().err().map(|error| error.error.code().id),
            ..Trace::default()
        });
        let embedding = result?;
        tokens += embedding.tokens;
        let embedding = if base64 { packed(&embedding.vector) } else { listed(&embedding.vector)? };
        data.push(EmbeddingItem { object: "embedding", index, embedding });
    }
    Ok(Json(EmbeddingsResponse {
        object: "list",
        data,
        model: served.id.clone(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    }))
}

/// Little-endian 32-bit floats in base64, as OpenAI's clients read them.
fn packed(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn listed(vector: &[f32]) -> ApiResult<Value> {
    serde_json::to_value(vector)
        .map_err(|why| ApiError::plain(&codes::PANIC, "the vector cannot be written").because(&why))
}
