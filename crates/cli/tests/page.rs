//! The page in a real browser, against the real binary: every section is clicked through, with keys
//! on, and what it changes is looked up outside of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::Value;
use std::path::Path;
use support::browser::Browser;
use support::{Server, sprat};

const CLIENT: &str = "client-key-0123456789abcdef";
const ADMIN: &str = "admin-key-0123456789abcdefg";
const TAB: char = '\u{e004}';
const LEFT: char = '\u{e012}';
const RIGHT: char = '\u{e014}';
const DOWN: char = '\u{e015}';

/// A project with two versions of a tiny classifier, the first of them promoted, and its reports.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    sprat_model::tiny::write(&path.join("base"), 1).unwrap();
    let words = ["parcel", "invoice", "saddle", "helmet", "brake", "refund", "shop", "tyre"];
    let mut csv = String::from("text,label\n");
    for at in 0..160 {
        let (a, b, c) = (words[at % 8], words[(at / 8) % 8], words[(at / 64) % 8]);
        csv += &format!("my {a} and the {b} near a {c} number {at},{}\n", ["yes", "no"][at % 2]);
    }
    std::fs::write(path.join("data.csv"), csv).unwrap();
    for seed in [0, 1] {
        let settings = format!(
            "[task]\nname = \"answers\"\n[data]\ntrain = \"data.csv\"\nseed = {seed}\n\
             [tune]\nmethod = \"head\"\n[serve]\ntrace_text = \"keep\"\n\
             [[candidates]]\nmodel = \"file:base\"\n"
        );
        std::fs::write(path.join("sprat.toml"), settings).unwrap();
        for step in ["tune", "release"] {
            sprat(path, &[step, "--quiet"]).exits(0);
        }
    }
    sprat(path, &["promote", "v1", "--quiet"]).exits(0);
    folder
}

fn serve(folder: &Path) -> Server {
    Server::start_with(folder, &[], &[("SPRAT_API_KEY", CLIENT), ("SPRAT_ADMIN_KEY", ADMIN)])
}

/// The moves of the alias, as the command line knows them.
fn moves(folder: &Path) -> Vec<Value> {
    let log = sprat(folder, &["log", "--json"]).exits(0).json();
    let entries = log["log"].as_array().unwrap().iter();
    entries.filter(|entry| entry["entry"] == "move").cloned().collect()
}

#[test]
fn the_admin_api_says_what_the_command_line_says() {
    let folder = project();
    let path = folder.path();
    let server = serve(path);
    let key = |key: &str| format!("authorization: Bearer {key}\r\n");
    let get = |at: &str| {
        let (status, text) = server.get_with(at, &key(CLIENT));
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let said = |args: &[&str]| (200, sprat(path, &[args, &["--json"]].concat()).exits(0).json());
    assert_eq!(get("/admin/releases/v2"), said(&["show", "v2"]));
    assert_eq!(get("/admin/diff?from=production&to=v2"), said(&["diff", "production", "v2"]));
    let (_, releases) = get("/admin/releases");
    assert_eq!(releases["versions"][0]["aliases"], serde_json::json!(["production"]));
    assert!(releases["versions"][1]["metrics"]["accuracy"]["low"].is_f64(), "{releases}");
    for unknown in ["/admin/releases/v9", "/admin/releases/..%2f", "/admin/reports/..%2fregistry"] {
        assert!((400..=404).contains(&get(unknown).0), "{unknown}");
    }

    let post = |at: &str, with: &str, body: &str| server.post_with(at, &key(with), body);
    let body = r#"{"version": "v2", "revision": 1, "why": "over HTTP"}"#;
    let (status, refused) = post("/admin/promote", CLIENT, body);
    assert_eq!((status, &refused["error"]["code"]), (403, &"SPRAT-SERVE-ADMIN-KEY".into()));
    assert_eq!(post("/admin/promote", ADMIN, body).0, 200);
    let (status, stale) = post("/admin/promote", ADMIN, r#"{"version": "v1", "revision": 1}"#);
    assert_eq!((status, &stale["error"]["code"]), (409, &"SPRAT-REGISTRY-CONFLICT".into()));
    let (status, unknown) = post("/admin/promote", ADMIN, r#"{"version": "v9"}"#);
    assert_eq!((status, &unknown["error"]["code"]), (404, &"SPRAT-REGISTRY-UNKNOWN".into()));
    assert_eq!(post("/admin/rollback", ADMIN, r#"{"revision": 2}"#).0, 200);
    let (status, none) = post("/admin/rollback", ADMIN, "{}");
    assert_eq!((status, &none["error"]["code"]), (409, &"SPRAT-REGISTRY-NO-PREVIOUS".into()));
    let moves = moves(path);
    assert_eq!((moves.len(), &moves[1]["who"]), (3, &"key admin-1".into()));
}

#[test]
fn every_section_works_in_a_browser() {
    let Some(browser) = Browser::start() else { return };
    let folder = project();
    let server = serve(folder.path());
    let key = format!("authorization: Bearer {CLIENT}\r\n");
    for text in ["my parcel and the brake", "the saddle", "<img src=x onerror=document.title='!'>"]
    {
        let body = serde_json::json!({ "input": text }).to_string();
        assert_eq!(server.post_with("/v1/classify", &key, &body).0, 200);
    }
    browser.open(&format!("http://{}/", server.address()));

    // Without a key the page says what is missing, and takes one.
    browser.shows("carries no API key");
    browser.click("#keys");
    browser.type_into("#client-key", CLIENT);
    browser.click("dialog button[type=submit]");
    browser.shows("inputs");
    browser.until("return document.getElementById('served').textContent === 'answers@v1'");
    browser.until("return document.querySelector('.figure .value').textContent === '3'");
    browser.click("input[value='24h'] + span");
    browser.shows("Inputs per 15 minutes");
    browser.click("figure summary");
    browser.until("return document.querySelectorAll('figure table tbody tr').length === 96");
    // A key is kept for this tab and nowhere else.
    let kept = browser.run("return [JSON.stringify(localStorage), document.cookie]");
    assert!(!kept.to_string().contains("key-"), "{kept}");

    releases(&browser, folder.path());

    browser.click("nav a[href='#reports']");
    browser.click("[data-name='tune']");
    browser.until("return document.querySelector('iframe').title === 'Report: tune'");
    let frame = "return document.querySelector('iframe').getAttribute('sandbox')";
    assert_eq!(browser.run(frame), "");
    let href = browser.run("return document.querySelector('iframe').getAttribute('src')");
    let (status, report) = server.get(href.as_str().unwrap());
    assert!(status == 200 && report.contains("<h1"), "{status} {report}");

    // What stands in texts is never markup.
    browser.click("nav a[href='#playground']");
    browser.type_into("#text", "<img src=x onerror=document.title='!'> my saddle");
    browser.click("#ask");
    browser.shows("% sure");
    browser.shows("answered by");
    browser.until("return document.querySelectorAll('#answer tbody tr').length === 2");
    assert_eq!(browser.run("return document.querySelectorAll('main img').length"), 0);
    assert_eq!(browser.run("return document.title"), "Playground · Sprat");

    queue(&browser, &server, &key);
    looks(&browser);
    let complaints = browser.complaints();
    // The browser notes what the server refuses; anything else is a mistake of the page's.
    let refused = |line: &String| line.contains("the server responded with a status of 4");
    assert!(complaints.iter().all(refused), "{complaints:#?}");
}

fn releases(browser: &Browser, folder: &Path) {
    browser.click("nav a[href='#releases']");
    browser.shows("production → v1");
    browser.click("#compare");
    browser.shows("answers@v1 → answers@v2");
    browser.shows("settings.data.seed");

    // A key that is no admin's changes nothing and is not kept; the admin's moves the alias.
    browser.click("[data-version='2']");
    browser.type_into("#move-key", CLIENT);
    browser.click("dialog button[type=submit]");
    browser.until("return document.querySelector('dialog').innerText.includes('no admin')");
    assert_eq!(moves(folder).len(), 1);
    browser.run("document.querySelector('#move-key').value = ''");
    browser.type_into("#move-key", ADMIN);
    browser.type_into("#move-why", "another split");
    browser.click("dialog button[type=submit]");
    browser.shows("production → v2");
    let last = moves(folder).pop().unwrap();
    assert_eq!((&last["kind"], &last["to"]), (&"promote".into(), &2.into()), "{last}");
    assert_eq!((&last["who"], &last["why"]), (&"key admin-1".into(), &"another split".into()));
    browser.until("return document.getElementById('served').textContent === 'answers@v2'");

    // Now the key is kept: the second dialog asks for none.
    browser.click("[data-alias='production']");
    assert_eq!(browser.run("return document.querySelectorAll('#move-key').length"), 0);
    browser.click("dialog button[type=submit]");
    browser.shows("production → v1");
    assert_eq!(moves(folder).pop().unwrap()["kind"], "rollback");
    browser.shows("another split");

    // Somebody else moves the alias while the page still shows the old state.
    sprat(folder, &["promote", "v2", "--quiet"]).exits(0);
    browser.click("[data-alias='production']");
    browser.click("dialog button[type=submit]");
    browser.until("return document.querySelector('dialog').innerText.includes('CONFLICT')");
    browser.click("dialog .quiet");
    assert_eq!(moves(folder).pop().unwrap()["kind"], "promote");
}

/// Labels three requests by keyboard: right, wrong, skipped.
fn queue(browser: &Browser, server: &Server, key: &str) {
    for at in 0..60 {
        let body = serde_json::json!({ "input": format!("<b>{at}</b> helmets in the shop") });
        assert_eq!(server.post_with("/v1/classify", key, &body.to_string()).0, 200);
    }
    browser.click("nav a[href='#queue']");
    let text = "return document.querySelector('#card blockquote')?.textContent ?? ''";
    browser.until(text);
    let first = browser.run(text);
    assert_eq!(browser.run("return document.querySelectorAll('#card b').length"), 0, "{first}");
    browser.run("document.querySelector('#card').focus()");
    browser.press(RIGHT);
    browser.shows("1 labelled");
    assert_ne!(browser.run(text), first);
    browser.press(LEFT);
    browser.until("return document.activeElement.id === 'right-label'");
    browser.click(".correction button");
    browser.shows("2 labelled");
    browser.until("return document.activeElement.id === 'card'");
    browser.press(DOWN);
    browser.until("return document.getElementById('said').textContent === 'Skipped.'");
    browser.shows("2 labelled");
}

/// Light and dark, phone width, and the keyboard.
fn looks(browser: &Browser) {
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let mut seen = Vec::new();
    for _ in 0..2 {
        browser.click("#theme");
        seen.push(browser.run(ground));
    }
    assert_ne!(seen[0], seen[1], "light and dark have one ground");
    browser.click("#theme");
    browser.width(360);
    for section in ["now", "releases", "reports", "route", "drift", "queue", "playground"] {
        browser.click(&format!("nav a[href='#{section}']"));
        browser.until(&format!("return document.querySelector('#view-{section}:not([hidden])')"));
        let body =
            format!("return document.querySelector('#view-{section} .body').innerText.trim()");
        browser.until(&body);
        let over = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(browser.run(over), false, "{section} is too wide for a phone");
        // After a click the focus stands on the section's heading.
        assert_eq!(browser.run("return document.activeElement.tagName"), "H1");
    }
    browser.width(1280);
    browser.run("location.reload()");
    browser.until("return document.querySelector('.view:not([hidden])')");
    browser.press(TAB);
    let skip = "return document.activeElement.className === 'skip' && \
                document.activeElement.getBoundingClientRect().left >= 0";
    browser.until(skip);
    browser.press('\u{e007}');
    browser.until("return document.activeElement.id === 'main'");
    // The arrow keys read a chart off.
    browser.click("nav a[href='#now']");
    browser.until("return document.querySelector('.canvas svg')");
    browser.run("document.querySelector('.canvas svg').focus()");
    browser.press(LEFT);
    browser.until("return document.querySelector('.readout').textContent.includes('inputs')");
}

/// Notes what the model has written each time it grows; `then` runs at the first piece.
fn note_pieces(browser: &Browser, then: &str) {
    browser.run(&format!(
        "window.pieces = []; window.noting?.disconnect(); \
         const look = () => {{ \
           const text = document.querySelector('#answer .written')?.textContent ?? ''; \
           if (!text || text === pieces.at(-1)) return; \
           pieces.push(text); \
           if (pieces.length === 1) {{ {then} }} \
         }}; \
         window.noting = new MutationObserver(look); \
         noting.observe(document.getElementById('answer'), \
           {{ subtree: true, childList: true, characterData: true }});"
    ));
}

fn pieces(browser: &Browser) -> Vec<String> {
    serde_json::from_value(browser.run("return pieces")).unwrap()
}

/// Lets streams trickle in pieces that are cut anywhere, as a slow network would: a tiny model on
/// this machine is done before the page has read the first piece.
const TRICKLE: &str = "const real = window.fetch; \
    const cut = (signal) => new TransformStream({ transform: async (chunk, out) => { \
      for (let at = 0; at < chunk.length; at += 300) { \
        if (signal?.aborted) return out.error(signal.reason); \
        out.enqueue(chunk.slice(at, at + 300)); \
        await new Promise((next) => setTimeout(next, 1)); \
      } \
    } }); \
    window.fetch = async (...what) => { \
      const answer = await real(...what); \
      if (!answer.headers.get('content-type')?.includes('event-stream')) return answer; \
      return new Response(answer.body.pipeThrough(cut(what[1]?.signal)), answer); \
    };";

#[test]
fn what_a_model_writes_appears_piece_by_piece() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("sprat.toml"), "[task]\nname = \"desk\"\n").unwrap();
    sprat_model::tiny::write_decoder(&path.join("base"), 1).unwrap();
    let server = Server::start(path, &["--model", "file:base"]);
    browser.open(&format!("http://{}/#playground", server.address()));

    browser.run(TRICKLE);
    browser.type_into("#text", "Where is the parcel?");
    note_pieces(&browser, "");
    browser.click("#ask");
    browser.shows("first piece, whole");
    browser.shows("answered by");
    let written = pieces(&browser);
    assert!(written.len() > 3, "it came at once: {written:?}");
    assert!(written.windows(2).all(|two| two[1].starts_with(&two[0])), "{written:?}");
    browser.shows("tokens/s");
    assert_eq!(browser.run("return document.querySelector('#answer .notice')"), Value::Null);

    // Who stops it keeps what is there, and can ask again.
    note_pieces(&browser, "document.querySelector('form.ask button.quiet').click()");
    browser.click("#ask");
    browser.until("return document.getElementById('said').textContent === 'Stopped.'");
    browser.until("return !document.getElementById('ask').disabled");
    let stopped = pieces(&browser);
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    assert_eq!(browser.run("return document.querySelector('#answer .facts')"), Value::Null);
    assert_eq!(browser.run("return document.querySelector('#answer .notice')"), Value::Null);

    // Under a schema: one that is no JSON, one that is none, and one that holds.
    browser.click(".wanted summary");
    let schema = |text: &str| {
        browser.run("document.getElementById('schema').value = ''");
        browser.type_into("#schema", text);
        browser.click("#ask");
    };
    schema("{\"type\":");
    browser.shows("The schema is not JSON");
    schema("{\"type\": \"nothing\"}");
    browser.shows("SPRAT-INFER-SCHEMA");
    schema(
        "{\"type\": \"object\", \"properties\": {\"side\": {\"enum\": [\"left\", \"right\"]}}, \
         \"required\": [\"side\"], \"additionalProperties\": false}",
    );
    browser.shows("held token by token");
    let answer = browser.run("return document.querySelector('#answer .written').textContent");
    let answer = answer.as_str().unwrap();
    assert!(answer.contains("\n  \"side\": "), "it is set out in lines: {answer}");
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert!(answer["side"] == "left" || answer["side"] == "right", "{answer}");
    let refused = |line: &String| line.contains("the server responded with a status of 4");
    let complaints = browser.complaints();
    assert!(complaints.iter().all(refused), "{complaints:#?}");
}
