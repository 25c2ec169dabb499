//! Chat templates: a conversation as the text that a model was trained on.
//!
//! A template is a Jinja program that comes with a model. It is rendered as `transformers`
//! does it, with two differences: it comes from a stranger, so what it may use is bounded
//! ([`budget`], [`compile`]); and what it is given comes from strangers too, so the parts of the
//! text that are theirs are remembered ([`marking`]).

mod answers;
mod budget;
mod check;
mod compile;
mod conversation;
mod filters;
mod functions;
mod guards;
mod json;
mod marking;
mod python;
mod render;
mod source;
#[cfg(test)]
mod tests;
mod time;

pub use conversation::Conversation;
pub use source::ChatTemplates;

use crate::text::SpecialTexts;
use compile::Compiled;
use marking::{Density, Marker};
use minijinja::Environment;
use sprat_task::{Error, Result, Timestamp};
use std::ops::Range;

/// A model's chat template.
///
/// What follows jinja2 and `transformers`: white space around blocks, `raise_exception`,
/// `strftime_now` (in UTC), `tojson` with its arguments, the methods of Python's strings and
/// dictionaries that templates use, `break` and `continue`, and `{% generation %}`. What does
/// not: `~` joins lists, truth values and nothing in the engine's own notation; `format`, `batch`,
/// `slice`, `loop.changed` and arguments with `*` are not there; a list cannot hold a namespace;
/// and a filter's name is looked up only when it is used.
pub struct ChatTemplate {
    environment: Environment<'static>,
    compiled: Compiled,
    texts: SpecialTexts,
    marker: Marker,
    /// The template says itself what an answer is.
    has_generation: bool,
}

/// The text of a conversation, and whose text it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    /// Byte offsets inside of the conversation's own texts; no control token goes across one.
    marks: Vec<usize>,
    /// Where the answers stand, in order.
    answers: Vec<Range<usize>>,
}

impl Rendered {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the template wrote a range of bytes that reads like a control token. `false`
    /// means that some of it comes from the conversation, and that it is text.
    pub fn is_template(&self, range: Range<usize>) -> bool {
        let next = self.marks.partition_point(|&mark| mark <= range.start);
        let free = self.marks.get(next).is_none_or(|&mark| mark >= range.end);
        // A mark follows the first character of what could be a control token, so a token of
        // one character cannot be told from text.
        let long = self.text.get(range).is_some_and(|text| text.chars().nth(1).is_some());
        free && long
    }

    /// The byte ranges of the answers that a model is to learn, with the token that ends each.
    /// Empty unless rendered by [`ChatTemplate::render_for_training`].
    pub fn answers(&self) -> &[Range<usize>] {
        &self.answers
    }
}

impl ChatTemplate {
    /// Compiles a template. `texts` come from the model's tokenizer, see
    /// [`crate::TextTokenizer::special_texts`].
    ///
    /// # Errors
    /// `SPRAT-MODEL-TEMPLATE` with the line when it does not compile.
    pub fn new(source: &str, texts: SpecialTexts) -> Result<Self> {
        let (source, has_generation) = source::without_generation(source)?;
        let marker = Marker::new(&source, &texts);
        let compiled = render::compile(source)?;
        let environment = render::environment();
        Ok(ChatTemplate { environment, compiled, texts, marker, has_generation })
    }

    /// The text of a conversation. `now` is what the template may write as the date.
    ///
    /// # Errors
    /// `SPRAT-MODEL-CONVERSATION` when a message has no known role or the template refuses the
    /// messages, `SPRAT-MODEL-TEMPLATE` with the line when the template fails or uses what is
    /// not there, `SPRAT-MODEL-TEMPLATE-LIMIT` when it works or writes too much.
    pub fn render(&self, conversation: &Conversation, now: Timestamp) -> Result<Rendered> {
        let render = |density: Density| {
            let marked = self.marker.mark(conversation, density)?;
            let text = render::run(self, &marked, now)?;
            Ok::<_, Error>((marked.signs.read(&text), marked.marks))
        };
        let (sure, marks) = render(Density::Many)?;
        if marks == 0 {
            return Ok(sure);
        }
        // A template may count letters, and marks with them: see `marking`.
        match render(Density::Few) {
            Ok((exact, _))
                if exact.text != sure.text
                    && self.marker.written(&exact) == self.marker.written(&sure) =>
            {
                Ok(exact)
            }
            _ => Ok(sure),
        }
    }

    /// The text of a conversation with its answers located: what the model would have written
    /// itself at each turn of the assistant, up to the token that ends the turn.
    ///
    /// Templates with `{% generation %}` say it. With others, an answer is what the template
    /// adds after the prompt for it. Some templates write earlier turns differently once the
    /// conversation goes on, leaving reasoning out for instance; such a turn is no text that
    /// the model would have written, and is not among the answers.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_for_training(
        &self,
        conversation: &Conversation,
        now: Timestamp,
    ) -> Result<Rendered> {
        let mut rendered = self.render(conversation, now)?;
        if !self.has_generation {
            rendered.answers = answers::find(self, conversation, now, &rendered.text);
        }
        Ok(rendered)
    }
}

/// An error about a template.
fn wrong(what: impl Into<String>) -> Error {
    Error::new(&crate::codes::TEMPLATE, what)
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("texts", &self.texts)
            .field("has_generation", &self.has_generation)
            .finish_non_exhaustive()
    }
}
