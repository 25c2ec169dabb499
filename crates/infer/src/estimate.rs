//! What an answer of a hosted model takes, where its endpoint does not say.

use crate::answer::Answer;
use crate::remote::Prices;

/// Tokens of an answer that nothing bounds.
pub(crate) const UNBOUNDED: usize = 1024;

/// Tokens that may stand around what an answer says: its end, and what a label is wrapped in.
pub(crate) const AROUND: usize = 8;

/// What a request may take, on the safe side, from its length and its limits alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Tokens read.
    pub read: usize,
    /// Tokens written at most.
    pub written: usize,
    /// Tokens around an answer's text.
    pub(crate) around: usize,
    pub(crate) prices: Option<Prices>,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens read and written.
    pub tokens: u64,
    /// US dollars; 0 where prices are not known.
    pub usd: f64,
}

impl Estimate {
    /// What it takes where nothing is known of the answer.
    pub fn at_most(&self) -> Usage {
        self.usage(self.read, self.written, None)
    }

    /// What it took where the answer was broken off after so many tokens.
    pub fn broken_off(&self, written: f64) -> Usage {
        self.usage(self.read, written.ceil() as usize + self.around, None)
    }

    /// What it took where the whole answer is there: what was counted, and estimates for what was
    /// not.
    pub fn answered(&self, answer: &Answer) -> Usage {
        let counted = |count: usize| (count > 0).then_some(count);
        let read = counted(answer.prompt_tokens).unwrap_or(self.read);
        let written = counted(answer.completion_tokens);
        let length = || tokens_at_most(answer.output.as_bytes()).ceil() as usize + self.around;
        self.usage(read, written.unwrap_or_else(length), answer.usd)
    }

    fn usage(&self, read: usize, written: usize, usd: Option<f64>) -> Usage {
        let priced = || self.prices.map(|prices| prices.of(read, written));
        Usage {
            tokens: read.saturating_add(written) as u64,
            usd: usd.or_else(priced).unwrap_or(0.0).max(0.0),
        }
    }
}

/// How many tokens a text has, rather too many than too few.
pub fn tokens_at_most(text: &[u8]) -> f64 {
    let mut length = Length::default();
    length.add(text);
    length.tokens_at_most()
}

/// The length of a text that is written piece by piece, and kept by nobody.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Length {
    ascii: usize,
    other: usize,
}

impl Length {
    fn add(&mut self, text: &[u8]) {
        let ascii = text.iter().filter(|byte| byte.is_ascii()).count();
        self.ascii += ascii;
        self.other += text.len() - ascii;
    }

    /// Vocabularies need about one token for four bytes of English; other scripts take two to four
    /// bytes a character, and up to two tokens.
    pub(crate) fn tokens_at_most(self) -> f64 {
        self.ascii as f64 / 3.0 + self.other as f64 / 2.0
    }
}

impl std::io::Write for Length {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.add(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_counts_and_the_rest_is_estimated() {
        let prices =
            Prices { usd_per_million_input_tokens: 1.0, usd_per_million_output_tokens: 10.0 };
        let estimate = Estimate { read: 100, written: 50, around: 8, prices: Some(prices) };
        assert_eq!(estimate.at_most(), Usage { tokens: 150, usd: 600e-6 });
        assert_eq!(estimate.broken_off(2.5).tokens, 100 + 3 + 8);
        let counted =
            Answer { prompt_tokens: 10, completion_tokens: 2, usd: Some(0.5), ..Answer::default() };
        assert_eq!(estimate.answered(&counted), Usage { tokens: 12, usd: 0.5 });
        let silent = Answer { output: "twelve bytes".into(), ..Answer::default() };
        let found = estimate.answered(&silent);
        assert_eq!(found.tokens, 100 + 4 + 8);
        assert!((found.usd - 220e-6).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_text_has_no_more_tokens_than_it_is_taken_for() {
        // Words and marks of European texts; of Chinese more than a token a character.
        for (text, tokens) in [
            ("Where is my parcel? I ordered it two weeks ago.", 12.0),
            ("Où est mon colis ?", 5.0),
            ("Где моя посылка?", 7.0),
            ("我的包裹在哪里？", 10.0),
        ] {
            assert!(tokens_at_most(text.as_bytes()) >= tokens, "{text}");
        }
    }
}
