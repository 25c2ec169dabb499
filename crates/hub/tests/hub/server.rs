//! A small server that speaks the hub's protocol, and misbehaves on request.

use sha1::Digest as _;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request, as far as the tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer, with what may go wrong on its way.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// Send so many bytes of the body, then nothing, for a minute.
    pub(crate) stall: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, stall: None }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A running server; it ends with the test's process.
pub(crate) struct Server {
    pub(crate) address: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen) = (Arc::new(handler), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                std::thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        seen.lock().unwrap().push(request.clone());
                        let _ = write(stream, &handler(&request));
                    }
                });
            }
        });
        Self { address, log }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The requests so far whose path holds a text.
    pub(crate) fn asked_for(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path.contains(part)).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    Some(Request { path, headers })
}

fn write(mut stream: TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    let upto = reply.cut.or(reply.stall).unwrap_or(reply.body.len()).min(reply.body.len());
    stream.write_all(&reply.body[..upto])?;
    stream.flush()?;
    if reply.stall.is_some() {
        std::thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

/// A repository on the hub.
#[derive(Clone)]
pub(crate) struct Repo {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Whether the list of files tells sizes and digests, as the hub's own does.
    pub(crate) tells: bool,
}

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl Repo {
    /// A sentence encoder, with what else such repositories hold.
    pub(crate) fn new() -> Self {
        let weights: Vec<u8> = (0..300_000_u32).map(|at| (at * 31 % 251) as u8).collect();
        let modules =
            br#"[{"path":"","type":"x.Transformer"},{"path":"1_Pooling","type":"x.Pooling"}]"#;
        let files = [
            ("config.json", b"{\"model_type\":\"bert\"}".to_vec()),
            ("tokenizer.json", b"{}".to_vec()),
            ("modules.json", modules.to_vec()),
            ("1_Pooling/config.json", b"{\"pooling_mode_mean_tokens\":true}".to_vec()),
            ("model.safetensors", weights),
            ("pytorch_model.bin", b"pickle".to_vec()),
            ("onnx/model.onnx", b"onnx".to_vec()),
            ("README.md", b"# words".to_vec()),
        ];
        let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        Self { files, tells: true }
    }

    fn sha256(bytes: &[u8]) -> String {
        sprat_task::Digest::of(bytes).to_string()
    }

    fn blob(bytes: &[u8]) -> String {
        let mut hasher = sha1::Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
        hasher.update(bytes);
        hex::encode(hasher.finalize())
    }

    /// The tag under which the hub serves a file: SHA-256 for large files, git's name for others.
    pub(crate) fn tag(&self, name: &str) -> String {
        let bytes = &self.files[name];
        if name.ends_with(".safetensors") { Self::sha256(bytes) } else { Self::blob(bytes) }
    }

    /// What an honest hub answers.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap();
        if path == "/api/models/org/name/revision/main" {
            return Reply::new(200, self.listing().to_string());
        }
        let prefix = format!("/org/name/resolve/{COMMIT}/");
        match path.strip_prefix(&prefix).filter(|name| self.files.contains_key(*name)) {
            Some(name) => self.file(name, request),
            None => Reply::new(404, "").with("X-Error-Code", "EntryNotFound"),
        }
    }

    fn listing(&self) -> serde_json::Value {
        let siblings: Vec<_> = self
            .files
            .iter()
            .map(|(name, bytes)| {
                let mut entry = serde_json::json!({ "rfilename": name });
                if self.tells {
                    entry["size"] = bytes.len().into();
                    entry["blobId"] = Self::blob(bytes).into();
                    if name.ends_with(".safetensors") {
                        entry["blobId"] = "f".repeat(40).into();
                        entry["lfs"] = serde_json::json!({
                            "sha256": Self::sha256(bytes), "size": bytes.len(), "pointerSize": 133
                        });
                    }
                }
                entry
            })
            .collect();
        serde_json::json!({ "sha": COMMIT, "siblings": siblings })
    }

    /// A file, or the rest of it.
    pub(crate) fn file(&self, name: &str, request: &Request) -> Reply {
        let bytes = &self.files[name];
        let start = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let reply = match start {
            Some(start) if start >= bytes.len() => Reply::new(416, ""),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, &bytes[start..]).with("Content-Range", range)
            }
            None => Reply::new(200, bytes.as_slice()),
        };
        reply.with("ETag", format!("\"{}\"", self.tag(name)))
    }
}
