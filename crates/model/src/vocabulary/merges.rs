//! The merges of BPE: listed in the file, or derived from scores.

use super::{Kind, wrong};
use sprat_task::Result;
use std::collections::{HashMap, HashSet};

/// Merges as the file lists them: `left right`, the first space after the first character
/// divides. A merge may not lead to a control token: no text becomes one.
pub(super) fn listed(
    lines: &[String],
    ids: &HashMap<&str, u32>,
    kinds: &[Kind],
) -> Result<Vec<(String, String)>> {
    let mut merges = Vec::with_capacity(lines.len());
    let mut seen = HashSet::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        let damaged = |why: &str| {
            wrong(format!("merge {at} is damaged: {line:?}"))
                .why(why)
                .field("tokenizer.ggml.merges")
        };
        let first = line.chars().next().map_or(0, char::len_utf8);
        let Some(space) = line[first..].find(' ').map(|at| first + at) else {
            return Err(damaged("two tokens with a space between are expected"));
        };
        let (left, right) = (&line[..space], &line[space + 1..]);
        let result = format!("{left}{right}");
        for part in [left, right, &result] {
            if !ids.contains_key(part) {
                return Err(damaged(&format!("{part:?} is no token")));
            }
        }
        let control =
            ids.get(result.as_str()).is_some_and(|&id| kinds[id as usize] == Kind::Control);
        if !control && seen.insert((left, right)) {
            merges.push((left.to_owned(), right.to_owned()));
        }
    }
    Ok(merges)
}

/// Merges of a SentencePiece vocabulary, which merges whichever neighbours make the piece of
/// the highest score. Every division of a piece into two pieces becomes a merge; the higher
/// the score of the whole, the earlier.
///
/// Source: SentencePiece, `bpe_model.cc`; the order among the divisions of one piece is that
/// of Hugging Face's converter.
pub(super) fn from_scores(
    tokens: &[String],
    scores: &[f32],
    kinds: &[Kind],
) -> Vec<(String, String)> {
    let pieces: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .filter(|&(at, _)| kinds[at] == Kind::Normal)
        .map(|(at, text)| (text.as_str(), at))
        .collect();
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for (at, text) in tokens.iter().enumerate() {
        if kinds[at] != Kind::Normal {
            continue;
        }
        for (middle, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(middle);
            if let (Some(&left), Some(&right)) = (pieces.get(left), pieces.get(right)) {
                found.push((at, left, right));
            }
        }
    }
    found.sort_by(|a, b| {
        let by_score = scores[b.0].total_cmp(&scores[a.0]);
        by_score.then_with(|| a.cmp(b))
    });
    let text = |at: usize| tokens[at].clone();
    found.into_iter().map(|(_, left, right)| (text(left), text(right))).collect()
}
