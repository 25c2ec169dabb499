//! Embeddings in few bytes, to be kept with each trace.
//!
//! Up to 384 numbers are kept as they are; longer embeddings are projected to 64 by random signs
//! (Achlioptas, "Database-friendly random projections", 2003), which keeps distances between
//! texts in proportion. Each number is one signed byte, in units of the greatest of them over 127:
//! four bytes of little-endian F32 for the unit, then the bytes.

use rand::RngCore;
use sprat_task::random::stream;

/// Embeddings of at most this length are kept number by number.
const DIRECT: usize = 384;
/// The length that longer ones are projected to.
const PROJECTED: usize = 64;

/// Makes sketches of embeddings of one length. The same embedding has the same sketch everywhere.
#[derive(Debug, Default)]
pub struct Sketcher {
    /// For embeddings of this length.
    length: usize,
    /// `[PROJECTED, length]` signs, one bit each, in words of 64; empty where nothing is projected.
    signs: Vec<u64>,
}

impl Sketcher {
    /// The sketch of an embedding; none where it is empty or holds what is no number.
    pub fn sketch(&mut self, embedding: &[f32]) -> Option<Vec<u8>> {
        if embedding.is_empty() || embedding.iter().any(|x| !x.is_finite()) {
            return None;
        }
        if embedding.len() <= DIRECT {
            return Some(bytes(embedding));
        }
        if self.length != embedding.len() {
            let words = PROJECTED * embedding.len().div_ceil(64);
            let mut random = stream(embedding.len() as u64, "sketch");
            self.signs = (0..words).map(|_| random.next_u64()).collect();
            self.length = embedding.len();
        }
        let row = embedding.len().div_ceil(64);
        let projected: Vec<f32> = self
            .signs
            .chunks_exact(row)
            .map(|signs| {
                let signed = embedding
                    .iter()
                    .enumerate()
                    .map(|(at, x)| if signs[at / 64] >> (at % 64) & 1 == 1 { *x } else { -*x });
                signed.sum::<f32>() / (PROJECTED as f32).sqrt()
            })
            .collect();
        Some(bytes(&projected))
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    let greatest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let unit = greatest / 127.0;
    let mut out = Vec::with_capacity(4 + values.len());
    out.extend_from_slice(&unit.to_le_bytes());
    let scaled = |x: &f32| if unit > 0.0 { (x / unit).round() as i8 } else { 0 };
    out.extend(values.iter().map(|x| scaled(x) as u8));
    out
}

/// The numbers of a sketch; none for bytes that are no sketch.
pub fn unsketch(bytes: &[u8]) -> Option<Vec<f32>> {
    let (unit, values) = bytes.split_first_chunk::<4>()?;
    let unit = f32::from_le_bytes(*unit);
    let sound = unit.is_finite() && !values.is_empty() && values.len() <= DIRECT;
    sound.then(|| values.iter().map(|byte| f32::from(*byte as i8) * unit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    fn embedding(length: usize, seed: u64) -> Vec<f32> {
        let mut random = stream(seed, "embedding");
        let row: Vec<f32> = (0..length).map(|_| random.random::<f32>() - 0.5).collect();
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.into_iter().map(|x| x / norm).collect()
    }

    fn distance(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt()
    }

    #[test]
    fn short_embeddings_come_back_to_within_a_hundredth_and_long_ones_keep_their_distances() {
        let mut sketcher = Sketcher::default();
        let row = embedding(384, 1);
        let bytes = sketcher.sketch(&row).unwrap();
        assert_eq!(bytes.len(), 388);
        assert!(distance(&unsketch(&bytes).unwrap(), &row) < 0.01);
        let mut ratios = Vec::new();
        for seed in 0..40 {
            let (a, b) = (embedding(768, seed), embedding(768, seed + 100));
            let (short, other) = (sketcher.sketch(&a).unwrap(), sketcher.sketch(&b).unwrap());
            assert_eq!(short.len(), 68);
            let kept = distance(&unsketch(&short).unwrap(), &unsketch(&other).unwrap());
            ratios.push(kept / distance(&a, &b));
        }
        let mean = ratios.iter().sum::<f32>() / ratios.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert!(ratios.iter().all(|ratio| (0.6..1.4).contains(ratio)), "{ratios:?}");
    }

    #[test]
    fn what_is_no_embedding_has_no_sketch_and_no_bytes_panic() {
        let mut sketcher = Sketcher::default();
        for wrong in [vec![], vec![f32::NAN; 4], vec![f32::INFINITY]] {
            assert_eq!(sketcher.sketch(&wrong), None);
        }
        assert_eq!(unsketch(&sketcher.sketch(&[0.0; 5]).unwrap()).unwrap(), [0.0; 5]);
        for wrong in [&[][..], &[1, 2, 3], &[0, 0, 0, 0], &[0, 0, 192, 127, 1]] {
            assert_eq!(unsketch(wrong), None);
        }
    }
}
