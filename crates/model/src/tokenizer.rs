//! Texts to tokens through `tokenizer.json`.

use crate::codes;
use crate::files::text_file;
use sprat_task::{Error, Result};
use std::path::Path;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

/// Turns texts into tokens: prefix, lower case where the model wants it, the model's own
/// tokenizer with its special tokens, cut at a limit. Padding is always off: batches are ragged.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    prefix: String,
    lowercase: bool,
    max_tokens: usize,
}

/// How many texts one thread tokenizes at a time.
const PIECE: usize = 16;

/// The tokens of one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Token numbers, with the special ones.
    pub ids: Vec<u32>,
    /// How many tokens did not fit and were cut off. A lower bound for texts of more than
    /// 64 KiB, whose end is not even tokenized.
    pub cut: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder. `vocabulary` is the number of rows of the
    /// model's word table.
    ///
    /// # Errors
    /// `SPRAT-MODEL-MISSING-FILE` when there is none, `SPRAT-MODEL-TOKENIZER` when it does not
    /// load or knows tokens for which the model has no row.
    pub fn open(folder: &Path, vocabulary: usize, max_tokens: usize) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let wrong = |why: String| {
            Error::new(&codes::TOKENIZER, "the tokenizer could not be loaded").file(&path).why(why)
        };
        let text = text_file(&path).map_err(|error| {
            if error.code() == &codes::MISSING_FILE && folder.join("vocab.txt").exists() {
                return error.help(
                    "Only fast tokenizers are read. Save one with transformers: \
                     AutoTokenizer.from_pretrained(...).save_pretrained(...).",
                );
            }
            error
        })?;
        let mut inner: tokenizers::Tokenizer =
            text.parse().map_err(|why: tokenizers::Error| wrong(why.to_string()))?;
        inner.with_padding(None);
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vocabulary {
            return Err(wrong(format!(
                "it knows token {largest}, but the model has only {vocabulary} word vectors"
            )));
        }
        let mut tokenizer =
            Tokenizer { inner, prefix: String::new(), lowercase: false, max_tokens: 0 };
        tokenizer.set_max_tokens(max_tokens).map_err(|error| error.file(&path))?;
        Ok(tokenizer)
    }

    /// Sets where texts are cut, in tokens with the special ones.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when not one token of the text would fit.
    pub fn set_max_tokens(&mut self, max_tokens: usize) -> Result<()> {
        let special = self.special();
        if max_tokens <= special {
            return Err(Error::new(
                &codes::TOKENIZER,
                format!("{max_tokens} tokens leave no room beside {special} special ones"),
            )
            .field("max_tokens")
            .help(format!("Allow at least {} tokens.", special + 1)));
        }
        let truncation = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: max_tokens,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        self.inner
            .with_truncation(Some(truncation))
            .map_err(|why| Error::new(&codes::TOKENIZER, why.to_string()))?;
        self.max_tokens = max_tokens;
        Ok(())
    }

    /// Sets what is put before every text, and whether texts are put in lower case.
    pub fn set_preparation(&mut self, prefix: &str, lowercase: bool) {
        self.prefix = prefix.to_owned();
        self.lowercase = lowercase;
    }

    /// Where texts are cut, in tokens with the special ones.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// What is put before every text.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many special tokens are added to every text.
    pub fn special(&self) -> usize {
        use tokenizers::PostProcessor;
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// The tokens of one text. Never empty, unless the tokenizer adds no special tokens.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when the tokenizer fails on the text.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let prepared = self.prepare(text);
        let encoding = self
            .inner
            .encode_fast(prepared.as_ref(), true)
            .map_err(|why| Error::new(&codes::TOKENIZER, why.to_string()))?;
        let cut = encoding.get_overflowing().iter();
        // Each cut-off piece got special tokens of its own.
        let cut = cut.map(|rest| rest.len().saturating_sub(self.special())).sum();
        Ok(Tokens { ids: encoding.get_ids().to_vec(), cut })
    }

    /// The tokens of many texts, in their order.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], for the first text that fails.
    pub fn encode_all(&self, texts: &[&str]) -> Result<Vec<Tokens>> {
        let mut all: Vec<Result<Tokens>> = texts.iter().map(|_| Ok(Tokens::default())).collect();
        sprat_nn::threads::run_chunks(&mut all, PIECE, |at, piece| {
            for (out, text) in piece.iter_mut().zip(&texts[at * PIECE..]) {
                *out = self.encode(text);
            }
        });
        all.into_iter().collect()
    }

    fn prepare<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        // Far more than the limit can use of any real text; guards against a book in one cell.
        let most = (64 << 10).max(self.max_tokens * 128);
        let mut end = text.len().min(most);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        match (self.prefix.is_empty(), self.lowercase) {
            (true, false) => text.into(),
            (_, false) => format!("{}{text}", self.prefix).into(),
            (_, true) => format!("{}{text}", self.prefix).to_lowercase().into(),
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("prefix", &self.prefix)
            .field("lowercase", &self.lowercase)
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}
