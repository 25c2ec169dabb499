//! The bytes of each token.

use super::failed;
use crate::codes;
use crate::vocabulary::bytes::{ALPHABET, byte_of, fallback};
use serde_json::Value;
use sprat_task::{Error, Result};
use tokenizers::Tokenizer;

/// How a vocabulary writes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Each character stands for one byte (GPT-2).
    ByteLevel,
    /// Text with `▁` for a space; bytes are written `<0xNN>` where `bytes` says so.
    SentencePiece { bytes: bool },
}

/// The bytes of all tokens, and which of them steer the model.
#[derive(Debug)]
pub(super) struct Pieces {
    style: Style,
    /// The bytes of all tokens, one after the other.
    bytes: Box<[u8]>,
    /// Where the bytes of each token end.
    ends: Box<[usize]>,
    control: Box<[bool]>,
}

/// More token numbers than any model has; guards against one absurd number.
const MOST: u32 = 1 << 22;

impl Pieces {
    /// The bytes of the tokens of a tokenizer; `is_control` says which tokens steer the model.
    pub(super) fn new(tokenizer: &Tokenizer, is_control: impl Fn(u32) -> bool) -> Result<Self> {
        let style = Style::of(tokenizer)?;
        let vocabulary = tokenizer.get_vocab(true);
        let largest = vocabulary.values().copied().max().unwrap_or(0);
        if vocabulary.is_empty() || largest >= MOST {
            return Err(Error::new(&codes::TOKENIZER, "the tokenizer's vocabulary is absurd")
                .why(format!("{} tokens, the largest number is {largest}", vocabulary.len())));
        }
        let mut texts: Vec<Option<&str>> = vec![None; largest as usize + 1];
        for (text, &id) in &vocabulary {
            texts[id as usize] = Some(text);
        }
        let added = tokenizer.get_added_tokens_decoder();
        let (mut bytes, mut ends, mut control) = (Vec::new(), Vec::new(), Vec::new());
        for (id, text) in (0..).zip(texts) {
            control.push(is_control(id));
            // What was added is written as it is.
            match (added.get(&id), text) {
                (Some(token), _) => bytes.extend_from_slice(token.content.as_bytes()),
                (None, Some(text)) if is_control(id) => bytes.extend_from_slice(text.as_bytes()),
                (None, Some(text)) => style.bytes_of(text, &mut bytes),
                (None, None) => {}
            }
            ends.push(bytes.len());
        }
        Ok(Pieces {
            style,
            bytes: bytes.into_boxed_slice(),
            ends: ends.into_boxed_slice(),
            control: control.into_boxed_slice(),
        })
    }

    /// One more than the largest token number.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a token, empty for a number that no token has.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }

    /// Whether a token steers the model.
    pub(super) fn is_control(&self, id: u32) -> bool {
        self.control.get(id as usize).copied().unwrap_or(false)
    }

    /// How the vocabulary may write a byte, the best first.
    pub(super) fn names_of(&self, byte: u8) -> Vec<String> {
        let letter = ALPHABET[usize::from(byte)].to_string();
        let fallback = format!("<0x{byte:02X}>");
        match self.style {
            Style::ByteLevel => vec![letter],
            Style::SentencePiece { .. } if byte == b' ' => vec!["▁".to_owned(), fallback],
            Style::SentencePiece { .. } if byte.is_ascii_graphic() => vec![letter, fallback],
            Style::SentencePiece { .. } => vec![fallback],
        }
    }
}

impl Style {
    fn of(tokenizer: &Tokenizer) -> Result<Style> {
        let decoder = serde_json::to_value(tokenizer.get_decoder());
        let decoder = decoder.map_err(|why| failed(why.into()))?;
        let has = |name: &str| mentions(&decoder, name);
        if has("ByteLevel") {
            return Ok(Style::ByteLevel);
        }
        if has("ByteFallback") || has("Metaspace") {
            return Ok(Style::SentencePiece { bytes: has("ByteFallback") });
        }
        Err(Error::new(&codes::TOKENIZER, "this kind of tokenizer is not supported")
            .why(format!("its decoder is of type {}", decoder["type"]))
            .help("Tokenizers of decoders are byte-level BPE or SentencePiece."))
    }

    fn bytes_of(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Style::ByteLevel => {
                let start = out.len();
                for letter in text.chars() {
                    match byte_of(letter) {
                        Some(byte) => out.push(byte),
                        None => {
                            // Not in the alphabet: the token is written as it is.
                            out.truncate(start);
                            out.extend_from_slice(text.as_bytes());
                            return;
                        }
                    }
                }
            }
            Style::SentencePiece { bytes } => match fallback(text).filter(|_| bytes) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(text.replace('▁', " ").as_bytes()),
            },
        }
    }
}

/// Whether a decoder has a step of a type.
fn mentions(decoder: &Value, name: &str) -> bool {
    decoder["type"] == name
        || decoder["decoders"]
            .as_array()
            .is_some_and(|steps| steps.iter().any(|step| mentions(step, name)))
}
