//! Formats that the validator's own check takes too lightly. Where the whole rule is long, what
//! is in doubt is refused: an answer that is thrown away costs a retry, one that is wrong a user.

use jsonschema::{ValidationOptions, Validator};
use serde_json::{Value, json};
use std::sync::LazyLock;

static HOSTNAME: LazyLock<Option<Validator>> = LazyLock::new(|| plain("hostname"));
static IDN_HOSTNAME: LazyLock<Option<Validator>> = LazyLock::new(|| plain("idn-hostname"));
static REGEX: LazyLock<Option<Validator>> = LazyLock::new(|| plain("regex"));

/// Puts the stricter checks into a validator.
pub(super) fn stricter(options: ValidationOptions) -> ValidationOptions {
    options
        .with_format("hostname", |text: &str| !has_ace(text) && holds(&HOSTNAME, text))
        .with_format("idn-hostname", |text: &str| !has_ace(text) && holds(&IDN_HOSTNAME, text))
        .with_format("regex", |text: &str| is_ecma(text) && holds(&REGEX, text))
}

fn plain(format: &str) -> Option<Validator> {
    let schema = json!({ "format": format });
    jsonschema::options().should_validate_formats(true).build(&schema).ok()
}

fn holds(check: &LazyLock<Option<Validator>>, text: &str) -> bool {
    check.as_ref().is_some_and(|check| check.is_valid(&Value::from(text)))
}

/// Whether a name has a label in the ASCII form of other scripts, `xn--` and punycode (RFC 5891):
/// most such labels stand for nothing.
fn has_ace(text: &str) -> bool {
    text.split('.')
        .any(|label| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")))
}

/// Whether no group begins in a way that ECMA 262 does not know.
fn is_ecma(pattern: &str) -> bool {
    pattern.match_indices("(?").all(|(at, group)| {
        let after = pattern.get(at + group.len()..).unwrap_or_default();
        after.starts_with([':', '=', '!', '<'])
    })
}
