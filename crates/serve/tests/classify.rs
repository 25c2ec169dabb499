//! `/v1/classify` over real sockets.

mod support;

use serde_json::json;
use sprat_infer::Limits;
use sprat_serve::Config;
use support::{Server, served};

#[test]
fn a_text_gets_its_label_with_confidence_and_scores() {
    let server = Server::start();
    let reply = server.post("/v1/classify", &json!({ "input": "card lost" }));
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json["model"], "task");
    assert_eq!(reply.json["version"], "v1");
    assert_eq!(
        reply.json["data"],
        json!([{ "index": 0, "label": "card", "confidence": 0.75, "abstained": false, "truncated": false, "scores": [
            { "label": "card", "score": 0.75 },
            { "label": "loan", "score": 0.125 },
            { "label": "other", "score": 0.125 },
        ] }])
    );
    assert_eq!(reply.json["usage"]["prompt_tokens"], 4);
    assert!(reply.header("x-request-id").unwrap().starts_with("req-"));
}

#[test]
fn many_texts_are_answered_in_order_even_beyond_the_queue() {
    let server = Server::with(Config::default(), Limits { queue: 3, ..Limits::default() });
    let inputs: Vec<String> =
        (0..50).map(|n| format!("{} {n}", ["card", "loan", "what"][n % 3])).collect();
    let reply = server.post("/v1/classify", &json!({ "input": inputs, "top_k": 1 }));
    assert_eq!(reply.status, 200, "{}", reply.text);
    let data = reply.json["data"].as_array().unwrap();
    assert_eq!(data.len(), 50);
    for (n, result) in data.iter().enumerate() {
        assert_eq!(result["index"], n);
        assert_eq!(result["label"], ["card", "loan", "other"][n % 3]);
        assert_eq!(result["scores"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn under_the_threshold_the_model_abstains() {
    let server = Server::start();
    let ask = |threshold: f64| {
        let body = json!({ "input": "card", "threshold": threshold, "model": "task@production" });
        server.post("/v1/classify", &body).json["data"][0].clone()
    };
    assert_eq!(ask(0.75)["label"], "card");
    let abstained = ask(0.8);
    assert_eq!(abstained["abstained"], true);
    assert!(abstained["label"].is_null());
    assert_eq!(abstained["confidence"], 0.75);
    assert_eq!(abstained["scores"][0]["label"], "card");
}

#[test]
fn wrong_requests_are_refused_with_the_field() {
    let limits = Config { max_inputs: 3, max_input_bytes: 10, ..Config::default() };
    let server = Server::with(limits, Limits::default());
    let ask = |body: serde_json::Value| server.post("/v1/classify", &body);
    let body = "SPRAT-SERVE-BODY";
    ask(json!({})).refused(400, body, None);
    ask(json!([1])).refused(400, body, None);
    ask(json!({ "input": 5 })).refused(400, body, Some("input"));
    ask(json!({ "input": ["a", 5] })).refused(400, body, Some("input"));
    ask(json!({ "input": [] })).refused(400, body, Some("input"));
    ask(json!({ "input": "a", "threshold": 2 })).refused(400, body, Some("threshold"));
    ask(json!({ "input": "a", "threshold": "x" })).refused(400, body, Some("threshold"));
    ask(json!({ "input": "a", "top_k": 0 })).refused(400, body, Some("top_k"));
    ask(json!({ "input": "a", "top_k": -1 })).refused(400, body, Some("top_k"));
    let unknown = ask(json!({ "input": "a", "treshold": 0.5 }));
    unknown.refused(400, "SPRAT-SERVE-PARAMETER", Some("treshold"));
    ask(json!({ "input": "a", "model": "gpt" })).refused(404, "SPRAT-SERVE-MODEL", Some("model"));
    let large = "SPRAT-SERVE-TOO-LARGE";
    ask(json!({ "input": ["a", "b", "c", "d"] })).refused(413, large, Some("input"));
    ask(json!({ "input": "12345678901" })).refused(413, large, Some("input"));
    ask(json!({ "input": ["a", "12345678901"] })).refused(413, large, Some("input[1]"));
}

#[test]
fn a_text_that_breaks_the_model_fails_alone() {
    let server = Server::start();
    let reply = server.post("/v1/classify", &json!({ "input": "panic" }));
    reply.refused(500, "SPRAT-INFER-PANIC", None);
    assert_eq!(reply.json["error"]["type"], "server_error");
    assert_eq!(server.post("/v1/classify", &json!({ "input": "card" })).status, 200);
}

#[test]
fn every_input_leaves_a_trace() {
    let server = Server::start();
    let body = json!({ "input": ["card", "loan"], "threshold": 0.6 }).to_string();
    server.send("POST", "/v1/classify", &["x-request-id: abc-1"], body.as_bytes());
    server.post("/v1/classify", &json!({ "input": "panic" }));
    let traces = server.traces.0.lock().unwrap();
    assert_eq!(traces.len(), 3);
    assert_eq!((traces[0].request.as_str(), traces[0].index), ("abc-1", 0));
    assert_eq!(traces[0].label.as_deref(), Some("card"));
    assert!(!traces[0].abstained && traces[1].abstained);
    assert_eq!(traces[1].input, "loan");
    assert_eq!(traces[1].version, "v1");
    assert_eq!(traces[2].error, Some("SPRAT-INFER-PANIC"));
}

#[test]
fn a_moved_alias_is_picked_up_without_dropping_a_request() {
    let server = Server::start();
    let running = std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.post("/v1/classify", &json!({ "input": "slow" })));
        server.wait_until_busy();
        server.table.replace(vec![served("v2", Limits::default()).0]);
        let new = server.post("/v1/classify", &json!({ "input": "card" }));
        assert_eq!(new.json["version"], "v2");
        slow.join().unwrap()
    });
    assert_eq!(running.status, 200);
    assert_eq!(running.json["version"], "v1", "the running request kept its model");
    let begun = std::time::Instant::now();
    while !server.probe.dropped.load(std::sync::atomic::Ordering::SeqCst) {
        assert!(begun.elapsed().as_secs() < 5, "the old model was never given up");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
