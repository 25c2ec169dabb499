//! What went wrong with one attempt, and whether it is worth another.

use super::redact::{Secret, redact};
use crate::codes;
use serde_json::Value;
use sprat_task::{Code, Error};
use std::error::Error as StdError;
use std::time::Duration;

/// How much of a foreign message is shown.
const SHOWN: usize = 300;

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: Error,
    /// The HTTP status, where there was one.
    pub(super) status: Option<u16>,
    /// What the endpoint said.
    pub(super) reason: String,
    /// Whether the same request may succeed later.
    pub(super) retry: bool,
    /// The `Retry-After` header.
    pub(super) retry_after: Option<String>,
}

impl From<Error> for Fault {
    /// One that the same request would meet again.
    fn from(error: Error) -> Self {
        Fault { error, status: None, reason: String::new(), retry: false, retry_after: None }
    }
}

/// How an endpoint is spoken of: where it is, and which key must never be shown.
pub(super) struct Faults {
    /// The address as it may be shown: without user, password and path.
    pub(super) shown: String,
    pub(super) key: Option<Secret>,
}

impl Faults {
    /// A fault that another attempt would meet again.
    pub(super) fn lasting(&self, code: &'static Code, what: &str, why: &str) -> Fault {
        let what = format!("the hosted model at {}: {what}", self.shown);
        Error::new(code, what).why(why).into()
    }

    /// The answer is longer than is read.
    pub(super) fn too_long(&self, limit: u64) -> Fault {
        let why = format!("it is longer than {limit} bytes");
        self.lasting(&codes::REMOTE_TOO_LARGE, "its answer is too long", &why)
    }

    /// An answer that is no answer of the protocol.
    pub(super) fn garbage(&self, why: &str, bytes: &[u8]) -> Fault {
        let why = format!("{why}; it begins: {}", self.clean(bytes));
        self.lasting(&codes::REMOTE_GARBAGE, "its answer is not of the protocol", &why)
    }

    /// The connection could not be made, or broke before an answer began: worth another attempt
    /// unless the other side is not who it should be.
    pub(super) fn unreachable(&self, why: &(dyn StdError + 'static)) -> Fault {
        let retry = !is_tls(why);
        let why = redact(&chain(why), self.key.as_ref(), SHOWN);
        let what = "it cannot be reached";
        Fault { retry, ..self.lasting(&codes::REMOTE_UNREACHABLE, what, &why) }
    }

    /// The connection broke within an answer.
    pub(super) fn broken_off(&self, why: &(dyn StdError + 'static)) -> Fault {
        let why = redact(&chain(why), self.key.as_ref(), SHOWN);
        let what = "it broke off its answer";
        Fault { retry: true, ..self.lasting(&codes::REMOTE_UNFINISHED, what, &why) }
    }

    /// The time for something was over.
    pub(super) fn late(&self, what: &str, limit: Duration) -> Fault {
        let why = format!("timeout: {what} within {} s", limit.as_secs_f64());
        let fault = self.lasting(&codes::REMOTE_UNFINISHED, "it does not answer in time", &why);
        Fault { retry: true, ..fault }
    }

    /// A stream that ended before the answer did.
    pub(super) fn cut_short(&self) -> Fault {
        let why = "the stream ended before a `finish_reason` came";
        let fault = self.lasting(&codes::REMOTE_UNFINISHED, "it broke off its answer", why);
        Fault { retry: true, ..fault }
    }

    /// An error that the endpoint states, under whichever status: `stated` is the content of its
    /// `error` field, `bytes` the beginning of what it sent.
    pub(super) fn stated(
        &self,
        status: u16,
        after: Option<String>,
        stated: Option<&Value>,
        bytes: &[u8],
    ) -> Fault {
        let code = stated.and_then(|error| error.get("code"));
        let inner = code.and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let effective = if status >= 300 { status } else { inner.unwrap_or(status) };
        let message = stated.map(|error| match error.get("message").unwrap_or(error) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let reason = match &message {
            Some(text) => redact(text, self.key.as_ref(), SHOWN),
            None => self.clean(bytes),
        };
        let exhausted = reason.contains("insufficient_quota")
            || code.and_then(Value::as_str) == Some("insufficient_quota");
        let retry = matches!(effective, 408 | 409 | 425 | 429 | 500..=599) && !exhausted;
        let said = if reason.is_empty() { "it gave no reason" } else { reason.as_str() };
        let doing = match effective {
            401 | 403 => format!("it refuses the key (status {status})"),
            300..=399 => format!("it redirects elsewhere (status {status}), which is not followed"),
            _ => format!("it answered with an error (status {status})"),
        };
        let refused = matches!(effective, 400 | 413 | 422);
        let code = if refused { &codes::REMOTE_REFUSED } else { &codes::REMOTE_STATUS };
        let fault = self.lasting(code, &doing, said);
        Fault { status: Some(effective), reason, retry, retry_after: after, ..fault }
    }

    fn clean(&self, bytes: &[u8]) -> String {
        // Four bytes at most per character, and room for what redaction takes out.
        let head = &bytes[..bytes.len().min(SHOWN * 8)];
        redact(&String::from_utf8_lossy(head), self.key.as_ref(), SHOWN)
    }
}

/// An error with the errors behind it, outermost first.
fn chain(why: &dyn StdError) -> String {
    let mut text = why.to_string();
    let mut next = why.source();
    while let Some(why) = next {
        let one = why.to_string();
        if !text.ends_with(&one) {
            text += ": ";
            text += &one;
        }
        next = why.source();
    }
    text
}

/// Whether TLS refused: the certificate is not one to trust, or the other side speaks no TLS.
fn is_tls(why: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(why);
    while let Some(why) = next {
        if why.is::<rustls::Error>() {
            return true;
        }
        // The source of such an error is not what it wraps, but that one's source.
        let wrapped = why.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if wrapped.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        next = why.source();
    }
    false
}
