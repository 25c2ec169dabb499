//! Which rows say exactly the same: every row gets the number of its text.

use crate::parallel::map_chunks;
use crate::text::{hash, normalized};
use sprat_task::{Interrupt, Result};

/// Rows grouped by their normalized text. Texts are numbered in the order of their first row.
pub(crate) struct SameText {
    /// Number of the text, per row.
    pub(crate) text_of: Vec<u32>,
    /// First row of each text.
    pub(crate) first: Vec<u32>,
}

impl SameText {
    /// Groups `texts` by their normalized form, in time linear in the rows but for a sort of
    /// integers. Equal 64-bit hashes are confirmed on the text itself.
    pub(crate) fn find(texts: &[&str], interrupt: &Interrupt) -> Result<Self> {
        let hashes = map_chunks(texts.len(), 4096, interrupt, |rows| {
            let one = |text: &&str| hash(normalized(text).as_bytes());
            texts[rows].iter().map(one).collect::<Vec<u64>>()
        })?;
        let mut order: Vec<(u64, u32)> = hashes.into_iter().flatten().zip(0..).collect();
        order.sort_unstable();
        // For every row the first row with the same text.
        let mut leader: Vec<u32> = (0..texts.len() as u32).collect();
        for run in order.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            let mut kinds: Vec<(String, u32)> = Vec::new();
            for (_, row) in run {
                let text = normalized(texts[*row as usize]);
                match kinds.iter().find(|(known, _)| *known == text) {
                    Some((_, first)) => leader[*row as usize] = *first,
                    None => kinds.push((text, *row)),
                }
            }
        }
        let mut text_of = vec![0; texts.len()];
        let mut first = Vec::new();
        for row in 0..texts.len() {
            if leader[row] as usize == row {
                text_of[row] = first.len() as u32;
                first.push(row as u32);
            } else {
                text_of[row] = text_of[leader[row] as usize];
            }
        }
        Ok(SameText { text_of, first })
    }

    /// The rows of each text: rows sorted by text, and the bounds of each text in them.
    pub(crate) fn members(&self) -> Members {
        let mut bounds = vec![0_u32; self.first.len() + 1];
        for text in &self.text_of {
            bounds[*text as usize + 1] += 1;
        }
        for at in 1..bounds.len() {
            bounds[at] += bounds[at - 1];
        }
        let mut next = bounds.clone();
        let mut rows = vec![0; self.text_of.len()];
        for (row, text) in self.text_of.iter().enumerate() {
            let slot = &mut next[*text as usize];
            rows[*slot as usize] = row as u32;
            *slot += 1;
        }
        Members { rows, bounds }
    }
}

/// Rows sorted by their text.
pub(crate) struct Members {
    rows: Vec<u32>,
    bounds: Vec<u32>,
}

impl Members {
    /// The rows of a text, ascending.
    pub(crate) fn of(&self, text: u32) -> &[u32] {
        let text = text as usize;
        &self.rows[self.bounds[text] as usize..self.bounds[text + 1] as usize]
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.bounds.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_the_same_text_share_a_number() {
        let texts = ["b", "A", " a ", "c", "B"];
        let same = SameText::find(&texts, &Interrupt::default()).unwrap();
        assert_eq!(same.text_of, [0, 1, 1, 2, 0]);
        assert_eq!(same.first, [0, 1, 3]);
        let members = same.members();
        assert_eq!((members.len(), members.of(0), members.of(1)), (3, &[0, 4][..], &[1, 2][..]));
    }
}
