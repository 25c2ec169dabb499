//! The admin API and the page, over real sockets: who may look, who may change, and what a forged
//! call gets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use serde_json::{Value, json};
use sprat_infer::Limits;
use sprat_monitor::TraceRow;
use sprat_serve::console::{Change, Console, Prices, Report};
use sprat_serve::keys::{Created, Keys, Role, create};
use sprat_serve::{Config, codes};
use sprat_task::{Clock, Code, Error, Kind, Result, SystemClock, Timestamp};
use std::sync::{Arc, Mutex};
use support::{Reply, Server};

/// Two versions, one alias at its first revision, one report, and three traces of this minute.
#[derive(Default)]
struct Fake {
    moves: Mutex<Vec<(String, String, String)>>,
}

impl Fake {
    fn moved(&self, what: &str, change: &Change<'_>) -> Result<Value> {
        if change.revision.is_some_and(|revision| revision != 1) {
            return Err(Error::new(&MOVED, "the alias has moved"));
        }
        let mut moves = self.moves.lock().unwrap();
        moves.push((what.into(), change.who.into(), change.why.into()));
        Ok(json!({ "move": { "alias": change.alias.unwrap_or("production") } }))
    }
}

/// A conflict, as a registry raises it.
static MOVED: Code = Code {
    id: "SPRAT-TEST-MOVED",
    kind: Kind::Conflict,
    summary: "It has moved.",
    remedy: "Look again.",
};

impl Console for Fake {
    fn traces(&self, after: u64, since: Timestamp, most: u64) -> Result<Vec<(u64, TraceRow)>> {
        let now = SystemClock.now();
        assert!(since < now && most > 0);
        let row = |at: u64, status, route: &str| {
            let row = TraceRow {
                id: format!("r{at}"),
                at: now,
                task: "task".into(),
                version: "task@v1".into(),
                text: None,
                text_hash: None,
                label: Some("card".into()),
                confidence: Some(0.9),
                scores: vec![],
                latency_ms: 10.0,
                prompt_tokens: 1000,
                completion_tokens: 0,
                status,
                route: Some(route.into()),
                usd: (route == "large").then_some(0.25),
                valid: None,
                output: None,
                sketch: None,
            };
            (at, row)
        };
        let all = [row(1, 200, "small"), row(2, 200, "large"), row(3, 504, "small")];
        Ok(all.into_iter().filter(|(position, _)| *position > after).collect())
    }

    fn prices(&self) -> Option<Prices> {
        Some(Prices { model: "openai:large".into(), input: 2.0, output: 8.0 })
    }

    fn releases(&self) -> Result<Value> {
        Ok(json!({ "schema": "sprat.releases/1", "versions": [{ "number": 1 }, { "number": 2 }] }))
    }

    fn release(&self, reference: &str) -> Result<Value> {
        match reference {
            "v1" | "v2" => Ok(json!({ "version": { "number": 1 } })),
            _ => Err(Error::new(&codes::MODEL, "there is no such version")),
        }
    }

    fn diff(&self, from: &str, to: &str) -> Result<Value> {
        self.release(from)?;
        self.release(to)?;
        Ok(json!({ "from": from, "to": to }))
    }

    fn promote(&self, version: &str, change: &Change<'_>) -> Result<Value> {
        self.release(version)?;
        self.moved(&format!("promote {version}"), change)
    }

    fn rollback(&self, change: &Change<'_>) -> Result<Value> {
        self.moved("rollback", change)
    }

    fn reports(&self) -> Result<Vec<Report>> {
        Ok(vec![Report { name: "bench".into(), bytes: 9, modified: Timestamp(5) }])
    }

    fn report(&self, name: &str) -> Result<Option<String>> {
        Ok((name == "bench").then(|| "<h1>x</h1>".to_owned()))
    }
}

struct Setup {
    server: Server,
    console: Arc<Fake>,
    client: Created,
    admin: Created,
}

/// `open`: no key is asked for to look. The admin's key is there in any case.
fn setup(open: bool) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let client = create("app", Role::Client).unwrap();
    let admin = create("ops", Role::Admin).unwrap();
    std::fs::write(&path, format!("{}\n{}\n", client.line, admin.line)).unwrap();
    let all = Keys::from_file(&path).unwrap();
    let console = Arc::new(Fake::default());
    let config = Config {
        admins: all.admins(),
        keys: if open { Keys::default() } else { all },
        hosts: vec!["sprat.example".into()],
        console: Some(console.clone()),
        ..Config::default()
    };
    Setup { server: Server::with(config, Limits::default()), console, client, admin }
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}")
}

impl Setup {
    fn get(&self, path: &str, headers: &[&str]) -> Reply {
        self.server.send("GET", path, headers, b"")
    }

    fn post(&self, path: &str, headers: &[&str], body: &Value) -> Reply {
        self.server.send("POST", path, headers, body.to_string().as_bytes())
    }

    fn moves(&self) -> usize {
        self.console.moves.lock().unwrap().len()
    }
}

const LOOKS: [&str; 6] = [
    "/admin/overview",
    "/admin/releases",
    "/admin/releases/v1",
    "/admin/diff?from=v1&to=v2",
    "/admin/reports",
    "/admin/reports/bench",
];

#[test]
fn looking_takes_an_ordinary_key_where_keys_are_on() {
    let setup = setup(false);
    for path in LOOKS {
        setup.get(path, &[]).refused(401, "SPRAT-SERVE-KEY", None);
        setup.get(path, &[&bearer("sprat-forged")]).refused(401, "SPRAT-SERVE-KEY", None);
        for key in [&setup.client.key, &setup.admin.key] {
            let reply = setup.get(path, &[&bearer(key)]);
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
            assert_eq!(reply.header("cache-control"), Some("no-store"));
        }
    }
    // The admin's key asks models, too.
    let body = json!({ "input": "card" });
    assert_eq!(setup.post("/v1/classify", &[&bearer(&setup.admin.key)], &body).status, 200);
}

#[test]
fn the_overview_counts_every_trace_once() {
    let setup = setup(true);
    for _ in 0..3 {
        let seen = setup.get("/admin/overview?window=15m", &[]).json;
        assert_eq!((&seen["requests"], &seen["errors"]), (&json!(3), &json!(1)), "{seen}");
        assert_eq!(seen["routes"], json!({ "small": 1, "large": 1 }));
        assert_eq!(seen["cost"]["priced_by"], "openai:large");
        assert_eq!(seen["cost"]["large_usd"], 0.25, "what was recorded counts");
        assert!((seen["cost"]["saved_usd"].as_f64().unwrap() - 0.002).abs() < 1e-9, "{seen}");
        assert_eq!(seen["labels"], json!([{ "name": "card", "count": 2 }]));
        assert_eq!(seen["complete"], true);
    }
    for query in ["window=2h", "window=", "windows=1h", "window=1h&window=15m"] {
        let reply = setup.get(&format!("/admin/overview?{query}"), &[]);
        assert_eq!(
            (reply.status, &reply.json["error"]["code"]),
            (400, &json!("SPRAT-SERVE-PARAMETER"))
        );
    }
}

#[test]
fn changing_takes_the_admins_key_and_says_who_it_was() {
    let setup = setup(true);
    let promote = json!({ "version": "v2", "alias": "production", "why": "better", "revision": 1 });
    setup.post("/admin/promote", &[], &promote).refused(401, "SPRAT-SERVE-ADMIN-KEY", None);
    let forged = [
        bearer("sprat-forged"),
        bearer(&setup.client.key),
        bearer(&format!("{}0", setup.admin.key)),
        bearer(&setup.admin.key.to_uppercase()),
        "authorization: Basic YWRtaW46YWRtaW4=".to_owned(),
        "authorization: Bearer".to_owned(),
        "authorization: \u{e9}".to_owned(),
    ];
    for header in &forged {
        for (path, body) in [("/admin/promote", &promote), ("/admin/rollback", &json!({}))] {
            let reply = setup.post(path, &[header], body);
            reply.refused(403, "SPRAT-SERVE-ADMIN-KEY", None);
            assert!(!reply.text.contains(&setup.admin.key));
        }
    }
    assert_eq!(setup.moves(), 0, "a refused call changed something");

    let key = bearer(&setup.admin.key);
    let done = setup.post("/admin/promote", &[&key], &promote);
    assert_eq!((done.status, &done.json["move"]["alias"]), (200, &json!("production")));
    assert_eq!(setup.post("/admin/rollback", &[&key], &json!({})).status, 200);
    let moves = setup.console.moves.lock().unwrap();
    let expected = [
        ("promote v2".to_owned(), "key ops".to_owned(), "better".to_owned()),
        ("rollback".to_owned(), "key ops".to_owned(), String::new()),
    ];
    assert_eq!(*moves, expected);
}

#[test]
fn without_any_admin_key_nothing_can_be_changed_and_the_answer_says_how_to_set_one() {
    let console: Arc<Fake> = Arc::default();
    let config = Config { console: Some(console), ..Config::default() };
    let server = Server::with(config, Limits::default());
    let reply = server.send("POST", "/admin/rollback", &[&bearer("sprat-x")], b"{}");
    reply.refused(403, "SPRAT-SERVE-ADMIN-OFF", None);
    let message = reply.json["error"]["message"].as_str().unwrap();
    assert!(message.contains("SPRAT_ADMIN_KEY") && message.contains("keys create --admin"));
}

#[test]
fn a_page_of_another_site_gets_nothing_even_with_the_key() {
    let setup = setup(true);
    let key = bearer(&setup.admin.key);
    let foreign = [
        "origin: http://evil.example",
        "origin: null",
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
    ];
    for header in foreign {
        let reply = setup.post("/admin/rollback", &[&key, header], &json!({}));
        reply.refused(403, "SPRAT-SERVE-ORIGIN", None);
        for path in LOOKS {
            setup.get(path, &[header]).refused(403, "SPRAT-SERVE-ORIGIN", None);
        }
    }
    assert_eq!(setup.moves(), 0);
    let own = setup.post("/admin/rollback", &[&key, "origin: http://localhost"], &json!({}));
    assert_eq!(own.status, 200, "{}", own.text);
}

#[test]
fn a_name_that_was_made_to_point_here_is_refused_where_no_key_is_asked_for() {
    let ask = |setup: &Setup, host: &str, key: &str| {
        let text = format!(
            "GET /admin/releases HTTP/1.1\r\nhost: {host}\r\n{key}connection: close\r\n\r\n"
        );
        setup.server.raw(text.as_bytes())
    };
    let open = setup(true);
    for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", ""] {
        ask(&open, host, "").refused(403, "SPRAT-SERVE-HOST", None);
    }
    for host in [
        "localhost",
        "localhost:8080",
        "LOCALHOST",
        "a.localhost",
        "127.0.0.1:9",
        "[::1]:9",
        "192.168.0.7",
        "sprat.example:8080",
    ] {
        assert_eq!(ask(&open, host, "").status, 200, "{host}");
    }
    // With keys on, the key tells friend from foe.
    let closed = setup(false);
    let key = format!("{}\r\n", bearer(&closed.client.key));
    assert_eq!(ask(&closed, "evil.example", &key).status, 200);
    ask(&closed, "evil.example", "").refused(401, "SPRAT-SERVE-KEY", None);
}

#[test]
fn bad_bodies_and_unknown_versions_change_nothing() {
    let setup = setup(true);
    let key = bearer(&setup.admin.key);
    let send = |body: &[u8]| setup.server.send("POST", "/admin/promote", &[&key], body);
    for body in [&b""[..], b"{", b"\xff", b"[]", b"{}", b"{\"version\": 2}", b"null"] {
        let reply = send(body);
        assert_eq!((reply.status, &reply.json["error"]["code"]), (400, &json!("SPRAT-SERVE-BODY")));
    }
    let unknown = send(br#"{"version": "v1", "force": true}"#);
    unknown.refused(400, "SPRAT-SERVE-PARAMETER", Some("force"));
    let large = json!({ "version": "v1", "why": "x".repeat(20_000) }).to_string();
    send(large.as_bytes()).refused(413, "SPRAT-SERVE-TOO-LARGE", None);
    send(br#"{"version": "v9"}"#).refused(404, "SPRAT-SERVE-MODEL", None);
    send(br#"{"version": "v1", "revision": 7}"#).refused(409, "SPRAT-TEST-MOVED", None);
    setup.get("/admin/promote", &[&key]).refused(405, "SPRAT-SERVE-ADDRESS", None);
    assert_eq!(setup.moves(), 0);

    setup.get("/admin/releases/v9", &[]).refused(404, "SPRAT-SERVE-MODEL", None);
    setup.get("/admin/diff?from=v1&to=v9", &[]).refused(404, "SPRAT-SERVE-MODEL", None);
    setup.get("/admin/diff?from=v1", &[]).refused(400, "SPRAT-SERVE-PARAMETER", None);
    setup.get("/admin/reports/nothing", &[]).refused(404, "SPRAT-SERVE-REPORT", None);
    setup.get("/admin/reports/..%2f..%2fkeys", &[]).refused(404, "SPRAT-SERVE-REPORT", None);
}

#[test]
fn a_report_is_boxed_in_and_its_link_carries_its_permission() {
    let setup = setup(false);
    let listed = setup.get("/admin/reports", &[&bearer(&setup.client.key)]);
    let href = listed.json["reports"][0]["href"].as_str().unwrap().to_owned();
    let report = setup.get(&href, &[]);
    assert_eq!((report.status, report.text.as_str()), (200, "<h1>x</h1>"));
    let policy = report.header("content-security-policy").unwrap();
    assert!(policy.starts_with("sandbox; default-src 'none'"), "{policy}");
    assert_eq!(report.header("content-type"), Some("text/html; charset=utf-8"));
    let forged = format!("{}0", &href[..href.len() - 1]);
    let forged = if forged == href { format!("{}1", &href[..href.len() - 1]) } else { forged };
    setup.get(&forged, &[]).refused(404, "SPRAT-SERVE-REPORT", None);
    setup.get(&href.replace("bench", "tune"), &[]).refused(404, "SPRAT-SERVE-REPORT", None);
}

#[test]
fn browsers_get_the_page_and_programs_the_index() {
    let setup = setup(false);
    let html = "accept: text/html,application/xhtml+xml,*/*;q=0.8";
    let page = setup.get("/", &[html]);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"] {
        assert!(policy.contains(part) && !policy.contains("unsafe"), "{policy}");
    }
    for accept in ["accept: application/json", "accept: */*", "x-none: 1"] {
        assert_eq!(setup.get("/", &[accept]).json["name"], "sprat");
    }
    let style = setup.get("/page/style.css", &[]);
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
    let tag = format!("if-none-match: {}", style.header("etag").unwrap());
    let again = setup.get("/page/style.css", &[&tag]);
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    setup.get("/page/..%2fCargo.toml", &[]).refused(404, "SPRAT-SERVE-ADDRESS", None);
}

#[test]
fn a_server_without_a_project_says_so() {
    let server = Server::start();
    for path in LOOKS {
        server.get(path).refused(404, "SPRAT-SERVE-CONSOLE", None);
    }
}
