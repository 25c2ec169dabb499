//! Personal data and secrets in texts: found with few false alarms, and hidden in everything that
//! is shown or logged.

mod contact;
mod machine;
mod payment;
mod secret;

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What kind of personal data or secret it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PersonalKind {
    /// An e-mail address.
    Email,
    /// A phone number, international or in a national layout.
    Phone,
    /// A payment card number with a right check digit.
    Card,
    /// An international bank account number with right check digits.
    Iban,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A hardware address.
    Mac,
    /// An API key, token, password or private key.
    Secret,
}

impl PersonalKind {
    /// The kind's name, as it stands in redacted texts.
    pub const fn name(self) -> &'static str {
        match self {
            PersonalKind::Email => "email",
            PersonalKind::Phone => "phone",
            PersonalKind::Card => "card",
            PersonalKind::Iban => "iban",
            PersonalKind::Ip => "ip",
            PersonalKind::Mac => "mac",
            PersonalKind::Secret => "secret",
        }
    }
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonalSpan {
    /// What stands there.
    pub kind: PersonalKind,
    /// Bytes of the text.
    pub range: Range<usize>,
}

/// Finds personal data and secrets, in order and without overlaps.
pub fn find_personal(text: &str) -> Vec<PersonalSpan> {
    let look = Look::at(text);
    let mut spans = Vec::new();
    if look.longest_word >= 8 {
        secret::find(text, &mut spans);
    }
    if look.at_sign {
        contact::emails(text, &mut spans);
    }
    if look.digits >= 10 {
        payment::ibans(text, &mut spans);
    }
    if look.digits >= 12 {
        payment::cards(text, &mut spans);
    }
    if look.colons >= 2 || look.dots >= 3 || look.hyphens >= 5 {
        machine::find(text, &mut spans);
    }
    if look.digits >= 7 {
        contact::phones(text, &mut spans);
    }
    // Earlier detectors are the surer ones and win over later ones.
    let mut kept: Vec<PersonalSpan> = Vec::new();
    for span in spans {
        let meets = |other: &PersonalSpan| {
            span.range.start < other.range.end && other.range.start < span.range.end
        };
        if !kept.iter().any(meets) {
            kept.push(span);
        }
    }
    kept.sort_by_key(|span| span.range.start);
    kept
}

/// The text with everything personal replaced by its kind, such as `[email]`.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for span in find_personal(text) {
        out.push_str(&text[from..span.range.start]);
        out.push('[');
        out.push_str(span.kind.name());
        out.push(']');
        from = span.range.end;
    }
    out.push_str(&text[from..]);
    out
}

/// What a glance at the bytes tells: which detectors can be left out.
#[derive(Default)]
struct Look {
    at_sign: bool,
    digits: usize,
    colons: usize,
    dots: usize,
    hyphens: usize,
    longest_word: usize,
}

impl Look {
    fn at(text: &str) -> Self {
        let mut look = Look::default();
        let mut word = 0;
        for byte in text.bytes() {
            word = if byte.is_ascii_whitespace() { 0 } else { word + 1 };
            look.longest_word = look.longest_word.max(word);
            match byte {
                b'@' => look.at_sign = true,
                b'0'..=b'9' => look.digits += 1,
                b':' => look.colons += 1,
                b'.' => look.dots += 1,
                b'-' => look.hyphens += 1,
                _ => {}
            }
        }
        look
    }
}

/// A pattern that is compiled once.
macro_rules! pattern {
    ($text:expr) => {{
        static PATTERN: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| $crate::personal::compiled($text));
        &*PATTERN
    }};
}
use pattern;

#[expect(clippy::expect_used, reason = "patterns are constants, all compiled by the tests")]
fn compiled(text: &str) -> regex::Regex {
    regex::Regex::new(text).expect("a constant pattern")
}

/// Whether the match stands alone: no letter or digit touches it.
fn alone(text: &str, range: &Range<usize>) -> bool {
    let before = text[..range.start].chars().next_back();
    let after = text[range.end..].chars().next();
    !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests;
