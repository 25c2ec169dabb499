//! Rotary position embeddings (Su et al. 2021): pairs of columns of queries and keys are rotated
//! by angles that grow with the position.

#[cfg(target_arch = "x86_64")]
use crate::kernels::cpu::{Level, level};
use crate::kernels::elementwise::each_level;
use crate::threads::{SharedMut, run};
use crate::{Mat, threads};

/// Angular frequencies of the pairs, with whatever scaling of the context is in them.
///
/// A head's first `2 · frequencies` columns are rotated, column `i` with column
/// `i + frequencies.len()` (the halves layout of Hugging Face; files with interleaved pairs have
/// their rows reordered when they are read); the other columns stay.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Radians per position of each pair.
    pub frequencies: Vec<f32>,
    /// Multiplies sine and cosine: the attention factor of YaRN and LongRoPE, else 1.
    pub magnitude: f32,
}

/// Cosine and sine of each pair for each token of a batch, computed once for all layers.
#[derive(Clone, Debug, Default)]
pub struct Rotations {
    /// `[tokens, 2 · pairs]`: cosines, then sines.
    table: Mat,
}

/// Which heads of a row are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotatedHeads {
    /// First column.
    pub column: usize,
    /// How many heads.
    pub heads: usize,
    /// Columns of a head.
    pub width: usize,
}

/// Tokens in a piece of parallel work.
const TOKENS: usize = 16;

impl Rotary {
    /// The rotations of tokens at these positions.
    pub fn rotations(&self, positions: &[u32]) -> Rotations {
        let pairs = self.frequencies.len();
        let mut table = Mat::zeros(positions.len(), 2 * pairs);
        threads::run_chunks(&mut table.data, TOKENS * 2 * pairs.max(1), |index, piece| {
            for (i, row) in piece.chunks_exact_mut(2 * pairs).enumerate() {
                let position = positions[index * TOKENS + i] as f32;
                let (cosines, sines) = row.split_at_mut(pairs);
                for ((c, s), frequency) in cosines.iter_mut().zip(sines).zip(&self.frequencies) {
                    let (sine, cosine) = (position * frequency).sin_cos();
                    (*c, *s) = (cosine * self.magnitude, sine * self.magnitude);
                }
            }
        });
        Rotations { table }
    }
}

impl Rotations {
    /// Rotates heads of each row of `x` `[tokens, …]` in place.
    pub fn forward(&self, x: &mut Mat, heads: RotatedHeads) {
        self.turn(x, heads, 1.0);
    }

    /// The gradient for what went into [`Self::forward`], in place of that for what came out.
    pub fn backward(&self, dx: &mut Mat, heads: RotatedHeads) {
        self.turn(dx, heads, -1.0);
    }

    /// Rotates forward (`direction` 1) or back (−1).
    fn turn(&self, x: &mut Mat, heads: RotatedHeads, direction: f32) {
        let RotatedHeads { column, heads, width } = heads;
        let (rows, cols, pairs) = (x.rows, x.cols, self.table.cols / 2);
        assert_eq!(rows, self.table.rows, "rotations of these tokens");
        assert!(column + heads * width <= cols && 2 * pairs <= width, "heads inside the row");
        let data = SharedMut(x.data.as_mut_ptr());
        run(rows.div_ceil(TOKENS), |task| {
            for row in task * TOKENS..(task * TOKENS + TOKENS).min(rows) {
                let (cosines, sines) = self.table.row(row).split_at(pairs);
                let start = row * cols + column;
                // SAFETY: the heads of a row, which belongs to this task alone.
                let all =
                    unsafe { std::slice::from_raw_parts_mut(data.get().add(start), heads * width) };
                rotate(all, width, cosines, sines, direction);
            }
        });
    }
}

#[inline(always)]
fn rotate_body<const FMA: bool>(
    heads: &mut [f32],
    width: usize,
    cosines: &[f32],
    sines: &[f32],
    direction: f32,
) {
    let pairs = cosines.len();
    for head in heads.chunks_exact_mut(width) {
        let (first, second) = head[..2 * pairs].split_at_mut(pairs);
        let angles = cosines.iter().zip(sines);
        for ((a, b), (c, s)) in first.iter_mut().zip(second).zip(angles) {
            let s = s * direction;
            // Two roundings a product, on every processor.
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }
}

each_level! {
    /// Rotates the pairs of each head.
    rotate(heads: &mut [f32], width: usize, cosines: &[f32], sines: &[f32], direction: f32)
        = rotate_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};

    const HEADS: RotatedHeads = RotatedHeads { column: 3, heads: 2, width: 8 };

    fn rotary() -> Rotary {
        Rotary { frequencies: vec![1.0, 0.3, 0.01], magnitude: 1.25 }
    }

    #[test]
    fn pairs_turn_by_their_angle_and_the_rest_stays() {
        let x = matrix(40, 20, 1);
        let mut y = x.clone();
        let positions: Vec<u32> = (100..140).collect();
        rotary().rotations(&positions).forward(&mut y, HEADS);
        for (i, position) in positions.iter().enumerate() {
            for column in 0..20 {
                let (before, after) = (x.row(i), f64::from(y.row(i)[column]));
                let inside = column.checked_sub(3).filter(|at| *at < 16).map(|at| at % 8);
                let want = match inside {
                    Some(at) if at < 6 => {
                        let angle = f64::from(*position) * f64::from(rotary().frequencies[at % 3]);
                        let pair = |by: usize| f64::from(before[column - at + at % 3 + by]);
                        let (sine, cosine) = angle.sin_cos();
                        let turned = if at < 3 {
                            pair(0) * cosine - pair(3) * sine
                        } else {
                            pair(3) * cosine + pair(0) * sine
                        };
                        turned * 1.25
                    }
                    _ => f64::from(before[column]),
                };
                assert!((after - want).abs() < 2e-5, "({i}, {column}): {after}, not {want}");
            }
        }
    }

    #[test]
    fn the_gradient_turns_back() {
        let (x, weight) = (matrix(3, 20, 2), matrix(3, 20, 3));
        let rotations = rotary().rotations(&[0, 5, 9]);
        let mut dx = weight.clone();
        rotations.backward(&mut dx, HEADS);
        check("x", &x.data, &dx.data, |data| {
            let mut y = Mat::new(3, 20, data.to_vec());
            rotations.forward(&mut y, HEADS);
            weigh(&y, &weight)
        });
    }
}
