//! Errors in OpenAI's shape, with our codes.

use crate::codes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sprat_infer::codes as infer;
use sprat_task::{Code, Error, Kind};

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) error: Error,
    status: StatusCode,
}

/// The result of every handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error about a field of the request.
    pub(crate) fn field(
        code: &'static Code,
        field: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        Error::new(code, what).field(field).into()
    }

    /// An error without a field.
    pub(crate) fn plain(code: &'static Code, what: impl Into<String>) -> Self {
        Error::new(code, what).into()
    }

    /// The same with another status than its code's kind stands for.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with its reason.
    pub(crate) fn because(mut self, why: &dyn std::fmt::Display) -> Self {
        self.error = self.error.why(why.to_string());
        self
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The `error` object of OpenAI's API: `message`, `type`, `param` and `code`.
    pub(crate) fn body(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 | 403 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        // The field is in `param`; files and lines of this machine are not the client's concern.
        let mut message = self.error.what().to_owned();
        if let Some(why) = self.error.reason() {
            message += &format!(": {why}");
        }
        if !message.ends_with(['.', '!', '?']) {
            message.push('.');
        }
        message = format!("{message} {}", self.error.remedy());
        let param = self.error.place().field.as_deref();
        json!({ "error": {
            "message": message,
            "type": kind,
            "param": param,
            "code": self.error.code().id,
        } })
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let code = error.code();
        let status = if *code == infer::TIMEOUT || *code == codes::TIMEOUT {
            StatusCode::GATEWAY_TIMEOUT
        } else if *code == infer::REMOTE_UNREACHABLE
            || *code == infer::REMOTE_UNFINISHED
            || *code == infer::REMOTE_STATUS
            || *code == infer::REMOTE_REFUSED
            || *code == infer::REMOTE_GARBAGE
            || *code == infer::REMOTE_TOO_LARGE
        {
            StatusCode::BAD_GATEWAY
        } else if *code == infer::CLOSED {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::from_u16(code.kind.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        };
        ApiError { error, status }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        match self.error.code().kind {
            Kind::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Kind::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What is left of the body is not read.
            Kind::TooLarge => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response.extensions_mut().insert(Failure(self.error.code().id));
        response
    }
}

/// The code of an error response, for metrics.
#[derive(Clone, Copy)]
pub(crate) struct Failure(pub(crate) &'static str);
