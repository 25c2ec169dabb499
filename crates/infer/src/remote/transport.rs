//! One attempt over HTTP: a request goes out, and its response is read within limits of size,
//! of silence and of time altogether.

use super::connect::{Http, client};
use super::events::Events;
use super::fault::{Fault, Faults};
use super::settings::Settings;
use crate::codes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use serde_json::Value;
use sprat_task::{Error, Result};
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// The way to one endpoint.
pub(super) struct Transport {
    http: Http,
    uri: Uri,
    headers: HeaderMap,
    pub(super) faults: Faults,
    timeout: Duration,
    idle_timeout: Duration,
    response_limit: u64,
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let proxies = settings.proxy_from_environment.then(Matcher::from_env);
        Self::through(settings, proxies.as_ref())
    }

    /// The same with the caller's proxies.
    pub(super) fn through(settings: &Settings, proxies: Option<&Matcher>) -> Result<Self> {
        let base = settings.base_url.trim().trim_end_matches('/');
        let uri: Option<Uri> = format!("{base}/chat/completions").parse().ok();
        let uri = uri.filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        let Some(uri) = uri else {
            let what = format!("base_url of `{}` is no http(s) address", settings.name);
            return Err(Error::new(&codes::REMOTE_SETTINGS, what).field("base_url"));
        };
        let shown = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or_default(),
            uri.host().unwrap_or_default()
        );
        Ok(Transport {
            http: client(settings, &uri, proxies)?,
            headers: headers(settings, &uri)?,
            uri,
            faults: Faults { shown, key: settings.api_key.clone() },
            timeout: settings.timeout,
            idle_timeout: settings.idle_timeout,
            response_limit: settings.response_limit,
        })
    }

    /// Sends a body and waits for the head of the response. `deadline` may shorten the time.
    pub(super) async fn post(
        &self,
        body: Vec<u8>,
        deadline: Option<Instant>,
    ) -> Result<Response<'_>, Fault> {
        let until = Instant::now() + self.timeout;
        let until = deadline.map_or(until, |deadline| until.min(deadline));
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let sent = timeout_at(until.into(), self.http.request(request)).await;
        let response = sent
            .map_err(|_| self.faults.late("no answer", self.timeout))?
            .map_err(|why| self.faults.unreachable(&why))?;
        let text = |name| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let streams = text(CONTENT_TYPE).is_some_and(|kind| {
            kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
        });
        Ok(Response {
            transport: self,
            status: response.status().as_u16(),
            retry_after: text(hyper::header::RETRY_AFTER),
            streams,
            body: response.into_body(),
            until,
            read: 0,
        })
    }
}

/// The headers of every request. The key is marked as not to be shown.
fn headers(settings: &Settings, uri: &Uri) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let agent = HeaderValue::from_static(concat!("sprat/", env!("CARGO_PKG_VERSION")));
    headers.insert(USER_AGENT, agent);
    let user = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
    let value = match (&settings.api_key, user) {
        (Some(key), _) => format!("Bearer {}", key.reveal()),
        (None, Some((user, _))) => format!("Basic {}", STANDARD.encode(user)),
        (None, None) => return Ok(headers),
    };
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        let what =
            format!("the key of `{}` holds characters that no header may hold", settings.name);
        Error::new(&codes::REMOTE_SETTINGS, what)
            .field("api_key_env")
            .help("A key is one line of visible characters: look for a line break inside it.")
    })?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(headers)
}

/// A response whose head is there.
pub(super) struct Response<'a> {
    transport: &'a Transport,
    status: u16,
    retry_after: Option<String>,
    streams: bool,
    body: Incoming,
    /// The whole answer must be there then.
    until: Instant,
    read: u64,
}

impl<'a> Response<'a> {
    /// Whether it is a successful answer in server-sent events.
    pub(super) fn is_stream(&self) -> bool {
        self.streams && (200..300).contains(&self.status)
    }

    /// Its events.
    pub(super) fn events(self) -> Events<'a> {
        Events::new(self)
    }

    pub(super) fn faults(&self) -> &'a Faults {
        &self.transport.faults
    }

    /// The next piece of its body; none at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let (faults, idle) = (self.faults(), self.transport.idle_timeout);
        loop {
            let patience = (Instant::now() + idle).min(self.until);
            let frame = match timeout_at(patience.into(), self.body.frame()).await {
                Err(_) if patience < self.until => return Err(faults.late("nothing more", idle)),
                Err(_) => return Err(faults.late("no end", self.transport.timeout)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(why))) => return Err(faults.broken_off(&why)),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            self.read += bytes.len() as u64;
            if self.read > self.transport.response_limit {
                return Err(faults.too_long(self.transport.response_limit));
            }
            return Ok(Some(bytes));
        }
    }

    /// Reads it whole, and tells answers from errors; some endpoints put an error under status
    /// 200.
    pub(super) async fn whole(mut self) -> Result<Value, Fault> {
        let mut bytes = Vec::new();
        loop {
            match self.piece().await {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => break,
                // The status counts more than the rest of its text.
                Err(_) if self.status >= 400 => break,
                Err(fault) => return Err(fault),
            }
        }
        let faults = self.faults();
        let parsed: Result<Value, _> = serde_json::from_slice(&bytes);
        let stated = parsed.as_ref().ok().and_then(|value| value.get("error"));
        let stated = stated.filter(|error| !error.is_null());
        if (200..300).contains(&self.status) && stated.is_none() {
            return parsed.map_err(|why| faults.garbage(&format!("it is not JSON: {why}"), &bytes));
        }
        Err(faults.stated(self.status, self.retry_after, stated, &bytes))
    }
}
