//! Whose text it is.
//!
//! A template mixes its own text, which has control tokens in it, with texts from the
//! conversation, which must not. After rendering they look the same. So the conversation's
//! texts are marked before: a mark, a character that occurs nowhere else, goes behind each
//! character with which a control token could begin. A mark goes also before a text that could
//! end a control token the template opened. The template moves marks along with the text, and
//! trims, joins and quotes it as ever. Afterwards the marks are taken out again; a control
//! token is one only where no mark was inside.
//!
//! Templates compare texts, too: `'</think>' in content`. The words they look for must stay as
//! they are, so no mark is put into a text that the template's source has itself, unless it is
//! a control token's; nor before a name that the source has, such as `id` or `text`.
//!
//! What counts letters would count marks. So where there are marks the conversation is
//! rendered a second time with few of them, at whole control tokens. Should the two differ, the
//! second is taken, which leaves a conversation without control tokens as `transformers` writes
//! it; but only if the template wrote the same control tokens both times.

use super::conversation::{Conversation, DEEPEST};
use super::{Rendered, wrong};
use crate::codes;
use crate::text::SpecialTexts;
use serde_json::{Map, Value};
use sprat_task::{Error, Result};
use std::collections::BTreeSet;

/// Marks the texts of conversations for one template.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    /// The characters with which control tokens begin.
    begins: Vec<char>,
    /// The texts of control tokens.
    control: Vec<String>,
    /// What the template's source has that looks like a token and is none.
    words: Vec<String>,
    /// The names in the template's source, outside of control tokens: of fields that it reads,
    /// of kinds and types that it compares.
    names: BTreeSet<String>,
    /// Characters that may be used as marks.
    free: Vec<char>,
}

/// The longest word, in bytes, that a template is taken to look for.
const LONGEST_WORD: usize = 64;

/// The three characters that carry meaning through the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signs {
    /// Inside of a conversation's text.
    pub(super) mark: char,
    /// Before and after an answer.
    pub(super) answer: [char; 2],
}

/// How many marks are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Density {
    /// At everything that begins like a control token, and at what could end one.
    Many,
    /// At whole control tokens.
    Few,
}

/// A conversation ready for the template.
#[derive(Debug)]
pub(super) struct Marked {
    pub(super) messages: Value,
    pub(super) tools: Value,
    pub(super) variables: Map<String, Value>,
    pub(super) add_generation_prompt: bool,
    pub(super) signs: Signs,
    /// How many marks were set.
    pub(super) marks: usize,
}

impl Marker {
    pub(super) fn new(source: &str, texts: &SpecialTexts) -> Self {
        let mut begins: Vec<char> = texts.control.iter().filter_map(|t| t.chars().next()).collect();
        // Those of all families, should the tokenizer be unknown.
        begins.extend(['<', '[']);
        begins.sort_unstable();
        begins.dedup();
        let mut marker = Marker {
            begins,
            control: texts.control.iter().filter(|text| !text.is_empty()).cloned().collect(),
            words: Vec::new(),
            names: BTreeSet::new(),
            // Unicode's noncharacters, which are for internal use.
            free: ('\u{fdd0}'..='\u{fdef}').filter(|&c| !source.contains(c)).collect(),
        };
        let found = source.char_indices().filter(|(_, c)| marker.begins.contains(c));
        let mut words: Vec<String> = found.filter_map(|(at, _)| word(&source[at..])).collect();
        words.retain(|word| {
            !marker.control.iter().any(|text| text.starts_with(word) || word.starts_with(text))
        });
        words.sort();
        words.dedup();
        marker.words = words;
        let mut rest = source.to_owned();
        for text in marker.control.iter().filter(|text| text.chars().nth(1).is_some()) {
            if rest.contains(text.as_str()) {
                rest = rest.replace(text.as_str(), " ");
            }
        }
        let names = rest.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        marker.names = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        marker
    }

    /// Marks everything in a conversation that is text, except roles.
    pub(super) fn mark(&self, conversation: &Conversation, density: Density) -> Result<Marked> {
        let mut messages = Value::Array(conversation.prepared()?);
        let mut tools = Value::Array(conversation.tools.clone());
        let mut variables = Value::Object(conversation.variables.clone());
        let mut free = self.free.clone();
        for value in [&messages, &tools, &variables] {
            visit(value, 0, &mut |text| free.retain(|&c| !text.contains(c)))?;
        }
        let &[mark, from, to, ..] = free.as_slice() else {
            return Err(Error::new(&codes::CONVERSATION, "the messages hold no characters")
                .why("they use the code points that Unicode keeps for internal use"));
        };
        let roles: Vec<Value> = (0..conversation.messages.len())
            .map(|at| conversation.role(at).unwrap_or_default().into())
            .collect();
        for value in [&mut messages, &mut tools, &mut variables] {
            self.mark_value(value, mark, density);
        }
        let mut marks = 0;
        for value in [&messages, &tools, &variables] {
            visit(value, 0, &mut |text| marks += text.matches(mark).count())?;
        }
        for (message, role) in messages.as_array_mut().into_iter().flatten().zip(roles) {
            message["role"] = role;
        }
        Ok(Marked {
            messages,
            tools,
            variables: variables.as_object().cloned().unwrap_or_default(),
            add_generation_prompt: conversation.add_generation_prompt,
            signs: Signs { mark, answer: [from, to] },
            marks,
        })
    }

    fn mark_value(&self, value: &mut Value, mark: char, density: Density) {
        match value {
            Value::String(text) => *text = self.mark_text(text, mark, density),
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.mark_value(item, mark, density));
            }
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (name, mut field) in old {
                    self.mark_value(&mut field, mark, density);
                    fields.insert(self.mark_text(&name, mark, density), field);
                }
            }
            _ => {}
        }
    }

    fn mark_text(&self, text: &str, mark: char, density: Density) -> String {
        let core = text.len() - text.trim_start().len();
        let ends = density == Density::Many && !self.names.contains(text);
        let mut out = String::with_capacity(text.len() + 8);
        for (at, letter) in text.char_indices() {
            let rest = &text[at..];
            if at == core && ends && self.could_end_token(rest) {
                out.push(mark);
            }
            out.push(letter);
            let known = || self.words.iter().any(|word| rest.starts_with(word.as_str()));
            let marked = self.begins.contains(&letter)
                && match density {
                    Density::Many => !known(),
                    Density::Few => self.begins_token(rest),
                };
            if marked {
                out.push(mark);
            }
        }
        out
    }

    /// Whether a text begins with a control token.
    fn begins_token(&self, text: &str) -> bool {
        self.control.iter().any(|token| text.starts_with(token.as_str()))
    }

    /// The control tokens that the template wrote, in their order.
    pub(super) fn written<'a>(&'a self, rendered: &'a Rendered) -> Vec<&'a str> {
        let text = rendered.text();
        let begins = text.char_indices().filter(|(_, letter)| self.begins.contains(letter));
        let token = |at: usize| {
            let tokens = self.control.iter().map(String::as_str);
            tokens
                .filter(|token| text[at..].starts_with(token))
                .filter(|token| rendered.is_template(at..at + token.len()))
                .max_by_key(|token| token.len())
        };
        begins.filter_map(|(at, _)| token(at)).collect()
    }

    /// Whether a text, put behind the beginning of a control token, could complete or go on
    /// with it.
    fn could_end_token(&self, text: &str) -> bool {
        self.control.iter().any(|token| {
            let mut ends = token.char_indices().skip(1).map(|(at, _)| &token[at..]);
            ends.any(|end| text.starts_with(end) || end.starts_with(text))
        })
    }
}

impl Signs {
    /// Takes the signs out of a rendered text and keeps what they said.
    pub(super) fn read(&self, marked: &str) -> Rendered {
        let mut out = Rendered { text: String::with_capacity(marked.len()), ..Rendered::default() };
        let mut opened = None;
        for letter in marked.chars() {
            let at = out.text.len();
            if letter == self.mark {
                out.marks.push(at);
            } else if letter == self.answer[0] {
                opened = Some(at);
            } else if letter == self.answer[1] {
                let from = opened.take().unwrap_or(at);
                if from < at {
                    out.answers.push(from..at);
                }
            } else {
                out.text.push(letter);
            }
        }
        out
    }
}

/// The text from a first character to the bracket that closes it.
fn word(text: &str) -> Option<String> {
    let close = if text.starts_with('[') { ']' } else { '>' };
    let end = text.find(close)? + close.len_utf8();
    (end <= LONGEST_WORD).then(|| text[..end].to_owned())
}

/// Shows every text of a value, names of fields included.
fn visit(value: &Value, depth: usize, see: &mut impl FnMut(&str)) -> Result<()> {
    if depth > DEEPEST {
        return Err(
            wrong("a value is nested too deeply").why(format!("more than {DEEPEST} levels"))
        );
    }
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => {
            for item in items {
                visit(item, depth + 1, see)?;
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                see(name);
                visit(field, depth + 1, see)?;
            }
        }
        _ => {}
    }
    Ok(())
}
