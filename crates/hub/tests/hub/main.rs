//! Pulling from a hub that speaks the protocol, in good and in bad weather.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use server::{COMMIT, Reply, Repo, Request, Server};
use sprat_hub::{Environment, ModelRef, PullOptions, Pulled, find, pull};
use sprat_task::{Digest, Interrupt, Progress, Quiet, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const WEIGHTS: &str = "model.safetensors";

fn reference() -> ModelRef {
    "hf:org/name".parse().unwrap()
}

/// Options whose whole world is one folder and one server.
fn options(home: &Path, endpoint: &str, more: &[(&str, &str)]) -> PullOptions {
    let mut set: BTreeMap<String, String> =
        more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let folder = |name: &str| home.join(name).display().to_string();
    set.insert("SPRAT_HOME".into(), folder("sprat"));
    set.insert("HF_HOME".into(), folder("hf"));
    set.insert("HF_ENDPOINT".into(), endpoint.into());
    let mut options = PullOptions::new(Environment::from_lookup(|name| set.get(name).cloned()));
    options.patience = Duration::from_millis(1);
    options
}

fn bring(options: &PullOptions) -> Result<Pulled> {
    pull(&reference(), options, &Quiet, &Interrupt::default())
}

fn code(result: Result<Pulled>) -> &'static str {
    result.unwrap_err().code().id
}

/// Nothing stands under the model's name, and nothing is listed.
fn assert_absent(options: &PullOptions) {
    assert_eq!(options.cache().list().unwrap(), []);
    assert_eq!(find(&reference(), options, &Interrupt::default()).unwrap(), None);
}

#[test]
fn a_model_is_pulled_whole_and_then_reused_without_a_request() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let honest = repo.clone();
    let server = Server::start(move |request| honest.answer(request));
    let options = options(home.path(), &server.address, &[]);
    let pulled = bring(&options).unwrap();
    assert!(!pulled.reused);
    assert_eq!(pulled.resolved.as_deref(), Some(COMMIT));
    let names: Vec<&str> = pulled.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        names,
        ["1_Pooling/config.json", "config.json", WEIGHTS, "modules.json", "tokenizer.json"]
    );
    for file in &pulled.files {
        assert_eq!(fs::read(pulled.dir.join(&file.path)).unwrap(), repo.files[&file.path]);
        assert_eq!(file.sha256, Digest::of(&repo.files[&file.path]));
    }
    assert!(server.asked_for("onnx").is_empty() && server.asked_for(".bin").is_empty());
    let asked = server.requests().len();
    let again = bring(&options).unwrap();
    assert!(again.reused);
    assert_eq!((again.digest, again.dir), (pulled.digest, pulled.dir.clone()));
    assert_eq!(server.requests().len(), asked);
    options.cache().verify(&reference(), &Quiet, &Interrupt::default()).unwrap();
    // The same files as a folder are the same model.
    let folder = ModelRef::Path(pulled.dir.clone());
    let named = pull(&folder, &options, &Quiet, &Interrupt::default()).unwrap();
    assert_eq!(named.digest, pulled.digest);
}

#[test]
fn a_body_that_breaks_off_is_resumed_where_it_broke() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let broken = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = repo.answer(request);
        if request.path.contains(WEIGHTS) && broken.fetch_add(1, Ordering::SeqCst) < 3 {
            reply.cut = Some(70_000);
        }
        reply
    });
    let pulled = bring(&options(home.path(), &server.address, &[])).unwrap();
    assert_eq!(pulled.bytes, pulled.files.iter().map(|file| file.bytes).sum::<u64>());
    let ranges: Vec<Option<String>> = server
        .asked_for(WEIGHTS)
        .iter()
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    let expected = [None, Some("bytes=70000-"), Some("bytes=140000-"), Some("bytes=210000-")];
    assert_eq!(ranges, expected.map(|range| range.map(str::to_owned)));
}

#[test]
fn a_server_that_cannot_resume_is_asked_from_the_start() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let broken = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let blind = Request { path: request.path.clone(), headers: BTreeMap::new() };
        let mut reply = repo.answer(&blind);
        if request.path.contains(WEIGHTS) && broken.fetch_add(1, Ordering::SeqCst) < 1 {
            reply.cut = Some(1000);
        }
        reply
    });
    bring(&options(home.path(), &server.address, &[])).unwrap();
}

/// Asks for an interrupt once so many bytes have come.
struct StopAfter(u64, AtomicU64, Interrupt);

impl Progress for StopAfter {
    fn start(&self, _: &str, _: Option<u64>, _: &'static str) {}
    fn advance(&self, amount: u64) {
        if self.1.fetch_add(amount, Ordering::SeqCst) + amount >= self.0 {
            self.2.request();
        }
    }
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}

#[test]
fn an_interrupted_pull_goes_on_where_it_stood() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let server = Server::start(move |request| repo.answer(request));
    let options = options(home.path(), &server.address, &[]);
    let interrupt = Interrupt::default();
    let stop = StopAfter(100_000, AtomicU64::new(0), interrupt.clone());
    assert_eq!(code(pull(&reference(), &options, &stop, &interrupt)), "SPRAT-INTERRUPTED");
    assert_absent(&options);
    bring(&options).unwrap();
    let last = server.asked_for(WEIGHTS).pop().unwrap();
    let from = last.header("range").unwrap().to_owned();
    assert_ne!(from, "bytes=0-");
    // What was whole before is not fetched again.
    assert_eq!(server.asked_for("/config.json").len(), 2, "one for the root, one for pooling");
}

#[test]
fn a_killed_pull_is_resumed_by_the_next_process() {
    // The child runs this same test with the server's address in its environment.
    if let Ok(endpoint) = std::env::var("SPRAT_TEST_KILLED_PULL") {
        let home = std::env::var("SPRAT_TEST_HOME").unwrap();
        let _ = bring(&options(Path::new(&home), &endpoint, &[]));
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = repo.answer(request);
        if request.path.contains(WEIGHTS) && asked.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.stall = Some(123_456);
        }
        reply
    });
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["a_killed_pull_is_resumed_by_the_next_process", "--exact"])
        .env("SPRAT_TEST_KILLED_PULL", &server.address)
        .env("SPRAT_TEST_HOME", home.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let options = options(home.path(), &server.address, &[]);
    let part_is_there = || {
        walk(options.cache().folder())
            .iter()
            .any(|(path, bytes)| path.ends_with("model.safetensors.part") && *bytes == 123_456)
    };
    let start = Instant::now();
    while !part_is_there() {
        assert!(start.elapsed() < Duration::from_secs(30), "the child made no progress");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_absent(&options);
    bring(&options).unwrap();
    let last = server.asked_for(WEIGHTS).pop().unwrap();
    assert_eq!(last.header("range"), Some("bytes=123456-"));
    assert!(walk(options.cache().folder()).iter().all(|(path, _)| !path.contains(".part")));
}

fn walk(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            let bytes = fs::metadata(&path).map_or(0, |data| data.len());
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

#[test]
fn content_with_the_wrong_digest_is_refused_and_not_kept() {
    for (name, tells) in [(WEIGHTS, true), (WEIGHTS, false), ("config.json", true)] {
        let home = tempfile::tempdir().unwrap();
        let repo = Repo { tells, ..Repo::new() };
        let server = Server::start(move |request| {
            let mut reply = repo.answer(request);
            if request.path.contains("resolve") && request.path.ends_with(name) {
                reply.body[10] ^= 1;
            }
            reply
        });
        let options = options(home.path(), &server.address, &[]);
        assert_eq!(code(bring(&options)), "SPRAT-HUB-DIGEST", "{name} {tells}");
        assert_absent(&options);
        assert!(walk(home.path()).iter().all(|(path, _)| !path.ends_with(".part")));
    }
}

#[test]
fn a_stale_part_is_thrown_away_and_the_file_fetched_afresh() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let server = Server::start(move |request| repo.answer(request));
    let options = options(home.path(), &server.address, &[]);
    let interrupt = Interrupt::default();
    let stop = StopAfter(100_000, AtomicU64::new(0), interrupt.clone());
    pull(&reference(), &options, &stop, &interrupt).unwrap_err();
    let part = walk(home.path()).into_iter().find(|(path, _)| path.ends_with(".part")).unwrap();
    fs::write(&part.0, vec![7; part.1 as usize]).unwrap();
    bring(&options).unwrap();
}

#[test]
fn every_refusal_has_its_own_code() {
    let cases: [(u16, &str, &str, usize); 8] = [
        (401, "", "SPRAT-HUB-DENIED", 1),
        (401, "RepoNotFound", "SPRAT-HUB-NOT-FOUND", 1),
        (403, "GatedRepo", "SPRAT-HUB-DENIED", 1),
        (404, "RevisionNotFound", "SPRAT-HUB-NOT-FOUND", 1),
        (418, "", "SPRAT-HUB-SERVER", 1),
        (429, "", "SPRAT-HUB-BUSY", 5),
        (500, "", "SPRAT-HUB-SERVER", 5),
        (503, "", "SPRAT-HUB-SERVER", 5),
    ];
    for (status, sign, expected, requests) in cases {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(move |_| {
            Reply::new(status, "").with("X-Error-Code", sign).with("X-Error-Message", "because")
        });
        let options = options(home.path(), &server.address, &[]);
        let error = bring(&options).unwrap_err();
        assert_eq!(error.code().id, expected, "{status} {sign}");
        assert!(error.to_string().contains("because"), "{error}");
        assert_eq!(server.requests().len(), requests, "{status}");
        assert_absent(&options);
    }
}

#[test]
fn a_busy_or_stumbling_hub_is_asked_again() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429, "").with("Retry-After", "0"),
        1 | 4 => Reply::new(500, ""),
        3 => Reply::new(502, ""),
        _ => repo.answer(request),
    });
    bring(&options(home.path(), &server.address, &[])).unwrap();
}

#[test]
fn a_redirect_to_another_host_does_not_carry_the_token() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo { tells: false, ..Repo::new() };
    let store = repo.clone();
    let store = Server::start(move |request| {
        let mut reply = store.file(WEIGHTS, request);
        reply.headers.retain(|(name, _)| name != "ETag");
        // The store's own tag is no digest of the content.
        reply.with("ETag", format!("\"{}\"", "0".repeat(64)))
    });
    let to = format!("{}/bucket?signature=x", store.address);
    let hub = Server::start(move |request| {
        if request.path.ends_with(WEIGHTS) {
            return Reply::new(302, "")
                .with("Location", to.clone())
                .with("X-Linked-Etag", format!("\"{}\"", repo.tag(WEIGHTS)))
                .with("X-Linked-Size", repo.files[WEIGHTS].len().to_string());
        }
        if request.path.contains("/resolve/") && !request.path.contains("moved") {
            // A relative redirect on the hub itself keeps the token.
            return Reply::new(307, "").with("Location", format!("{}?moved=1", request.path));
        }
        repo.answer(request)
    });
    let options = options(home.path(), &hub.address, &[("HF_TOKEN", "hf_secret")]);
    bring(&options).unwrap();
    assert!(!store.requests().is_empty());
    assert!(store.requests().iter().all(|request| request.header("authorization").is_none()));
    let at_the_hub = hub.requests();
    assert!(at_the_hub.iter().all(|r| r.header("authorization") == Some("Bearer hf_secret")));
}

#[test]
fn redirects_in_circles_end() {
    let home = tempfile::tempdir().unwrap();
    let hub = Server::start(|_| Reply::new(302, "").with("Location", "/round"));
    assert_eq!(code(bring(&options(home.path(), &hub.address, &[]))), "SPRAT-HUB-PROTOCOL");
}

#[test]
fn offline_says_what_is_missing_and_how_to_get_it() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let server = Server::start(move |request| repo.answer(request));
    for more in [("HF_HUB_OFFLINE", "1"), ("SPRAT_OFFLINE", "true")] {
        let options = options(home.path(), &server.address, &[more]);
        let error = bring(&options).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-HUB-OFFLINE");
        assert!(error.to_string().contains("hf:org/name"), "{error}");
        assert!(error.remedy().contains("sprat pull hf:org/name"), "{}", error.remedy());
    }
    assert!(server.requests().is_empty());
    bring(&options(home.path(), &server.address, &[])).unwrap();
    let offline = options(home.path(), "http://127.0.0.1:9", &[("HF_HUB_OFFLINE", "1")]);
    assert!(bring(&offline).unwrap().reused);
}

#[test]
fn no_network_is_told_apart_from_no_model() {
    let home = tempfile::tempdir().unwrap();
    let unbound = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let result = bring(&options(home.path(), &format!("http://{unbound}"), &[]));
    assert_eq!(code(result), "SPRAT-HUB-NETWORK");
    let result = bring(&options(home.path(), "ftp://x", &[]));
    assert_eq!(code(result), "SPRAT-HUB-PROTOCOL");
    let web_page = Server::start(|_| Reply::new(200, "<html>welcome</html>"));
    let result = bring(&options(home.path(), &web_page.address, &[]));
    assert_eq!(code(result), "SPRAT-HUB-PROTOCOL");
}

/// Puts files into the cache of the hub's own client, as links to blobs.
fn fill_client_cache(home: &Path, repo: &Repo, names: &[&str]) {
    let model = home.join("hf/hub/models--org--name");
    let snapshot = model.join("snapshots").join(COMMIT);
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::create_dir_all(model.join("blobs")).unwrap();
    fs::write(model.join("refs/main"), COMMIT).unwrap();
    for name in names {
        let blob = model.join("blobs").join(repo.tag(name));
        fs::write(&blob, &repo.files[*name]).unwrap();
        let link = snapshot.join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&blob, link).unwrap();
        #[cfg(not(unix))]
        fs::copy(&blob, link).unwrap();
    }
}

#[test]
fn files_in_the_clients_cache_are_not_fetched_again() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    fill_client_cache(home.path(), &repo, &[WEIGHTS, "tokenizer.json"]);
    // A damaged file there is not trusted.
    let blob = home.path().join("hf/hub/models--org--name/blobs").join(repo.tag("tokenizer.json"));
    fs::write(blob, "[]").unwrap();
    let server = Server::start(move |request| repo.answer(request));
    bring(&options(home.path(), &server.address, &[])).unwrap();
    assert!(server.asked_for(WEIGHTS).is_empty());
    assert_eq!(server.asked_for("tokenizer.json").len(), 1);
}

#[test]
fn offline_a_snapshot_counts_only_when_it_is_complete() {
    let repo = Repo::new();
    let all = ["config.json", "tokenizer.json", WEIGHTS, "modules.json", "1_Pooling/config.json"];
    for (names, complete) in [
        (&all[..], true),
        (&all[..4], false),
        (&all[..3], false),
        (&all[..2], false),
        (&all[1..], false),
    ] {
        let home = tempfile::tempdir().unwrap();
        fill_client_cache(home.path(), &repo, names);
        let options = options(home.path(), "http://127.0.0.1:9", &[("HF_HUB_OFFLINE", "1")]);
        match bring(&options) {
            Ok(pulled) => {
                assert!(complete, "{names:?}");
                assert_eq!(pulled.resolved.as_deref(), Some(COMMIT));
                assert_eq!(fs::read(pulled.dir.join(WEIGHTS)).unwrap(), repo.files[WEIGHTS]);
            }
            Err(error) => {
                assert!(!complete, "{names:?}: {error}");
                assert_eq!(error.code().id, "SPRAT-HUB-OFFLINE");
            }
        }
    }
}

#[test]
fn two_pulls_at_once_fetch_each_file_once() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let server = Server::start(move |request| {
        std::thread::sleep(Duration::from_millis(20));
        repo.answer(request)
    });
    let options = options(home.path(), &server.address, &[]);
    let results: Vec<Pulled> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| bring(&options).unwrap())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|pulled| !pulled.reused).count(), 1);
    assert_eq!(server.asked_for(WEIGHTS).len(), 1);
}

#[test]
fn more_than_announced_or_allowed_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let repo = Repo::new();
    let swollen = repo.clone();
    let server = Server::start(move |request| {
        let mut reply = swollen.answer(request);
        if request.path.ends_with(WEIGHTS) {
            reply.body.extend([0; 5000]);
        }
        reply
    });
    let mut options = options(home.path(), &server.address, &[]);
    assert_eq!(code(bring(&options)), "SPRAT-HUB-TOO-LARGE");
    assert_absent(&options);
    options.limits.model_bytes = 1000;
    assert_eq!(code(bring(&options)), "SPRAT-HUB-TOO-LARGE");
    let silent = Repo { tells: false, ..repo };
    let server = Server::start(move |request| silent.answer(request));
    options.environment.hub_endpoint = server.address.clone();
    assert_eq!(code(bring(&options)), "SPRAT-HUB-TOO-LARGE");
}

#[test]
fn refresh_asks_again_and_replaces_the_copy_in_one_step() {
    let home = tempfile::tempdir().unwrap();
    let (old, mut new) = (Repo::new(), Repo::new());
    new.files.insert(WEIGHTS.into(), b"better weights".to_vec());
    let first = bring(&options(home.path(), &serve(old).address, &[])).unwrap();
    let mut options = options(home.path(), &serve(new).address, &[]);
    assert_eq!(bring(&options).unwrap().digest, first.digest);
    options.refresh = true;
    let second = bring(&options).unwrap();
    assert_ne!(second.digest, first.digest);
    assert_eq!(second.dir, first.dir);
    assert_eq!(fs::read(second.dir.join(WEIGHTS)).unwrap(), b"better weights");
}

fn serve(repo: Repo) -> Server {
    Server::start(move |request| repo.answer(request))
}

#[test]
fn hosted_models_and_releases_are_not_pulled() {
    let home = tempfile::tempdir().unwrap();
    let options = options(home.path(), "http://127.0.0.1:9", &[]);
    for text in ["openai:large", "support@production"] {
        let result = pull(&text.parse().unwrap(), &options, &Quiet, &Interrupt::default());
        assert_eq!(code(result), "SPRAT-HUB-NOT-PULLABLE");
    }
}

#[test]
fn trusted_roots_that_cannot_be_read_are_an_error_and_not_ignored() {
    let home = tempfile::tempdir().unwrap();
    let server = serve(Repo::new());
    let empty = home.path().join("roots.pem");
    fs::write(&empty, "no certificate").unwrap();
    for path in [empty.display().to_string(), "/no/such/roots.pem".into()] {
        let options = options(home.path(), &server.address, &[("SSL_CERT_FILE", &path)]);
        let error = bring(&options).unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(error.remedy().contains("SSL_CERT_FILE"), "{}", error.remedy());
    }
}

/// The one test here that needs a network.
#[test]
#[ignore = "asks a real endpoint over TLS; run with --ignored"]
fn a_real_endpoint_is_asked_over_tls_with_the_environments_roots_and_proxy() {
    let home = tempfile::tempdir().unwrap();
    let mut options = PullOptions::new(Environment::read());
    options.cache = Some(home.path().into());
    options.offline = false;
    options.attempts = 1;
    // Not a hub: what counts is that an answer came, which needs a trusted connection.
    options.environment.hub_endpoint = "https://pypi.org".into();
    assert_eq!(code(bring(&options)), "SPRAT-HUB-NOT-FOUND");
    options.environment.roots = Some(lonely_root(home.path()));
    assert_eq!(code(bring(&options)), "SPRAT-HUB-NETWORK");
}

/// Roots that sign nothing on the network: made with openssl, its key thrown away.
fn lonely_root(home: &Path) -> std::path::PathBuf {
    let path = home.join("root.pem");
    fs::write(&path, include_str!("root.pem")).unwrap();
    path
}
