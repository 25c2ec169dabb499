//! E-mail addresses and phone numbers.

use super::{PersonalKind, PersonalSpan, alone, pattern};

/// Addresses in the usual form: a dot-atom, a domain with a top level of letters (RFC 5321).
pub(super) fn emails(text: &str, spans: &mut Vec<PersonalSpan>) {
    let pattern = pattern!(
        r"(?i)[a-z0-9](?:[a-z0-9._%+-]*[a-z0-9_%+-])?@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}"
    );
    for found in pattern.find_iter(text) {
        spans.push(PersonalSpan { kind: PersonalKind::Email, range: found.range() });
    }
}

/// Numbers with an international prefix (8 to 15 digits, ITU-T E.164), or in a national layout that
/// dates, amounts and order numbers do not have.
pub(super) fn phones(text: &str, spans: &mut Vec<PersonalSpan>) {
    let pattern = pattern!(concat!(
        // +49 170 1234567, 0049 …
        r"(?:\+|\b00)[1-9](?:[ ().\-/]{0,2}[0-9]){7,14}",
        // (555) 123-4567, 555-123-4567, 555.123.4567
        r"|\([2-9][0-9]{2}\) ?[0-9]{3}[-. ][0-9]{4}|\b[2-9][0-9]{2}[-.][0-9]{3}[-.][0-9]{4}",
        // 0170 1234567, 020 7946 0958, 030/1234567
        r"|\b0[1-9][0-9]{1,3}[ /-][0-9]{3,4}[ -]?[0-9]{3,5}",
    ));
    for found in pattern.find_iter(text) {
        let digits = found.as_str().bytes().filter(u8::is_ascii_digit).count();
        let range = found.range();
        // A number that goes on with a dot or comma and digits is an amount.
        let after = &text.as_bytes()[range.end..];
        let goes_on = matches!(after, [b'.' | b',', digit, ..] if digit.is_ascii_digit());
        // Groups of digits before it make it the end of another kind of number.
        let inside = text[..range.start]
            .trim_end_matches([' ', '-'])
            .ends_with(|c: char| c.is_ascii_digit());
        if !inside && (8..=17).contains(&digits) && alone(text, &range) && !goes_on {
            spans.push(PersonalSpan { kind: PersonalKind::Phone, range });
        }
    }
}
