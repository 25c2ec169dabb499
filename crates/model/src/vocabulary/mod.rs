//! Vocabularies of GGUF files: their metadata as a Hugging Face tokenizer.
//!
//! GGUF knows a tokenizer by name and arrays. Two kinds are read: `gpt2`, byte-level BPE with
//! merges, and `llama`, SentencePiece BPE whose merges follow from scores.

pub(crate) mod bytes;
mod check;
mod export;
mod merges;
mod split;

use crate::codes;
use crate::files::gguf::Metadata;
use sprat_task::{Error, Result};
use std::collections::HashMap;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer, decoders,
    normalizers, pre_tokenizers,
};

/// The tokenizer as the metadata of a GGUF file describes it; each field is one key under
/// `tokenizer.ggml`.
///
/// Source: the GGUF specification, section "Tokenizer".
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// `model`: `gpt2` or `llama`.
    pub model: String,
    /// `pre`: the name of the rule that cuts texts into words, for `gpt2`.
    pub pre: Option<String>,
    /// `tokens`: the text of each token.
    pub tokens: Vec<String>,
    /// `scores`: the score of each token, needed by `llama`.
    pub scores: Option<Vec<f32>>,
    /// `token_type`: the kind of each token, 1 to 6; without it all are ordinary.
    pub types: Option<Vec<i32>>,
    /// `merges`: pairs of tokens with a space between, needed by `gpt2`.
    pub merges: Option<Vec<String>>,
    /// `bos_token_id`: what a text begins with.
    pub bos: Option<u32>,
    /// `eos_token_id`: what a text ends with.
    pub eos: Option<u32>,
    /// `eot_token_id`: what a turn ends with, where that is another one.
    pub eot: Option<u32>,
    /// `unknown_token_id`: stands for what cannot be encoded.
    pub unknown: Option<u32>,
    /// `padding_token_id`.
    pub pad: Option<u32>,
    /// `add_bos_token`; without it true for `llama` and for Llama 3's rule.
    pub add_bos: Option<bool>,
    /// `add_eos_token`; without it false.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`; without it true. Only `llama` has a prefix.
    pub add_space_prefix: Option<bool>,
}

impl GgufVocabulary {
    /// The tokenizer's keys of a file.
    ///
    /// # Errors
    /// `SPRAT-MODEL-GGUF-KEY` when a key is missing or has another type.
    pub fn read(metadata: &Metadata) -> Result<Self> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let token = |name: &str| -> Result<Option<u32>> {
            let id = metadata.optional(&key(name), Metadata::number)?;
            // Some files write "none" as −1.
            Ok(id.and_then(|id| u32::try_from(id).ok()))
        };
        let flag = |name: &str| metadata.optional(&key(name), Metadata::flag);
        let texts = |name: &str| metadata.optional(&key(name), Metadata::texts);
        let kinds = metadata.optional(&key("token_type"), Metadata::numbers)?;
        Ok(GgufVocabulary {
            model: metadata.text(&key("model"))?.to_owned(),
            pre: metadata.optional(&key("pre"), Metadata::text)?.map(str::to_owned),
            tokens: metadata.texts(&key("tokens"))?.to_vec(),
            scores: metadata.optional(&key("scores"), Metadata::floats)?,
            // What is no kind at all is refused with the kinds that are unknown.
            types: kinds.map(|kinds| {
                kinds.into_iter().map(|kind| i32::try_from(kind).unwrap_or(-1)).collect()
            }),
            merges: texts("merges")?.map(<[String]>::to_vec),
            bos: token("bos_token_id")?,
            eos: token("eos_token_id")?,
            eot: token("eot_token_id")?,
            unknown: token("unknown_token_id")?,
            pad: token("padding_token_id")?,
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
        })
    }
}

/// What a token is, as GGUF numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A piece of ordinary text.
    Normal,
    /// Stands for what cannot be encoded, or fills a hole.
    Unknown,
    /// Steers the model and is no text.
    Control,
    /// Always one token, wherever its text stands.
    UserDefined,
    /// Never used.
    Unused,
    /// One byte, written `<0xNN>`.
    Byte,
}

impl Kind {
    /// Its number in files.
    fn number(self) -> i32 {
        match self {
            Kind::Normal => 1,
            Kind::Unknown => 2,
            Kind::Control => 3,
            Kind::UserDefined => 4,
            Kind::Unused => 5,
            Kind::Byte => 6,
        }
    }
}

/// Texts at which every model of the supported families ends its turn or its text. Some
/// files mark these as ordinary tokens, which would let a user's text end a turn.
pub(crate) const ENDS: [&str; 11] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
];

impl GgufVocabulary {
    /// The whole tokenizer in Hugging Face's terms, as its `tokenizer.json` would be.
    ///
    /// # Errors
    /// `SPRAT-MODEL-VOCABULARY` when arrays are missing or of different lengths, an id lies
    /// outside of the vocabulary, tokens repeat, sizes are absurd, or the kind is not known.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let kinds = self.check()?;
        let mut tokenizer = match self.model.as_str() {
            "gpt2" => self.byte_level(&kinds)?,
            _ => self.sentence_piece(&kinds)?,
        };
        let added: Vec<AddedToken> = self
            .tokens
            .iter()
            .zip(&kinds)
            .filter(|(text, _)| !text.is_empty())
            .filter_map(|(text, kind)| match kind {
                Kind::Control | Kind::Unknown => Some(AddedToken::from(text.clone(), true)),
                Kind::UserDefined => Some(AddedToken::from(text.clone(), false).normalized(false)),
                _ => None,
            })
            .collect();
        tokenizer.add_tokens(&added);
        Ok(tokenizer)
    }

    /// Whether texts begin with the token for that.
    pub(crate) fn adds_bos(&self) -> bool {
        let by_kind = || match self.model.as_str() {
            "llama" => true,
            _ => self.pre.as_deref().is_some_and(split::begins_texts),
        };
        self.bos.is_some() && self.add_bos.unwrap_or_else(by_kind)
    }

    /// The token for what cannot be encoded: named, or else the first of that kind.
    pub(crate) fn unknown_id(&self) -> Option<u32> {
        let by_kind = || {
            let first = self.types.as_ref()?.iter().position(|&kind| kind == 2)?;
            u32::try_from(first).ok()
        };
        self.unknown.or_else(by_kind)
    }

    fn byte_level(&self, kinds: &[Kind]) -> Result<Tokenizer> {
        let rule = split::Rule::named(self.pre.as_deref())?;
        let ids = self.ids();
        let missing = bytes::ALPHABET.iter().find(|c| !ids.contains_key(c.to_string().as_str()));
        if let Some(missing) = missing {
            return Err(wrong(format!("no token stands for the byte that is written `{missing}`"))
                .field("tokenizer.ggml.tokens"));
        }
        let merges = merges::listed(self.merges.as_deref().unwrap_or_default(), &ids, kinds)?;
        let model = BPE::builder()
            .vocab_and_merges(self.vocabulary(), merges)
            .ignore_merges(rule.whole_words)
            .build()
            .map_err(failed)?;
        let mut tokenizer = Tokenizer::new(model);
        if rule.composed {
            tokenizer.with_normalizer(Some(NormalizerWrapper::NFC(normalizers::unicode::NFC)));
        }
        tokenizer.with_pre_tokenizer(Some(rule.pre_tokenizer()?));
        let decoder = pre_tokenizers::byte_level::ByteLevel::new(false, true, true);
        tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(decoder)));
        Ok(tokenizer)
    }

    fn sentence_piece(&self, kinds: &[Kind]) -> Result<Tokenizer> {
        let scores = self.scores.as_deref().unwrap_or_default();
        let merges = merges::from_scores(&self.tokens, scores, kinds);
        let has_bytes = kinds.iter().filter(|&&kind| kind == Kind::Byte).count() == 256;
        let mut model = BPE::builder()
            .vocab_and_merges(self.vocabulary(), merges)
            .byte_fallback(has_bytes)
            .fuse_unk(true);
        match self.unknown_id().and_then(|id| self.tokens.get(id as usize)) {
            Some(text) => model = model.unk_token(text.clone()),
            None if !has_bytes => {
                return Err(wrong("characters outside of the vocabulary have no token")
                    .why("there is neither an unknown token nor a token for each byte")
                    .field("tokenizer.ggml.unknown_token_id"));
            }
            None => {}
        }
        let mut tokenizer = Tokenizer::new(model.build().map_err(failed)?);
        let mut normalizer: Vec<NormalizerWrapper> = Vec::new();
        let mut decoder: Vec<DecoderWrapper> = vec![
            normalizers::Replace::new("▁", " ").map_err(failed)?.into(),
            decoders::byte_fallback::ByteFallback::new().into(),
            decoders::fuse::Fuse::new().into(),
        ];
        if self.add_space_prefix.unwrap_or(true) {
            normalizer.push(normalizers::Prepend::new("▁".to_owned()).into());
            decoder.push(decoders::strip::Strip::new(' ', 1, 0).into());
        }
        normalizer.push(normalizers::Replace::new(" ", "▁").map_err(failed)?.into());
        let normalizer = normalizers::Sequence::new(normalizer);
        tokenizer.with_normalizer(Some(NormalizerWrapper::Sequence(normalizer)));
        tokenizer.with_pre_tokenizer(None::<PreTokenizerWrapper>);
        let decoder = decoders::sequence::Sequence::new(decoder);
        tokenizer.with_decoder(Some(DecoderWrapper::Sequence(decoder)));
        Ok(tokenizer)
    }

    /// Each token's text with its id.
    fn ids(&self) -> HashMap<&str, u32> {
        self.tokens.iter().zip(0..).map(|(text, id)| (text.as_str(), id)).collect()
    }

    fn vocabulary(&self) -> Vocab {
        self.tokens.iter().zip(0..).map(|(text, id)| (text.clone(), id)).collect()
    }
}

/// An error about the metadata.
fn wrong(what: impl Into<String>) -> Error {
    Error::new(&codes::VOCABULARY, what)
}

/// An error of the library that assembles the tokenizer.
fn failed(why: tokenizers::Error) -> Error {
    wrong("no tokenizer could be made of this vocabulary").why(why.to_string())
}
