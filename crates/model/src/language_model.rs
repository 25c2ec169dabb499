//! A model that writes, with everything that belongs to it: weights, tokenizer, chat template.

use crate::codes;
use crate::decoder::{Decoder, DecoderFamily};
use crate::files::{Gguf, json_file};
use crate::template::{ChatTemplates, Conversation, Rendered};
use crate::text::{Control, TextTokenizer};
use crate::vocabulary::GgufVocabulary;
use serde_json::Value;
use sprat_nn::Format;
use sprat_task::{Digest, Error, Result, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A decoder with its tokenizer and its chat templates.
#[derive(Debug)]
pub struct LanguageModel {
    decoder: Decoder,
    tokenizer: Arc<TextTokenizer>,
    templates: Option<ChatTemplates>,
}

/// The GGUF file that a path names: the file itself, or the only one in a folder that is no
/// model folder of safetensors.
///
/// # Errors
/// `SPRAT-MODEL-MISSING-FILE` for a folder with several such files.
pub fn gguf_file(path: &Path) -> Result<Option<PathBuf>> {
    let is_gguf = |path: &Path| path.extension().is_some_and(|end| end == "gguf");
    if path.is_file() {
        return Ok(is_gguf(path).then(|| path.to_owned()));
    }
    if path.join("config.json").is_file() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(path)
        .map_err(|why| Error::io(&codes::READ, "list a model folder", path, &why))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_gguf(path)).collect();
    found.sort();
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop()),
        _ => {
            let names: Vec<_> = found.iter().filter_map(|path| path.file_name()).collect();
            Err(Error::new(&codes::MISSING_FILE, "the folder holds several GGUF files")
                .file(path)
                .why(format!("{names:?}"))
                .help("Name one of the files."))
        }
    }
}

impl LanguageModel {
    /// Whether a path leads to a model that writes: a GGUF file, or a folder whose
    /// `config.json` names a family of decoders. It may still be damaged.
    pub fn is_at(path: &Path) -> bool {
        if gguf_file(path).ok().flatten().is_some() {
            return true;
        }
        let config: Option<Value> = json_file(&path.join("config.json")).ok();
        let family = config.as_ref().and_then(|config| config["model_type"].as_str());
        family.and_then(DecoderFamily::of).is_some()
    }

    /// Opens a model folder in Hugging Face's layout, a GGUF file, or a folder with one GGUF
    /// file. `format` is how a folder's matrices are multiplied; a GGUF file's stay as they are
    /// stored. `context` is that of [`Decoder::open`].
    ///
    /// # Errors
    /// A coded error that names the file and what is wrong in it.
    pub fn open(path: &Path, format: Format, context: Option<usize>) -> Result<Self> {
        match gguf_file(path)? {
            Some(file) => Self::open_gguf(&file, context),
            None => {
                let decoder = Decoder::open(path, format, context)?;
                let tokenizer = TextTokenizer::open(path)?;
                let templates = ChatTemplates::open(path, &tokenizer.special_texts())?;
                Self::assemble(decoder, tokenizer, templates)
            }
        }
    }

    fn open_gguf(path: &Path, context: Option<usize>) -> Result<Self> {
        let file = Gguf::open(path)?;
        let read = || -> Result<Self> {
            let vocabulary = GgufVocabulary::read(file.metadata())?;
            let tokenizer = TextTokenizer::from_gguf(&vocabulary)?;
            let texts = tokenizer.special_texts();
            let templates = ChatTemplates::from_gguf(file.metadata(), &texts)?;
            Self::assemble(Decoder::open_gguf(&file, context)?, tokenizer, templates)
        };
        read().map_err(|error| match error.place().file {
            Some(_) => error,
            None => error.file(path),
        })
    }

    fn assemble(
        decoder: Decoder,
        tokenizer: TextTokenizer,
        templates: Option<ChatTemplates>,
    ) -> Result<Self> {
        tokenizer.fits(decoder.config().vocabulary)?;
        Ok(LanguageModel { decoder, tokenizer: Arc::new(tokenizer), templates })
    }

    /// The weights.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The weights, to train them.
    pub fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<TextTokenizer> {
        &self.tokenizer
    }

    /// The chat templates; none for a model that was never taught to chat.
    pub fn templates(&self) -> Option<&ChatTemplates> {
        self.templates.as_ref()
    }

    /// The digest of what turns conversations into texts: of the templates, or of the plain form
    /// of a model that has none.
    pub fn template_digest(&self) -> Digest {
        match &self.templates {
            Some(templates) => templates.digest(),
            None => Digest::of(PLAIN.as_bytes()),
        }
    }

    /// A conversation as the text that the model reads. A model without a template of its own
    /// reads the messages' contents, one after another, each followed by a line's end, and
    /// learns in tuning what comes after them.
    ///
    /// # Errors
    /// Those of [`crate::ChatTemplate::render`].
    pub fn render(&self, conversation: &Conversation, now: Timestamp) -> Result<Rendered> {
        match &self.templates {
            Some(templates) => {
                let tools = !conversation.tools.is_empty();
                templates.choose(None, tools)?.render(conversation, now)
            }
            None => self.plain()?.render(conversation, now),
        }
    }

    /// As [`Self::render`], with the answers located for training.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_for_training(
        &self,
        conversation: &Conversation,
        now: Timestamp,
    ) -> Result<Rendered> {
        match &self.templates {
            Some(templates) => {
                let tools = !conversation.tools.is_empty();
                templates.choose(None, tools)?.render_for_training(conversation, now)
            }
            None => self.plain()?.render_for_training(conversation, now),
        }
    }

    fn plain(&self) -> Result<crate::template::ChatTemplate> {
        crate::template::ChatTemplate::new(PLAIN, self.tokenizer.special_texts())
    }

    /// The tokens of a rendered conversation, as the model reads them.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn encode_prompt(&self, rendered: &Rendered) -> Result<Vec<u32>> {
        let ids = self.tokenizer.encode_rendered(rendered)?;
        if self.templates.is_some() || !self.tokenizer.adds_bos() {
            return Ok(ids);
        }
        Ok(self.tokenizer.bos().into_iter().chain(ids).collect())
    }

    /// The tokens of a text that goes to the model as it is.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(text, Control::AsText, self.tokenizer.adds_bos())
    }
}

/// How a conversation is written for a model that has no template.
const PLAIN: &str = "{% for message in messages %}{{ message['content'] }}\
{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}";
