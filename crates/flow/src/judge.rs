//! What the base model contributes to the data gate: the length of texts in tokens, and an opinion
//! on every row's label.

use crate::Project;
use crate::neighbours::{self, Votes};
use sprat_data::{FromModel, LengthLimit, Parts, Probabilities};
use sprat_model::decoder::DecoderConfig;
use sprat_model::files::Gguf;
use sprat_model::{Encoder, GgufVocabulary, TextTokenizer, gguf_file};
use sprat_task::Result;
use std::path::Path;

/// What the base model reads texts with.
pub(crate) enum Reader {
    /// An encoder: it also has an opinion on labels.
    Encoder(Box<Encoder>),
    /// A decoder's tokenizer, and how many tokens of text leave room for instruction and answer.
    Writer {
        /// The tokenizer.
        tokenizer: Box<TextTokenizer>,
        /// Tokens of a text, at most.
        room: usize,
    },
}

/// Tokens that a chat template is given for what it writes around a text.
const TEMPLATE: usize = 32;

impl Reader {
    /// What a decoder reads texts with; its weights are not opened.
    ///
    /// # Errors
    /// Those of the tokenizer and of the model's settings.
    pub(crate) fn writer(folder: &Path, instruction: Option<&str>, answer: usize) -> Result<Self> {
        let (tokenizer, context) = match gguf_file(folder)? {
            Some(path) => {
                let file = Gguf::open(&path)?;
                let vocabulary = GgufVocabulary::read(file.metadata())?;
                let architecture = file.metadata().text("general.architecture")?;
                let context = file.metadata().size(&format!("{architecture}.context_length"))?;
                (TextTokenizer::from_gguf(&vocabulary)?, context)
            }
            None => {
                let config = DecoderConfig::read(&folder.join("config.json"))?;
                (TextTokenizer::open(folder)?, config.context)
            }
        };
        let told = tokenizer.encode_continuing(instruction.unwrap_or_default())?.len();
        let room = context.saturating_sub(told + answer + TEMPLATE);
        Ok(Reader::Writer { tokenizer: Box::new(tokenizer), room })
    }

    /// How many tokens a text has, also beyond what the model reads; 0 where it can't be read.
    fn length(&self, text: &str) -> usize {
        match self {
            Reader::Encoder(encoder) => {
                let tokens = encoder.tokenizer().encode(text);
                tokens.map_or(0, |tokens| tokens.ids.len() + tokens.cut)
            }
            Reader::Writer { tokenizer, .. } => {
                tokenizer.encode_continuing(text).map_or(0, |ids| ids.len())
            }
        }
    }

    fn max_tokens(&self) -> usize {
        match self {
            Reader::Encoder(encoder) => encoder.tokenizer().max_tokens(),
            Reader::Writer { room, .. } => *room,
        }
    }
}

/// The base model as the gate sees it; without one the gate uses its own linear model, and its
/// report says that lengths were not looked at.
pub(crate) struct Judge<'a> {
    reader: Option<&'a Reader>,
    votes: Option<Votes>,
}

impl<'a> Judge<'a> {
    /// Reads the rows of the parts once.
    ///
    /// # Errors
    /// Those of the encoder; an interruption.
    pub(crate) fn new(
        project: &Project,
        reader: Option<&'a Reader>,
        parts: &Parts<'_>,
    ) -> Result<Self> {
        let votes = match reader {
            Some(Reader::Encoder(encoder)) => {
                neighbours::votes(encoder, parts, &project.interrupt)?
            }
            _ => None,
        };
        Ok(Judge { reader, votes })
    }

    /// How many tokens a text has, also beyond what the model reads; 0 where it can't be read.
    pub(crate) fn length(&self) -> impl Fn(&str) -> usize + Sync {
        let reader = self.reader;
        move |text: &str| reader.map_or(0, |reader| reader.length(text))
    }

    /// The same for the gate.
    pub(crate) fn contribution<'b>(
        &'b self,
        length: &'b (dyn Fn(&str) -> usize + Sync),
    ) -> FromModel<'b> {
        FromModel {
            limit: self
                .reader
                .map(|reader| LengthLimit { length, max_tokens: reader.max_tokens() }),
            answers: None,
            probabilities: self
                .votes
                .as_ref()
                .map(|votes| Probabilities { labels: votes.labels.clone(), values: &votes.values }),
        }
    }
}
