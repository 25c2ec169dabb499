//! The page: a few files that are part of the program. They hold nothing of the project, so they
//! need no key; what the page shows it asks of the API.

use crate::state::State;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

/// The page may load its own files and ask its own server; it may run no inline script, and no
/// string becomes markup (trusted types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers of a report: it may show its own styles and pictures, nothing else, and counts as a
/// page of no site.
pub(crate) const SANDBOX: [(HeaderName, &str); 6] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'self'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
    tag: String,
}

macro_rules! assets {
    ($($name:literal: $kind:literal),* $(,)?) => {
        static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
            vec![$(Asset::new($name, $kind, include_str!(concat!("../../assets/", $name)))),*]
        });
    };
}

assets! {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "theme.js": "text/javascript; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "format.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "now.js": "text/javascript; charset=utf-8",
    "releases.js": "text/javascript; charset=utf-8",
    "moves.js": "text/javascript; charset=utf-8",
    "reports.js": "text/javascript; charset=utf-8",
    "route.js": "text/javascript; charset=utf-8",
    "drift.js": "text/javascript; charset=utf-8",
    "queue.js": "text/javascript; charset=utf-8",
    "playground.js": "text/javascript; charset=utf-8",
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, content: &'static str) -> Self {
        let digest = hex::encode(Sha256::digest(content));
        Asset { name, kind, content, tag: format!("\"{}\"", &digest[..16]) }
    }

    fn response(&self, headers: &HeaderMap) -> Response {
        let tag = self.tag.as_str();
        let shared = [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            // The files change with the program: always ask, and send nothing when it is the same.
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "accept"),
            (header::ETAG, tag),
        ];
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag);
        if known {
            return (StatusCode::NOT_MODIFIED, shared).into_response();
        }
        (shared, [(header::CONTENT_TYPE, self.kind)], self.content).into_response()
    }
}

/// `/`: the page for browsers, the index for programs.
pub(crate) async fn root(shared: Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter();
    let html = accepts.filter_map(|value| value.to_str().ok()).any(|v| v.contains("text/html"));
    match ASSETS.iter().find(|asset| html && asset.name == "index.html") {
        Some(page) => page.response(&headers),
        None => {
            let index = crate::operations::index(shared).await;
            ([(header::VARY, "accept")], index).into_response()
        }
    }
}

/// One of the page's files.
pub(crate) async fn asset(Path(file): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == file) {
        Some(asset) => asset.response(&headers),
        None => crate::operations::nowhere(uri).await.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of files in quotes behind `from` or `import(`, `src=` and `href=`.
    fn named(content: &str) -> Vec<&str> {
        let ends = |text: &str| [".js", ".css", ".svg"].iter().any(|end| text.ends_with(end));
        content
            .split('"')
            .filter(|text| (text.starts_with("./") || text.starts_with("/page/")) && ends(text))
            .collect()
    }

    #[test]
    fn every_file_that_the_page_names_is_there_and_none_is_idle() {
        let mut used = vec!["index.html"];
        for asset in ASSETS.iter() {
            for name in named(asset.content) {
                let name = name.trim_start_matches("./").trim_start_matches("/page/");
                assert!(ASSETS.iter().any(|one| one.name == name), "{} names {name}", asset.name);
                used.push(name);
            }
        }
        for asset in ASSETS.iter() {
            assert!(used.contains(&asset.name), "nothing uses {}", asset.name);
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_no_text_becomes_markup() {
        for Asset { name, content, .. } in ASSETS.iter() {
            let content = content.replace("http://www.w3.org/", "");
            for banned in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
                "document.write",
                "new Function",
                " onclick=",
                " style=",
                "DOMParser",
            ] {
                assert!(!content.contains(banned), "{name} has {banned}");
            }
        }
    }
}
