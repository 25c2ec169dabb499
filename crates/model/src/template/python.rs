//! Values as Python writes them, and the methods of Python's values.

use super::budget::{Budget, ENTRY, LONGEST};
use super::functions::failed;
use super::guards::Bounded;
use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, Output, State};
use std::fmt::Write;

/// How deeply values may be nested.
pub(super) const DEEPEST: usize = 80;

/// Writes a value into the text, as jinja2 would.
pub(super) fn write(out: &mut Output<'_>, value: &Value, budget: &Budget) -> Result<(), Error> {
    let written = |_| Error::new(ErrorKind::WriteFailure, "the text cannot be written");
    match value.as_str() {
        Some(text) => {
            budget.write(text.len())?;
            out.write_str(text).map_err(written)
        }
        None => {
            let text = to_string(value)?;
            budget.write(text.len())?;
            out.write_str(&text).map_err(written)
        }
    }
}

/// Python's `str`.
pub(super) fn to_string(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match value.as_str() {
        Some(text) => out.push_str(text),
        None if value.is_undefined() => {}
        None => repr(value, 0, &mut out)?,
    }
    Ok(out)
}

/// Python's `repr`.
fn repr(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > DEEPEST || out.len() > LONGEST {
        return Err(failed("a value is too deep or too long to be written"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value, ["inf", "-inf", "nan"])),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (at, item) in value.try_iter()?.enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                repr(&item, depth + 1, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter()?.enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                repr(&key, depth + 1, out)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        ValueKind::Undefined => out.push_str("Undefined"),
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// Python's way to quote a text.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter == mark => out.extend(['\\', letter]),
            letter if letter.is_ascii_control() => {
                // Writing into a text cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push(mark);
}

/// A number as Python writes it; `special` are its words for the infinities and for what is
/// no number.
pub(super) fn number(value: &Value, special: [&str; 3]) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(number) = f64::try_from(value.clone()) else { return value.to_string() };
    if number.is_nan() {
        return special[2].to_owned();
    }
    if number.is_infinite() {
        return special[usize::from(number < 0.0)].to_owned();
    }
    let text = format!("{number:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
    }
}

/// A method of a text, a dictionary or a list that the engine itself does not know. Takes its
/// costs.
pub(super) fn method(
    budget: &Budget,
    state: &State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    args.iter().try_for_each(|argument| budget.read(argument))?;
    let engine = minijinja_contrib::pycompat::unknown_method_callback;
    let Some(text) = value.as_str() else {
        return match (name, args) {
            // What it gives back was there before.
            ("get", _) => engine(state, value, name, args),
            ("count", [what]) if value.kind() == ValueKind::Seq => {
                budget.find(value, what)?;
                engine(state, value, name, args)
            }
            _ => budget.weigh(engine(state, value, name, args)?),
        };
    };
    before_text_method(budget, text, name, args)?;
    if name == "join" {
        let (values,): (&Value,) = from_args(args)?;
        return join(budget, values, text);
    }
    match text_method(text, name, args)? {
        Some(result) => budget.weigh(result),
        None => budget.weigh(engine(state, value, name, args)?),
    }
}

/// Takes what a method of a text costs, except for the memory of a text that it makes.
fn before_text_method(
    budget: &Budget,
    text: &str,
    name: &str,
    args: &[Value],
) -> Result<(), Error> {
    let first = args.first().and_then(Value::as_str);
    let pieces = match (name, first) {
        // They look at the ends.
        ("startswith" | "endswith" | "removeprefix" | "removesuffix", _) => return Ok(()),
        // Each letter is looked for among the arguments.
        ("strip" | "lstrip" | "rstrip", Some(letters)) => {
            return budget.letters(text.len().saturating_mul(letters.len()));
        }
        ("split" | "rsplit", Some(between)) => text.matches(between).count(),
        ("split", None) => text.split_whitespace().count(),
        ("splitlines", _) => text.matches('\n').count(),
        ("partition" | "rpartition", _) => 3,
        _ => return budget.letters(text.len()),
    };
    budget.letters(text.len())?;
    budget.make(text.len() + pieces * 2 * ENTRY)
}

/// Joins what can be gone through.
pub(super) fn join(budget: &Budget, values: &Value, between: &str) -> Result<Value, Error> {
    let mut out = Bounded { text: String::new(), budget };
    for (at, value) in values.try_iter()?.enumerate() {
        budget.work(ENTRY)?;
        if at > 0 {
            out.push(between)?;
        }
        out.show(&value)?;
    }
    Ok(Value::from(out.text))
}

/// The methods of texts that are missing in the engine, or that it does not bound.
fn text_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let value = match name {
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            let count = count.and_then(|count| usize::try_from(count).ok());
            let places = count.unwrap_or(usize::MAX).min(text.matches(old).count());
            if text.len() + places.saturating_mul(new.len()) > LONGEST {
                return Err(failed("`replace` makes a text that is too long"));
            }
            Value::from(text.replacen(old, new, places))
        }
        "removeprefix" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(part).unwrap_or(text))
        }
        "removesuffix" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(part).unwrap_or(text))
        }
        "partition" => {
            let (part,): (&str,) = from_args(args)?;
            let (before, after) = text.split_once(part).unwrap_or((text, ""));
            let middle = if before.len() < text.len() { part } else { "" };
            list([before, middle, after])
        }
        "rpartition" => {
            let (part,): (&str,) = from_args(args)?;
            match text.rsplit_once(part) {
                Some((before, after)) => list([before, part, after]),
                None => list(["", "", text]),
            }
        }
        "rsplit" => {
            let (part, most): (&str, Option<usize>) = from_args(args)?;
            let pieces = most.map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(pieces, part).collect();
            parts.reverse();
            list(parts)
        }
        // The engine would not come back from it.
        "count" if args.first().and_then(Value::as_str) == Some("") => {
            Value::from(text.chars().count() + 1)
        }
        // It takes widths that nothing bounds.
        "format" => return Err(failed("`format` is not supported")),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

/// A list of texts.
fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    texts.into_iter().map(Value::from).collect()
}
