//! Keeps keys out of messages and logs.

use std::fmt;

/// A key: it is sent, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        Secret(key.into())
    }

    /// The key itself, for the one place that sends it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A foreign text made fit for an error message: the key and whatever looks like one are
/// replaced, control characters go, and it is cut to `limit` characters.
pub(super) fn redact(text: &str, key: Option<&Secret>, limit: usize) -> String {
    let mut text = text.to_owned();
    if let Some(key) = key.filter(|key| !key.0.is_empty()) {
        text = text.replace(&key.0, "…");
    }
    let words: Vec<String> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(redact_word)
        .collect();
    let mut line = words.join(" ");
    // `Bearer` announces a key whatever it looks like.
    if let Some(at) = line.to_ascii_lowercase().find("bearer ") {
        let start = at + "bearer ".len();
        let end = line[start..].find(' ').map_or(line.len(), |offset| start + offset);
        line.replace_range(start..end, "…");
    }
    if line.chars().count() > limit {
        line = line.chars().take(limit).chain(std::iter::once('…')).collect();
    }
    line
}

/// Replaces a run of key characters that begins like a key (`sk-`, `pk-`, `key-`, `hf_`) or that
/// is long and mixes letters with digits.
fn redact_word(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut run = String::new();
    let flush = |run: &mut String, out: &mut String| {
        let lower = run.to_ascii_lowercase();
        let prefixed = ["sk-", "pk-", "key-", "hf_"].iter().any(|p| lower.starts_with(p));
        let mixed =
            run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_alphabetic());
        if (prefixed && run.len() > 6) || (mixed && run.len() >= 32) {
            out.push('…');
        } else {
            out.push_str(run);
        }
        run.clear();
    };
    for c in word.chars() {
        if c.is_ascii_alphanumeric() || "-_*".contains(c) {
            run.push(c);
        } else {
            flush(&mut run, &mut out);
            out.push(c);
        }
    }
    flush(&mut run, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_reach_a_message() {
        let key = Secret::new("topsecret");
        let text = "Incorrect key 'topsecret' or \"sk-proj-Ab12\"; Authorization: Bearer abc.def\n\
                    id 0123456789abcdef0123456789abcdef";
        let shown = redact(text, Some(&key), 500);
        for secret in ["topsecret", "sk-proj", "abc.def", "0123456789abcdef"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.starts_with("Incorrect key '…' or"), "{shown}");
        assert_eq!(format!("{key:?}"), "Secret(…)");
    }

    #[test]
    fn long_texts_are_cut_and_controls_removed() {
        assert_eq!(redact("a\u{1b}[31mb\u{0}c", None, 100), "a [31mb c");
        assert_eq!(redact(&"é".repeat(50), None, 3), "ééé…");
    }
}
