//! A headless Chromium, driven over WebDriver (W3C), which is HTTP with JSON.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one empty profile of its own; it ends with this value.
pub(crate) struct Browser {
    driver: Child,
    address: String,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one; none, and loudly so, where Chromium or its driver is not installed.
    pub(crate) fn start() -> Option<Browser> {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = driver else {
            eprintln!(
                "SKIPPED: no chromedriver; `make test` installs Debian's, or install chromium"
            );
            return None;
        };
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = said.next().unwrap().unwrap();
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // It must be able to go on writing.
        std::thread::spawn(move || said.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Browser {
            driver,
            address: format!("127.0.0.1:{port}"),
            session: String::new(),
            _profile: profile,
        };
        let folder = browser._profile.path().display();
        let options = json!({ "args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--window-size=1280,900", format!("--user-data-dir={folder}"),
        ] });
        let wanted = json!({
            "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
        });
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let made = browser.call("POST", "/session", &body);
        browser.session = format!("/session/{}", made["sessionId"].as_str().unwrap());
        Some(browser)
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.exchange(method, path, body).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        assert_eq!(status, 200, "{path}: {answer}");
        answer["value"].clone()
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, String)> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        // The driver keeps the connection open, whatever it is asked.
        let mut stream = BufReader::new(stream);
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        while stream.read_line(&mut line)? > 2 {
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap_or(0);
            } else if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    /// Opens an address.
    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// The value that a function's body returns on the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn find(&self, css: &str) -> String {
        self.until(&format!("return !!document.querySelector({})", json!(css)));
        let found = self.post("/element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks the first element that a selector finds, as a pointer would: what is covered or
    /// hidden cannot be clicked.
    pub(crate) fn click(&self, css: &str) {
        let id = self.find(css);
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// Types into the first element that a selector finds.
    pub(crate) fn type_into(&self, css: &str, text: &str) {
        let id = self.find(css);
        self.post(&format!("/element/{id}/value"), &json!({ "text": text }));
    }

    /// Presses and releases a key, wherever the focus is.
    pub(crate) fn press(&self, key: char) {
        let actions = json!([
            { "type": "keyDown", "value": key }, { "type": "keyUp", "value": key },
        ]);
        let source = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", &json!({ "actions": [source] }));
    }

    /// Waits until a function's body returns something true.
    #[track_caller]
    pub(crate) fn until(&self, script: &str) {
        let begun = Instant::now();
        while !truthy(&self.run(script)) {
            if begun.elapsed() > Duration::from_secs(30) {
                let text = self.run("return document.body.innerText");
                panic!("never true: {script}\n{}", text.as_str().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the section that is shown has a text.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        let script = format!(
            "const shown = document.querySelector('.view:not([hidden])'); \
             return !!shown && shown.innerText.includes({})",
            json!(text)
        );
        self.until(&script);
    }

    /// Makes the page as wide as a device, in CSS pixels.
    pub(crate) fn width(&self, width: u32) {
        let size =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        let body = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size });
        self.post("/goog/cdp/execute", &body);
    }

    /// What the browser complained about since the last call.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().unwrap().iter();
        lines.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }
}

fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value != ""
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.exchange("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
