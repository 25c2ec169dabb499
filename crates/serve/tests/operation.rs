//! Limits, keys, health, metrics, stopping and abuse, over real sockets.

mod support;

use serde_json::json;
use sprat_infer::Limits;
use sprat_serve::{Config, keys};
use sprat_task::{Interrupt, SystemClock};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Reply, Server};

#[test]
fn health_readiness_and_the_document_are_open() {
    let server = Server::start();
    assert_eq!(server.get("/healthz").json["status"], "ok");
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/openapi.json").json["info"]["title"], "Sprat");
    assert_eq!(server.get("/").json["name"], "sprat");
    server.table.replace(vec![]);
    assert_eq!(server.get("/readyz").status, 503);
    server.post("/v1/classify", &json!({ "input": "a" })).refused(
        404,
        "SPRAT-SERVE-MODEL",
        Some("model"),
    );
}

#[test]
fn a_route_is_told_where_there_is_one() {
    let server = Server::start();
    server.get("/v1/route").refused(404, "SPRAT-SERVE-ADDRESS", None);
    let view = sprat_serve::RouteView::new(|| Some(json!({ "policy": "after" })));
    let config = Config { route: view, ..Config::default() };
    let server = Server::with(config, Limits::default());
    assert_eq!(server.get("/v1/route").json["policy"], "after");
}

#[test]
fn without_a_valid_key_nobody_gets_in() {
    let created = keys::create("app", keys::Role::Client).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, &created.line).unwrap();
    let config = Config { keys: keys::Keys::from_file(&path).unwrap(), ..Config::default() };
    let server = Server::with(config, Limits::default());
    let body = json!({ "input": "card" }).to_string();
    let ask = |header: &str| {
        let headers: Vec<&str> = [header].into_iter().filter(|h| !h.is_empty()).collect();
        server.send("POST", "/v1/classify", &headers, body.as_bytes())
    };
    for header in [
        "",
        "authorization: Bearer sprat-wrong",
        "authorization: Basic abc",
        "authorization: Bearer",
        "authorization: \u{e9}",
        &format!("authorization: Bearer {}x", created.key),
    ] {
        let reply = ask(header);
        reply.refused(401, "SPRAT-SERVE-KEY", None);
        assert_eq!(reply.header("www-authenticate"), Some("bearer"));
        assert!(!reply.text.contains(&created.key));
    }
    assert_eq!(ask(&format!("authorization: Bearer {}", created.key)).status, 200);
    assert_eq!(ask(&format!("Authorization: bearer {}", created.key)).status, 200);
    assert_eq!(server.traces.0.lock().unwrap()[0].client.as_deref(), Some("app"));
    server.get("/v1/models").refused(401, "SPRAT-SERVE-KEY", None);
    server.get("/v1/route").refused(401, "SPRAT-SERVE-KEY", None);
    server.get("/metrics").refused(401, "SPRAT-SERVE-KEY", None);
    assert_eq!(server.get("/healthz").status, 200);
    assert!(server.get("/").json["models"].is_null());
}

#[test]
fn metrics_count_requests_answers_and_errors() {
    let server = Server::start();
    server.post("/v1/classify", &json!({ "input": ["card", "card", "loan"], "threshold": 0.6 }));
    server.post("/v1/classify", &json!({ "input": 5 }));
    server.get("/nowhere/at/all");
    let text = server.get("/metrics").text;
    for line in [
        "sprat_http_requests_total{path=\"/v1/classify\",method=\"POST\",status=\"200\"} 1",
        "sprat_http_requests_total{path=\"(unknown)\",method=\"GET\",status=\"404\"} 1",
        "sprat_http_errors_total{code=\"SPRAT-SERVE-BODY\"} 1",
        "label=\"card\",abstained=\"false\"} 2",
        "label=\"loan\",abstained=\"true\"} 1",
        "sprat_prompt_tokens_total{model=\"task\"} 9",
        "sprat_compute_seconds_count{model=\"task\"} 3",
        "sprat_http_request_duration_seconds_bucket{path=\"/v1/classify\",le=\"0.005\"}",
        "sprat_queue_length{model=\"task\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_full_queue_is_429_with_retry_after() {
    let limits = Limits { queue: 1, max_batch: 1, ..Limits::default() };
    let server = Server::with(Config::default(), limits);
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| server.post("/v1/classify", &json!({ "input": "slow" }))))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let busy: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(!busy.is_empty() && busy.len() < 6);
    for reply in busy {
        reply.refused(429, "SPRAT-INFER-BUSY", None);
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(reply.json["error"]["type"], "rate_limit_error");
    }
}

#[test]
fn more_requests_at_once_than_allowed_are_429_and_health_still_answers() {
    let config = Config { max_concurrent: 1, ..Config::default() };
    let server = Server::with(config, Limits::default());
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.post("/v1/classify", &json!({ "input": "slow" })));
        server.wait_until_busy();
        let reply = server.post("/v1/classify", &json!({ "input": "card" }));
        reply.refused(429, "SPRAT-SERVE-BUSY", None);
        assert_eq!(server.get("/healthz").status, 200);
        assert_eq!(slow.join().unwrap().status, 200);
    });
    assert_eq!(server.post("/v1/classify", &json!({ "input": "card" })).status, 200);
}

#[test]
fn a_model_that_takes_too_long_is_a_timeout() {
    let config = Config { request_timeout: Duration::from_millis(100), ..Config::default() };
    let server = Server::with(config, Limits::default());
    let reply = server.post("/v1/classify", &json!({ "input": "slow" }));
    assert_eq!(reply.status, 504, "{}", reply.text);
    assert_eq!(reply.json["error"]["type"], "server_error");
}

#[test]
fn a_body_that_never_ends_is_a_timeout() {
    let config = Config { request_timeout: Duration::from_millis(100), ..Config::default() };
    let server = Server::with(config, Limits::default());
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = "POST /v1/classify HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"in";
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = [0; 4096];
    let n = stream.read(&mut bytes).unwrap();
    let reply = Reply::parse(&bytes[..n]);
    assert_eq!(reply.status, 408, "{}", reply.text);
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let config = Config { header_timeout: Duration::from_millis(100), ..Config::default() };
    let server = Server::with(config, Limits::default());
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"POST /v1/classify HTTP/1.1\r\nhost: a\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut bytes = Vec::new();
    let begun = Instant::now();
    let _ = stream.read_to_end(&mut bytes);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let server = Server::start();
    for body in [&b""[..], b"{", b"\xff\xfe", b"{\"input\": \"\xe9\"}", b"null", b"[]", b"\x00"] {
        let reply = server.send("POST", "/v1/classify", &[], body);
        reply.refused(400, "SPRAT-SERVE-BODY", None);
    }
    let deep = "[".repeat(100_000);
    server.send("POST", "/v1/classify", &[], deep.as_bytes()).refused(
        400,
        "SPRAT-SERVE-BODY",
        None,
    );
    let lone = br#"{"input": "\ud800"}"#;
    server.send("POST", "/v1/classify", &[], lone).refused(400, "SPRAT-SERVE-BODY", None);
}

#[test]
fn a_body_of_100_megabytes_is_413() {
    let server = Server::start();
    let body = vec![b' '; 100 << 20];
    for path in ["/v1/classify", "/v1/embeddings", "/v1/chat/completions"] {
        let reply = server.send("POST", path, &[], &body);
        reply.refused(413, "SPRAT-SERVE-TOO-LARGE", None);
    }
}

#[test]
fn a_chunked_body_without_announced_length_is_bounded_too() {
    let config = Config { body_limit: 1000, ..Config::default() };
    let server = Server::with(config, Limits::default());
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = "POST /v1/classify HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..100 {
        stream.write_all(format!("64\r\n{}\r\n", " ".repeat(100)).as_bytes()).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Reply::parse(&bytes).refused(413, "SPRAT-SERVE-TOO-LARGE", None);
}

#[test]
fn garbage_instead_of_http_is_a_4xx_and_the_server_lives() {
    let server = Server::start();
    for garbage in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"GET /\xff\xfe HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(garbage).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let status = Reply::parse(&bytes).status;
        assert!((400..500).contains(&status), "{garbage:?}: {status}");
    }
    let mut long = String::from("x-long: ");
    long += &"a".repeat(1 << 20);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let _ = stream.write_all(format!("GET /healthz HTTP/1.1\r\n{long}\r\n\r\n").as_bytes());
    drop(stream);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn unknown_addresses_and_methods_have_the_same_shape() {
    let server = Server::start();
    server.get("/v2/classify").refused(404, "SPRAT-SERVE-ADDRESS", None);
    for address in ["/v1/watch", "/v1/labels"] {
        server.get(address).refused(404, "SPRAT-SERVE-ADDRESS", None);
    }
    let said = serde_json::json!({ "id": "req-1", "verdict": "right" });
    server.post("/v1/feedback", &said).refused(404, "SPRAT-SERVE-ADDRESS", None);
    server.get("/v1/classify").refused(405, "SPRAT-SERVE-ADDRESS", None);
    server.send("BREW", "/v1/models", &[], b"").refused(405, "SPRAT-SERVE-ADDRESS", None);
}

#[test]
fn a_request_id_is_kept_if_it_is_fit_to_be_logged() {
    let server = Server::start();
    let with = |header: &str| {
        let reply = server.send("GET", "/healthz", &[header], b"");
        reply.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(with("x-request-id: job_7.a-b"), "job_7.a-b");
    assert!(with("x-request-id: a b").starts_with("req-"));
    assert!(with(&format!("x-request-id: {}", "a".repeat(65))).starts_with("req-"));
}

#[test]
fn a_port_in_use_says_which_and_what_to_do() {
    let server = Server::start();
    let config = Config { address: server.address, handle_signals: false, ..Config::default() };
    let error = sprat_serve::run(
        config,
        server.table.clone(),
        server.traces.clone(),
        Arc::new(SystemClock),
        &Interrupt::default(),
        |_| panic!("it cannot listen"),
    )
    .unwrap_err();
    assert_eq!(error.code().id, "SPRAT-SERVE-PORT");
    let port = server.address.port().to_string();
    assert!(error.to_string().contains(&port), "{error}");
    assert!(error.remedy().contains(&port), "{}", error.remedy());
}

#[test]
fn stopping_finishes_what_runs_and_takes_nothing_new() {
    let mut server = Server::start();
    let address = server.address;
    // An idle connection must not hold the server up.
    let _idle = TcpStream::connect(address).unwrap();
    let running = {
        let body = json!({ "input": "slow" }).to_string();
        let request = format!(
            "POST /v1/classify HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    server.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut running = running;
    let mut bytes = Vec::new();
    running.read_to_end(&mut bytes).unwrap();
    assert_eq!(Reply::parse(&bytes).status, 200);
    assert!(TcpStream::connect(address).is_err());
}
