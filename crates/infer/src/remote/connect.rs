//! The way to an endpoint: names, proxies, TLS, and a pool of open connections.

use super::settings::Settings;
use crate::codes;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sprat_task::{Error, Result};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;

/// A client of one endpoint.
pub(super) type Http = Client<HttpsConnector<Dial>, Full<Bytes>>;

/// For how long a connection that nobody uses stays open. Many servers close theirs after a
/// minute, and a request that meets the closing fails.
const IDLE: Duration = Duration::from_secs(30);

/// The longest head of a response, in bytes, and at the same time the piece that is read at once.
const HEAD: usize = 64 << 10;

/// A client as the settings want it. `proxies`: which addresses are reached through which proxy.
pub(super) fn client(settings: &Settings, target: &Uri, proxies: Option<&Matcher>) -> Result<Http> {
    let dial = dial(settings, target, proxies)?;
    let tls = match &settings.roots {
        None => HttpsConnectorBuilder::new().with_webpki_roots(),
        Some(file) => HttpsConnectorBuilder::new().with_tls_config(trusting(roots(file)?)?),
    };
    let connector = tls.https_or_http().enable_http1().wrap_connector(dial);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(settings.concurrency.max(1))
        .http1_max_buf_size(HEAD)
        .build(connector))
}

/// Connections to an endpoint itself, or through a proxy that tunnels (`CONNECT`).
#[derive(Clone)]
pub(super) enum Dial {
    Direct(HttpConnector),
    Through(Tunnel<HttpConnector>),
}

fn dial(settings: &Settings, target: &Uri, proxies: Option<&Matcher>) -> Result<Dial> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(settings.connect_timeout));
    let Some(proxy) = proxies.and_then(|proxies| proxies.intercept(target)) else {
        return Ok(Dial::Direct(tcp));
    };
    if proxy.uri().scheme_str() != Some("http") {
        let scheme = proxy.uri().scheme_str().unwrap_or("none");
        let what = format!("the proxy of `{}` cannot be used", settings.name);
        return Err(Error::new(&codes::REMOTE_SETTINGS, what)
            .why(format!("its scheme is `{scheme}`; only `http` proxies are known"))
            .help("Correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or name the host in NO_PROXY."));
    }
    let tunnel = Tunnel::new(proxy.uri().clone(), tcp);
    Ok(Dial::Through(match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Dialing = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Dialing;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Dial::Direct(tcp) => tcp.poll_ready(context).map_err(Into::into),
            Dial::Through(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, target: Uri) -> Dialing {
        match self {
            Dial::Direct(tcp) => {
                let connecting = tcp.call(target);
                Box::pin(async move { Ok(connecting.await?) })
            }
            Dial::Through(tunnel) => {
                let connecting = tunnel.call(target);
                Box::pin(async move { Ok(connecting.await?) })
            }
        }
    }
}

/// TLS that trusts these roots alone.
fn trusting(roots: RootCertStore) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| {
            Error::new(&codes::REMOTE_SETTINGS, "TLS cannot be set up").why(why.to_string())
        })?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Reads trusted roots from a PEM file.
fn roots(file: &Path) -> Result<RootCertStore> {
    let pem = std::fs::read(file).map_err(|why| {
        Error::io(&codes::REMOTE_SETTINGS, "read the trusted roots", file, &why)
            .help("Correct SSL_CERT_FILE, or unset it to trust Mozilla's roots.")
    })?;
    let wrong = |why: String| {
        let what = "a trusted root is not a valid certificate in PEM";
        Error::new(&codes::REMOTE_SETTINGS, what).file(file).why(why)
    };
    let certificates: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|why| wrong(why.to_string()))?;
    let mut store = RootCertStore::empty();
    // Bundles of systems carry some that are too old to be used: those trust nobody.
    store.add_parsable_certificates(certificates);
    if store.is_empty() {
        let what = "the file of trusted roots holds no certificate";
        return Err(Error::new(&codes::REMOTE_SETTINGS, what).file(file));
    }
    Ok(store)
}
