//! Texts to tokens and back, for decoders.
//!
//! The text between added tokens goes through the Hugging Face library. Everything else is
//! done here, because it decides what a user's text can do: which texts stand for tokens
//! ([`added`]), whether a space is put before a text ([`prefix`]), and the bytes of each token
//! ([`pieces`]), from which texts are put together again ([`stream`]).

mod added;
mod open;
mod pieces;
mod prefix;
mod stream;

pub use stream::TextStream;

use crate::codes;
use crate::template::Rendered;
use added::{AddedTokens, Part};
use pieces::Pieces;
use prefix::Prefix;
use sprat_task::{Digest, Error, Result};
use std::sync::{Arc, OnceLock};
use tokenizers::Model;

/// Turns texts into tokens and tokens into texts, for models that generate.
///
/// **Control tokens** steer a model: they begin and end texts and turns. A text that merely
/// *says* `<|im_end|>` must not become the control token of that name, or whoever writes the
/// text could end their turn and speak as somebody else. So the caller says with [`Control`]
/// where a text comes from, and conversations go through [`TextTokenizer::encode_rendered`],
/// which knows it for each part of the text.
///
/// Tokens that a tokenizer adds without marking them as special, such as `<tool_call>`, are
/// recognised in every text, unless a model begins or ends texts with them.
pub struct TextTokenizer {
    inner: tokenizers::Tokenizer,
    added: AddedTokens,
    prefix: Prefix,
    pieces: Arc<Pieces>,
    marks: Marks,
    digest: OnceLock<Digest>,
}

/// Whether the texts of control tokens stand for these tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// They do: the text was written by whoever wrote the program or the template.
    Parsed,
    /// They do not: the text may come from anybody. No control token comes out.
    AsText,
}

/// The tokens with a meaning of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) pad: Option<u32>,
    pub(crate) unknown: Option<u32>,
    /// At which a generated text is over; sorted.
    pub(crate) ends: Vec<u32>,
    pub(crate) adds_bos: bool,
    pub(crate) adds_eos: bool,
}

/// The texts of the tokens that a chat template writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTexts {
    /// `bos_token`: what a text begins with.
    pub bos: Option<String>,
    /// `eos_token`: what a text ends with.
    pub eos: Option<String>,
    /// `pad_token`.
    pub pad: Option<String>,
    /// `unk_token`.
    pub unknown: Option<String>,
    /// The texts of all control tokens, those above included.
    pub control: Vec<String>,
}

/// The tokens of a conversation, with what a model is to learn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token numbers.
    pub ids: Vec<u32>,
    /// For each token, whether it belongs to an answer that the model is to give.
    pub answer: Vec<bool>,
}

impl TextTokenizer {
    /// The tokens of a text. `bos` puts the token before it that begins texts, if there is
    /// one; a rendered conversation has it already where the model wants it.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when the tokenizer fails on the text.
    pub fn encode(&self, text: &str, control: Control, bos: bool) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 1);
        if bos {
            ids.extend(self.marks.bos);
        }
        let parsed = control == Control::Parsed;
        self.encode_parts(text, true, |_, _| parsed, &mut ids)?;
        Ok(ids)
    }

    /// The tokens of a text that goes on from another one: nothing is put before it, and no
    /// control token comes out.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when the tokenizer fails on the text.
    pub fn encode_continuing(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 1);
        self.encode_parts(text, false, |_, _| false, &mut ids)?;
        Ok(ids)
    }

    /// The tokens of a rendered conversation. Control tokens come from the template alone,
    /// whatever the messages say.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when the tokenizer fails on the text.
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(rendered.text().len() / 4 + 1);
        let ours = |from: usize, to: usize| rendered.is_template(from..to);
        self.encode_parts(rendered.text(), true, ours, &mut ids)?;
        Ok(ids)
    }

    /// The tokens of a conversation with its answers marked, for training. The text is cut
    /// where an answer begins and ends, as it is when the model writes the answer itself.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when the tokenizer fails on the text.
    pub fn encode_answers(&self, rendered: &Rendered) -> Result<Encoded> {
        let text = rendered.text();
        let mut out = Encoded::default();
        let mut at = 0;
        // Behind the last answer stands an empty one, for the text that follows.
        let rest = text.len()..text.len();
        for answer in rendered.answers().iter().chain(std::iter::once(&rest)) {
            for (range, is_answer) in [(at..answer.start, false), (answer.clone(), true)] {
                let offset = range.start;
                let ours =
                    |from: usize, to: usize| rendered.is_template(offset + from..offset + to);
                let Some(part) = text.get(range) else { continue };
                self.encode_parts(part, offset == 0, ours, &mut out.ids)?;
                out.answer.resize(out.ids.len(), is_answer);
            }
            at = answer.end;
        }
        Ok(out)
    }

    /// Encodes a text of which `is_ours` says, by byte range, whether the text of a control
    /// token stands for it. `begins` says whether the text begins a text of its own.
    fn encode_parts(
        &self,
        text: &str,
        begins: bool,
        is_ours: impl Fn(usize, usize) -> bool,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        let mut first = begins;
        let mut after_token = begins;
        for part in self.added.split(text, is_ours) {
            match part {
                Part::Token(id) => {
                    ids.push(id);
                    after_token = true;
                }
                Part::Text(text) => {
                    let text = self.prefix.before(text, first, after_token);
                    self.encode_text(&text, ids)?;
                    after_token = false;
                }
            }
            first = false;
        }
        Ok(())
    }

    /// Encodes a text in which no added token stands.
    fn encode_text(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        for &id in encoding.get_ids() {
            // Some vocabularies can merge ordinary pieces into the text of a control token.
            match self.pieces.is_control(id) && self.marks.unknown != Some(id) {
                true => self.spell(id, ids),
                false => ids.push(id),
            }
        }
        Ok(())
    }

    /// Writes the text of a control token in tokens that are none.
    fn spell(&self, id: u32, ids: &mut Vec<u32>) {
        let bytes = self.pieces.bytes(id).to_vec();
        for byte in bytes {
            let names = self.pieces.names_of(byte);
            let plain = |name: &String| {
                let id = self.inner.get_model().token_to_id(name)?;
                (!self.pieces.is_control(id)).then_some(id)
            };
            ids.extend(names.iter().find_map(plain).or(self.marks.unknown));
        }
    }

    /// The text of some tokens; bytes that are no UTF-8 become U+FFFD. With `skip_control` the
    /// control tokens are left out.
    ///
    /// The tokens' bytes are put together and nothing is cleaned up. A space that this
    /// tokenizer puts before every text is taken away again.
    pub fn decode(&self, ids: &[u32], skip_control: bool) -> String {
        let mut decoder = self.decoder(skip_control);
        let mut text = String::new();
        for &id in ids {
            text.push_str(&decoder.push(id));
        }
        text.push_str(&decoder.finish());
        text
    }

    /// A decoder for a text that arrives token by token.
    pub fn decoder(&self, skip_control: bool) -> TextStream {
        TextStream::new(self.pieces.clone(), skip_control, self.prefix.is_removed())
    }

    /// A decoder for a text that goes on from another one: a space at its beginning stays.
    pub fn continuing_decoder(&self, skip_control: bool) -> TextStream {
        TextStream::new(self.pieces.clone(), skip_control, false)
    }

    /// The bytes that a token stands for, empty where no token has this number. Bytes of one
    /// character may be spread over several tokens. Those of a control token are its name,
    /// which is not text: ask [`TextTokenizer::is_control`].
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.pieces.bytes(id)
    }

    /// Whether a token steers the model and is no text.
    pub fn is_control(&self, id: u32) -> bool {
        self.pieces.is_control(id)
    }

    /// The token whose text is exactly `text`, as the vocabulary writes it.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// How many token numbers there are: one more than the largest. A model may have more
    /// rows, which stand for nothing.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// Checks that a model with `rows` rows in its word table has one for each token.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when it has not.
    pub fn fits(&self, rows: usize) -> Result<()> {
        if self.vocabulary() <= rows {
            return Ok(());
        }
        let largest = self.vocabulary() - 1;
        Err(Error::new(&codes::TOKENIZER, "the tokenizer does not fit the model")
            .why(format!("it knows token {largest}, but the model has only {rows} rows")))
    }

    /// The token that begins texts.
    pub fn bos(&self) -> Option<u32> {
        self.marks.bos
    }

    /// The token that ends texts, as the files name it.
    pub fn eos(&self) -> Option<u32> {
        self.marks.eos
    }

    /// The token for padding.
    pub fn pad(&self) -> Option<u32> {
        self.marks.pad
    }

    /// Whether the model was trained on texts that begin with [`TextTokenizer::bos`].
    pub fn adds_bos(&self) -> bool {
        self.marks.adds_bos
    }

    /// Whether the model was trained on texts that end with [`TextTokenizer::eos`].
    pub fn adds_eos(&self) -> bool {
        self.marks.adds_eos
    }

    /// The tokens at which a generated text is over, in ascending order: the end of the text
    /// and, for models that chat, the end of a turn.
    pub fn ends(&self) -> &[u32] {
        &self.marks.ends
    }

    /// The texts that a chat template writes.
    pub fn special_texts(&self) -> SpecialTexts {
        let text = |id: Option<u32>| self.inner.id_to_token(id?);
        let marks = &self.marks;
        SpecialTexts {
            bos: text(marks.bos),
            eos: text(marks.eos),
            pad: text(marks.pad),
            unknown: text(marks.unknown),
            control: self.added.control_texts(),
        }
    }

    /// The digest of everything that decides how texts become tokens: the vocabulary, its
    /// merges and rules, and the tokens with a meaning of their own. The same tokenizer from
    /// another kind of file may have another digest.
    ///
    /// # Errors
    /// `SPRAT-MODEL-TOKENIZER` when the tokenizer cannot be written out.
    pub fn digest(&self) -> Result<Digest> {
        if let Some(&digest) = self.digest.get() {
            return Ok(digest);
        }
        let rules = self.inner.to_string(false).map_err(failed)?;
        let text = format!("{rules}\n{:?}\n{:?}", self.marks, self.prefix);
        Ok(*self.digest.get_or_init(|| Digest::of(text.as_bytes())))
    }
}

fn failed(why: tokenizers::Error) -> Error {
    Error::new(&codes::TOKENIZER, "the tokenizer failed").why(why.to_string())
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("vocabulary", &self.vocabulary())
            .field("marks", &self.marks)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
