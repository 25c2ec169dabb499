//! Words and letters of a text, hashed.

/// FNV-1a over characters (Fowler, Noll and Vo), with a last mix, because its low bits are weak.
pub(super) fn hash(chars: impl Iterator<Item = char>) -> u64 {
    let step = |hash: u64, c: char| (hash ^ u64::from(c)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = chars.fold(0xcbf2_9ce4_8422_2325, step);
    hash ^ (hash >> 29)
}

/// The hashes of a text's words, in lower case.
pub(super) fn words(text: &str) -> impl Iterator<Item = u64> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(|word| hash(word.chars().flat_map(char::to_lowercase)))
}

/// Calls `visit` with the hash of each run of three letters, in lower case.
pub(super) fn trigrams(text: &str, mut visit: impl FnMut(u64)) {
    let mut window = [' '; 3];
    for c in text.chars().flat_map(char::to_lowercase) {
        window = [window[1], window[2], if c.is_whitespace() { ' ' } else { c }];
        visit(hash(window.into_iter()));
    }
}
