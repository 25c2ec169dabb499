//! A general measure of an encoder that needs no labels: the inverse cloze task.
//!
//! Each text is cut in two; a half has to find its other half among all halves by cosine
//! similarity (Lee, Chang and Toutanova 2019, arXiv:1906.00300, section 4, with halves of one
//! text in place of a sentence and its context). It asks for general understanding of text, not
//! for the task's labels, so it is the yardstick against which the loss of the tuned skill is
//! compared.

use sprat_eval::general::neighbour_hits;
use sprat_model::Encoder;
use sprat_task::Result;

/// Texts with fewer words are left out: their halves say too little.
const LEAST_WORDS: usize = 6;

/// The halves of the texts that are long enough, at most `most` of them, side by side.
pub(crate) fn halves(texts: &[&str], most: usize) -> Vec<String> {
    let mut halves = Vec::new();
    for text in texts {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() >= LEAST_WORDS && halves.len() < 2 * most {
            let middle = words.len() / 2;
            halves.push(words[..middle].join(" "));
            halves.push(words[middle..].join(" "));
        }
    }
    halves
}

/// For each half 1 where its nearest neighbour is its other half, else 0.
///
/// # Errors
/// Those of the encoder.
pub(crate) fn hits(encoder: &Encoder, halves: &[String]) -> Result<Vec<f64>> {
    let texts: Vec<&str> = halves.iter().map(String::as_str).collect();
    let embeddings = encoder.embed(&texts)?;
    let groups: Vec<usize> = (0..halves.len()).map(|at| at / 2).collect();
    Ok(neighbour_hits(&embeddings.data, embeddings.cols, &groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_left_out_and_long_ones_cut_in_the_middle() {
        let halves = halves(&["too short", "one two three four five six seven"], 10);
        assert_eq!(halves, ["one two three", "four five six seven"]);
    }
}
