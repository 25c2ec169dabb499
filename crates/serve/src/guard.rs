//! Who may look at the project and who may change it, against forged calls of every kind: keys that
//! are guessed, pages of other sites, and names that a hostile site makes point here.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use crate::gate::{RequestId, bearer};
use crate::state::State;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

/// Who changes something, in the words of the log: the key that the request carries.
#[derive(Clone)]
pub(crate) struct Admin(pub(crate) String);

/// Lets a request in that looks at the project: with a valid key where keys are asked for, from
/// nobody else's page.
pub(crate) async fn inspect(state: Arc<State>, request: Request, next: Next) -> Response {
    match allowed(&state, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => refused(&request, error),
    }
}

/// Whether a request may look at the project.
pub(crate) fn allowed(state: &State, headers: &HeaderMap) -> ApiResult<()> {
    same_site(headers)?;
    state.own_name(headers)?;
    state.authorize(headers).map(|_| ())
}

/// Lets a request in that changes something: with an admin's key, from nobody else's page.
pub(crate) async fn change(state: Arc<State>, mut request: Request, next: Next) -> Response {
    let checked = same_site(request.headers())
        .and_then(|()| state.own_name(request.headers()))
        .and_then(|()| state.admin(request.headers()));
    match checked {
        Ok(name) => {
            request.extensions_mut().insert(Admin(format!("key {name}")));
            next.run(request).await
        }
        Err(error) => refused(&request, error),
    }
}

/// The refusal, of which the log keeps a line.
fn refused(request: &Request, error: ApiError) -> Response {
    let id = request.extensions().get::<RequestId>().map_or("", |id| id.0.as_str());
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0);
    let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    let (path, code) = (request.uri().path(), error.error.code().id);
    tracing::warn!(id, peer, method = %request.method(), path, code, "refused an admin call");
    error.into_response()
}

impl State {
    /// The name of the admin's key that a request carries.
    fn admin(&self, headers: &HeaderMap) -> ApiResult<String> {
        let admins = &self.config.admins;
        if admins.is_empty() {
            let what = "nobody may change anything over HTTP: there is no admin key";
            return Err(ApiError::plain(&codes::ADMIN_OFF, what));
        }
        if headers.get(header::AUTHORIZATION).is_none() {
            let what = "the request carries no admin key";
            let error = ApiError::plain(&codes::ADMIN_KEY, what);
            return Err(error.with_status(StatusCode::UNAUTHORIZED));
        }
        match bearer(headers).and_then(|key| admins.name_of(key)) {
            Some(name) => Ok(name.to_owned()),
            None => Err(ApiError::plain(&codes::ADMIN_KEY, "the key is no admin's")),
        }
    }

    /// Where no key is asked for, the name under which a browser reached the server is all that
    /// tells its own page from a hostile one (DNS rebinding).
    fn own_name(&self, headers: &HeaderMap) -> ApiResult<()> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let name = host.map(name_of).unwrap_or_default();
        let own = !self.config.keys.is_empty()
            || name.eq_ignore_ascii_case("localhost")
            || name.to_ascii_lowercase().ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.config.hosts.iter().any(|own| own.eq_ignore_ascii_case(name));
        if own {
            return Ok(());
        }
        let name: String = name.chars().take(100).collect();
        let what = format!("`{name}` is not known to be a name of this server");
        Err(ApiError::plain(&codes::HOST, what))
    }
}

/// The host without its port and without the brackets of an IPv6 address.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Refuses what a page of another site sends. Browsers say where a request comes from in headers
/// that no script can set: `Sec-Fetch-Site` (Fetch Metadata), and `Origin` where they do not
/// know that one. Other programs send neither.
pub(crate) fn same_site(headers: &HeaderMap) -> ApiResult<()> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let foreign = |from: &str| {
        let from: String = from.chars().take(100).collect();
        let what = "the request comes from a page of another site";
        Err(ApiError::plain(&codes::ORIGIN, what).because(&format!("its origin is {from}")))
    };
    let origin = text("origin");
    match (text("sec-fetch-site"), origin) {
        (Some("same-origin" | "none"), _) => Ok(()),
        (Some(site), _) => foreign(origin.unwrap_or(site)),
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            match (authority, text("host")) {
                (Some(from), Some(host)) if from.eq_ignore_ascii_case(host) => Ok(()),
                _ => foreign(origin),
            }
        }
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_browser_of_another_site_is_known() {
        let fits = |lines: &[(&'static str, &str)]| same_site(&headers(lines)).is_ok();
        let host = ("host", "sprat.example:8080");
        assert!(fits(&[host]), "no browser");
        assert!(fits(&[host, ("origin", "http://sprat.example:8080")]));
        assert!(fits(&[
            host,
            ("origin", "https://sprat.example"),
            ("sec-fetch-site", "same-origin")
        ]));
        for origin in
            ["http://sprat.example", "http://evil.example:8080", "null", "", "sprat.example:8080"]
        {
            assert!(!fits(&[host, ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", ""] {
            let own = ("origin", "http://sprat.example:8080");
            assert!(!fits(&[host, own, ("sec-fetch-site", site)]), "{site}");
        }
    }

    #[test]
    fn a_host_is_read_without_its_port() {
        for (host, name) in [
            ("a.b:80", "a.b"),
            ("a", "a"),
            ("[::1]:80", "::1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(name_of(host), name);
        }
    }
}
