//! Written answers against the wanted ones: exact match, token F1, ROUGE-L, perplexity.

use crate::bootstrap;
use crate::codes::{EMPTY, INPUT};
use crate::interval::{Interval, LEVEL, wilson};
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};
use std::collections::HashMap;

/// How well texts were written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Rows.
    pub rows: u64,
    /// The share of answers that are the wanted ones after SQuAD's normalization (Wilson).
    pub exact: Interval,
    /// Mean token F1 as in SQuAD (bootstrap).
    pub token_f1: Interval,
    /// Mean ROUGE-L (bootstrap).
    pub rouge_l: Interval,
    /// `exp` of the mean loss of the wanted answers' tokens, where it was measured.
    pub perplexity: Option<f64>,
}

/// The scores of one answer, each between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextScore {
    /// Whether it is the wanted answer after SQuAD's normalization.
    pub exact: bool,
    /// Token F1 as in SQuAD.
    pub token_f1: f64,
    /// ROUGE-L.
    pub rouge_l: f64,
}

impl TextScore {
    /// Scores one answer.
    pub fn of(gold: &str, answer: &str) -> Self {
        let (gold_words, answer_words) = (squad_words(gold), squad_words(answer));
        TextScore {
            exact: gold_words == answer_words,
            token_f1: token_f1(&gold_words, &answer_words),
            rouge_l: rouge_l(gold, answer),
        }
    }
}

/// Scores answers.
///
/// # Errors
/// [`EMPTY`] without rows, [`INPUT`] where the lists differ in length.
pub fn generation(gold: &[String], answers: &[String], seed: u64) -> Result<Generation> {
    if gold.is_empty() {
        return Err(Error::new(&EMPTY, "there are no rows to score"));
    }
    if gold.len() != answers.len() {
        return Err(Error::new(&INPUT, "there are not as many answers as rows"));
    }
    let scores: Vec<TextScore> =
        gold.iter().zip(answers).map(|(gold, answer)| TextScore::of(gold, answer)).collect();
    let exact = scores.iter().filter(|score| score.exact).count() as u64;
    let mean = |name: &str, of: fn(&TextScore) -> f64| {
        bootstrap::mean(&scores.iter().map(of).collect::<Vec<_>>(), seed, name, LEVEL)
    };
    Ok(Generation {
        rows: gold.len() as u64,
        exact: wilson(exact, gold.len() as u64, LEVEL),
        token_f1: mean("eval token f1", |score| score.token_f1),
        rouge_l: mean("eval rouge-l", |score| score.rouge_l),
        perplexity: None,
    })
}

/// The words of a text as SQuAD's evaluation compares them (Rajpurkar et al. 2016,
/// arXiv:1606.05250, `evaluate-v1.1.py`): lower case, without punctuation and without articles.
fn squad_words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let plain: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words = plain.split_whitespace().filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.map(str::to_owned).collect()
}

/// The harmonic mean of precision and recall of the words, each counted as often as it stands
/// there. Where one text has no words: whether both have none.
fn token_f1(gold: &[String], answer: &[String]) -> f64 {
    if gold.is_empty() || answer.is_empty() {
        return f64::from(u8::from(gold.is_empty() && answer.is_empty()));
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    gold.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let mut common = 0;
    for word in answer {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    2.0 * f64::from(common) / (gold.len() + answer.len()) as f64
}

/// ROUGE-L of one pair (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries",
/// section 3, with β = 1): the F1 of the longest common subsequence of the words, in lower case
/// and cut at everything that is no letter or digit.
fn rouge_l(gold: &str, answer: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let (gold, answer) = (words(gold), words(answer));
    if gold.is_empty() || answer.is_empty() {
        return f64::from(u8::from(gold.is_empty() && answer.is_empty()));
    }
    2.0 * common_subsequence(&gold, &answer) as f64 / (gold.len() + answer.len()) as f64
}

/// The length of the longest common subsequence, a row of the table at a time.
fn common_subsequence(one: &[String], other: &[String]) -> usize {
    let mut row = vec![0; other.len() + 1];
    for a in one {
        let mut diagonal = 0;
        for (at, b) in other.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if a == b { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_agree_with_hand_computed_ones() {
        // Gold: "cat sat on mat" (articles gone), answer "cat lay on mat": 3 of 4 and 4 common.
        let one = TextScore::of("The cat sat on the mat.", "A cat lay on the mat");
        assert!(!one.exact);
        assert!((one.token_f1 - 0.75).abs() < 1e-12);
        // The article stays in ROUGE: the, cat, on, the, mat against a, cat, lay, on, the, mat:
        // the longest common subsequence is cat, on, the, mat.
        assert!((one.rouge_l - 2.0 * 4.0 / 12.0).abs() < 1e-12, "{one:?}");
        let same = TextScore::of("The Cat!", "cat");
        assert!(same.exact && same.token_f1 == 1.0);
        // Order matters to ROUGE-L alone: of a b c d and d c b a one word is in order.
        let turned = TextScore::of("w x y z", "z y x w");
        assert_eq!((turned.token_f1, turned.rouge_l), (1.0, 0.25));
    }

    #[test]
    fn empty_answers_are_right_only_where_nothing_is_wanted() {
        let nothing = TextScore::of("", "");
        assert_eq!((nothing.exact, nothing.token_f1, nothing.rouge_l), (true, 1.0, 1.0));
        let missed = TextScore::of("word", "");
        assert_eq!((missed.exact, missed.token_f1, missed.rouge_l), (false, 0.0, 0.0));
    }

    #[test]
    fn a_repeated_word_counts_as_often_as_it_is_wanted() {
        // Wanted "x x y", answered "x x x": 2 common of 3 and 3.
        assert!((TextScore::of("x x y", "x x x").token_f1 - 4.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn means_have_intervals() {
        let gold: Vec<String> = (0..20).map(|at| format!("word{at} same")).collect();
        let answers: Vec<String> = (0..20).map(|at| format!("word{} same", at % 10)).collect();
        let found = generation(&gold, &answers, 3).unwrap();
        assert_eq!(found.exact.estimate, 0.5);
        assert!((found.token_f1.estimate - 0.75).abs() < 1e-12);
        assert!(found.token_f1.low < 0.75 && found.token_f1.high > 0.75);
        assert!(generation(&gold, &answers[1..], 0).is_err());
        assert!(generation(&[], &[], 0).is_err());
    }
}
