//! What follows an alarm, as a user and a client see it: the webhook, more requests to the large
//! model.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::{Value, json};
use sprat_infer::remote::mock::{Act, Mock};
use std::path::Path;
use std::time::{Duration, Instant};
use support::watch::{WATCH, clean, released, send, settings, settle, strange, wait};
use support::{Server, copy_folder, sprat};

/// Tries again until something holds.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never came: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The settings of a large model at an address, which the small one is always sure without.
fn routed(base_url: &str) -> String {
    format!(
        "[[candidates]]\nmodel = \"openai:large\"\nbase_url = \"{base_url}\"\n\
         [route]\nlarge = [\"openai:large\"]\nretries = 0\nkeep_above = 0.0\n"
    )
}

/// How one request is routed.
fn route(server: &Server, text: &str, headers: &str) -> Value {
    let body = json!({ "input": text }).to_string();
    let (status, mut answer) = server.post_with("/v1/classify", headers, &body);
    assert_eq!(status, 200, "{answer}");
    answer["data"][0]["route"].take()
}

/// The document of `/v1/route`.
fn route_state(server: &Server) -> Value {
    serde_json::from_str(&server.get("/v1/route").1).unwrap()
}

#[test]
fn an_alarm_sends_more_to_the_large_model_until_somebody_takes_note() {
    let folder = released();
    let path = folder.path();
    let mock = Mock::start(|_| Act::Say(json!({ "label": "yes" }).to_string())).unwrap();
    let more = format!("{WATCH}actions = [\"escalate\"]\n{}", routed(&mock.base_url()));
    settings(path, &more);
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..300).map(clean));
    wait(&server, |state| state["requests"] == 300);
    assert_eq!(mock.seen().len(), 0, "the small model is sure of everything");
    assert_eq!(route_state(&server)["raised"], Value::Null);

    send(&server, "strange", (0..200).map(strange));
    let state = wait(&server, |state| {
        state["alarms"][0]["actions"].as_array().is_some_and(|acts| {
            acts.len() == 2 && acts.iter().all(|act| act["outcome"] != "pending")
        })
    });
    let alarm = &state["alarms"][0];
    assert_eq!(
        (&alarm["actions"][1]["action"], &alarm["actions"][1]["outcome"]),
        (&"escalate".into(), &"done".into()),
        "{alarm}"
    );
    // The running server follows, and every answer says why.
    let found = until("a raised route", || {
        Some(route(&server, &clean(1), "")).filter(|route| route["by"] == "large")
    });
    let why = found["why"].as_str().unwrap();
    assert!(why.starts_with("alarm ") && why.contains("sends all requests"), "{found}");
    let private = route(&server, &clean(1), "x-sprat-private: 1\r\n");
    assert_eq!(private["by"], "small", "what is private stays: {private}");
    let shown = route_state(&server)["raised"].clone();
    assert_eq!((&shown["alarm"], &shown["test"]), (&alarm["id"], &alarm["test"]), "{shown}");
    assert_eq!((&shown["share"], &shown["until"]), (&1.0.into(), &Value::Null), "{shown}");
    let told = sprat(path, &["route", "explain", &clean(1), "--json"]).exits(0).json();
    assert_eq!((&told["side"], &told["why"]), (&"large".into(), &why.into()), "{told:#}");

    // Whoever takes note of the alarm takes it back, without a restart.
    let noted = sprat(path, &["watch", "acknowledge", "-m", "seen", "--json"]).exits(0).json();
    assert_eq!(noted["lowered"], json!(["answers@v2"]), "{noted}");
    until("a lowered route", || (route(&server, &clean(2), "")["by"] == "small").then_some(()));
    assert_eq!(route_state(&server)["raised"], Value::Null);
    let log = sprat(path, &["watch", "log", "--json"]).exits(0).json();
    let lowered = log["events"].as_array().unwrap().iter().find(|e| e["label"] == "watch-lowered");
    assert_eq!(lowered.unwrap()["body"]["alarm"], alarm["id"], "{log}");
    drop(server);

    // Where there is nothing to send requests to, the settings are refused.
    settings(path, &format!("{WATCH}actions = [\"escalate\"]\n"));
    let refused = sprat(path, &["watch", "--json"]).exits(1).json();
    assert_eq!(refused["error"]["code"], "SPRAT-SETTINGS-INVALID", "{refused}");
    assert!(refused["error"].to_string().contains("route.large"), "{refused}");
}

/// Eight words that the tiny encoder knows, each text once.
fn told(at: usize) -> String {
    const WORDS: [&str; 12] =
        ["cat", "dog", "bird", "rain", "snow", "wind", "sun", "red", "green", "blue", "one", "two"];
    // Coprime to the number of texts: their order tells nothing.
    let at = at * 5743 % 12usize.pow(4);
    [1, 12, 144, 1728, 7, 31, 97, 353].map(|step| WORDS[at / step % 12]).join(" ")
}

/// How many of some texts go to the large model, asked in one request.
fn sent_up(server: &Server, texts: &[String]) -> usize {
    let (status, answer) = server.post("/v1/classify", &json!({ "input": texts }).to_string());
    assert_eq!(status, 200, "{answer}");
    let large = |one: &&Value| one["route"]["by"] == "large";
    answer["data"].as_array().unwrap().iter().filter(large).count()
}

#[test]
fn an_alarm_may_send_a_share_of_the_requests_for_a_time() {
    let folder = released();
    let path = folder.path();
    let mock = Mock::start(|_| Act::Say(json!({ "label": "yes" }).to_string())).unwrap();
    // A fit that keeps nearly all: only its curve says which threshold sends a half. Scores differ,
    // because the third version's labels can be told from words that its encoder knows.
    let large = routed(&mock.base_url()).replace("keep_above = 0.0", "alpha = 0.9");
    let watch = WATCH.replace("enabled = true", "enabled = false");
    let share = "actions = [\"escalate\"]\nescalate_share = 0.5\nescalate_for = \"10s\"\n";
    let rows = |range: std::ops::Range<usize>| {
        let label = |text: &str| ["no", "yes"][usize::from(text.contains("cat"))];
        let lines = range.map(told).map(|text| format!("{text},{}\n", label(&text)));
        std::iter::once("text,label\n".to_owned()).chain(lines).collect::<String>()
    };
    std::fs::write(path.join("data.csv"), rows(2000..2400)).unwrap();
    std::fs::write(path.join("graded.csv"), rows(3000..3300)).unwrap();
    sprat(path, &["release", "--quiet"]).exits(0);
    sprat(path, &["promote", "v3", "--quiet"]).exits(0);
    settings(path, &format!("{watch}{share}{large}"));
    sprat(path, &["route", "fit", "--data", "graded.csv", "--quiet"]).exits(0);
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..300).map(told));
    let texts: Vec<String> = (3400..3480).map(told).collect();
    let before = sent_up(&server, &texts);
    assert!(before < 10, "{before}");

    send(&server, "strange", (0..200).map(strange));
    settle(&server);
    let seen = sprat(path, &["watch", "--json", "--quiet"]).exits(3).json();
    let act = &seen["alarms"][0]["actions"][1];
    assert_eq!((&act["action"], &act["outcome"]), (&"escalate".into(), &"done".into()), "{act}");
    assert!(act["detail"].as_str().unwrap().contains("about 50"), "{act}");
    let length = seen["alarms"].as_array().unwrap().iter().find(|one| one["test"] == "length");
    let what = length.unwrap()["what"].as_str().unwrap();
    assert!(what.starts_with("Longer inputs; it seems"), "{what}");
    let shown = until("a raised threshold", || {
        let shown = route_state(&server)["raised"].clone();
        (!shown.is_null()).then_some(shown)
    });
    let during = sent_up(&server, &texts);
    assert_eq!(shown["share"], 0.5, "{shown}");
    assert!(shown["threshold"].is_number() && shown["until"].is_number(), "{shown}");
    assert!((20..=60).contains(&during), "{during} of 80");
    // Its time runs out, and nobody has to take note.
    until("the end of its time", || route_state(&server)["raised"].is_null().then_some(()));
    assert_eq!(sent_up(&server, &texts), before);
}

/// A look at traffic that raises an alarm, with a webhook at an address; what the webhook came to.
fn told_by(folder: &Path, address: &str, more: &str) -> (Value, String) {
    let watch = WATCH.replace("enabled = true", "enabled = false");
    let hook = format!("actions = [\"webhook\"]\nwebhook = \"{address}\"\n{more}");
    settings(folder, &format!("{watch}{hook}"));
    let seen = sprat(folder, &["watch", "--json", "--quiet"]).exits(3);
    let log = sprat(folder, &["watch", "log"]).exits(0);
    let act = seen.json()["alarms"][0]["actions"][1].clone();
    assert_eq!(act["action"], "webhook", "{act}");
    (act, [seen.out, seen.err, log.out, log.err].concat())
}

#[test]
fn a_webhook_is_tried_again_and_its_address_is_told_to_nobody() {
    let folder = released();
    let path = folder.path();
    settings(path, "");
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..300).map(clean));
    send(&server, "strange", (0..200).map(strange));
    settle(&server);
    drop(server);
    let again = tempfile::tempdir().unwrap();
    copy_folder(path, again.path());

    // Busy, then without a word, then it takes the alarm: posted whole each time.
    let acts = [Act::status(503, "later"), Act::HangUp, Act::status(204, "")];
    let mock = Mock::play(acts).unwrap();
    let address = mock.base_url().replace("/v1", "/hook/secret-token");
    let (act, said) = told_by(path, &address, "");
    assert_eq!((&act["outcome"], &act["detail"]), (&"done".into(), &"answered 204".into()));
    let seen = mock.seen();
    // Other alarms of the same look are spared by the cooldown.
    assert_eq!(seen.len(), 3);
    for one in &seen {
        assert!(one.line.starts_with("POST /hook/secret-token"), "{}", one.line);
        assert_eq!(one.body, seen[0].body);
    }
    let body = &seen[0].body;
    assert_eq!((&body["schema"], &body["alarm"]["id"]), (&"sprat.alarm/1".into(), &1.into()));
    assert!(!said.contains("secret-token"), "{said}");

    // One that never takes it, and answers with its own address: failed, after as many attempts as
    // the settings say. A redirect is not followed: the alarm is not for others.
    let elsewhere = Mock::play([Act::status(200, "")]).unwrap();
    let to = vec![("location".to_owned(), elsewhere.base_url())];
    let mock = Mock::start(move |_| Act::Respond(307, to.clone(), "secret-token".into())).unwrap();
    let address = mock.base_url().replace("/v1", "/hook/secret-token");
    let (act, said) = told_by(again.path(), &address, "webhook_retries = 1\n");
    assert_eq!(act["outcome"], "failed", "{act}");
    let detail = act["detail"].as_str().unwrap();
    assert!(detail.contains("307") && detail.contains("2 attempt(s)"), "{detail}");
    let alarms = mock.seen().iter().filter(|one| one.body["alarm"]["id"] == 1).count();
    assert_eq!((alarms, elsewhere.seen().len()), (2, 0));
    assert!(!said.contains("secret-token") && !said.contains(&mock.base_url()), "{said}");
}
