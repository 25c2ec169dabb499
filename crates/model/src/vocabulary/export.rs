//! A Hugging Face tokenizer as the metadata of a GGUF file.
//!
//! GGUF files name how texts are cut into words instead of describing it, so not every tokenizer
//! can be said in one. What was found is tried: it must give the same tokens as the original.

use super::split::Rule;
use super::{GgufVocabulary, Kind, merges, wrong};
use crate::files::gguf::Value;
use crate::files::json_file;
use crate::text::{Control, TextTokenizer};
use serde_json::Value as Json;
use sprat_task::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Texts that tokenizers of different rules cut differently: digits, contractions, scripts, runs
/// of white space, marks of their own, characters in two forms.
const PROBES: [&str; 14] = [
    "Hello World, it's 3 o'clock; THEY'LL pay 1234567.89 (€ 20)!",
    "Two  spaces,   three, \t tabs\n\nand lines\r\n  indented",
    " leading and trailing ",
    "don't DON'T we've i'm You'd",
    "def f(x):\n    return x**2  # comment\n\n\n    pass",
    "ÄÖÜ ß é e\u{301} ñ Å A\u{30a} ﬁ ½ Ⅷ",
    "Мир, дружба; 你好，世界。こんにちは 안녕하세요 שלום مرحبا ไทย",
    "🙂🙃👩‍👩‍👧 ✓ ★ → ∑ √2 ≈ 1.41421",
    "camelCaseWord snake_case_word kebab-case-word http://example.org/a?b=c&d=%20",
    "0 00 000 0000 12 123 1234 12345 ١٢٣ ¹²³",
    "\u{a0}non\u{a0}breaking\u{3000}spaces\u{200b}",
    "{\"name\": \"Ann\", \"at\": [1, 2.5e-3, null]}",
    "a\u{0}b\u{1}c\u{7f}",
    "",
];

impl GgufVocabulary {
    /// The tokenizer of a model folder, which is `tokenizer` already, for a model with `rows` rows
    /// in its word table.
    ///
    /// # Errors
    /// `SPRAT-MODEL-VOCABULARY` for a tokenizer that GGUF files cannot describe; those of reading
    /// `tokenizer.json`.
    pub(crate) fn of_folder(folder: &Path, tokenizer: &TextTokenizer, rows: usize) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let json: Json = json_file(&path)?;
        let make = || -> Result<Self> {
            let model = &json["model"];
            if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
                return Err(unlike(format!("its model is {}", model["type"])));
            }
            let byte_level = json["pre_tokenizer"].to_string().contains("\"ByteLevel\"");
            let mut whole = GgufVocabulary::of(&json, tokenizer, rows, byte_level)?;
            if byte_level {
                let whole_words = model["ignore_merges"].as_bool().unwrap_or(false);
                for rule in Rule::all().filter(|rule| rule.whole_words == whole_words) {
                    whole.pre = Some(rule.name().to_owned());
                    if whole.is_like(tokenizer)? {
                        return Ok(whole);
                    }
                }
                return Err(unlike("none of the known rules cuts texts into words as it does"));
            }
            for prefix in [true, false] {
                whole.add_space_prefix = Some(prefix);
                if whole.is_like(tokenizer)? {
                    return Ok(whole);
                }
            }
            Err(unlike("SentencePiece's order of merges gives other tokens"))
        };
        make().map_err(|error| error.file(&path))
    }

    /// Everything but how texts are cut.
    fn of(json: &Json, tokenizer: &TextTokenizer, rows: usize, byte_level: bool) -> Result<Self> {
        let mut texts: BTreeMap<usize, (String, Kind)> = BTreeMap::new();
        let mut add = |text: &str, id: Option<u64>, kind: Kind| -> Result<()> {
            let id = id.and_then(|id| usize::try_from(id).ok()).filter(|id| *id < rows);
            let id = id.ok_or_else(|| unlike(format!("token {text:?} has no row")))?;
            texts.insert(id, (text.to_owned(), kind));
            Ok(())
        };
        let unknown = json["model"]["unk_token"].as_str();
        for (text, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
            let kind = match text {
                text if Some(text.as_str()) == unknown => Kind::Unknown,
                text if !byte_level && is_byte(text) => Kind::Byte,
                _ => Kind::Normal,
            };
            add(text, id.as_u64(), kind)?;
        }
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let text = token["content"].as_str().unwrap_or_default();
            let kind = match token["special"].as_bool() {
                _ if Some(text) == unknown => Kind::Unknown,
                Some(true) => Kind::Control,
                _ => Kind::UserDefined,
            };
            add(text, token["id"].as_u64(), kind)?;
        }
        let listed = listed(&json["model"]["merges"])?;
        let texts: Vec<(String, Kind)> = (0..rows)
            .map(|id| texts.remove(&id).unwrap_or((format!("[PAD{id}]"), Kind::Unused)))
            .collect();
        let mut vocabulary = GgufVocabulary {
            model: if byte_level { "gpt2" } else { "llama" }.to_owned(),
            types: Some(texts.iter().map(|(_, kind)| kind.number()).collect()),
            bos: tokenizer.bos(),
            eos: tokenizer.eos(),
            eot: tokenizer.ends().iter().copied().find(|end| Some(*end) != tokenizer.eos()),
            pad: tokenizer.pad(),
            add_bos: Some(tokenizer.adds_bos()),
            add_eos: Some(tokenizer.adds_eos()),
            ..GgufVocabulary::default()
        };
        vocabulary.unknown = unknown.and_then(|text| tokenizer.token_id(text));
        if byte_level {
            let merge = |(left, right): &(String, String)| format!("{left} {right}");
            vocabulary.merges = Some(listed.iter().map(merge).collect());
        } else {
            vocabulary.scores = Some(scores(&texts, &listed));
        }
        vocabulary.tokens = texts.into_iter().map(|(text, _)| text).collect();
        if let Some(scores) = &vocabulary.scores {
            let kinds: Vec<Kind> = vocabulary.check()?;
            let derived = merges::from_scores(&vocabulary.tokens, scores, &kinds);
            let place: HashMap<&(String, String), usize> =
                derived.iter().enumerate().map(|(at, merge)| (merge, at)).collect();
            let places: Option<Vec<usize>> =
                listed.iter().map(|merge| place.get(merge).copied()).collect();
            if !places.is_some_and(|places| places.is_sorted() && places.len() == derived.len()) {
                return Err(unlike("its merges do not follow from scores of the tokens"));
            }
        }
        Ok(vocabulary)
    }

    /// Whether texts become the same tokens.
    fn is_like(&self, original: &TextTokenizer) -> Result<bool> {
        let own = TextTokenizer::from_gguf(self)?;
        if own.ends() != original.ends() {
            return Err(unlike(format!(
                "texts end at the tokens {:?}, the file would say {:?}",
                original.ends(),
                own.ends()
            )));
        }
        for probe in PROBES {
            for control in [Control::AsText, Control::Parsed] {
                let ids = |tokenizer: &TextTokenizer| tokenizer.encode(probe, control, true);
                if ids(&own)? != ids(original)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The keys and values of a GGUF file.
    pub(crate) fn entries(self) -> Vec<(String, Value)> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        let mut set = |name: &str, value: Option<Value>| {
            entries.extend(value.map(|value| (format!("tokenizer.ggml.{name}"), value)));
        };
        set("model", Some(self.model.into()));
        set("pre", self.pre.map(Value::from));
        set("tokens", Some(self.tokens.into()));
        set("scores", self.scores.map(Value::from));
        set("token_type", self.types.map(Value::from));
        set("merges", self.merges.map(Value::from));
        set("bos_token_id", self.bos.map(Value::from));
        set("eos_token_id", self.eos.map(Value::from));
        set("eot_token_id", self.eot.map(Value::from));
        set("unknown_token_id", self.unknown.map(Value::from));
        set("padding_token_id", self.pad.map(Value::from));
        set("add_bos_token", self.add_bos.map(Value::from));
        set("add_eos_token", self.add_eos.map(Value::from));
        set("add_space_prefix", self.add_space_prefix.map(Value::from));
        entries
    }
}

/// Merges as `tokenizer.json` lists them: pairs, or in older files texts with a space.
fn listed(merges: &Json) -> Result<Vec<(String, String)>> {
    let merge = |merge: &Json| -> Option<(String, String)> {
        if let Some(text) = merge.as_str() {
            let (left, right) = text.split_once(' ')?;
            return Some((left.to_owned(), right.to_owned()));
        }
        match merge.as_array()?.as_slice() {
            [left, right] => Some((left.as_str()?.to_owned(), right.as_str()?.to_owned())),
            _ => None,
        }
    };
    let merges = merges.as_array().into_iter().flatten().map(merge);
    merges.collect::<Option<Vec<_>>>().ok_or_else(|| unlike("a merge is no pair of tokens"))
}

/// Scores from which the merges follow: a token's is the place of the merge that makes it first.
fn scores(texts: &[(String, Kind)], merges: &[(String, String)]) -> Vec<f32> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (at, (left, right)) in merges.iter().enumerate() {
        places.entry(format!("{left}{right}")).or_insert(at);
    }
    let score = |(text, kind): &(String, Kind)| match kind {
        Kind::Normal => -(places.get(text).copied().unwrap_or(merges.len()) as f32),
        _ => 0.0,
    };
    texts.iter().map(score).collect()
}

/// Whether a token is written as one byte, `<0xNN>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

fn unlike(why: impl Into<String>) -> Error {
    wrong("a GGUF file cannot describe this tokenizer").why(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer of a real model, SentencePiece's kind; says loudly when it is not there.
    #[test]
    fn phi_3_comes_back_with_the_same_tokens() {
        let shared = std::env::var_os("SPRAT_SHARED").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
            Into::into,
        );
        let folder = shared.join("data/tokenizers/phi3-v");
        if !folder.exists() {
            eprintln!("SKIPPED: no shared data at {}", folder.display());
            return;
        }
        let tokenizer = TextTokenizer::open(&folder).unwrap();
        let rows = tokenizer.vocabulary() + 40;
        let written = GgufVocabulary::of_folder(&folder, &tokenizer, rows).unwrap();
        assert_eq!((written.model.as_str(), written.tokens.len()), ("llama", rows));
        let own = TextTokenizer::from_gguf(&written).unwrap();
        let text = "Once upon 1,234 times… “quoted” <|user|> \u{1F600}\n\tEnd";
        for control in [Control::AsText, Control::Parsed] {
            let ids = |tokenizer: &TextTokenizer| tokenizer.encode(text, control, true).unwrap();
            assert_eq!(ids(&own), ids(&tokenizer));
        }
    }
}
