//! How byte-level tokenizers cut texts into words, by the names GGUF gives the rules.

use super::{failed, wrong};
use sprat_task::Result;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

/// One way to cut texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    names: &'static [&'static str],
    /// The words, as a pattern; GPT-2's own where there is none.
    pattern: Option<&'static str>,
    /// Every digit is a word.
    single_digits: bool,
    /// A word that is a token is not merged together, but taken.
    pub(super) whole_words: bool,
    /// Texts are put into Unicode's composed form (NFC) first.
    pub(super) composed: bool,
}

const GPT2: Rule = Rule {
    names: &["gpt-2", "gpt2", "default"],
    pattern: None,
    single_digits: false,
    whole_words: false,
    composed: false,
};

/// The rules of the supported families, each with the pattern of the family's own
/// `tokenizer.json`.
const RULES: [Rule; 6] = [
    GPT2,
    Rule { names: &["smollm"], single_digits: true, ..GPT2 },
    Rule {
        names: &["llama-bpe", "llama3", "llama-v3"],
        pattern: Some(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        whole_words: true,
        ..GPT2
    },
    Rule {
        names: &["qwen2", "qwen3", "deepseek-r1-qwen"],
        pattern: Some(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        composed: true,
        ..GPT2
    },
    Rule {
        // Phi-4-mini.
        names: &["gpt-4o"],
        pattern: Some(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        ..GPT2
    },
    Rule {
        // Mistral's later models.
        names: &["tekken"],
        pattern: Some(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
            r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        whole_words: true,
        ..GPT2
    },
];

impl Rule {
    /// Every rule.
    pub(super) fn all() -> impl Iterator<Item = Rule> {
        RULES.into_iter()
    }

    /// The name that files are written with.
    pub(super) fn name(&self) -> &'static str {
        self.names[0]
    }

    /// The rule of a name; without one GPT-2's.
    pub(super) fn named(name: Option<&str>) -> Result<Rule> {
        let Some(name) = name else { return Ok(GPT2) };
        RULES.into_iter().find(|rule| rule.names.contains(&name)).ok_or_else(|| {
            let known: Vec<_> = RULES.iter().flat_map(|rule| rule.names).copied().collect();
            wrong(format!("texts are cut into words by an unknown rule, `{name}`"))
                .field("tokenizer.ggml.pre")
                .help(format!("Known are {}.", known.join(", ")))
        })
    }

    /// The rule as a part of a tokenizer.
    pub(super) fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        if self.single_digits {
            steps.push(Digits::new(true).into());
        }
        if let Some(pattern) = self.pattern {
            let pattern = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            steps.push(split.map_err(failed)?.into());
        }
        steps.push(ByteLevel::new(false, true, self.pattern.is_none()).into());
        Ok(PreTokenizerWrapper::Sequence(Sequence::new(steps)))
    }
}

/// Whether tokenizers of this rule begin texts with a token where the file does not say.
pub(super) fn begins_texts(name: &str) -> bool {
    matches!(name, "llama-bpe" | "llama3" | "llama-v3" | "tekken")
}
