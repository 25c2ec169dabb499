//! What people and scripts see: text or one JSON document on standard output, errors on
//! standard error.

use serde_json::Value;
use sprat_flow::Done;
use sprat_report::{Page, Terminal};
use sprat_task::Error;
use std::io::{IsTerminal, Write};

/// Writes results and errors in the form that the user asked for.
pub(crate) struct Printer {
    json: bool,
    color: bool,
}

impl Printer {
    /// `json`: one JSON document on standard output instead of text.
    pub(crate) fn new(json: bool) -> Self {
        let color = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Printer { json, color }
    }

    /// Writes a command's result and returns the exit code: 3 where a gate refused.
    pub(crate) fn done(&self, done: &Done) -> u8 {
        if self.json {
            let mut document = done.document.clone();
            if let (Some(error), Value::Object(map)) = (&done.refused, &mut document) {
                map.insert("error".into(), error.to_json());
            }
            self.out(&format!("{document:#}\n"));
        } else {
            if done.page != Page::default() {
                self.out(&done.page.text(&Terminal::detect()));
            }
        }
        match &done.refused {
            Some(error) => {
                self.explain(error);
                error.code().kind.exit_code()
            }
            None => 0,
        }
    }

    /// Writes an error and returns the exit code that belongs to it.
    pub(crate) fn failed(&self, error: &Error) -> u8 {
        if self.json {
            let document = serde_json::json!({"schema": "sprat.error/1", "error": error.to_json()});
            self.out(&format!("{document:#}\n"));
        }
        self.explain(error);
        error.code().kind.exit_code()
    }

    fn explain(&self, error: &Error) {
        let (red, dim, end) =
            if self.color { ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error{end}[{}]: {}\n", error.code().id, error.what());
        let place = error.place().to_string();
        let lines = [
            ("where", Some(place.as_str()).filter(|place| !place.is_empty())),
            ("why", error.reason()),
            ("help", Some(error.remedy())),
        ];
        for (name, line) in lines {
            if let Some(line) = line {
                text += &format!("{dim}{name:>7}:{end} {}\n", line.replace('\n', "\n         "));
            }
        }
        // Nobody is left to tell when standard error is gone.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Writes to standard output; a reader that went away (`| head`) is no error.
    fn out(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
