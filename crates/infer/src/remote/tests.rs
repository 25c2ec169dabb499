use super::mock::{Act, Mock, Piece, completion};
use super::*;
use crate::request::{Input, Message, Role};
use serde_json::json;
use std::time::Duration;

fn settings(mock: &Mock) -> Settings {
    Settings {
        labels: ["card", "loan"].map(String::from).to_vec(),
        api_key: Some(Secret::new("sk-very-secret")),
        backoff: Duration::from_millis(5),
        retries: 2,
        timeout: Duration::from_secs(5),
        proxy_from_environment: false,
        ..Settings::new("openai:mock", mock.base_url(), "mock-large")
    }
}

fn ask(mock: &Mock, text: &str) -> Result<Answer> {
    Remote::open(settings(mock)).unwrap().answer(Request::text(text))
}

#[test]
fn a_label_is_asked_for_with_instruction_and_schema() {
    let mock = Mock::play([Act::Say("{\"label\": \"card\"}".into())]).unwrap();
    let prices = Prices { usd_per_million_input_tokens: 2.5, usd_per_million_output_tokens: 10.0 };
    let settings = Settings {
        instruction: Some("These are messages to a bank.".into()),
        prices: Some(prices),
        ..settings(&mock)
    };
    let remote = Remote::open(settings).unwrap();
    let answer = remote.answer(Request::text("I lost it")).unwrap();
    assert_eq!(answer.output, "card");
    assert_eq!(answer.label.as_deref(), Some("card"));
    assert_eq!((answer.prompt_tokens, answer.completion_tokens), (10, 2));
    assert!((answer.usd.unwrap() - 45e-6).abs() < 1e-12);

    let seen = &mock.seen()[0];
    assert_eq!(seen.line, "POST /v1/chat/completions HTTP/1.1");
    let header = ("authorization".to_string(), "Bearer sk-very-secret".to_string());
    assert!(seen.headers.contains(&header));
    assert_eq!(seen.body["model"], "mock-large");
    let system = seen.body["messages"][0]["content"].as_str().unwrap();
    assert!(system.starts_with("These are messages to a bank."));
    assert!(system.contains("- card\n- loan\n"));
    assert_eq!(seen.body["messages"][1], json!({ "role": "user", "content": "I lost it" }));
    let schema = &seen.body["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["properties"]["label"]["enum"], json!(["card", "loan"]));
}

#[test]
fn an_endpoint_without_response_format_is_asked_by_instruction_alone() {
    let refusal = json!({ "error": { "message": "response_format is not supported" } });
    let mock = Mock::start(move |seen| {
        if seen.body.get("response_format").is_some() {
            Act::status(400, refusal.to_string())
        } else {
            Act::Say("loan".into())
        }
    })
    .unwrap();
    let remote = Remote::open(settings(&mock)).unwrap();
    assert_eq!(remote.answer(Request::text("a")).unwrap().output, "loan");
    assert_eq!(remote.answer(Request::text("b")).unwrap().output, "loan");
    assert_eq!(mock.seen().len(), 3, "the refusal is remembered");
    let strict = Settings { structured: Structured::Always, ..settings(&mock) };
    let error = Remote::open(strict).unwrap().answer(Request::text("a")).unwrap_err();
    assert_eq!(error.code(), &codes::REMOTE_REFUSED);
}

#[test]
fn an_endpoint_that_wants_the_newer_token_limit_gets_it() {
    let refusal = json!({ "error": { "message":
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead." } });
    let mock = Mock::start(move |seen| {
        if seen.body.get("max_tokens").is_some() {
            Act::status(400, refusal.to_string())
        } else {
            Act::Say("loan".into())
        }
    })
    .unwrap();
    let remote = Remote::open(settings(&mock)).unwrap();
    let request = Request { max_tokens: Some(7), ..Request::text("a") };
    assert_eq!(remote.answer(request).unwrap().output, "loan");
    assert_eq!(mock.seen()[1].body["max_completion_tokens"], 7);
}

#[test]
fn an_answer_that_is_no_label_is_explicitly_invalid() {
    for (said, why) in [("mortgage", "mortgage"), ("I think: card", "not one of"), ("", "\"\"")] {
        let mock = Mock::play([Act::Say(said.into())]).unwrap();
        let answer = ask(&mock, "a").unwrap();
        assert_eq!(answer.label, None);
        assert!(answer.invalid.unwrap().contains(why), "{said}");
        assert_eq!(answer.prompt_tokens, 10, "it was paid for all the same");
    }
    let mut refusing = completion("");
    refusing["choices"][0]["message"]["refusal"] = "I cannot help".into();
    let mock = Mock::play([Act::status(200, refusing.to_string())]).unwrap();
    assert!(ask(&mock, "a").unwrap().invalid.unwrap().contains("I cannot help"));
}

#[test]
fn a_json_answer_is_checked_against_its_schema() {
    let schema = json!({ "type": "object", "required": ["n"],
        "properties": { "n": { "type": "integer" } } });
    for (said, valid) in [("{\"n\": 1}", true), ("{\"n\": \"1\"}", false), ("{", false)] {
        let mock = Mock::play([Act::Say(said.into())]).unwrap();
        let remote = Remote::open(settings(&mock)).unwrap();
        let request = Request::text("a").constrained(Constraint::JsonSchema(schema.clone()));
        assert_eq!(remote.answer(request).unwrap().invalid.is_none(), valid, "{said}");
        let sent = &mock.seen()[0].body["response_format"]["json_schema"]["schema"];
        assert_eq!(sent, &schema);
    }
    let mock = Mock::play([Act::Say(String::new())]).unwrap();
    let bad = Request::text("a").constrained(Constraint::JsonSchema(json!({ "type": 5 })));
    let refused = Remote::open(settings(&mock)).unwrap().answer(bad);
    assert_eq!(refused.unwrap_err().code(), &codes::CONSTRAINT);
}

#[test]
fn passing_faults_are_tried_again() {
    let busy = Act::Respond(
        429,
        vec![("retry-after".into(), "0.02".into())],
        json!({ "error": { "message": "slow down" } }).to_string(),
    );
    let overloaded = json!({ "error": { "code": 503, "message": "overloaded" } }).to_string();
    for fault in [
        busy,
        Act::status(500, "oops"),
        Act::status(503, ""),
        Act::status(200, overloaded),
        Act::HalfBody,
        Act::HangUp,
    ] {
        let mock = Mock::play([fault.clone(), Act::Say("card".into())]).unwrap();
        assert_eq!(ask(&mock, "a").unwrap().output, "card", "{fault:?}");
        assert_eq!(mock.seen().len(), 2, "{fault:?}");
    }
}

#[test]
fn retry_after_is_honoured_and_not_beyond_reason() {
    let wait = |text: &str| {
        let headers = vec![("retry-after".into(), text.into())];
        Act::Respond(429, headers, String::new())
    };
    let mock = Mock::play([wait("0.2"), Act::Say("card".into())]).unwrap();
    let begun = Instant::now();
    ask(&mock, "a").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let mock = Mock::play([wait("3600")]).unwrap();
    let error = ask(&mock, "a").unwrap_err();
    assert!(error.to_string().contains("3600 s"), "{error}");
    assert_eq!(mock.seen().len(), 1);
}

#[test]
fn lasting_faults_are_errors_with_their_reason_and_without_the_key() {
    let refused = json!({ "error": { "message": "Incorrect API key: sk-very-secret",
        "code": "invalid_api_key" } });
    let quota = json!({ "error": { "message": "pay", "code": "insufficient_quota" } });
    for (act, code, tries) in [
        (Act::status(401, refused.to_string()), &codes::REMOTE_STATUS, 1),
        (Act::status(200, refused.to_string()), &codes::REMOTE_STATUS, 1),
        (Act::status(200, json!({ "error": "down" }).to_string()), &codes::REMOTE_STATUS, 1),
        (Act::status(429, quota.to_string()), &codes::REMOTE_STATUS, 1),
        (Act::status(301, ""), &codes::REMOTE_STATUS, 1),
        (Act::status(500, "sk-very-secret"), &codes::REMOTE_STATUS, 3),
        (Act::status(200, "<html>sk-very-secret"), &codes::REMOTE_GARBAGE, 1),
        (Act::status(200, "{}"), &codes::REMOTE_GARBAGE, 1),
        (Act::status(200, "{\"choices\":[]}"), &codes::REMOTE_GARBAGE, 1),
        (
            Act::status(200, "{\"choices\":[{\"message\":{\"content\":[1]}}]}"),
            &codes::REMOTE_GARBAGE,
            1,
        ),
        (Act::HalfBody, &codes::REMOTE_UNFINISHED, 3),
        (Act::HangUp, &codes::REMOTE_UNREACHABLE, 3),
    ] {
        let mock = Mock::play([act.clone()]).unwrap();
        let error = ask(&mock, "a").unwrap_err();
        assert_eq!(error.code(), code, "{act:?}: {error}");
        assert_eq!(mock.seen().len(), tries, "{act:?}");
        assert!(!format!("{error:?}").contains("very-secret"), "{error:?}");
    }
    let mock = Mock::play([Act::Garbage]).unwrap();
    assert_eq!(ask(&mock, "a").unwrap_err().code(), &codes::REMOTE_UNREACHABLE);
}

#[test]
fn a_response_without_end_is_cut() {
    let mock = Mock::play([Act::status(200, " ".repeat(100_000))]).unwrap();
    let settings = Settings { response_limit: 1000, ..settings(&mock) };
    let error = Remote::open(settings).unwrap().answer(Request::text("a")).unwrap_err();
    assert_eq!(error.code(), &codes::REMOTE_TOO_LARGE);
}

#[test]
fn a_slow_endpoint_runs_into_the_time_limit() {
    let slow = Act::Slow(Duration::from_secs(20), Box::new(Act::Say("card".into())));
    let mock = Mock::play([slow]).unwrap();
    let settings = Settings { timeout: Duration::from_millis(100), retries: 0, ..settings(&mock) };
    let begun = Instant::now();
    let remote = Remote::open(settings).unwrap();
    let error = remote.answer(Request::text("a")).unwrap_err();
    assert_eq!(error.code(), &codes::REMOTE_UNFINISHED);
    assert!(error.to_string().contains("timeout"), "{error}");
    // The limit cut the wait short; how short is the machine's business.
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_dead_endpoint_is_named_without_credentials() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let settings = Settings {
        backoff: Duration::from_millis(1),
        retries: 1,
        proxy_from_environment: false,
        ..Settings::new("dead", format!("http://ada:pass@127.0.0.1:{port}/v1"), "m")
    };
    let error = Remote::open(settings).unwrap().answer(Request::text("a")).unwrap_err();
    assert_eq!(error.code(), &codes::REMOTE_UNREACHABLE);
    assert!(error.to_string().contains("after 2 attempts"), "{error}");
    assert!(!error.to_string().contains("pass"), "{error}");
}

#[test]
fn wrong_settings_are_named() {
    for url in ["", "example.com/v1", "ftp://example.com", "http://", "http://a b/"] {
        let error = Remote::open(Settings::new("x", url, "m")).err().unwrap();
        assert_eq!(error.code(), &codes::REMOTE_SETTINGS, "{url}");
    }
    let missing = Settings::new("x", "http://a", "m").with_environment(Some("MY_KEY"), |_| None);
    let error = missing.unwrap_err();
    assert_eq!(error.code(), &codes::REMOTE_KEY);
    assert!(error.remedy().contains("MY_KEY"));
    let found = Settings::new("x", "http://a", "m")
        .with_environment(Some("MY_KEY"), |name| (name == "MY_KEY").then(|| " k ".to_owned()));
    assert_eq!(found.unwrap().api_key.unwrap().reveal(), "k");
}

#[test]
fn conversations_and_sampling_are_passed_on() {
    let mock = Mock::play([Act::Say("hello".into())]).unwrap();
    let settings = Settings { labels: vec![], ..settings(&mock) };
    let remote = Remote::open(settings).unwrap();
    let messages = vec![Message::new(Role::System, "be short"), Message::new(Role::User, "hi")];
    let request = Request {
        sampling: Sampling { temperature: Some(0.7), seed: Some(9), ..Sampling::default() },
        ..Request::new(Input::Messages(messages))
    };
    assert_eq!(remote.answer(request).unwrap().output, "hello");
    let body = &mock.seen()[0].body;
    assert_eq!(body["temperature"], 0.7);
    assert_eq!(body["seed"], 9);
    assert_eq!(body["messages"][0]["role"], "system");
    assert!(body.get("response_format").is_none());
}

#[test]
fn many_requests_run_at_once_up_to_the_limit() {
    let slow = Act::Slow(Duration::from_millis(1000), Box::new(Act::Say("card".into())));
    let mock = Mock::start(move |_| slow.clone()).unwrap();
    let settings = Settings { concurrency: 4, queue: 4, ..settings(&mock) };
    let remote = Remote::open(settings).unwrap();
    let begun = Instant::now();
    let pending: Vec<Pending> =
        (0..4).map(|_| remote.submit(Request::text("a")).unwrap()).collect();
    for pending in pending {
        assert_eq!(pending.wait().unwrap().output, "card");
    }
    // One after the other would take four seconds, whatever the machine.
    assert!(begun.elapsed() < Duration::from_millis(3900), "{:?}", begun.elapsed());
}

/// What came of a streamed request: the pieces, and how it ended.
fn stream(settings: Settings) -> (Vec<String>, Result<Answer>) {
    let request = Request { stream: true, ..Request::text("a") };
    let mut pending = Remote::open(settings).unwrap().submit(request).unwrap();
    let mut pieces = Vec::new();
    loop {
        match pending.recv().unwrap() {
            Event::Delta(delta) => pieces.push(delta.text),
            Event::Done(answer) => return (pieces, Ok(*answer)),
            Event::Failed(error) => return (pieces, Err(error)),
        }
    }
}

fn free_text(mock: &Mock) -> Settings {
    Settings { labels: Vec::new(), ..settings(mock) }
}

#[test]
fn pieces_of_an_answer_are_passed_on_as_they_come() {
    let pieces = vec![
        Piece::Raw(": thinking\r\n\r\n".into()),
        Piece::Say("hel"),
        Piece::Wait(Duration::from_millis(20)),
        Piece::Say("lo"),
        Piece::End,
    ];
    let mock = Mock::play([Act::Stream(pieces)]).unwrap();
    let prices = Prices { usd_per_million_input_tokens: 2.5, usd_per_million_output_tokens: 10.0 };
    let (pieces, answer) = stream(Settings { prices: Some(prices), ..free_text(&mock) });
    let answer = answer.unwrap();
    assert_eq!((pieces, answer.output.as_str()), (vec!["hel".into(), "lo".into()], "hello"));
    assert_eq!((answer.prompt_tokens, answer.completion_tokens), (10, 2));
    assert!((answer.usd.unwrap() - 45e-6).abs() < 1e-12);
    assert!(answer.timing.first.unwrap() <= answer.latency);
    let sent = &mock.seen()[0].body;
    assert_eq!(
        (&sent["stream"], &sent["stream_options"]["include_usage"]),
        (&json!(true), &json!(true))
    );
    // An answer that counts only as a whole is not asked for in pieces.
    let mock = Mock::play([Act::Say("card".into())]).unwrap();
    assert_eq!(stream(settings(&mock)).1.unwrap().output, "card");
    assert!(mock.seen()[0].body.get("stream").is_none());
}

#[test]
fn an_endpoint_that_does_not_stream_or_does_not_count_is_no_worse() {
    let mock = Mock::play([Act::Say("hello".into())]).unwrap();
    assert_eq!(stream(free_text(&mock)).1.unwrap().output, "hello");
    let refusal = json!({ "error": { "message": "unknown parameter stream_options" } });
    let mock = Mock::start(move |seen| {
        if seen.body.get("stream_options").is_some() {
            return Act::status(400, refusal.to_string());
        }
        let end = json!({ "choices": [{ "delta": {}, "finish_reason": "length" }] });
        // Some end without `[DONE]`.
        Act::Stream(vec![Piece::Say("hello"), Piece::Raw(format!("data: {end}\n\n"))])
    })
    .unwrap();
    let (pieces, answer) = stream(free_text(&mock));
    let answer = answer.unwrap();
    assert_eq!((pieces.len(), answer.finish), (1, crate::Finish::Length));
    assert_eq!(mock.seen().len(), 2);
}

#[test]
fn a_stream_that_goes_wrong_ends_with_a_coded_error() {
    let error = json!({ "error": { "code": 503, "message": "overloaded, sk-very-secret" } });
    let error = Piece::Raw(format!("data: {error}\n\n"));
    let endless = json!({ "choices": [{ "delta": { "content": "on and on " } }] });
    let second = Duration::from_secs(1);
    for (pieces, code, passed, tries) in [
        (vec![], &codes::REMOTE_UNFINISHED, 0, 3),
        (vec![error.clone()], &codes::REMOTE_STATUS, 0, 3),
        (vec![Piece::Say("hel"), error], &codes::REMOTE_STATUS, 1, 1),
        (vec![Piece::Say("hel")], &codes::REMOTE_UNFINISHED, 1, 1),
        (vec![Piece::Raw("data: [DONE]\n\n".into())], &codes::REMOTE_UNFINISHED, 0, 3),
        (vec![Piece::Raw("data: what?\n\n".into())], &codes::REMOTE_GARBAGE, 0, 1),
        (vec![Piece::Raw("data: {\"choices\":7}\n\n".into())], &codes::REMOTE_GARBAGE, 0, 1),
        (vec![Piece::Say("hel"), Piece::Wait(60 * second)], &codes::REMOTE_UNFINISHED, 1, 1),
        (vec![Piece::Forever("data: ".into())], &codes::REMOTE_TOO_LARGE, 0, 1),
        (vec![Piece::Forever(": ping\n\n".into())], &codes::REMOTE_TOO_LARGE, 0, 1),
        (vec![Piece::Forever(format!("data: {endless}\n\n"))], &codes::REMOTE_TOO_LARGE, 1, 1),
    ] {
        let mock = Mock::play([Act::Stream(pieces.clone())]).unwrap();
        let settings = Settings {
            response_limit: 10_000,
            idle_timeout: Duration::from_millis(200),
            ..free_text(&mock)
        };
        let (got, answer) = stream(settings);
        let error = answer.unwrap_err();
        assert_eq!(error.code(), code, "{pieces:?}: {error}");
        assert_eq!((got.len().min(1), mock.seen().len()), (passed, tries), "{pieces:?}");
        assert!(!format!("{error:?}").contains("very-secret"), "{error:?}");
    }
}

#[test]
fn heads_of_responses_are_bounded_and_nothing_of_them_is_taken_over() {
    let body = completion("card").to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
    let long = format!("{head}x-long: {}\r\n\r\n{body}", "a".repeat(1 << 20));
    let folded = format!("{head}x-evil: a\r\n set-cookie: b\r\n\r\n{body}");
    let two = format!("{head}content-length: 3\r\n\r\n{body}");
    for text in [long, folded, two] {
        let shown: String = text.chars().take(80).collect();
        let mock = Mock::play([Act::Raw(text)]).unwrap();
        let error = ask(&mock, "a").unwrap_err();
        assert_eq!(error.code(), &codes::REMOTE_UNREACHABLE, "{shown}: {error}");
    }
    // Line breaks in what an endpoint says do not leave a message.
    let evil = json!({ "error": { "message": "no\r\nset-cookie: a=b\r\n\r\n<html>" } });
    let mock = Mock::play([Act::status(400, evil.to_string())]).unwrap();
    let error = ask(&mock, "a").unwrap_err();
    assert!(!error.reason().unwrap().contains(['\r', '\n']), "{error}");
}

/// An endpoint that answers nothing; tells how much it was sent once the other side has closed.
fn silent() -> (String, std::sync::mpsc::Receiver<usize>) {
    let (told, gone) = std::sync::mpsc::channel();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut all);
        told.send(all.len()).unwrap();
    });
    (format!("http://{address}/v1"), gone)
}

#[test]
fn who_goes_away_takes_the_request_along() {
    for waits_alone in [false, true] {
        let (url, gone) = silent();
        let settings = Settings { proxy_from_environment: false, ..Settings::new("x", url, "m") };
        let remote = Remote::open(settings).unwrap();
        let request = Request::text("a");
        let patience = Duration::from_millis(50);
        if waits_alone {
            let asking = remote.ask(request).unwrap();
            let waited = async { tokio::time::timeout(patience, asking).await.is_ok() };
            assert!(!network().unwrap().block_on(waited));
        } else {
            let pending = remote.submit(request).unwrap();
            std::thread::sleep(patience);
            drop(pending);
        }
        assert!(gone.recv_timeout(Duration::from_secs(20)).unwrap() > 0);
        // Its place is free again.
        while remote.shared.present.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_full_queue_refuses_at_once() {
    let slow = Act::Slow(Duration::from_secs(5), Box::new(Act::Say("card".into())));
    let mock = Mock::play([slow]).unwrap();
    let remote = Remote::open(Settings { concurrency: 1, queue: 2, ..settings(&mock) }).unwrap();
    let held: Vec<Pending> = (0..3).map(|_| remote.submit(Request::text("a")).unwrap()).collect();
    let error = remote.submit(Request::text("a")).err().unwrap();
    assert_eq!((error.code(), remote.load().waiting), (&codes::BUSY, 2));
    drop(held);
}

#[test]
fn a_proxy_is_asked_to_tunnel() {
    use hyper_util::client::proxy::matcher::Matcher;
    let mock = Mock::play([Act::Say("card".into())]).unwrap();
    let target = mock.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let proxy = listener.local_addr().unwrap();
    let (told, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Write};
        let (mut near, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(near.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        told.send(head).unwrap();
        let mut far = std::net::TcpStream::connect(&target).unwrap();
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut back, mut out) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back, &mut out));
        let _ = std::io::copy(&mut reader, &mut far);
    });
    let proxies = Matcher::builder().all(format!("http://ann:pass@{proxy}")).build();
    let settings = settings(&mock);
    let shared = Remote::open(settings.clone()).unwrap().shared;
    let mut shared = Arc::try_unwrap(shared).ok().unwrap();
    shared.transport = Transport::through(&settings, Some(&proxies)).unwrap();
    let remote = Remote { shared: Arc::new(shared), network: network().unwrap() };
    assert_eq!(remote.answer(Request::text("a")).unwrap().output, "card");
    let head = asked.recv().unwrap();
    assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic"), "{head}");
    // Kinds of proxies that are not known are refused rather than left out.
    let socks = Matcher::builder().all("socks5://127.0.0.1:1").build();
    let error = Transport::through(&settings, Some(&socks)).err().unwrap();
    assert_eq!(error.code(), &codes::REMOTE_SETTINGS);
}

#[test]
fn a_key_comes_from_a_file_and_never_out_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "sk-from-a-file\n").unwrap();
    let settings = Settings::new("x", "http://a", "m");
    let found = settings.clone().with_key_file(&path).unwrap();
    assert_eq!(found.api_key.as_ref().unwrap().reveal(), "sk-from-a-file");
    assert!(!format!("{found:?}").contains("sk-from"), "{found:?}");
    for wrong in ["", "sk-one sk-two", "sk-one\nsk-two"] {
        std::fs::write(&path, wrong).unwrap();
        let error = settings.clone().with_key_file(&path).unwrap_err();
        assert_eq!(error.code(), &codes::REMOTE_KEY);
        assert!(!format!("{error:?}").contains("sk-"), "{error:?}");
    }
    assert!(settings.with_key_file(&folder.path().join("none")).is_err());
    let broken =
        Settings { api_key: Some(Secret::new("sk-\nx: y")), ..Settings::new("x", "http://a", "m") };
    let error = Remote::open(broken).err().unwrap();
    assert_eq!(error.code(), &codes::REMOTE_SETTINGS);
    assert!(!format!("{error:?}").contains("sk-"), "{error:?}");
}

#[test]
fn what_a_request_may_take_is_estimated_from_what_is_sent() {
    let mock = Mock::play([Act::HangUp]).unwrap();
    let prices = Prices { usd_per_million_input_tokens: 1.0, usd_per_million_output_tokens: 4.0 };
    let remote = |instruction: Option<&str>| {
        let instruction = instruction.map(String::from);
        let prices = Some(prices);
        Remote::open(Settings { instruction, prices, ..free_text(&mock) }).unwrap()
    };
    let text = "a text of about fifteen tokens, as near as makes no matter";
    let short = remote(None).estimate(&Request::text(text));
    assert!((15..100).contains(&short.read), "{short:?}");
    let told = remote(Some(&"Be brief. ".repeat(30))).estimate(&Request::text(text));
    assert!(told.read >= short.read + 90, "instructions are read, too: {told:?}");
    let bounded = Request { max_tokens: Some(7), ..Request::text(text) };
    assert_eq!(remote(None).estimate(&bounded).written, 7);
    let labels = Constraint::Labels(["card", "loan"].map(String::from).to_vec());
    let labelled = remote(None).estimate(&Request::text(text).constrained(labels));
    assert!((2..20).contains(&labelled.written), "{labelled:?}");
    let free = short.at_most();
    assert!(free.tokens > 1000 && free.usd > 4.0 * 1000.0 / 1e6, "{free:?}");
    assert_eq!(mock.seen().len(), 0);
}
