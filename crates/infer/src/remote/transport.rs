//! One attempt over HTTP: what went wrong, and whether it is worth another attempt.

use super::redact::{Secret, redact};
use super::settings::Settings;
use crate::codes;
use serde_json::Value;
use sprat_task::{Code, Error, Result};
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

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

/// The connection to one endpoint.
pub(super) struct Transport {
    agent: Agent,
    url: String,
    /// The address as it may be shown: without user and password.
    shown: String,
    key: Option<Secret>,
    timeout: Duration,
    response_limit: u64,
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let base = settings.base_url.trim().trim_end_matches('/');
        let url = format!("{base}/chat/completions");
        let parsed: Option<ureq::http::Uri> = url.parse().ok();
        let valid = parsed.as_ref().is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        if !valid {
            let what = format!("base_url of `{}` is no http(s) address", settings.name);
            return Err(Error::new(&codes::REMOTE_SETTINGS, what).field("base_url"));
        }
        let shown = parsed
            .and_then(|uri| Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?.host())))
            .unwrap_or_default();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(settings.connect_timeout))
            // A key must not follow a redirect to somebody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(settings.concurrency.max(1))
            .user_agent(concat!("sprat/", env!("CARGO_PKG_VERSION")));
        if !settings.proxy_from_environment {
            config = config.proxy(None);
        }
        if let Some(file) = &settings.roots {
            config = config.tls_config(TlsConfig::builder().root_certs(roots(file)?).build());
        }
        Ok(Transport {
            agent: config.build().new_agent(),
            url,
            shown,
            key: settings.api_key.clone(),
            timeout: settings.timeout,
            response_limit: settings.response_limit,
        })
    }

    /// Sends a body and returns the response's JSON.
    pub(super) fn post(&self, body: &Value, deadline: Option<Instant>) -> Result<Value, Fault> {
        let mut timeout = self.timeout;
        if let Some(deadline) = deadline {
            timeout = timeout.min(deadline.saturating_duration_since(Instant::now()));
        }
        let mut request = self.agent.post(&self.url).header("accept", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.reveal()));
        }
        let timeout = timeout.max(Duration::from_millis(1));
        let request = request.config().timeout_global(Some(timeout)).build();
        let mut response = request.send_json(body).map_err(|why| self.broken(&why))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let limit = self.response_limit;
        let bytes = match response.body_mut().with_config().limit(limit).read_to_vec() {
            Ok(bytes) => bytes,
            Err(ureq::Error::BodyExceedsLimit(_)) => {
                let why = format!("it is longer than {limit} bytes");
                return Err(self.fault(&codes::REMOTE_TOO_LARGE, "its answer is too long", &why));
            }
            // The status counts more than the rest of its text.
            Err(_) if status >= 400 => Vec::new(),
            Err(why) => return Err(self.broken(&why)),
        };
        self.judge(status, retry_after, &bytes)
    }

    /// Tells answers from errors; some endpoints put an error under status 200.
    fn judge(&self, status: u16, after: Option<String>, bytes: &[u8]) -> Result<Value, Fault> {
        let parsed: Result<Value, _> = serde_json::from_slice(bytes);
        let stated = parsed.as_ref().ok().and_then(|value| value.get("error"));
        let stated = stated.filter(|error| !error.is_null());
        if (200..300).contains(&status) && stated.is_none() {
            return parsed.map_err(|why| {
                let why = format!("{why}; it begins: {}", self.clean(bytes));
                self.fault(&codes::REMOTE_GARBAGE, "its answer is not JSON", &why)
            });
        }
        let inner = stated.and_then(|error| error.get("code")).and_then(Value::as_u64);
        let effective = if status >= 300 {
            status
        } else {
            inner.and_then(|code| u16::try_from(code).ok()).unwrap_or(status)
        };
        let message = stated.map(|error| match error.get("message").unwrap_or(error) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let reason = match &message {
            Some(text) => redact(text, self.key.as_ref(), SHOWN),
            None => self.clean(bytes),
        };
        let exhausted = reason.contains("insufficient_quota")
            || stated.and_then(|e| e.get("code")).and_then(Value::as_str)
                == Some("insufficient_quota");
        let retry = matches!(effective, 408 | 409 | 425 | 429 | 500..=599) && !exhausted;
        let said = if reason.is_empty() { "it gave no reason" } else { reason.as_str() };
        let doing = match effective {
            401 | 403 => format!("it refuses the key (status {status})"),
            300..=399 => format!("it redirects elsewhere (status {status}), which is not followed"),
            _ => format!("it answered with an error (status {status})"),
        };
        let refused = matches!(effective, 400 | 413 | 422);
        let code = if refused { &codes::REMOTE_REFUSED } else { &codes::REMOTE_STATUS };
        let fault = self.fault(code, &doing, said);
        Err(Fault { status: Some(effective), reason, retry, retry_after: after, ..fault })
    }

    fn clean(&self, bytes: &[u8]) -> String {
        // Four bytes at most per character, and room for what redaction takes out.
        let head = &bytes[..bytes.len().min(SHOWN * 8)];
        redact(&String::from_utf8_lossy(head), self.key.as_ref(), SHOWN)
    }

    fn fault(&self, code: &'static Code, what: &str, why: &str) -> Fault {
        let what = format!("the hosted model at {}: {what}", self.shown);
        let error = Error::new(code, what).why(why);
        Fault { error, status: None, reason: String::new(), retry: false, retry_after: None }
    }

    /// The connection failed: worth another attempt unless the settings are at fault.
    fn broken(&self, why: &ureq::Error) -> Fault {
        let retry = !matches!(
            why,
            ureq::Error::BadUri(_)
                | ureq::Error::Http(_)
                | ureq::Error::InvalidProxyUrl
                | ureq::Error::Tls(_)
                | ureq::Error::Rustls(_)
                | ureq::Error::Pem(_)
                | ureq::Error::RequireHttpsOnly(_)
        );
        let why = redact(&why.to_string(), self.key.as_ref(), SHOWN);
        Fault { retry, ..self.fault(&codes::REMOTE_UNREACHABLE, "it cannot be reached", &why) }
    }
}

/// Reads trusted roots from a PEM file.
fn roots(file: &std::path::Path) -> Result<RootCerts> {
    let pem = std::fs::read(file).map_err(|why| {
        Error::io(&codes::REMOTE_SETTINGS, "read the trusted roots", file, &why)
            .help("Correct SSL_CERT_FILE, or unset it to trust Mozilla's roots.")
    })?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(why) => {
                let what = "a trusted root is not valid PEM";
                return Err(Error::new(&codes::REMOTE_SETTINGS, what)
                    .file(file)
                    .why(why.to_string()));
            }
        }
    }
    if certificates.is_empty() {
        let what = "the file of trusted roots holds no certificate";
        return Err(Error::new(&codes::REMOTE_SETTINGS, what).file(file));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
