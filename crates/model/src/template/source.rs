//! Where templates come from.

use super::{ChatTemplate, wrong};
use crate::files::gguf::Metadata;
use crate::files::{json_file, text_file};
use crate::text::SpecialTexts;
use serde_json::Value;
use sprat_task::{Digest, Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The longest template, in bytes; real ones stay below 40 KiB.
const LONGEST: usize = 256 << 10;
/// The longest line, in bytes. The engine counts columns in 16 bits, and a tag is put in place of
/// another one.
const LONGEST_LINE: usize = 60_000;

/// The templates of one model. Most have one; some have another one for tools.
#[derive(Debug)]
pub struct ChatTemplates {
    named: BTreeMap<String, ChatTemplate>,
    /// What they were compiled from.
    sources: BTreeMap<String, String>,
    digest: Digest,
}

/// The template that is used unless another one is asked for.
const DEFAULT: &str = "default";
/// The template that is used when there are tools.
const TOOLS: &str = "tool_use";
/// The key of a GGUF file under which the default stands.
const GGUF_KEY: &str = "tokenizer.chat_template";

fn digest<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Digest {
    let sources = sources.into_iter().map(|(name, source)| (name.to_owned(), source.into()));
    Digest::of_json(&Value::Object(sources.collect()))
}

impl ChatTemplates {
    /// The templates of a model folder: `chat_template.jinja`, or `chat_template` of
    /// `tokenizer_config.json` or `chat_template.json`, and those in
    /// `additional_chat_templates`. None where the model has none.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TEMPLATE` when one does not compile, `SPRAT-MODEL-CONFIG` or
    /// `SPRAT-MODEL-READ` when a file cannot be read.
    pub fn open(folder: &Path, texts: &SpecialTexts) -> Result<Option<Self>> {
        let mut sources = BTreeMap::new();
        for name in ["chat_template.json", "tokenizer_config.json"] {
            let path = folder.join(name);
            if path.exists() {
                let file: Value = json_file(&path)?;
                for (name, source) in listed(&file["chat_template"]) {
                    sources.insert(name, (path.clone(), source));
                }
            }
        }
        let path = folder.join("chat_template.jinja");
        if path.exists() {
            sources.insert(DEFAULT.to_owned(), (path.clone(), text_file(&path)?));
        }
        for name in [TOOLS, "rag"] {
            let path = folder.join("additional_chat_templates").join(format!("{name}.jinja"));
            if path.exists() {
                sources.insert(name.to_owned(), (path.clone(), text_file(&path)?));
            }
        }
        let mut named = BTreeMap::new();
        for (name, (path, source)) in &sources {
            let template = ChatTemplate::new(source, texts.clone());
            named.insert(name.clone(), template.map_err(|error| error.file(path))?);
        }
        let sources = sources.into_iter().map(|(name, (_, source))| (name, source)).collect();
        Ok(Self::named(named, sources))
    }

    /// One template.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TEMPLATE` when it does not compile.
    pub fn from_source(source: &str, texts: &SpecialTexts) -> Result<Self> {
        let template = ChatTemplate::new(source, texts.clone())?;
        let digest = digest([(DEFAULT, source)]);
        let named = BTreeMap::from([(DEFAULT.to_owned(), template)]);
        let sources = BTreeMap::from([(DEFAULT.to_owned(), source.to_owned())]);
        Ok(ChatTemplates { named, sources, digest })
    }

    /// The templates of a GGUF file: `tokenizer.chat_template`, and others behind a dot and their
    /// name. None where the file has none.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TEMPLATE` when one does not compile, `SPRAT-MODEL-GGUF-KEY` when one is no
    /// text.
    pub fn from_gguf(metadata: &Metadata, texts: &SpecialTexts) -> Result<Option<Self>> {
        let (mut named, mut sources) = (BTreeMap::new(), BTreeMap::new());
        for key in metadata.keys() {
            let name = match key.strip_prefix(GGUF_KEY) {
                Some("") => DEFAULT,
                Some(name) => match name.strip_prefix('.') {
                    Some(name) => name,
                    None => continue,
                },
                None => continue,
            };
            let source = metadata.text(key)?;
            named.insert(name.to_owned(), ChatTemplate::new(source, texts.clone())?);
            sources.insert(name.to_owned(), source.to_owned());
        }
        Ok(Self::named(named, sources))
    }

    fn named(
        named: BTreeMap<String, ChatTemplate>,
        sources: BTreeMap<String, String>,
    ) -> Option<Self> {
        let digest = digest(sources.iter().map(|(name, source)| (&**name, &**source)));
        (!named.is_empty()).then_some(ChatTemplates { named, sources, digest })
    }

    /// The keys and texts under which a GGUF file has these templates.
    pub(crate) fn gguf_entries(&self) -> impl Iterator<Item = (String, &str)> {
        self.sources.iter().map(|(name, source)| match name.as_str() {
            DEFAULT => (GGUF_KEY.to_owned(), source.as_str()),
            name => (format!("{GGUF_KEY}.{name}"), source.as_str()),
        })
    }

    /// The digest of all templates with their names: the same text from another kind of file has
    /// the same.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The names of the templates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The template of a name. Without one the default, or the one for tools where there are
    /// tools and such a template.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TEMPLATE` when there is none of this name.
    pub fn choose(&self, name: Option<&str>, tools: bool) -> Result<&ChatTemplate> {
        let named = match name {
            Some(name) => self.named.get(name),
            None if tools => self.named.get(TOOLS).or_else(|| self.named.get(DEFAULT)),
            None => self.named.get(DEFAULT),
        };
        named.ok_or_else(|| self.unknown(name.unwrap_or(DEFAULT)))
    }

    fn unknown(&self, name: &str) -> Error {
        let names: Vec<_> = self.names().collect();
        wrong(format!("the model has no chat template `{name}`"))
            .help(format!("It has {}.", names.join(", ")))
    }
}

/// The templates of a configuration: one text, or a list of names and texts.
fn listed(value: &Value) -> Vec<(String, String)> {
    if let Some(source) = value.as_str() {
        return vec![(DEFAULT.to_owned(), source.to_owned())];
    }
    let entries = value.as_array().into_iter().flatten();
    let entry = |entry: &Value| {
        Some((entry["name"].as_str()?.to_owned(), entry["template"].as_str()?.to_owned()))
    };
    entries.filter_map(entry).collect()
}

/// Replaces `{% generation %}`, a block of `transformers` that says what an answer is, by a
/// call block that does the same; says whether there was one. Lines stay where they are.
pub(super) fn without_generation(source: &str) -> Result<(String, bool)> {
    if source.len() > LONGEST {
        return Err(wrong(format!("a template of {} bytes is too long", source.len())));
    }
    if source.lines().any(|line| line.len() > LONGEST_LINE) {
        return Err(wrong(format!("a template has a line of more than {LONGEST_LINE} bytes")));
    }
    let mut out = String::with_capacity(source.len());
    let mut found = false;
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let Some(end) = tag.find("%}") else { break };
        let inside = &tag[..end];
        let name = inside.trim_matches(['-', '+']).trim();
        let call = match name {
            "generation" => "call __answer()",
            "endgeneration" => "endcall",
            _ => continue,
        };
        found = true;
        out.push_str(&inside.replacen(name, call, 1));
        rest = &tag[end..];
    }
    out.push_str(rest);
    Ok((out, found))
}
