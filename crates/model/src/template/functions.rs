//! Functions and filters that templates call, beyond Jinja's own.

use super::marking::Signs;
use super::{json, python, time};
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use sprat_task::Timestamp;
use std::error::Error as _;

/// A template's own objection to a conversation.
#[derive(Debug)]
pub(super) struct Refused(String);

impl Refused {
    /// The objection, if that is what an error is.
    pub(super) fn of(error: &Error) -> Option<&str> {
        Some(error.source()?.downcast_ref::<Refused>()?.0.as_str())
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// An objection of ours to what a template does.
pub(super) fn failed(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

/// Adds what does not depend on the conversation.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(failed(message.clone()).with_source(Refused(message)))
    });
    environment.add_filter("tojson", json::filter);
    environment.add_filter("string", |value: Value| python::to_string(&value));
    // They make a text of whatever they get.
    environment.add_filter("upper", |value: Value| {
        Ok::<_, Error>(python::to_string(&value)?.to_uppercase())
    });
    environment.add_filter("lower", |value: Value| {
        Ok::<_, Error>(python::to_string(&value)?.to_lowercase())
    });
    environment.add_filter("trim", |state: &State, value: Value, args: Rest<Value>| {
        python::method(state, &Value::from(python::to_string(&value)?), "strip", &args)
    });
    environment.add_filter("replace", |state: &State, value: Value, args: Rest<Value>| {
        python::method(state, &Value::from(python::to_string(&value)?), "replace", &args)
    });
    environment.add_filter("indent", indent);
    // Where Python has other answers: what is none cannot be gone through, and texts and
    // dictionaries are sequences.
    environment.add_test("iterable", |value: &Value| {
        use ValueKind::{Iterable, Map, Seq, String, Undefined};
        matches!(value.kind(), String | Seq | Map | Iterable | Undefined)
    });
    environment.add_test("sequence", |value: &Value| {
        use ValueKind::{Map, Seq, String, Undefined};
        matches!(value.kind(), String | Seq | Map | Undefined)
    });
    // They take sizes that nothing bounds, and no template uses them.
    for name in ["batch", "slice", "format", "pprint"] {
        environment.remove_filter(name);
    }
}

/// Adds what belongs to one conversation.
pub(super) fn add_for_one(environment: &mut Environment<'static>, signs: Signs, now: Timestamp) {
    environment.add_function("strftime_now", move |format: String| time::format(now, &format));
    let [from, to] = signs.answer;
    environment.add_function("__answer", move |state: &State, arguments: Kwargs| {
        let body: Value = arguments.get("caller")?;
        let text = body.call(state, &[])?;
        Ok::<_, Error>(Value::from(format!("{from}{text}{to}")))
    });
}

/// Jinja's `indent`, for widths that a person would write.
fn indent(text: String, width: Option<usize>, arguments: Kwargs) -> Result<String, Error> {
    let width = match width {
        Some(width) => width,
        None => arguments.get::<Option<usize>>("width")?.unwrap_or(4),
    };
    if width > 64 {
        return Err(failed("an indent of more than 64 spaces"));
    }
    let first = arguments.get::<Option<bool>>("first")?.unwrap_or(false);
    let blank = arguments.get::<Option<bool>>("blank")?.unwrap_or(false);
    arguments.assert_all_used()?;
    let margin = " ".repeat(width);
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
        }
        if (at > 0 || first) && (blank || !line.is_empty()) {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(out)
}
