//! What must hold before a vocabulary is used: the file may come from anywhere.

use super::{ENDS, GgufVocabulary, Kind, wrong};
use sprat_task::Result;
use std::collections::HashMap;

/// More tokens than four times the largest vocabulary in use.
const MOST_TOKENS: usize = 1 << 20;
/// The longest token in bytes; real ones stay below 600, in the byte-level alphabet.
const LONGEST_TOKEN: usize = 1024;
/// All tokens together, in bytes; Gemma's 256,000 need about 2 MiB.
const MOST_BYTES: usize = 64 << 20;
/// More merges than any vocabulary of [`MOST_TOKENS`] has.
const MOST_MERGES: usize = 4 << 20;

impl GgufVocabulary {
    /// Checks everything that does not depend on how texts are cut; gives each token's kind.
    pub(super) fn check(&self) -> Result<Vec<Kind>> {
        let count = self.tokens.len();
        self.check_tokens()?;
        let listed = |key: &str, length: Option<usize>| match length {
            Some(length) if length != count => {
                Err(wrong(format!("{length} entries for {count} tokens"))
                    .field(format!("tokenizer.ggml.{key}")))
            }
            _ => Ok(()),
        };
        listed("scores", self.scores.as_ref().map(Vec::len))?;
        listed("token_type", self.types.as_ref().map(Vec::len))?;
        match self.model.as_str() {
            "gpt2" => match &self.merges {
                None => return Err(missing("merges")),
                Some(merges) if merges.len() > MOST_MERGES => {
                    return Err(wrong(format!("{} merges are no vocabulary", merges.len()))
                        .field("tokenizer.ggml.merges"));
                }
                Some(_) => {}
            },
            "llama" => match &self.scores {
                None => return Err(missing("scores")),
                Some(scores) => {
                    if let Some(at) = scores.iter().position(|score| score.is_nan()) {
                        return Err(wrong(format!("the score of token {at} is not a number"))
                            .field("tokenizer.ggml.scores"));
                    }
                }
            },
            other => {
                return Err(wrong(format!("`{other}` is no known kind of tokenizer"))
                    .field("tokenizer.ggml.model")
                    .help("Known are `gpt2` (byte-level BPE) and `llama` (SentencePiece BPE)."));
            }
        }
        for (key, id) in [
            ("bos_token_id", self.bos),
            ("eos_token_id", self.eos),
            ("eot_token_id", self.eot),
            ("unknown_token_id", self.unknown),
            ("padding_token_id", self.pad),
        ] {
            if id.is_some_and(|id| id as usize >= count) {
                return Err(wrong(format!(
                    "token {} lies outside of {count} tokens",
                    id.unwrap_or_default()
                ))
                .field(format!("tokenizer.ggml.{key}")));
            }
        }
        self.kinds()
    }

    fn check_tokens(&self) -> Result<()> {
        let field = "tokenizer.ggml.tokens";
        let count = self.tokens.len();
        if count == 0 || count > MOST_TOKENS {
            return Err(wrong(format!("{count} tokens are no vocabulary")).field(field));
        }
        let mut seen = HashMap::with_capacity(count);
        let mut total = 0;
        for (at, text) in self.tokens.iter().enumerate() {
            total += text.len();
            if text.len() > LONGEST_TOKEN || total > MOST_BYTES {
                return Err(wrong(format!("token {at} is {} bytes long", text.len()))
                    .why(format!("{total} bytes of text so far"))
                    .field(field));
            }
            if let Some(first) = seen.insert(text.as_str(), at) {
                let what = format!("tokens {first} and {at} have the same text {text:?}");
                return Err(wrong(what).field(field));
            }
        }
        Ok(())
    }

    fn kinds(&self) -> Result<Vec<Kind>> {
        let number = |at: usize| self.types.as_ref().map_or(1, |types| types[at]);
        let mut kinds = Vec::with_capacity(self.tokens.len());
        for (at, text) in self.tokens.iter().enumerate() {
            kinds.push(match number(at) {
                _ if ENDS.contains(&text.as_str()) => Kind::Control,
                0 | 1 => Kind::Normal,
                2 => Kind::Unknown,
                3 => Kind::Control,
                4 => Kind::UserDefined,
                5 => Kind::Unused,
                6 => Kind::Byte,
                other => {
                    return Err(wrong(format!("token {at} is of kind {other}"))
                        .why("kinds are 1 to 6")
                        .field("tokenizer.ggml.token_type"));
                }
            });
        }
        Ok(kinds)
    }
}

fn missing(key: &str) -> sprat_task::Error {
    wrong(format!("the vocabulary has no {key}")).field(format!("tokenizer.ggml.{key}"))
}
