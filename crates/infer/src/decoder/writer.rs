//! The text of an answer as it grows: tokens in, pieces out that nothing will take back.

use crate::answer::Delta;
use crate::sampling::TokenScore;
use sprat_model::TextStream;

/// The text of one answer.
pub(crate) struct Writer {
    stream: TextStream,
    stops: Vec<String>,
    text: String,
    /// How much of the text has gone out.
    sent: usize,
    scores: Vec<TokenScore>,
    /// How many of the scores have gone out.
    scores_sent: usize,
}

impl Writer {
    pub(crate) fn new(stream: TextStream, stops: Vec<String>) -> Self {
        let (text, scores) = (String::new(), Vec::new());
        Writer { stream, stops, text, sent: 0, scores, scores_sent: 0 }
    }

    /// Takes a token; says whether a stop text is complete with it, which then ends the text.
    pub(crate) fn push(&mut self, id: u32, score: Option<TokenScore>) -> bool {
        self.scores.extend(score);
        let piece = self.stream.push(id);
        // A stop text may begin in what stood there before.
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let mut from = self.text.len().saturating_sub(longest);
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        self.text.push_str(&piece);
        let tail = &self.text[from..];
        let first = self.stops.iter().filter_map(|stop| tail.find(stop.as_str())).min();
        if let Some(at) = first {
            self.text.truncate(from + at);
        }
        first.is_some()
    }

    /// Ends the text.
    pub(crate) fn finish(&mut self) {
        let rest = self.stream.finish();
        self.text.push_str(&rest);
    }

    /// What can go out now and has not yet; with `all`, all of it.
    pub(crate) fn piece(&mut self, all: bool) -> Option<Delta> {
        let end = if all { self.text.len() } else { self.text.len() - self.held() };
        if end <= self.sent && (!all || self.scores_sent == self.scores.len()) {
            return None;
        }
        let text = self.text.get(self.sent..end).unwrap_or_default().to_owned();
        self.sent = self.sent.max(end);
        let tokens = self.scores[self.scores_sent..].to_vec();
        self.scores_sent = self.scores.len();
        Some(Delta { text, tokens, side: None })
    }

    /// Bytes at the end that a stop text may begin with.
    fn held(&self) -> usize {
        let begins = |stop: &String| {
            let mut cuts = stop.char_indices().map(|(at, _)| at).rev();
            cuts.find(|&at| self.text.ends_with(&stop[..at]))
        };
        self.stops.iter().filter_map(begins).max().unwrap_or(0)
    }

    /// The text so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The whole text and its tokens' scores; the writer is empty afterwards.
    pub(crate) fn take(&mut self) -> (String, Vec<TokenScore>) {
        (std::mem::take(&mut self.text), std::mem::take(&mut self.scores))
    }
}
