//! Texts as sparse vectors: hashed words and pairs of words (feature hashing, Weinberger et al.
//! 2009), weighted by tf-idf, unit length.

use crate::parallel::map_chunks;
use crate::text::{bare, hash};
use sprat_task::{Interrupt, Result};

/// Sparse rows: text i has the features `index[bounds[i]..bounds[i+1]]`.
pub(crate) struct Features {
    bounds: Vec<usize>,
    index: Vec<u32>,
    weight: Vec<f32>,
}

/// Words of a text that are looked at; the start of a long text says enough about its class.
const MAX_WORDS: usize = 200;

impl Features {
    /// Vectors of length `buckets` (a power of two) for each text.
    pub(crate) fn of(texts: &[&str], buckets: u32, interrupt: &Interrupt) -> Result<Self> {
        let blocks = map_chunks(texts.len(), 2048, interrupt, |rows| {
            let mut block = Vec::new();
            for text in &texts[rows] {
                block.push(counts(text, buckets));
            }
            block
        })?;
        let mut documents = vec![0_u32; buckets as usize];
        let mut features = Features { bounds: vec![0], index: Vec::new(), weight: Vec::new() };
        for row in blocks.into_iter().flatten() {
            for (at, count) in row {
                documents[at as usize] += 1;
                features.index.push(at);
                features.weight.push(count);
            }
            features.bounds.push(features.index.len());
        }
        let total = texts.len() as f32;
        for (at, weight) in features.index.iter().zip(&mut features.weight) {
            // Sublinear term frequency, smoothed inverse document frequency.
            let seen = documents[*at as usize] as f32;
            *weight = (1.0 + weight.ln()) * (((1.0 + total) / (1.0 + seen)).ln() + 1.0);
        }
        for text in 0..texts.len() {
            let own = &mut features.weight[features.bounds[text]..features.bounds[text + 1]];
            let length = own.iter().map(|w| w * w).sum::<f32>().sqrt().max(1e-12);
            own.iter_mut().for_each(|weight| *weight /= length);
        }
        Ok(features)
    }

    /// The features of a text: (bucket, weight).
    pub(crate) fn row(&self, text: u32) -> impl Iterator<Item = (u32, f32)> + Clone + '_ {
        let range = self.bounds[text as usize]..self.bounds[text as usize + 1];
        self.index[range.clone()].iter().copied().zip(self.weight[range].iter().copied())
    }
}

/// Distinct features and how often each occurs, by bucket.
fn counts(text: &str, buckets: u32) -> Vec<(u32, f32)> {
    let text = bare(text);
    let mut all: Vec<u32> = Vec::new();
    let mut add = |hash: u64| all.push((hash >> 32) as u32 & (buckets - 1));
    let mut before = 0;
    for word in text.split(' ').take(MAX_WORDS) {
        if word.chars().next().is_some_and(|c| c >= '\u{2E80}') {
            // Scripts without spaces: single characters and pairs of them stand for words.
            let mut last = 0;
            for c in word.chars() {
                let own = hash(c.encode_utf8(&mut [0; 4]).as_bytes());
                add(own);
                add(hash(&(last ^ own.rotate_left(17)).to_le_bytes()));
                last = own;
            }
        }
        let own = hash(word.as_bytes());
        add(own);
        add(hash(&(before ^ own.rotate_left(31)).to_le_bytes()));
        before = own;
    }
    all.sort_unstable();
    all.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as f32)).collect()
}
