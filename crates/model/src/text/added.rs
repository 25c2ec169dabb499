//! Added tokens: texts that are one token wherever they stand.

use std::collections::HashMap;
use tokenizers::AddedToken;

/// All added tokens of a tokenizer.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    by_text: HashMap<String, Added>,
    /// The different lengths of their texts in bytes, the longest first.
    lengths: Vec<usize>,
    /// Which bytes their texts begin with.
    begins: Box<[bool]>,
}

#[derive(Clone, Copy, Debug)]
struct Added {
    id: u32,
    control: bool,
    /// White space before it belongs to it.
    takes_left: bool,
    /// White space after it belongs to it.
    takes_right: bool,
    /// It stands only where no letter or digit is beside it.
    whole_word: bool,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text without added tokens, not empty.
    Text(&'a str),
    /// An added token.
    Token(u32),
}

impl AddedTokens {
    /// From the tokens of a tokenizer; `control` says which of them steer the model.
    pub(super) fn new(
        tokens: impl IntoIterator<Item = (u32, AddedToken)>,
        control: impl Fn(u32) -> bool,
    ) -> Self {
        let mut by_text = HashMap::new();
        let mut begins = vec![false; 256].into_boxed_slice();
        for (id, token) in tokens {
            let Some(&first) = token.content.as_bytes().first() else { continue };
            begins[usize::from(first)] = true;
            let added = Added {
                id,
                control: control(id),
                takes_left: token.lstrip,
                takes_right: token.rstrip,
                whole_word: token.single_word,
            };
            by_text.insert(token.content, added);
        }
        let mut lengths: Vec<usize> = by_text.keys().map(String::len).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        AddedTokens { by_text, lengths, begins }
    }

    /// The texts of the control tokens, sorted.
    pub(super) fn control_texts(&self) -> Vec<String> {
        let control = self.by_text.iter().filter(|(_, added)| added.control);
        let mut texts: Vec<String> = control.map(|(text, _)| text.clone()).collect();
        texts.sort();
        texts
    }

    /// Cuts a text at its added tokens: the leftmost first, of those the longest. The text of
    /// a control token stands for it only where `is_ours` agrees, given its byte range.
    pub(super) fn split<'a>(
        &self,
        text: &'a str,
        is_ours: impl Fn(usize, usize) -> bool,
    ) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        // Where the text that is not yet in `parts` begins, and where to look next.
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            if !self.begins.get(usize::from(text.as_bytes()[at])).copied().unwrap_or(false) {
                at += 1;
                continue;
            }
            let Some((added, end)) = self.token_at(text, at, &is_ours) else {
                at += 1;
                continue;
            };
            let mut before = &text[from..at];
            if added.takes_left {
                before = before.trim_end();
            }
            if !before.is_empty() {
                parts.push(Part::Text(before));
            }
            parts.push(Part::Token(added.id));
            at = end;
            if added.takes_right {
                at = text.len() - text[end..].trim_start().len();
            }
            from = at;
        }
        if from < text.len() {
            parts.push(Part::Text(&text[from..]));
        }
        parts
    }

    /// The longest added token that stands at a place, and where it ends.
    fn token_at(
        &self,
        text: &str,
        at: usize,
        is_ours: impl Fn(usize, usize) -> bool,
    ) -> Option<(Added, usize)> {
        self.lengths.iter().find_map(|length| {
            let end = at + length;
            let added = *self.by_text.get(text.get(at..end)?)?;
            let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let inside = added.whole_word
                && (word(text[..at].chars().next_back()) || word(text[end..].chars().next()));
            (!inside && (!added.control || is_ours(at, end))).then_some((added, end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> AddedTokens {
        let tokens = [
            (1, AddedToken::from("<a>", true)),
            (2, AddedToken::from("<a>b", true).rstrip(true)),
            (3, AddedToken::from("<t>", false).lstrip(true)),
            (4, AddedToken::from("word", false).single_word(true)),
        ];
        AddedTokens::new(tokens, |id| id <= 2)
    }

    #[test]
    fn the_leftmost_and_longest_token_wins_and_takes_its_white_space() {
        use Part::{Text, Token};
        let all = |text| tokens().split(text, |_, _| true);
        assert_eq!(all(""), []);
        assert_eq!(all("x<a>y"), [Text("x"), Token(1), Text("y")]);
        assert_eq!(all("<a>b \n y"), [Token(2), Text("y")]);
        assert_eq!(all("x \t<t> y"), [Text("x"), Token(3), Text(" y")]);
        assert_eq!(all("words word"), [Text("words "), Token(4)]);
        assert_eq!(all("é<<a>"), [Text("é<"), Token(1)]);
    }

    #[test]
    fn control_tokens_stand_only_where_the_caller_agrees() {
        use Part::{Text, Token};
        let none = tokens().split("<a>b<t><a>", |_, _| false);
        assert_eq!(none, [Text("<a>b"), Token(3), Text("<a>")]);
        let second = tokens().split("<a><a>", |from, _| from == 3);
        assert_eq!(second, [Text("<a>"), Token(1)]);
    }
}
