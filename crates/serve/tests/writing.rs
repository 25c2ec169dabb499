//! Models that write, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use serde_json::{Value, json};
use support::{Reply, Server};

fn chat(server: &Server, extra: &Value) -> Reply {
    let mut body = json!({ "model": "writer", "seed": 1, "max_tokens": 12,
        "messages": [{ "role": "user", "content": "hello" }] });
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    server.post("/v1/chat/completions", &body)
}

fn chunks(reply: &Reply) -> Vec<Value> {
    let lines: Vec<&str> =
        reply.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (done, chunks) = lines.split_last().unwrap();
    assert_eq!(*done, "[DONE]", "{}", reply.text);
    chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
}

/// The text of one of the answers in a stream.
fn streamed(chunks: &[Value], index: u64) -> String {
    chunks
        .iter()
        .flat_map(|chunk| chunk["choices"].as_array().unwrap())
        .filter(|choice| choice["index"] == index)
        .map(|choice| choice["delta"]["content"].as_str().unwrap_or("").to_owned())
        .collect()
}

fn content(reply: &Reply, index: usize) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json["choices"][index]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn a_chat_is_the_same_in_one_piece_and_in_many() {
    let server = Server::writing();
    let whole = chat(&server, &json!({ "n": 3 }));
    assert_ne!(content(&whole, 0), content(&whole, 1), "each answer has its own seed");
    assert_eq!(whole.json["usage"]["prompt_tokens"], 8);
    assert_eq!(whole.json["choices"][2]["finish_reason"], "length");
    let options = json!({ "n": 3, "stream": true, "stream_options": { "include_usage": true } });
    let chunks = chunks(&chat(&server, &options));
    for index in 0..3 {
        assert_eq!(streamed(&chunks, index), content(&whole, index as usize));
    }
    assert_eq!(
        chunks.last().unwrap()["usage"]["completion_tokens"],
        whole.json["usage"]["completion_tokens"]
    );
    let alone = chat(&server, &json!({ "seed": 2 }));
    assert_eq!(content(&alone, 0), content(&whole, 1));
}

#[test]
fn scores_of_tokens_come_with_the_answer() {
    let server = Server::writing();
    let reply = chat(&server, &json!({ "logprobs": true, "top_logprobs": 2, "temperature": 0 }));
    let scores = reply.json["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(scores.len(), 12);
    for score in scores {
        // The most likely token was taken.
        assert_eq!(score["top_logprobs"][0]["token"], score["token"]);
        assert_eq!(score["top_logprobs"].as_array().unwrap().len(), 2);
        assert!(score["logprob"].as_f64().unwrap() <= 0.0);
    }
    let bytes: Vec<u8> = scores
        .iter()
        .flat_map(|score| score["bytes"].as_array().unwrap())
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect();
    assert_eq!(String::from_utf8_lossy(&bytes), content(&reply, 0));
}

#[test]
fn constraints_hold_and_the_response_says_how() {
    let server = Server::writing();
    let schema = json!({ "type": "object", "properties": {
        "size": { "enum": ["small", "large"] } }, "required": ["size"],
        "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema }});
    let reply = chat(&server, &json!({ "response_format": format, "max_tokens": 40 }));
    assert!(["{\"size\":\"small\"}", "{\"size\":\"large\"}"].contains(&&*content(&reply, 0)));
    assert_eq!(reply.json["sprat"]["constraint"], "exact");
    let reply = chat(&server, &json!({ "guided": { "regex": "[0-9]{3}-[0-9]{2}" } }));
    let text = content(&reply, 0);
    assert!(text.len() == 6 && text.as_bytes()[3] == b'-', "{text}");
    let reply = chat(&server, &json!({ "guided": { "choice": ["red", "green"] } }));
    assert!(["red", "green"].contains(&&*content(&reply, 0)));
    let reply = chat(&server, &json!({ "response_format": format, "max_tokens": 3 }));
    reply.refused(500, "SPRAT-INFER-TRUNCATED", Some("max_tokens"));
    let wrong = json!({ "type": "json_schema", "json_schema": { "schema": { "type": "objet" } } });
    let reply = chat(&server, &json!({ "response_format": wrong }));
    assert_eq!(reply.json["error"]["code"], "SPRAT-INFER-SCHEMA", "{}", reply.text);
}

#[test]
fn a_tool_is_called_when_it_must_be() {
    let server = Server::writing();
    let tools = json!([{ "type": "function", "function": { "name": "weather", "parameters": {
        "type": "object", "properties": { "city": { "enum": ["Rome", "Oslo"] } },
        "required": ["city"], "additionalProperties": false } } }]);
    let asked = json!({ "tools": tools, "tool_choice": "required", "max_tokens": 80 });
    let reply = chat(&server, &asked);
    assert_eq!(reply.status, 200, "{}", reply.text);
    let choice = &reply.json["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "weather");
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(["Rome", "Oslo"].contains(&arguments["city"].as_str().unwrap()));
    let mut asked = asked;
    asked["stream"] = true.into();
    let chunks = chunks(&chat(&server, &asked));
    let calls: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"].get("tool_calls")).collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0][0]["function"]["name"], "weather");
    let reply = chat(
        &server,
        &json!({ "tools": tools, "tool_choice":
        { "type": "function", "function": { "name": "time" } } }),
    );
    reply.refused(400, "SPRAT-SERVE-PARAMETER", Some("tool_choice"));
}

#[test]
fn completions_go_on_with_texts_and_tokens() {
    let server = Server::writing();
    let complete = |extra: Value| {
        let mut body = json!({ "model": "writer", "prompt": "ab", "temperature": 0 });
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        server.post("/v1/completions", &body)
    };
    let reply = complete(json!({}));
    assert_eq!(reply.json["usage"]["completion_tokens"], 16, "{}", reply.text);
    let text = reply.json["choices"][0]["text"].as_str().unwrap().to_owned();
    let scored = complete(json!({ "echo": true, "logprobs": 1 }));
    let choice = &scored.json["choices"][0];
    assert_eq!(choice["text"], format!("ab{text}"));
    let scores = &choice["logprobs"];
    assert_eq!(scores["tokens"].as_array().unwrap().len(), 18);
    assert_eq!(scores["token_logprobs"][0], Value::Null);
    assert!(scores["token_logprobs"][1].as_f64().unwrap() < 0.0);
    assert_eq!(scores["text_offset"][2], 2);
    // Likelihoods of a text alone, of several texts at once, and of tokens.
    let only = complete(json!({ "prompt": ["ab", "abc"], "echo": true, "logprobs": 1,
        "max_tokens": 0 }));
    let choices = only.json["choices"].as_array().unwrap();
    assert_eq!(choices[1]["text"], "abc");
    assert_eq!(choices[0]["logprobs"]["token_logprobs"][1], scores["token_logprobs"][1]);
    let tokens = complete(json!({ "prompt": [[64, 65]], "max_tokens": 2 }));
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    complete(json!({ "prompt": [9999] })).refused(400, "SPRAT-INFER-INPUT", Some("prompt"));
    complete(json!({ "suffix": "x" })).refused(400, "SPRAT-SERVE-PARAMETER", Some("suffix"));
    complete(json!({ "max_tokens": 100_000 })).refused(
        400,
        "SPRAT-INFER-CONTEXT",
        Some("max_tokens"),
    );
    complete(json!({ "functions": [] })).refused(400, "SPRAT-SERVE-PARAMETER", Some("functions"));
    let reply = complete(json!({ "stream": true, "max_tokens": 3 }));
    let pieces: String = chunks(&reply)
        .iter()
        .map(|chunk| chunk["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(pieces, text[..pieces.len()]);
}

#[test]
fn who_hangs_up_in_a_stream_leaves_the_server_at_work() {
    use std::io::{Read, Write};
    let server = Server::writing();
    let body = json!({ "model": "writer", "stream": true, "max_tokens": 400,
        "messages": [{ "role": "user", "content": "go" }] })
    .to_string();
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = [0; 64];
        assert!(stream.read(&mut first).unwrap() > 0);
    }
    assert_eq!(chat(&server, &json!({})).status, 200);
}

/// Drives the server with OpenAI's own Python client.
#[test]
fn the_official_client_is_satisfied() {
    let server = Server::writing();
    support::python("openai_writer.py", &format!("http://{}/v1", server.address), "openai");
}

/// The same with the client for JavaScript.
#[test]
fn the_official_javascript_client_is_satisfied() {
    let server = Server::writing();
    support::node("openai_writer.cjs", &format!("http://{}/v1", server.address), "openai");
}
