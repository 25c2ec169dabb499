//! OpenAI's protocol over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use base64::Engine;
use serde_json::{Value, json};
use support::Server;

fn ask(server: &Server, extra: Value) -> support::Reply {
    let mut body = json!({ "model": "task", "messages": [{ "role": "user", "content": "card" }] });
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    server.post("/v1/chat/completions", &body)
}

#[test]
fn a_classifier_answers_a_chat_with_its_label() {
    let server = Server::start();
    let neutral = json!({ "temperature": 0, "n": 1, "stream": false, "stop": null, "seed": 1,
        "max_tokens": 5, "user": "me", "top_p": 1 });
    let reply = ask(&server, neutral);
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json["object"], "chat.completion");
    assert_eq!(reply.json["choices"][0]["message"]["content"], "card");
    assert_eq!(reply.json["choices"][0]["finish_reason"], "stop");
    assert_eq!(reply.json["usage"]["total_tokens"], 3);
    assert_eq!(reply.json["system_fingerprint"], "v1");
    assert_eq!(reply.header("x-sprat-not-read"), None);
    assert_eq!(server.traces.0.lock().unwrap()[0].endpoint, "/v1/chat/completions");
}

#[test]
fn a_system_message_is_allowed_and_named_as_unread() {
    let server = Server::start();
    let messages = json!([{ "role": "system", "content": "classify" },
        { "role": "user", "content": [{ "type": "text", "text": "loan" }] }]);
    let reply = ask(&server, json!({ "messages": messages }));
    assert_eq!(reply.json["choices"][0]["message"]["content"], "loan");
    assert_eq!(reply.header("x-sprat-not-read"), Some("system messages"));
}

#[test]
fn a_json_schema_is_satisfied_or_refused() {
    let server = Server::start();
    let format = |schema: Value| {
        json!({ "response_format": { "type": "json_schema",
            "json_schema": { "name": "x", "strict": true, "schema": schema } } })
    };
    let object = |labels: Value| {
        json!({ "type": "object", "properties": { "topic": { "enum": labels } },
                "required": ["topic"], "additionalProperties": false })
    };
    let content = |reply: support::Reply| {
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let all = ask(&server, format(object(json!(["card", "loan", "other"]))));
    assert_eq!(content(all), "{\"topic\":\"card\"}");
    let fewer = ask(&server, format(object(json!(["loan", "other"]))));
    assert_eq!(content(fewer), "{\"topic\":\"loan\"}");
    let any = ask(&server, json!({ "response_format": { "type": "json_object" } }));
    assert_eq!(content(any), "{\"label\":\"card\"}");

    let field = Some("response_format.json_schema.schema");
    let none = ask(&server, format(object(json!(["mortgage"]))));
    none.refused(400, "SPRAT-SERVE-SCHEMA", field);
    ask(&server, format(json!({ "type": 1 }))).refused(400, "SPRAT-SERVE-SCHEMA", field);
    let bare = ask(&server, json!({ "response_format": { "type": "json_schema" } }));
    bare.refused(400, "SPRAT-SERVE-BODY", Some("response_format.json_schema"));
    let kind = ask(&server, json!({ "response_format": { "type": "xml" } }));
    kind.refused(400, "SPRAT-SERVE-PARAMETER", Some("response_format.type"));
}

#[test]
fn what_would_have_to_be_ignored_is_refused_by_name() {
    let server = Server::start();
    for (name, value) in [
        ("n", json!(2)),
        ("tools", json!([{ "type": "function", "function": { "name": "f" } }])),
        ("tool_choice", json!("sometimes")),
        ("functions", json!([])),
        ("logprobs", json!(true)),
        ("logit_bias", json!({ "5": 1 })),
        ("stop", json!(["x"])),
        ("presence_penalty", json!(0.5)),
        ("top_p", json!(0.5)),
        ("max_tokens", json!(0)),
        ("stream_options", json!({ "include_usage": true })),
        ("made_up", json!(1)),
    ] {
        ask(&server, json!({ name: value })).refused(400, "SPRAT-SERVE-PARAMETER", Some(name));
    }
    ask(&server, json!({ "temperature": 3 })).refused(
        400,
        "SPRAT-INFER-SAMPLING",
        Some("temperature"),
    );
    let image = json!([{ "role": "user", "content": [{ "type": "image_url", "text": "" }] }]);
    let reply = ask(&server, json!({ "messages": image }));
    reply.refused(400, "SPRAT-SERVE-PARAMETER", Some("messages[0].content[0].type"));
    let tool = json!([{ "role": "tool", "content": "x" }]);
    let reply = ask(&server, json!({ "messages": tool }));
    reply.refused(400, "SPRAT-INFER-INPUT", Some("messages[0]"));
    let robot = json!([{ "role": "robot", "content": "x" }]);
    let reply = ask(&server, json!({ "messages": robot }));
    reply.refused(400, "SPRAT-SERVE-PARAMETER", Some("messages[0].role"));
    let extra = json!([{ "role": "user", "content": "x", "audio": {} }]);
    let reply = ask(&server, json!({ "messages": extra }));
    reply.refused(400, "SPRAT-SERVE-PARAMETER", Some("messages[0].audio"));
    let two = json!([{ "role": "user", "content": "a" }, { "role": "user", "content": "b" }]);
    let reply = ask(&server, json!({ "messages": two }));
    reply.refused(400, "SPRAT-INFER-INPUT", Some("messages[1]"));
    let number = json!([{ "role": "user", "content": 5 }]);
    let reply = ask(&server, json!({ "messages": number }));
    reply.refused(400, "SPRAT-SERVE-BODY", Some("messages[0].content"));
    ask(&server, json!({ "model": "x" })).refused(404, "SPRAT-SERVE-MODEL", Some("model"));
}

#[test]
fn a_stream_is_a_series_of_chunks_that_ends_with_done() {
    let server = Server::start();
    let reply =
        ask(&server, json!({ "stream": true, "stream_options": { "include_usage": true } }));
    assert_eq!(reply.status, 200);
    assert!(reply.header("content-type").unwrap().starts_with("text/event-stream"));
    let lines: Vec<&str> =
        reply.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (done, chunks) = lines.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let chunks: Vec<Value> =
        chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "card");
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[3]["usage"]["prompt_tokens"], 3);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
}

#[test]
fn a_stream_that_fails_at_once_has_its_status() {
    let server = Server::start();
    let messages = json!([{ "role": "user", "content": "panic" }]);
    let reply = ask(&server, json!({ "stream": true, "messages": messages }));
    reply.refused(500, "SPRAT-INFER-PANIC", None);
    assert_eq!(server.traces.0.lock().unwrap()[0].error, Some("SPRAT-INFER-PANIC"));
}

#[test]
fn embeddings_come_as_floats_or_base64() {
    let server = Server::start();
    let floats = server.post("/v1/embeddings", &json!({ "model": "task", "input": ["ab", "c"] }));
    assert_eq!(floats.status, 200, "{}", floats.text);
    assert_eq!(floats.json["data"][1]["index"], 1);
    assert_eq!(floats.json["usage"]["prompt_tokens"], 3);
    let vector: Vec<f32> =
        serde_json::from_value(floats.json["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(vector, [0.6, 0.0, -0.8]);
    let body = json!({ "model": "task", "input": "ab", "encoding_format": "base64" });
    let packed = server.post("/v1/embeddings", &body);
    let text = packed.json["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let unpacked: Vec<f32> =
        bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(unpacked, vector);
}

#[test]
fn wrong_embedding_requests_are_refused() {
    let server = Server::start();
    let ask = |body: Value| server.post("/v1/embeddings", &body);
    let parameter = "SPRAT-SERVE-PARAMETER";
    let body = json!({ "model": "task", "input": "a", "dimensions": 2 });
    ask(body).refused(400, parameter, Some("dimensions"));
    let body = json!({ "model": "task", "input": "a", "encoding_format": "hex" });
    ask(body).refused(400, parameter, Some("encoding_format"));
    let tokens = json!({ "model": "task", "input": [1, 2] });
    ask(tokens).refused(400, "SPRAT-SERVE-BODY", Some("input"));
    ask(json!({ "input": "a" })).refused(400, "SPRAT-SERVE-BODY", None);
    ask(json!({ "model": "task", "input": "fail" })).refused(400, "SPRAT-TEST-BAD", None);
}

#[test]
fn models_are_listed_with_what_they_can_do() {
    let server = Server::start();
    let list = server.get("/v1/models");
    let card = &list.json["data"][0];
    assert_eq!(card["id"], "task");
    assert_eq!(card["created"], 1_700_000_000);
    assert_eq!(card["abilities"], json!(["classify", "chat", "embed"]));
    assert_eq!(card["labels"], json!(["card", "loan", "other"]));
    assert_eq!(&server.get("/v1/models/task%40production").json, card);
    server.get("/v1/models/none").refused(404, "SPRAT-SERVE-MODEL", Some("model"));
}

/// Drives the server with OpenAI's own Python client.
#[test]
fn the_official_client_is_satisfied() {
    let server = Server::start();
    support::python("openai_client.py", &format!("http://{}/v1", server.address), "openai");
}
