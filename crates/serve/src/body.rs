//! Bodies of requests: bounded, UTF-8, JSON of the right types, and no unknown field.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Of a body that is too large, so much is read and thrown away, so that a client that sends
/// before it listens gets the answer rather than a broken connection.
const DISCARD_BYTES: usize = 256 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(mut body: Body, limit: usize) -> ApiResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let announced = hyper::body::Body::size_hint(&body).lower();
    let mut fits = usize::try_from(announced).is_ok_and(|announced| announced <= limit);
    while fits {
        let Some(frame) = body.frame().await else { return Ok(bytes) };
        let frame = frame.map_err(|why| {
            ApiError::plain(&codes::BODY, "the body broke off half-way").because(&why)
        })?;
        if let Ok(data) = frame.into_data() {
            fits = bytes.len() + data.len() <= limit;
            if fits {
                bytes.extend_from_slice(&data);
            }
        }
    }
    drop(bytes);
    let _ = tokio::time::timeout(DISCARD_TIME, discard(body)).await;
    let what = format!("the body is longer than {limit} bytes");
    Err(ApiError::plain(&codes::TOO_LARGE, what))
}

async fn discard(mut body: Body) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, |data| data.len());
        if seen > DISCARD_BYTES {
            return;
        }
    }
}

/// Parses a body. Fields whose value is `null` count as left out, as OpenAI's API does it.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    let text = std::str::from_utf8(bytes).map_err(|why| {
        let what = format!("the body is not UTF-8: wrong byte at {}", why.valid_up_to());
        ApiError::plain(&codes::BODY, what)
    })?;
    let mut value: Value = serde_json::from_str(text)
        .map_err(|why| ApiError::plain(&codes::BODY, format!("the body is not JSON: {why}")))?;
    let Some(fields) = value.as_object_mut() else {
        return Err(ApiError::plain(&codes::BODY, "the body is not a JSON object"));
    };
    fields.retain(|_, value| !value.is_null());
    serde_path_to_error::deserialize(value).map_err(|why| {
        let path = why.path().to_string();
        let inner = why.inner().to_string();
        if let Some(rest) = inner.strip_prefix("unknown field `") {
            let name = rest.split('`').next().unwrap_or_default();
            let field = match path.rsplit_once('.') {
                Some((parent, last)) if last == name => format!("{parent}.{name}"),
                _ if path == "." || path == name => name.to_owned(),
                _ => format!("{path}.{name}"),
            };
            let what = format!("the parameter `{field}` is not supported");
            return ApiError::field(&codes::PARAMETER, field, what);
        }
        let what = format!("the body is not valid: {inner}");
        if path == "." {
            ApiError::plain(&codes::BODY, what)
        } else {
            ApiError::field(&codes::BODY, path, what)
        }
    })
}

/// A request that took too long to arrive.
pub(crate) fn too_slow() -> ApiError {
    ApiError::plain(&codes::TIMEOUT, "the request did not arrive within the time limit")
        .with_status(StatusCode::REQUEST_TIMEOUT)
}
