//! Dropout by counter-based random numbers: whether an element is dropped depends on seed, step,
//! layer and its index alone, so masks are never stored and do not depend on threads.

use crate::kernels::elementwise;

/// Drops elements with probability `p` and scales the others by `1 / (1 - p)` (inverted dropout,
/// Srivastava et al. 2014).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f32,
    keys: [u32; 2],
}

impl Dropout {
    /// The masks of one place in one step. `layer` numbers the places in a model at which
    /// something is dropped. `p` is held to `[0, 1)`.
    pub fn new(p: f32, seed: u64, step: u64, layer: u64) -> Self {
        let key = mix(mix(mix(seed).wrapping_add(step)).wrapping_add(layer));
        let p = if p > 0.0 { p.min(1.0 - f32::EPSILON) } else { 0.0 };
        Dropout { p, keys: [key as u32, (key >> 32) as u32] }
    }

    /// Applies the mask in place, to activations or, in the backward pass, to their gradients.
    /// `first` is the index of `data[0]` in the whole tensor.
    pub fn apply(&self, data: &mut [f32], first: usize) {
        if self.p > 0.0 {
            let below = (f64::from(self.p) * 4_294_967_296.0) as u32;
            elementwise::dropout(data, first as u32, self.keys, below, 1.0 / (1.0 - self.p));
        }
    }

    /// [`Self::apply`] to a whole tensor, on all threads.
    pub fn apply_all(&self, data: &mut [f32]) {
        const CHUNK: usize = 16_384;
        if self.p > 0.0 {
            crate::threads::run_chunks(data, CHUNK, |i, piece| self.apply(piece, i * CHUNK));
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_p_of_the_elements_fall_and_the_mean_stays() {
        let mut data = vec![1.0f32; 100_000];
        Dropout::new(0.1, 7, 3, 2).apply_all(&mut data);
        let dropped = data.iter().filter(|v| **v == 0.0).count() as f32 / data.len() as f32;
        let mean = data.iter().sum::<f32>() / data.len() as f32;
        // Standard deviation of the share: sqrt(0.1·0.9/1e5) ≈ 0.00095; five of them.
        assert!((dropped - 0.1).abs() < 0.005, "{dropped}");
        assert!((mean - 1.0).abs() < 0.006, "{mean}");
    }

    #[test]
    fn masks_differ_between_seeds_steps_and_layers_and_repeat_otherwise() {
        let mask = |seed, step, layer| {
            let mut data = vec![1.0f32; 256];
            Dropout::new(0.5, seed, step, layer).apply(&mut data, 0);
            data
        };
        assert_eq!(mask(1, 2, 3), mask(1, 2, 3));
        for other in [mask(2, 2, 3), mask(1, 3, 3), mask(1, 2, 4), mask(3, 2, 1)] {
            let same = mask(1, 2, 3).iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!((80..176).contains(&same), "{same} of 256 agree");
        }
    }

    #[test]
    fn a_piece_has_the_mask_of_its_place() {
        let dropout = Dropout::new(0.3, 1, 1, 1);
        let mut whole = vec![1.0f32; 100];
        dropout.apply(&mut whole, 0);
        let mut piece = vec![1.0f32; 37];
        dropout.apply(&mut piece, 41);
        assert_eq!(piece, whole[41..78]);
    }
}
