//! Tokens to text, one at a time.

use super::pieces::Pieces;
use std::sync::Arc;

/// Puts a text together from tokens that arrive one by one. What it gives is always whole
/// characters: bytes of a character that is not complete yet are held back, and U+FFFD comes
/// out only for bytes that cannot become a character any more. The pieces together are what
/// decoding all tokens at once gives.
#[derive(Clone, Debug)]
pub struct TextStream {
    pieces: Arc<Pieces>,
    skip_control: bool,
    /// The next byte is the first, and a space there is taken away.
    strip: bool,
    held: Vec<u8>,
}

impl TextStream {
    pub(super) fn new(pieces: Arc<Pieces>, skip_control: bool, strip: bool) -> Self {
        TextStream { pieces, skip_control, strip, held: Vec::new() }
    }

    /// Takes a token and gives the text that is complete with it, often a word, sometimes
    /// nothing.
    pub fn push(&mut self, id: u32) -> String {
        if self.skip_control && self.pieces.is_control(id) {
            return String::new();
        }
        let mut bytes = self.pieces.bytes(id);
        if self.strip && !bytes.is_empty() {
            self.strip = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.held.extend_from_slice(bytes);
        self.complete()
    }

    /// Ends the text: gives U+FFFD if a character was left incomplete.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        rest
    }

    /// Whether bytes of an incomplete character are held back.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes everything out of the held bytes that no later byte can change.
    fn complete(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, broken) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = broken;
                    match error.error_len() {
                        // May still become a character.
                        None => break,
                        Some(length) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &rest[length..];
                        }
                    }
                }
            }
        }
        let done = self.held.len() - rest.len();
        self.held.drain(..done);
        text
    }
}
