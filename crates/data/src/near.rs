//! Near-duplicates in time linear in the rows: MinHash signatures over character shingles (Broder
//! 1997), banded locality-sensitive hashing (Leskovec, Rajaraman, Ullman, "Mining of Massive
//! Datasets", §3.4), one byte kept per hash (b-bit MinHash, Li and König 2010) to reject most
//! candidates, and the true Jaccard similarity for what is left. No random state but constants.

use crate::parallel::map_chunks;
use crate::text::{bare, hash, mix};
use serde::{Deserialize, Serialize};
use sprat_task::{Interrupt, Progress, Result};

/// When two texts are near-duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NearOptions {
    /// Least Jaccard similarity of the two texts' sets of shingles, 0 to 1.
    pub threshold: f32,
    /// Characters in a shingle. Shingles are cut from the text in lower case, punctuation made
    /// white space, with one space at either end.
    pub shingle: usize,
}

impl Default for NearOptions {
    fn default() -> Self {
        NearOptions { threshold: 0.8, shingle: 4 }
    }
}

/// Two texts that are near-duplicates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    /// The earlier text.
    pub(crate) first: u32,
    /// The later text.
    pub(crate) second: u32,
    /// Jaccard similarity.
    pub(crate) similarity: f32,
}

/// 16 bands of 5 hashes: a pair of similarity s is looked at with probability
/// 1 - (1 - s^5)^16: 0.998 at 0.8, 0.40 at 0.5, 0.04 at 0.3.
const BANDS: usize = 16;
const BAND: usize = 5;
const HASHES: usize = BANDS * BAND;
/// In a bucket a text is compared with at most so many earlier ones of each part (and the first):
/// this keeps the work linear when thousands of texts look alike.
const LOOK_BACK: usize = 4;
/// How far the estimate from 80 bytes may lie under the threshold: about 3.3 standard errors.
const SLACK: f32 = 0.15;
const PARTS: usize = 3;

/// Finds near-duplicate pairs among distinct `texts`, sorted by (second, first). `part[i]` (0 to
/// 2) is where text i first occurs; in crowded buckets every part keeps its own neighbours.
pub(crate) fn pairs(
    texts: &[&str],
    part: &[u8],
    options: &NearOptions,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Vec<Pair>> {
    progress.start("near-duplicates", Some(BANDS as u64 + 4), "passes");
    let sketches = map_chunks(texts.len(), 2048, interrupt, |rows| {
        let mut shingles = Vec::new();
        let one = |text: &&str| {
            shingle_hashes(text, options.shingle, &mut shingles);
            Sketch::of(&shingles)
        };
        texts[rows].iter().map(one).collect::<Vec<_>>()
    })?;
    let sketches: Vec<Sketch> = sketches.into_iter().flatten().collect();
    progress.advance(4);
    let mut known: Vec<u64> = Vec::new();
    let mut found: Vec<Pair> = Vec::new();
    for band in 0..BANDS {
        let keys = sketches.iter().zip(0_u64..);
        let mut order: Vec<u64> =
            keys.map(|(sketch, text)| (u64::from(sketch.bands[band]) << 32) | text).collect();
        order.sort_unstable();
        let buckets: Vec<&[u64]> =
            order.chunk_by(|a, b| a >> 32 == b >> 32).filter(|bucket| bucket.len() > 1).collect();
        let fresh = map_chunks(buckets.len(), 512, interrupt, |range| {
            let mut compare = Compare {
                texts,
                options,
                sketches: &sketches,
                known: &known,
                a: vec![],
                b: vec![],
            };
            buckets[range]
                .iter()
                .flat_map(|bucket| compare.bucket(bucket, part))
                .collect::<Vec<_>>()
        })?;
        found.extend(fresh.into_iter().flatten());
        known = found.iter().map(|pair| key(pair.first, pair.second)).collect();
        known.sort_unstable();
        progress.advance(1);
    }
    progress.finish();
    found.sort_unstable_by_key(|pair| (pair.second, pair.first));
    found.dedup_by_key(|pair| (pair.second, pair.first));
    Ok(found)
}

/// The true similarity of two texts.
#[cfg(test)]
pub(crate) fn similarity(a: &str, b: &str, shingle: usize) -> f32 {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    shingle_hashes(a, shingle, &mut left);
    shingle_hashes(b, shingle, &mut right);
    jaccard(&left, &right)
}

fn key(first: u32, second: u32) -> u64 {
    (u64::from(first) << 32) | u64::from(second)
}

/// What is kept of a text: a hash a band, and the low byte of each MinHash. 144 bytes.
struct Sketch {
    bands: [u32; BANDS],
    bytes: [u8; HASHES],
}

/// Multipliers (odd) and offsets of the hash family h(x) = (a·x + b) mod 2^32, over shingles that
/// are already well mixed.
const FAMILY: ([u32; HASHES], [u32; HASHES]) = {
    let mut a = [0; HASHES];
    let mut b = [0; HASHES];
    let mut at = 0;
    while at < HASHES {
        a[at] = mix(2 * at as u64 + 1) as u32 | 1;
        b[at] = mix(2 * at as u64 + 2) as u32;
        at += 1;
    }
    (a, b)
};

impl Sketch {
    fn of(shingles: &[u32]) -> Self {
        let mut least = [u32::MAX; HASHES];
        for shingle in shingles {
            for ((least, a), b) in least.iter_mut().zip(&FAMILY.0).zip(&FAMILY.1) {
                *least = (*least).min(shingle.wrapping_mul(*a).wrapping_add(*b));
            }
        }
        let mut sketch = Sketch { bands: [0; BANDS], bytes: [0; HASHES] };
        for (band, values) in sketch.bands.iter_mut().zip(least.chunks_exact(BAND)) {
            let folded = values.iter().fold(0, |state, value| mix(state ^ u64::from(*value)));
            *band = folded as u32;
        }
        for (byte, value) in sketch.bytes.iter_mut().zip(least) {
            // The low bits of a product by an odd number are weak; the high ones are not, but
            // minima have few of them left.
            *byte = (mix(u64::from(value)) & 0xff) as u8;
        }
        sketch
    }

    /// Jaccard similarity estimated from the kept bytes; 1 in 256 of them agrees by chance.
    fn estimate(&self, other: &Sketch) -> f32 {
        let same = self.bytes.iter().zip(&other.bytes).filter(|(a, b)| a == b).count();
        let share = same as f32 / HASHES as f32;
        (share - 1.0 / 256.0) / (1.0 - 1.0 / 256.0)
    }
}

/// Sorted distinct hashes of a text's shingles.
fn shingle_hashes(text: &str, length: usize, out: &mut Vec<u32>) {
    out.clear();
    let padded = format!(" {} ", bare(text));
    let length = length.max(1);
    if padded.is_ascii() {
        let bytes = padded.as_bytes();
        if bytes.len() <= length {
            out.push(hash(bytes) as u32);
        } else {
            out.extend(bytes.windows(length).map(|window| hash(window) as u32));
        }
    } else {
        let mut starts: Vec<usize> = padded.char_indices().map(|(at, _)| at).collect();
        starts.push(padded.len());
        if starts.len() <= length + 1 {
            out.push(hash(padded.as_bytes()) as u32);
        } else {
            let windows = starts.windows(length + 1);
            out.extend(windows.map(|w| hash(&padded.as_bytes()[w[0]..w[length]]) as u32));
        }
    }
    out.sort_unstable();
    out.dedup();
}

fn jaccard(a: &[u32], b: &[u32]) -> f32 {
    let (mut i, mut j, mut both) = (0, 0, 0_usize);
    while i < a.len() && j < b.len() {
        let (left, right) = (a[i], b[j]);
        both += usize::from(left == right);
        i += usize::from(left <= right);
        j += usize::from(right <= left);
    }
    both as f32 / (a.len() + b.len() - both).max(1) as f32
}

struct Compare<'a> {
    texts: &'a [&'a str],
    options: &'a NearOptions,
    sketches: &'a [Sketch],
    known: &'a [u64],
    a: Vec<u32>,
    b: Vec<u32>,
}

impl Compare<'_> {
    fn bucket(&mut self, bucket: &[u64], part: &[u8]) -> Vec<Pair> {
        let mut pairs = Vec::new();
        // The first text of each part, and a ring of its last ones.
        let mut first = [None; PARTS];
        let mut last = [[None; LOOK_BACK]; PARTS];
        let mut seen = [0; PARTS];
        for item in bucket {
            let text = *item as u32;
            for other in first.into_iter().chain(last.into_iter().flatten()).flatten() {
                pairs.extend(self.pair(other, text));
            }
            let part = usize::from(part[text as usize]).min(PARTS - 1);
            if first[part].is_none() {
                first[part] = Some(text);
            } else {
                last[part][seen[part] % LOOK_BACK] = Some(text);
                seen[part] += 1;
            }
        }
        pairs
    }

    fn pair(&mut self, first: u32, second: u32) -> Option<Pair> {
        let threshold = self.options.threshold;
        let (a, b) = (&self.sketches[first as usize], &self.sketches[second as usize]);
        if a.estimate(b) < threshold - SLACK
            || self.known.binary_search(&key(first, second)).is_ok()
        {
            return None;
        }
        shingle_hashes(self.texts[first as usize], self.options.shingle, &mut self.a);
        shingle_hashes(self.texts[second as usize], self.options.shingle, &mut self.b);
        let similarity = jaccard(&self.a, &self.b);
        (similarity >= threshold).then_some(Pair { first, second, similarity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use sprat_task::{Quiet, random::stream};

    fn find(texts: &[&str]) -> Vec<Pair> {
        let parts = vec![0; texts.len()];
        pairs(texts, &parts, &NearOptions::default(), &Quiet, &Interrupt::default()).unwrap()
    }

    #[test]
    fn punctuation_and_small_changes_are_near() {
        let texts = [
            "Where is my new card? I ordered it last week.",
            "where is my new card, I ordered it last week",
            "Please close my account today",
            "Where is my new card? I ordered it last week!!! thanks",
        ];
        let found: Vec<_> = find(&texts).iter().map(|pair| (pair.first, pair.second)).collect();
        assert_eq!(found, [(0, 1), (0, 3), (1, 3)]);
    }

    #[test]
    fn the_hashing_finds_what_comparing_all_pairs_finds() {
        let mut random = stream(7, "near");
        let mut texts: Vec<String> = Vec::new();
        for _ in 0..150 {
            let words: Vec<String> =
                (0..20).map(|_| format!("w{}", random.random_range(0..400))).collect();
            texts.push(words.join(" "));
            let mut changed = words.clone();
            changed[random.random_range(0..20)] = "other".into();
            texts.push(changed.join(" "));
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut expected = 0;
        let found = find(&texts);
        let mut missed = 0;
        for second in 0..texts.len() {
            for first in 0..second {
                if similarity(texts[first], texts[second], 4) >= 0.8 {
                    expected += 1;
                    let pair = (first as u32, second as u32);
                    missed += usize::from(!found.iter().any(|p| (p.first, p.second) == pair));
                }
            }
        }
        assert!(expected >= 40, "{expected}");
        assert!(missed * 50 <= expected, "{missed} of {expected} missed");
        assert!(found.len() == expected - missed, "no false pair");
    }
}
