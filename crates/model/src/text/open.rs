//! Where a tokenizer comes from: a model folder, or the metadata of a GGUF file.

use super::added::AddedTokens;
use super::pieces::Pieces;
use super::prefix::Prefix;
use super::{Marks, TextTokenizer, failed};
use crate::codes;
use crate::files::{json_file, text_file};
use crate::vocabulary::{ENDS, GgufVocabulary};
use serde_json::Value;
use sprat_task::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokenizers::{ModelWrapper, PostProcessorWrapper, Tokenizer};

impl TextTokenizer {
    /// Opens the tokenizer of a model folder: `tokenizer.json`, and where they are there
    /// `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and
    /// `config.json`, which name the tokens that begin and end texts.
    ///
    /// # Errors
    /// `SPRAT-MODEL-MISSING-FILE` without `tokenizer.json`, `SPRAT-MODEL-TOKENIZER` when it does
    /// not load or is of a kind that decoders do not use, `SPRAT-MODEL-CONFIG` for a damaged
    /// configuration file.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let text = text_file(&path)?;
        let tokenizer: Tokenizer = text.parse().map_err(|why: tokenizers::Error| {
            Error::new(&codes::TOKENIZER, "the tokenizer could not be loaded")
                .file(&path)
                .why(why.to_string())
        })?;
        let configs = Configs::read(folder)?;
        let marks = configs.marks(&tokenizer)?;
        TextTokenizer::assemble(tokenizer, marks).map_err(|error| error.file(&path))
    }

    /// The tokenizer that the metadata of a GGUF file describes.
    ///
    /// # Errors
    /// `SPRAT-MODEL-VOCABULARY` when the metadata is damaged or of an unknown kind.
    pub fn from_gguf(vocabulary: &GgufVocabulary) -> Result<Self> {
        let tokenizer = vocabulary.tokenizer()?;
        let marks = Marks {
            bos: vocabulary.bos,
            eos: vocabulary.eos,
            pad: vocabulary.pad,
            unknown: vocabulary.unknown_id(),
            ends: [vocabulary.eos, vocabulary.eot].into_iter().flatten().collect(),
            adds_bos: vocabulary.adds_bos(),
            adds_eos: vocabulary.eos.is_some() && vocabulary.add_eos.unwrap_or(false),
        };
        TextTokenizer::assemble(tokenizer, marks)
    }

    fn assemble(mut tokenizer: Tokenizer, mut marks: Marks) -> Result<Self> {
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let prefix = Prefix::take(&mut tokenizer)?;
        // The library is given only texts without added tokens; should one be left, it is text.
        tokenizer.set_encode_special_tokens(true);

        let added = tokenizer.get_added_tokens_decoder();
        let mut control: BTreeSet<u32> =
            added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        let known = ENDS.iter().filter_map(|text| tokenizer.token_to_id(text));
        // A vocabulary may write an end as ordinary text; only an added token ends a turn.
        let known: Vec<u32> = known.filter(|id| added.contains_key(id)).collect();
        marks.ends.extend(&known);
        marks.ends.sort_unstable();
        marks.ends.dedup();
        control.extend(&marks.ends);
        control.extend([marks.bos, marks.eos, marks.pad].into_iter().flatten());

        let pieces = Pieces::new(&tokenizer, |id| control.contains(&id))?;
        let mut tokens: Vec<_> = added.into_iter().collect();
        tokens.sort_unstable_by_key(|&(id, _)| id);
        // A token that begins or ends texts need not be an added one.
        for &id in &control {
            if tokens.binary_search_by_key(&id, |&(id, _)| id).is_err()
                && let Some(text) = tokenizer.id_to_token(id)
            {
                tokens.push((id, tokenizers::AddedToken::from(text, true)));
            }
        }
        let added = AddedTokens::new(tokens, |id| control.contains(&id));
        Ok(TextTokenizer {
            inner: tokenizer,
            added,
            prefix,
            pieces: Arc::new(pieces),
            marks,
            digest: OnceLock::new(),
        })
    }
}

/// The files beside `tokenizer.json`; each is null where it is not there.
struct Configs {
    tokenizer: Value,
    special: Value,
    generation: Value,
    model: Value,
}

impl Configs {
    fn read(folder: &Path) -> Result<Self> {
        let file = |name: &str| match folder.join(name) {
            path if path.exists() => json_file::<Value>(&path),
            _ => Ok(Value::Null),
        };
        Ok(Configs {
            tokenizer: file("tokenizer_config.json")?,
            special: file("special_tokens_map.json")?,
            generation: file("generation_config.json")?,
            model: file("config.json")?,
        })
    }

    fn marks(&self, tokenizer: &Tokenizer) -> Result<Marks> {
        let (before, after) = surroundings(tokenizer)?;
        let known = |id: &u32| tokenizer.id_to_token(*id).is_some();
        let named = |name: &str| {
            let text = [&self.tokenizer, &self.special].into_iter().find_map(|file| {
                let token = &file[name];
                token.as_str().or_else(|| token["content"].as_str())
            })?;
            tokenizer.token_to_id(text)
        };
        let listed = |name: &str| {
            let files = [&self.generation, &self.model].into_iter();
            let ids = files.map(|file| numbers(&file[name])).find(|ids| !ids.is_empty());
            ids.unwrap_or_default().into_iter().filter(known).collect::<Vec<u32>>()
        };
        let one =
            |name: &str| named(name).or_else(|| listed(&format!("{name}_id")).first().copied());
        let bos = one("bos_token").or(before);
        let eos = one("eos_token").or(after);
        let mut ends = listed("eos_token_id");
        ends.extend(eos);
        let flag = |name: &str| self.tokenizer[name].as_bool();
        Ok(Marks {
            bos,
            eos,
            pad: one("pad_token"),
            unknown: named("unk_token").or_else(|| match tokenizer.get_model() {
                ModelWrapper::BPE(model) => tokenizer.token_to_id(model.unk_token.as_ref()?),
                _ => None,
            }),
            ends,
            adds_bos: bos.is_some() && flag("add_bos_token").unwrap_or(before.is_some()),
            adds_eos: eos.is_some() && flag("add_eos_token").unwrap_or(after.is_some()),
        })
    }
}

/// The first and the last token that the tokenizer's own rules put around a text.
fn surroundings(tokenizer: &Tokenizer) -> Result<(Option<u32>, Option<u32>)> {
    let ids = |special: bool| {
        let encoding = tokenizer.encode_fast("a", special).map_err(failed)?;
        Ok::<_, Error>(encoding.get_ids().to_vec())
    };
    let (bare, whole) = (ids(false)?, ids(true)?);
    let starts: Vec<usize> = (0..=whole.len().saturating_sub(bare.len()))
        .filter(|&at| whole.get(at..at + bare.len()) == Some(bare.as_slice()))
        .collect();
    // Without the text in it there is nothing to learn from the result.
    let (Some(&start), false) = (starts.first(), bare.is_empty()) else { return Ok((None, None)) };
    let end = start + bare.len();
    let before = whole[..start].first().copied();
    let after = whole[end..].last().copied();
    Ok((before, after))
}

/// A number or a list of numbers.
fn numbers(value: &Value) -> Vec<u32> {
    let number = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value.as_array() {
        Some(list) => list.iter().filter_map(number).collect(),
        None => number(value).into_iter().collect(),
    }
}
