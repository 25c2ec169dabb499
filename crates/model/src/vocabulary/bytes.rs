//! The alphabet of byte-level tokenizers: one printable character for each byte.

/// The character that stands for each byte. Printable Latin-1 stands for itself, the others
/// follow from U+0100 on in their order.
///
/// Source: `bytes_to_unicode` of GPT-2's `encoder.py`.
pub(crate) const ALPHABET: [char; 256] = alphabet();

const fn alphabet() -> [char; 256] {
    let mut letters = ['\0'; 256];
    let mut next = 0x100_u32;
    let mut byte = 0_u32;
    while byte < 256 {
        let itself = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if itself { byte } else { next };
        if !itself {
            next += 1;
        }
        if let Some(letter) = char::from_u32(code) {
            letters[byte as usize] = letter;
        }
        byte += 1;
    }
    letters
}

/// The byte that a character stands for.
pub(crate) fn byte_of(letter: char) -> Option<u8> {
    // 0xad, the soft hyphen, is written as the last of the added letters.
    match u32::from(letter) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The byte of a token written `<0xNN>`.
pub(crate) fn fallback(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    match digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => u8::from_str_radix(digits, 16).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_letter_and_every_letter_its_byte() {
        for byte in 0..=255_u8 {
            assert_eq!(byte_of(ALPHABET[usize::from(byte)]), Some(byte));
        }
        assert_eq!(ALPHABET[usize::from(b' ')], 'Ġ');
        assert_eq!(ALPHABET[usize::from(b'\n')], 'Ċ');
        assert_eq!(byte_of('▁'), None);
    }

    #[test]
    fn byte_tokens_are_two_hexadecimal_digits() {
        assert_eq!(fallback("<0x0A>"), Some(10));
        assert_eq!(fallback("<0xff>"), Some(255));
        for text in ["<0x+A>", "<0xA>", "<0x0A", "0x0A>", "<0x0AA>", "<0xé>"] {
            assert_eq!(fallback(text), None, "{text}");
        }
    }
}
