//! The terminal: its width, whether it shows colour, and what may safely be printed on it.

use std::borrow::Cow;
use std::io::IsTerminal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a piece of text is meant; never the only carrier of that meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Ordinary text.
    #[default]
    Plain,
    /// Emphasised.
    Strong,
    /// Secondary.
    Dim,
    /// Something passed.
    Good,
    /// Something needs attention.
    Warn,
    /// Something failed.
    Bad,
}

impl Tone {
    /// The sign that carries the meaning without colour.
    pub fn sign(self) -> &'static str {
        match self {
            Tone::Good => "✓",
            Tone::Warn => "!",
            Tone::Bad => "✗",
            _ => "•",
        }
    }

    fn ansi(self) -> Option<&'static str> {
        match self {
            Tone::Plain => None,
            Tone::Strong => Some("1"),
            Tone::Dim => Some("2"),
            Tone::Good => Some("32"),
            Tone::Warn => Some("33"),
            Tone::Bad => Some("31"),
        }
    }
}

/// What the text renderings need to know about where they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Columns.
    pub width: usize,
    /// Whether escape sequences for colour may be written.
    pub colour: bool,
}

impl Terminal {
    /// No colour and a fixed width: for files, pipes and snapshots.
    pub fn plain(width: usize) -> Self {
        Terminal { width, colour: false }
    }

    /// Standard output as it is: colour only on a terminal and without `NO_COLOR`
    /// (<https://no-color.org>); the width is the terminal's, else `COLUMNS`, else 100.
    pub fn detect() -> Self {
        let on_terminal = std::io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let measured = if on_terminal { terminal_size::terminal_size() } else { None };
        let width = measured
            .map(|(width, _)| usize::from(width.0))
            .or_else(|| std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()))
            .unwrap_or(100);
        Terminal { width: width.clamp(40, 400), colour: on_terminal && !refused }
    }

    /// `text` in a tone, where colour is shown.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        match tone.ansi() {
            Some(code) if self.colour && !text.is_empty() => {
                format!("\u{1b}[{code}m{text}\u{1b}[0m")
            }
            _ => text.to_owned(),
        }
    }
}

/// Text with everything that could move the cursor, change colours or reorder letters made
/// visible: control characters become their Unicode pictures, bidirectional overrides U+FFFD.
/// Line feeds stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_hostile(c) { picture(c) } else { c }).collect())
}

fn is_hostile(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn picture(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        _ => '\u{fffd}',
    }
}

/// Columns that `text` takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// Breaks text into lines of at most `width` columns, at spaces where possible.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let needed = columns(word) + if line.is_empty() { 0 } else { columns(&line) + 1 };
            if needed <= width {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                if columns(&line) + c.width().unwrap_or(0) > width && !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

/// `text` cut to `width` columns, with an ellipsis where something was cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        if columns(&out) + c.width().unwrap_or(0) + 1 > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// `text` filled with spaces to `width` columns.
pub(crate) fn pad(text: &str, width: usize, right: bool) -> String {
    let fill = " ".repeat(width.saturating_sub(columns(text)));
    if right { format!("{fill}{text}") } else { format!("{text}{fill}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_in_data_cannot_reach_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb"), "a␛[2Jb");
        assert_eq!(visible("abc\u{202e}txt.exe"), "abc\u{fffd}txt.exe");
        assert_eq!(visible("x\u{9b}31m"), "x\u{fffd}31m");
        assert!(matches!(visible("plain ü 漢\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_are_cut() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("漢字漢字", 4), ["漢字", "漢字"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(cut("abcdef", 4), "abc…");
    }

    #[test]
    fn colour_is_only_written_where_it_is_shown() {
        assert_eq!(Terminal::plain(80).paint(Tone::Bad, "x"), "x");
        let colour = Terminal { width: 80, colour: true };
        assert_eq!(colour.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
