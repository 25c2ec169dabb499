//! What can be wrong with examples of tokens, found before anything is computed.

use crate::codes::EXAMPLES;
use sprat_model::decoder::TokenExample;
use sprat_task::{Error, Result};

/// Why an example can't be learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No token carries loss.
    Masked,
    /// The answer begins with the first token: nothing precedes it that could ask for it.
    Unasked,
    /// The answer is nothing but the token that ends it.
    Empty,
    /// The answer reaches beyond the tokens that are there, or beyond the context.
    Cut,
    /// The answer does not end with a token that ends answers.
    Endless,
    /// A token is not in the vocabulary.
    Unknown,
}

impl Trouble {
    const ALL: [Trouble; 6] = [
        Trouble::Masked,
        Trouble::Unasked,
        Trouble::Empty,
        Trouble::Cut,
        Trouble::Endless,
        Trouble::Unknown,
    ];

    fn what(self) -> &'static str {
        match self {
            Trouble::Masked => "no token carries loss",
            Trouble::Unasked => "the answer has nothing before it",
            Trouble::Empty => "the answer is empty",
            Trouble::Cut => "the answer does not fit the context",
            Trouble::Endless => "the answer lacks the token that ends it",
            Trouble::Unknown => "a token is not in the vocabulary",
        }
    }

    /// The first thing that is wrong with an example, for a model of `context` tokens and
    /// `vocabulary`. Without `ends` no token is known to end answers, and none is asked for.
    pub fn of(
        example: &TokenExample,
        context: usize,
        vocabulary: usize,
        ends: &[u32],
    ) -> Option<Trouble> {
        let TokenExample { ids, answer } = example;
        if answer.start >= answer.end {
            return Some(Trouble::Masked);
        }
        if answer.end > ids.len() || answer.end > context {
            return Some(Trouble::Cut);
        }
        if answer.start == 0 {
            return Some(Trouble::Unasked);
        }
        if ids.iter().any(|id| *id as usize >= vocabulary) {
            return Some(Trouble::Unknown);
        }
        if ends.is_empty() {
            return None;
        }
        match &ids[answer.clone()] {
            [only] if ends.contains(only) => Some(Trouble::Empty),
            [.., last] if ends.contains(last) => None,
            _ => Some(Trouble::Endless),
        }
    }
}

/// So many rows are named at most.
const NAMED: usize = 10;

/// Checks all examples of a part; see [`Trouble::of`].
///
/// # Errors
/// `SPRAT-TRAIN-EXAMPLES`, which names the rows (from 0) and what is wrong with them.
pub fn lint(
    part: &str,
    examples: &[TokenExample],
    context: usize,
    vocabulary: usize,
    ends: &[u32],
) -> Result<()> {
    let mut found: Vec<(Trouble, Vec<usize>)> =
        Trouble::ALL.into_iter().map(|trouble| (trouble, Vec::new())).collect();
    for (row, example) in examples.iter().enumerate() {
        if let Some(trouble) = Trouble::of(example, context, vocabulary, ends) {
            found[trouble as usize].1.push(row);
        }
    }
    found.retain(|(_, rows)| !rows.is_empty());
    let count: usize = found.iter().map(|(_, rows)| rows.len()).sum();
    if count == 0 {
        return Ok(());
    }
    let reasons: Vec<String> = found.iter().map(|(trouble, rows)| reason(*trouble, rows)).collect();
    let what = format!("{count} of {} {part} examples can't be learned from", examples.len());
    Err(Error::new(&EXAMPLES, what).why(reasons.join("; ")))
}

fn reason(trouble: Trouble, rows: &[usize]) -> String {
    let named: Vec<String> = rows.iter().take(NAMED).map(usize::to_string).collect();
    let more = match rows.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} in rows {}{more}", trouble.what(), named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_is_told_with_its_rows() {
        let example = |ids: &[u32], answer| TokenExample { ids: ids.to_vec(), answer };
        let good = example(&[1, 5, 6, 2], 2..4);
        assert_eq!(Trouble::of(&good, 4, 7, &[2]), None);
        let cases = [
            (example(&[1, 5], 2..2), Trouble::Masked),
            (example(&[5, 2], 0..2), Trouble::Unasked),
            (example(&[1, 5, 2], 2..3), Trouble::Empty),
            (example(&[1, 5, 6, 6, 2], 2..5), Trouble::Cut),
            (example(&[1, 5], 1..3), Trouble::Cut),
            (example(&[1, 5, 6], 1..3), Trouble::Endless),
            (example(&[1, 9, 2], 1..3), Trouble::Unknown),
        ];
        for (example, trouble) in &cases {
            assert_eq!(Trouble::of(example, 4, 7, &[2]), Some(*trouble), "{example:?}");
        }
        assert_eq!(Trouble::of(&cases[5].0, 4, 7, &[]), None, "no end is known");
        let all: Vec<TokenExample> = cases.into_iter().map(|(example, _)| example).collect();
        let error = lint("training", &all, 4, 7, &[2]).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-TRAIN-EXAMPLES");
        let text = format!("{error:?}");
        assert!(text.contains("7 of 7 training examples"), "{text}");
        assert!(text.contains("fit the context in rows 3, 4;"), "{text}");
        assert!(text.contains("lacks the token that ends it in rows 5"), "{text}");
        assert!(lint("training", &[good], 4, 7, &[2]).is_ok());
    }
}
