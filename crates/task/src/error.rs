//! Errors as data: what happened, where, why, and what to do, under a stable code.
//!
//! Every crate declares its own [`Code`]s as statics in a file `codes.rs` and lists them in an
//! `ALL` slice; the command line collects those lists into the generated reference.

use std::fmt;
use std::path::{Path, PathBuf};

/// What class of failure a code stands for; decides the exit code and the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The work could not run: bad input, I/O, a missing file.
    Failed,
    /// The command or request was used wrongly.
    Usage,
    /// The work ran and a gate refused its result.
    Refused,
    /// Somebody interrupted the work; its state is kept.
    Interrupted,
    /// Something named in a request does not exist.
    NotFound,
    /// A client sent more than a limit allows.
    TooLarge,
    /// The server is at its limit; try again later.
    Busy,
    /// The client's credentials are missing or wrong.
    Unauthorized,
    /// The client is known, or needs not be, and may not do this.
    Forbidden,
    /// What the request takes for granted is no longer, or not yet, so.
    Conflict,
}

impl Kind {
    /// The process's exit code: the command line's contract.
    pub const fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Interrupted => 130,
            _ => 1,
        }
    }

    /// The HTTP status with which the server answers.
    pub const fn http_status(self) -> u16 {
        match self {
            Kind::Failed | Kind::Interrupted => 500,
            Kind::Usage => 400,
            Kind::Refused => 422,
            Kind::NotFound => 404,
            Kind::TooLarge => 413,
            Kind::Busy => 429,
            Kind::Unauthorized => 401,
            Kind::Forbidden => 403,
            Kind::Conflict => 409,
        }
    }
}

/// A stable error code with its page of documentation.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable identifier, `SPRAT-<AREA>-<NAME>` in capitals.
    pub id: &'static str,
    /// The class of failure.
    pub kind: Kind,
    /// One sentence for the reference: when this happens.
    pub summary: &'static str,
    /// One or two sentences for the reference: what to do about it.
    pub remedy: &'static str,
}

/// Where in the user's material an error stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, if it is about one.
    pub file: Option<PathBuf>,
    /// Line in the file, from 1.
    pub line: Option<u64>,
    /// Column in the line, from 1.
    pub column: Option<u64>,
    /// Byte offset in the file, from 0.
    pub byte: Option<u64>,
    /// The field or setting, in dotted form.
    pub field: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(file) = &self.file {
            let mut text = file.display().to_string();
            if let Some(line) = self.line {
                text += &format!(":{line}");
                if let Some(column) = self.column {
                    text += &format!(":{column}");
                }
            }
            parts.push(text);
        } else if let Some(line) = self.line {
            parts.push(format!("line {line}"));
        }
        if let Some(byte) = self.byte {
            parts.push(format!("byte {byte}"));
        }
        if let Some(field) = &self.field {
            parts.push(format!("field `{field}`"));
        }
        f.write_str(&parts.join(", "))
    }
}

/// An error that a person can act on. Cheap to move: one pointer.
#[derive(Clone)]
pub struct Error(Box<Detail>);

#[derive(Clone)]
struct Detail {
    code: &'static Code,
    what: String,
    place: Place,
    why: Option<String>,
    help: Option<String>,
}

/// The result type of every fallible operation in Sprat.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error under `code`; `what` says in one sentence what happened.
    pub fn new(code: &'static Code, what: impl Into<String>) -> Self {
        let place = Place::default();
        Error(Box::new(Detail { code, what: what.into(), place, why: None, help: None }))
    }

    /// An I/O error on a file, with the operating system's reason.
    pub fn io(code: &'static Code, doing: &str, path: &Path, why: &std::io::Error) -> Self {
        Error::new(code, format!("could not {doing}")).file(path).why(why.to_string())
    }

    /// Says in which file.
    #[must_use]
    pub fn file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.place.file = Some(file.as_ref().to_path_buf());
        self
    }

    /// Says on which line, counted from 1.
    #[must_use]
    pub fn line(mut self, line: u64) -> Self {
        self.0.place.line = Some(line);
        self
    }

    /// Says in which column, counted from 1.
    #[must_use]
    pub fn column(mut self, column: u64) -> Self {
        self.0.place.column = Some(column);
        self
    }

    /// Says at which byte, counted from 0.
    #[must_use]
    pub fn byte(mut self, byte: u64) -> Self {
        self.0.place.byte = Some(byte);
        self
    }

    /// Says in which field or setting.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.place.field = Some(field.into());
        self
    }

    /// Says why it happened.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.0.why = Some(why.into());
        self
    }

    /// Says what to do; without it the code's general remedy is shown.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    /// What happened, in one sentence.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Where it happened.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Why it happened, where known.
    pub fn reason(&self) -> Option<&str> {
        self.0.why.as_deref()
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        self.0.help.as_deref().unwrap_or(self.0.code.remedy)
    }

    /// The error as the `error` object of `--json` output.
    pub fn to_json(&self) -> serde_json::Value {
        let place = self.place();
        serde_json::json!({
            "code": self.code().id,
            "message": self.what(),
            "file": place.file.as_ref().map(|file| file.display().to_string()),
            "line": place.line,
            "column": place.column,
            "byte": place.byte,
            "field": place.field,
            "why": self.reason(),
            "help": self.remedy(),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())?;
        let place = self.place().to_string();
        if !place.is_empty() {
            write!(f, " ({place})")?;
        }
        if let Some(why) = self.reason() {
            write!(f, ": {why}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}; {}", self.code().id, self.remedy())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    static TORN: Code = Code {
        id: "SPRAT-TEST-TORN",
        kind: Kind::Failed,
        summary: "A quote is never closed.",
        remedy: "Close the quote.",
    };

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        let error =
            Error::new(&TORN, "a quote is never closed").file("a.csv").line(3).column(7).why("EOF");
        assert_eq!(error.to_string(), "a quote is never closed (a.csv:3:7): EOF");
        assert_eq!(error.remedy(), "Close the quote.");
        assert_eq!(error.clone().help("Do this.").remedy(), "Do this.");
        assert_eq!(error.to_json()["code"], "SPRAT-TEST-TORN");
    }

    #[test]
    fn exit_codes_are_the_contract() {
        assert_eq!(Kind::Failed.exit_code(), 1);
        assert_eq!(Kind::Usage.exit_code(), 2);
        assert_eq!(Kind::Refused.exit_code(), 3);
        assert_eq!(Kind::Interrupted.exit_code(), 130);
    }
}
