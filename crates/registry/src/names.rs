//! Which names tasks and aliases may have.

use crate::codes;
use sprat_task::{Error, Result};

/// The name that always means the newest version.
pub(crate) const LATEST: &str = "latest";

/// The fewest digits of a digest that count as a reference.
pub(crate) const FEWEST_DIGITS: usize = 6;

fn plain(name: &str) -> bool {
    name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Checks the name of something that is asked for by name, such as `a task`: letters, digits,
/// `-`, `_` and `.`, at most 100, beginning with a letter or digit.
///
/// # Errors
/// [`codes::NAME`].
pub fn check_name(of: &str, name: &str) -> Result<()> {
    if plain(name) {
        return Ok(());
    }
    Err(Error::new(&codes::NAME, format!("`{name}` cannot be the name of {of}")))
}

/// Checks a task's name.
pub(crate) fn task(name: &str) -> Result<()> {
    check_name("a task", name)
}

/// Checks an alias's name: it must not be mistaken for anything else after the `@`.
pub(crate) fn alias(name: &str) -> Result<()> {
    if plain(name) && number(name).is_none() && !digits(name) && name != LATEST {
        return Ok(());
    }
    Err(Error::new(&codes::NAME, format!("`{name}` cannot be the name of an alias")))
}

/// The number in `v12` or `12`.
pub(crate) fn number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    let short = digits.len() < FEWEST_DIGITS || text.starts_with('v');
    if short && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Whether the text can be the beginning of a digest.
pub(crate) fn digits(text: &str) -> bool {
    (FEWEST_DIGITS..=64).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_two_things_at_once() {
        for name in ["production", "canary-2", "v2-candidate", "a.b_c", "cafe"] {
            alias(name).unwrap();
        }
        for name in ["", "-x", "a b", "a/b", "v2", "17", "latest", "deadbeef", "ä", "123456789"] {
            assert!(alias(name).is_err(), "{name}");
        }
        assert!(alias(&"x".repeat(101)).is_err());
        task("deadbeef").unwrap();
        assert!(task("../up").is_err() && task("a@b").is_err());
    }

    #[test]
    fn numbers_are_read_with_and_without_v() {
        assert_eq!((number("v12"), number("3")), (Some(12), Some(3)));
        assert_eq!((number("v"), number("x3"), number("123456")), (None, None, None));
        assert_eq!(number("v99999999999999999999"), None);
    }
}
