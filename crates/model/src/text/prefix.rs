//! The space that SentencePiece tokenizers put before a text, so that a word at its beginning
//! is the same token as elsewhere.
//!
//! The Hugging Face library knows four ways to say it. They are taken out of the tokenizer and
//! done here, because only here is known where a text begins.

use super::failed;
use serde_json::Value;
use sprat_task::Result;
use std::borrow::Cow;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Where a space is put before a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    /// At the very beginning.
    First,
    /// There and after each added token.
    Each,
}

/// What a tokenizer does with the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    place: Place,
    /// Not where the text begins with a space already.
    unless_space: bool,
    /// Decoding takes the first space away again.
    removed: bool,
}

impl Prefix {
    /// Takes the prefix out of a tokenizer, which must not add one itself any more.
    pub(super) fn take(tokenizer: &mut Tokenizer) -> Result<Self> {
        let mut prefix = Prefix { place: Place::Nowhere, unless_space: false, removed: false };
        let read = |part: serde_json::Result<Value>| part.map_err(|why| failed(why.into()));
        let mut normalizer = read(serde_json::to_value(tokenizer.get_normalizer()))?;
        let mut pre_tokenizer = read(serde_json::to_value(tokenizer.get_pre_tokenizer()))?;
        let decoder = read(serde_json::to_value(tokenizer.get_decoder()))?;
        prefix.without_prepend(&mut normalizer);
        prefix.without_scheme(&mut pre_tokenizer);
        prefix.removed = strips(&decoder);
        if prefix.place != Place::Nowhere {
            let normalizer: Option<NormalizerWrapper> =
                serde_json::from_value(normalizer).map_err(|why| failed(why.into()))?;
            let pre_tokenizer: Option<PreTokenizerWrapper> =
                serde_json::from_value(pre_tokenizer).map_err(|why| failed(why.into()))?;
            tokenizer.with_normalizer(normalizer);
            tokenizer.with_pre_tokenizer(pre_tokenizer);
        }
        Ok(prefix)
    }

    /// Removes `Prepend` steps from a normalizer.
    fn without_prepend(&mut self, normalizer: &mut Value) {
        let is_prepend = |step: &Value| step["type"] == "Prepend" && step["prepend"] == "▁";
        if is_prepend(normalizer) {
            *normalizer = Value::Null;
            self.place = Place::Each;
        } else if let Some(steps) = normalizer.get_mut("normalizers").and_then(Value::as_array_mut)
        {
            let before = steps.len();
            steps.retain(|step| !is_prepend(step));
            if steps.len() < before {
                self.place = Place::Each;
            }
        }
    }

    /// Turns off what pre-tokenizers put before a text.
    fn without_scheme(&mut self, step: &mut Value) {
        match step["type"].as_str() {
            Some("Metaspace") => {
                let place = match step["prepend_scheme"].as_str() {
                    Some("never") => return,
                    Some("first") => Place::First,
                    _ => Place::Each,
                };
                step["prepend_scheme"] = "never".into();
                (self.place, self.unless_space) = (place, true);
            }
            Some("ByteLevel") if step["add_prefix_space"] == true => {
                step["add_prefix_space"] = false.into();
                (self.place, self.unless_space) = (Place::Each, true);
            }
            Some("Sequence") => {
                let steps = step.get_mut("pretokenizers").and_then(Value::as_array_mut);
                steps.into_iter().flatten().for_each(|step| self.without_scheme(step));
            }
            _ => {}
        }
    }

    /// A part of a text with its prefix; `first` and `after_token` say where it stands.
    pub(super) fn before<'a>(&self, text: &'a str, first: bool, after_token: bool) -> Cow<'a, str> {
        let wanted = match self.place {
            Place::Nowhere => false,
            Place::First => first,
            Place::Each => first || after_token,
        };
        match wanted && !(self.unless_space && text.starts_with([' ', '▁'])) {
            true => format!(" {text}").into(),
            false => text.into(),
        }
    }

    /// Whether decoding takes away a space at the beginning.
    pub(super) fn is_removed(&self) -> bool {
        self.removed
    }
}

/// Whether a decoder takes away a space at the beginning.
fn strips(decoder: &Value) -> bool {
    match decoder["type"].as_str() {
        Some("Strip") => decoder["content"] == " " && decoder["start"] != 0,
        Some("Metaspace") => decoder["prepend_scheme"] != "never",
        Some("Sequence") => {
            decoder["decoders"].as_array().is_some_and(|steps| steps.iter().any(strips))
        }
        _ => false,
    }
}
