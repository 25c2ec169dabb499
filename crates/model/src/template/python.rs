//! Values as Python writes them, and the methods of Python's values.

use super::functions::failed;
use super::render::spend;
use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, Output, State};
use std::fmt::Write;
use std::sync::atomic::AtomicUsize;

/// How deeply values may be nested that are written out; a value may contain itself.
pub(super) const DEEPEST: usize = 80;
/// The longest text, in bytes, that a method may make.
const LONGEST: usize = 8 << 20;

/// Writes a value into the text, as jinja2 would.
pub(super) fn write(out: &mut Output<'_>, value: &Value, left: &AtomicUsize) -> Result<(), Error> {
    let written = |_| Error::new(ErrorKind::WriteFailure, "too much text");
    match value.as_str() {
        Some(text) => {
            spend(left, text.len())?;
            out.write_str(text).map_err(written)
        }
        None => {
            let text = to_string(value)?;
            spend(left, text.len())?;
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

/// A method of a text, a dictionary or a list that the engine itself does not know.
pub(super) fn method(
    state: &State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str()
        && let Some(result) = text_method(text, name, args)?
    {
        return Ok(result);
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
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
