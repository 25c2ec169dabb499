//! When two texts count as the same.

use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The form in which exact duplicates are compared: Unicode NFC, lower case, white space trimmed
/// and every run of it one space.
pub fn normalized(text: &str) -> String {
    let composed: Cow<'_, str> =
        if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) };
    let mut out = String::with_capacity(text.len());
    for word in composed.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        if word.is_ascii() {
            out.extend(word.bytes().map(|byte| byte.to_ascii_lowercase() as char));
        } else {
            out.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    out
}

/// The form in which near-duplicates are compared: [`normalized`], with everything that is neither
/// letter nor digit made white space. A text of nothing but such characters stays as it is.
pub(crate) fn bare(text: &str) -> String {
    let normal = normalized(text);
    let mut out = String::with_capacity(normal.len());
    for word in normal.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    if out.is_empty() { normal } else { out }
}

/// A stable 64-bit hash of bytes: FNV-1a, then the finalizer of SplitMix64 (Steele et al. 2014),
/// because FNV alone leaves the high bits of short keys badly mixed.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mix(state)
}

/// The finalizer of SplitMix64.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_space_and_composition_do_not_make_a_text_different() {
        assert_eq!(normalized("  Caf\u{65}\u{301}\t LATTE\n"), "café latte");
        assert_eq!(normalized("café latte"), "café latte");
        assert_ne!(normalized("cafe latte"), "café latte");
        assert_eq!(bare("Where's my card?!"), "where s my card");
        assert_eq!(bare(" ?! "), "?!");
    }
}
