//! Payment cards (ISO/IEC 7812, check digit by Luhn) and bank accounts (ISO 13616, modulo 97).

use super::{PersonalKind, PersonalSpan, alone, pattern};

/// Card numbers of 13 to 19 digits, bare or grouped by single spaces or hyphens, that begin as the
/// large issuers' do and whose check digit is right.
pub(super) fn cards(text: &str, spans: &mut Vec<PersonalSpan>) {
    for found in pattern!(r"[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}").find_iter(text) {
        let digits: Vec<u8> =
            found.as_str().bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
        let varied = digits.iter().any(|digit| *digit != digits[0]);
        if varied && issued(&digits) && luhn(&digits) && alone(text, &found.range()) {
            spans.push(PersonalSpan { kind: PersonalKind::Card, range: found.range() });
        }
    }
}

/// Whether the leading digits and the length are those of a large card scheme.
fn issued(digits: &[u8]) -> bool {
    let lead = digits.iter().take(4).fold(0_u32, |lead, digit| lead * 10 + u32::from(*digit));
    match lead {
        4000..=4999 => matches!(digits.len(), 13 | 16 | 19),
        5100..=5599 | 2221..=2720 => digits.len() == 16,
        3400..=3499 | 3700..=3799 => digits.len() == 15,
        3000..=3059 | 3600..=3699 | 3800..=3999 => matches!(digits.len(), 14 | 16),
        3528..=3589 | 6011 | 6440..=6599 | 6200..=6299 => (16..=19).contains(&digits.len()),
        5000 | 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763 => digits.len() >= 13,
        _ => false,
    }
}

/// The Luhn check (ISO/IEC 7812-1, annex B) over digits 0 to 9.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(*digit) * if at % 2 == 1 { 2 } else { 1 };
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Account numbers: country, check digits, 11 to 30 characters, in groups of four or bare.
pub(super) fn ibans(text: &str, spans: &mut Vec<PersonalSpan>) {
    let pattern =
        pattern!(r"\b[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?");
    for found in pattern.find_iter(text) {
        // The last groups may already be words that follow the number.
        let mut end = found.end();
        loop {
            let candidate = &text[found.start()..end];
            if iban(candidate) && alone(text, &(found.start()..end)) {
                let range = found.start()..end;
                spans.push(PersonalSpan { kind: PersonalKind::Iban, range });
                break;
            }
            match candidate.rfind(' ') {
                Some(space) if space > 4 => end = found.start() + space,
                _ => break,
            }
        }
    }
}

/// Whether the check digits are right (ISO 13616-1, modulo 97 of ISO/IEC 7064).
pub(super) fn iban(text: &str) -> bool {
    let compact: Vec<u8> =
        text.bytes().filter(|byte| *byte != b' ').map(|byte| byte.to_ascii_uppercase()).collect();
    if !(15..=34).contains(&compact.len())
        || !compact[..2].iter().all(u8::is_ascii_uppercase)
        || !compact.iter().all(u8::is_ascii_alphanumeric)
    {
        return false;
    }
    let digits = compact.iter().filter(|byte| byte.is_ascii_digit()).count();
    let rest = compact[4..].iter().chain(&compact[..4]).fold(0_u32, |rest, byte| {
        if byte.is_ascii_digit() {
            (rest * 10 + u32::from(byte - b'0')) % 97
        } else {
            (rest * 100 + u32::from(byte - b'A') + 10) % 97
        }
    });
    rest == 1 && digits * 2 >= compact.len()
}
