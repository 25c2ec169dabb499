//! Requests to a hub: redirects, credentials, and what the answers' statuses mean.
//!
//! Why not the `hf-hub` crate: its version 1.0 is asynchronous over reqwest, tokio and the Xet
//! stack, starts an interrupted file over from its first byte, and does not check the digests that
//! the hub announces. The protocol that pulling needs is two requests, so it stands here over
//! `ureq`, with resuming, digests and a blocking interface.

use crate::codes::{BUSY, DENIED, NETWORK, NOT_FOUND, PROTOCOL, SERVER};
use crate::pull::PullOptions;
use crate::retry::Failure;
use sprat_task::{Error, Result};
use std::time::Duration;
use ureq::http::{Response, Uri, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

const MOST_REDIRECTS: usize = 10;

/// A client of one hub.
pub(crate) struct Client<'a> {
    agent: Agent,
    options: &'a PullOptions,
    /// Scheme, host and port of the hub: the only place that may see the token.
    origin: Option<String>,
}

/// An answer, with the facts that the hub's own redirect carried.
pub(crate) struct Answer {
    /// The last response.
    pub(crate) response: Response<Body>,
    /// The file's entity tag at the hub, without quotes: a SHA-256 or the SHA-1 of a git blob.
    pub(crate) etag: Option<String>,
    /// The file's whole size, as the hub says.
    pub(crate) size: Option<u64>,
}

impl<'a> Client<'a> {
    /// A client for the endpoint of these options.
    pub(crate) fn new(options: &'a PullOptions) -> Result<Self> {
        let endpoint = &options.environment.hub_endpoint;
        let uri: Uri = endpoint.parse().map_err(|_| wrong_endpoint(endpoint))?;
        let origin = origin(&uri).ok_or_else(|| wrong_endpoint(endpoint))?;
        let mut tls = TlsConfig::builder();
        if let Some(path) = &options.environment.roots {
            tls = tls.root_certs(roots(path)?);
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .proxy(options.environment.proxy.clone())
            // Followed by hand: the hub's redirect carries the digest, and the token must stay.
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("sprat/", env!("CARGO_PKG_VERSION")))
            // A compressed body has no length to check, and no range to resume.
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        Ok(Self { agent, options, origin: Some(origin) })
    }

    /// GETs an address below the endpoint, from byte `from` on where that is not 0. Answers 200,
    /// 206 and 416 come back; every other status is a failure.
    pub(crate) fn get(&self, path: &str, from: u64) -> Result<Answer, Failure> {
        let mut address = format!("{}{path}", self.options.environment.hub_endpoint);
        let (mut etag, mut size) = (None, None);
        for _ in 0..=MOST_REDIRECTS {
            let uri: Uri = address.parse().map_err(|_| wrong_endpoint(&address))?;
            let mut request = self.agent.get(&uri);
            if origin(&uri) == self.origin
                && let Some(token) = &self.options.environment.hub_token
            {
                request =
                    request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
            }
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| unreachable(&address, &error))?;
            // The hub's own words come before those of the store that it redirects to.
            etag = etag.or_else(|| entity_tag(&response));
            size = size.or_else(|| text(&response, "x-linked-size").and_then(|t| t.parse().ok()));
            let status = response.status().as_u16();
            match status {
                301 | 302 | 303 | 307 | 308 => address = follow(&uri, &response)?,
                200 | 206 | 416 => return Ok(Answer { response, etag, size }),
                _ => return Err(refusal(&address, status, &response)),
            }
        }
        Err(Error::new(&PROTOCOL, format!("`{}` redirects in circles", shown(&address))).into())
    }
}

fn wrong_endpoint(address: &str) -> Error {
    Error::new(&PROTOCOL, format!("`{}` is not an http or https address", shown(address)))
}

/// Scheme, host and port, in lower case; `None` for what is not http.
fn origin(uri: &Uri) -> Option<String> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let port = uri.port_u16().unwrap_or(port);
    Some(format!("{scheme}://{}:{port}", uri.host()?.to_ascii_lowercase()))
}

/// An address without its query, which holds signatures at the stores that the hub redirects to.
fn shown(address: &str) -> &str {
    address.split('?').next().unwrap_or(address)
}

fn text<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok().map(str::trim)
}

fn entity_tag(response: &Response<Body>) -> Option<String> {
    let tag = text(response, "x-linked-etag").or_else(|| {
        // Without the hub's own header, a tag counts only where no redirect follows.
        (!response.status().is_redirection()).then(|| text(response, "etag")).flatten()
    })?;
    Some(tag.trim_start_matches("W/").trim_matches('"').to_owned())
}

fn follow(from: &Uri, response: &Response<Body>) -> Result<String> {
    let lost = |why: &str| {
        Error::new(&PROTOCOL, format!("`{}` redirects to nowhere", shown(&from.to_string())))
            .why(why)
    };
    let location = text(response, "location").ok_or_else(|| lost("it names no location"))?;
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let to = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    if scheme == "https" && !to.to_ascii_lowercase().starts_with("https://") {
        return Err(lost("it leads from https to an address without encryption"));
    }
    Ok(to)
}

fn unreachable(address: &str, error: &ureq::Error) -> Failure {
    let told = Error::new(&NETWORK, format!("could not reach `{}`", shown(address)))
        .why(error.to_string());
    match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => Failure::again(told),
        _ => Failure::Final(told),
    }
}

fn refusal(address: &str, status: u16, response: &Response<Body>) -> Failure {
    let said = text(response, "x-error-message").unwrap_or("no further word");
    let make = |code| {
        Error::new(code, format!("the hub answered {status} for `{}`", shown(address))).why(said)
    };
    // The hub answers 401 for a model that does not exist, lest it tell which private ones do.
    match (status, text(response, "x-error-code")) {
        (404, _) | (_, Some("RepoNotFound" | "RevisionNotFound" | "EntryNotFound")) => {
            Failure::Final(make(&NOT_FOUND))
        }
        (401 | 403, _) => Failure::Final(make(&DENIED)),
        (429, _) => {
            let after = text(response, "retry-after").and_then(|t| t.parse().ok());
            let after = after.map(Duration::from_secs);
            Failure::Again { error: make(&BUSY), after, moved: false }
        }
        (408 | 425 | 500..=599, _) => Failure::again(make(&SERVER)),
        _ => Failure::Final(make(&SERVER)),
    }
}

fn roots(path: &std::path::Path) -> Result<RootCerts> {
    let unread = |why: String| {
        Error::new(&NETWORK, "the trusted certificates cannot be read")
            .file(path)
            .why(why)
            .help("SSL_CERT_FILE must name a PEM file with certificates.")
    };
    let pem = std::fs::read(path).map_err(|error| unread(error.to_string()))?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(unread("it holds no certificate".to_owned()));
    }
    Ok(RootCerts::from(found))
}
