//! A scripted server that speaks the OpenAI protocol, faults included, for tests.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers with this text as the message's content, and counts 10 tokens in and 2 out.
    Say(String),
    /// Answers with this status, these further headers and this body.
    Respond(u16, Vec<(String, String)>, String),
    /// Waits, then does the next.
    Slow(Duration, Box<Act>),
    /// Announces a longer body than it sends, then closes the connection.
    HalfBody,
    /// Answers in server-sent events: these pieces, then the connection is closed.
    Stream(Vec<Piece>),
    /// Sends these bytes, head of the response and all, and closes the connection.
    Raw(String),
    /// Closes the connection without a word.
    HangUp,
    /// Sends bytes that are no HTTP.
    Garbage,
}

/// A piece of a stream.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A text as it is.
    Raw(String),
    /// A chunk with a piece of the answer.
    Say(&'static str),
    /// The last chunk of the answer, the one that counts 10 tokens in and 2 out, and `[DONE]`.
    End,
    /// Nothing for this time.
    Wait(Duration),
    /// This text again and again, until nobody listens any more.
    Forever(String),
}

impl Act {
    /// Answers with a status and a body.
    pub fn status(status: u16, body: impl Into<String>) -> Act {
        Act::Respond(status, Vec::new(), body.into())
    }
}

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, where it was JSON.
    pub body: Value,
}

type Script = Box<dyn FnMut(&Seen) -> Act + Send>;

/// The server. It ends with the process.
pub struct Mock {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Mock {
    /// Starts a server that decides per request.
    ///
    /// # Errors
    /// When no local port can be had.
    pub fn start(script: impl FnMut(&Seen) -> Act + Send + 'static) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let log = Arc::clone(&seen);
        std::thread::Builder::new().name("mock".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                std::thread::spawn(move || converse(stream, &script, &log));
            }
        })?;
        Ok(Mock { address, seen })
    }

    /// Starts a server that plays these acts in order and repeats the last.
    ///
    /// # Errors
    /// When no local port can be had.
    pub fn play(acts: impl IntoIterator<Item = Act>) -> std::io::Result<Self> {
        let mut acts: std::collections::VecDeque<Act> = acts.into_iter().collect();
        Self::start(move |_| {
            let act = if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() };
            act.unwrap_or(Act::HangUp)
        })
    }

    /// The `base_url` of the server.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves the requests of one connection.
fn converse(stream: TcpStream, script: &Mutex<Script>, log: &Mutex<Vec<Seen>>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read(&mut reader) {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        let act = (script.lock().unwrap_or_else(PoisonError::into_inner))(&seen);
        if !play(act, &mut writer) {
            let _ = writer.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let length: usize = find("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Seen { line: line.trim_end().to_owned(), headers, body })
}

/// Whether the connection stays open.
fn play(act: Act, writer: &mut TcpStream) -> bool {
    match act {
        Act::Say(text) => respond(writer, 200, &[], &completion(&text).to_string()),
        Act::Respond(status, headers, body) => respond(writer, status, &headers, &body),
        Act::Slow(time, act) => {
            std::thread::sleep(time);
            play(*act, writer)
        }
        Act::HalfBody => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                        content-length: 1000\r\n\r\n{\"choices\": [";
            let _ = writer.write_all(head.as_bytes());
            false
        }
        Act::Stream(pieces) => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        connection: close\r\n\r\n";
            let _ = writer.write_all(head.as_bytes());
            let _ = pieces.into_iter().try_for_each(|piece| send(piece, writer));
            false
        }
        Act::Raw(text) => {
            let _ = writer.write_all(text.as_bytes());
            false
        }
        Act::HangUp => false,
        Act::Garbage => {
            let _ = writer.write_all(b"\x00\xff\x13 what is HTTP?\r\n\r\n");
            false
        }
    }
}

fn send(piece: Piece, writer: &mut TcpStream) -> std::io::Result<()> {
    match piece {
        Piece::Raw(text) => writer.write_all(text.as_bytes()),
        Piece::Say(text) => {
            let choice = json!({ "index": 0, "delta": { "content": text }, "finish_reason": null });
            write!(writer, "data: {}\n\n", json!({ "choices": [choice] }))
        }
        Piece::End => {
            let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
            let usage = json!({ "choices": [],
                "usage": { "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12 } });
            write!(writer, "data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
        }
        Piece::Wait(time) => {
            std::thread::sleep(time);
            Ok(())
        }
        Piece::Forever(text) => loop {
            writer.write_all(text.as_bytes())?;
        },
    }
}

fn respond(writer: &mut TcpStream, status: u16, headers: &[(String, String)], body: &str) -> bool {
    let mut head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    writer.write_all(head.as_bytes()).is_ok() && writer.write_all(body.as_bytes()).is_ok()
}

/// A chat completion with this content.
pub fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text },
            "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12 },
    })
}
