//! What the environment says about endpoints, credentials and folders.
//!
//! The variables are those of the ecosystem's own clients: `HF_ENDPOINT`, `HF_TOKEN`,
//! `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HTTPS_PROXY`, `NO_PROXY`,
//! `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `XDG_CACHE_HOME`; pip reads its own.
//! Sprat's: `SPRAT_HOME`, `SPRAT_OFFLINE`, `SPRAT_PYTHON`.

use std::fmt;
use std::path::PathBuf;

/// A text that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The environment's settings, read once.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Sprat's folder: `SPRAT_HOME`, else `$XDG_CACHE_HOME/sprat`, else `~/.cache/sprat`.
    pub sprat_home: PathBuf,
    /// The hub's address without a trailing slash: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub hub_endpoint: String,
    /// The hub's token: `HF_TOKEN`, else the content of `HF_TOKEN_PATH` or `$HF_HOME/token`.
    pub hub_token: Option<Secret>,
    /// The cache of the hub's own client: `HF_HUB_CACHE`, else `$HF_HOME/hub`.
    pub hub_cache: PathBuf,
    /// Whether the network is forbidden: `SPRAT_OFFLINE` or `HF_HUB_OFFLINE` is 1, true, yes or on.
    pub offline: bool,
    /// The Python interpreter whose pip fetches wheels: `SPRAT_PYTHON`, else `python3`.
    pub python: String,
    /// A PEM file of trusted roots: `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`;
    /// Mozilla's roots where none is named.
    pub roots: Option<PathBuf>,
    /// The proxy of `HTTPS_PROXY` or `ALL_PROXY`, with the exceptions of `NO_PROXY`.
    pub(crate) proxy: Option<ureq::Proxy>,
}

impl Environment {
    /// Reads the process's environment.
    pub fn read() -> Self {
        Self {
            proxy: ureq::Proxy::try_from_env(),
            ..Self::from_lookup(|name| std::env::var(name).ok())
        }
    }

    /// Reads variables from anywhere; the proxy is left out.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let flag = |name: &str| {
            get(name).is_some_and(|value| {
                ["1", "true", "yes", "on"].contains(&value.trim().to_ascii_lowercase().as_str())
            })
        };
        let home = path("HOME").or_else(|| path("USERPROFILE")).unwrap_or_else(std::env::temp_dir);
        let caches = path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hub_home = path("HF_HOME").unwrap_or_else(|| caches.join("huggingface"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| hub_home.join("token"));
        let hub_token = get("HF_TOKEN")
            .or_else(|| std::fs::read_to_string(token_file).ok())
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .map(Secret);
        Self {
            sprat_home: path("SPRAT_HOME").unwrap_or_else(|| caches.join("sprat")),
            hub_endpoint: get("HF_ENDPOINT")
                .map(|text| text.trim().trim_end_matches('/').to_owned())
                .unwrap_or_else(|| "https://huggingface.co".to_owned()),
            hub_token,
            hub_cache: path("HF_HUB_CACHE").unwrap_or_else(|| hub_home.join("hub")),
            offline: flag("SPRAT_OFFLINE") || flag("HF_HUB_OFFLINE"),
            python: get("SPRAT_PYTHON").unwrap_or_else(|| "python3".to_owned()),
            roots: path("SSL_CERT_FILE")
                .or_else(|| path("REQUESTS_CA_BUNDLE"))
                .or_else(|| path("CURL_CA_BUNDLE")),
            proxy: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn folders_follow_the_conventions() {
        let bare = from(&[("HOME", "/home/ada")]);
        assert_eq!(bare.sprat_home, PathBuf::from("/home/ada/.cache/sprat"));
        assert_eq!(bare.hub_cache, PathBuf::from("/home/ada/.cache/huggingface/hub"));
        assert_eq!(bare.hub_endpoint, "https://huggingface.co");
        assert!(!bare.offline);
        let set = from(&[
            ("HOME", "/home/ada"),
            ("XDG_CACHE_HOME", "/c"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_HUB_OFFLINE", "1"),
        ]);
        assert_eq!(set.sprat_home, PathBuf::from("/c/sprat"));
        assert_eq!(set.hub_endpoint, "http://mirror");
        assert!(set.offline);
        assert_eq!(from(&[("SPRAT_HOME", "/s")]).sprat_home, PathBuf::from("/s"));
        assert_eq!(from(&[("HF_HOME", "/h")]).hub_cache, PathBuf::from("/h/hub"));
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_and_is_never_printed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        let folder = home.path().to_str().unwrap();
        let environment = from(&[("HF_HOME", folder)]);
        assert_eq!(environment.hub_token.as_ref().unwrap().reveal(), "from-file");
        assert!(!format!("{environment:?}").contains("from-file"));
        let environment = from(&[("HF_HOME", folder), ("HF_TOKEN", "from-variable")]);
        assert_eq!(environment.hub_token.unwrap().reveal(), "from-variable");
    }
}
