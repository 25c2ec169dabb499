//! AdamW and the clipping of gradients.

use crate::kernels::rows;
use crate::threads::{self, SharedMut};

/// AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2), computed as
/// PyTorch's `AdamW` does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay per unit of learning rate.
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// The optimizer's state: plain numbers, to be stored and restored as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdamWState {
    /// Steps taken.
    pub step: u64,
    /// First moments, one vector per parameter.
    pub first: Vec<Vec<f32>>,
    /// Second moments, one vector per parameter.
    pub second: Vec<Vec<f32>>,
}

impl AdamWState {
    /// The state before the first step, for parameters of these lengths.
    pub fn new(lengths: &[usize]) -> Self {
        let zeros = || lengths.iter().map(|n| vec![0.0; *n]).collect();
        AdamWState { step: 0, first: zeros(), second: zeros() }
    }

    /// Bytes that the state takes.
    pub fn bytes(&self) -> usize {
        2 * self.first.iter().map(|m| m.len() * size_of::<f32>()).sum::<usize>()
    }
}

/// Elements in a piece of parallel work.
const CHUNK: usize = 16_384;

impl AdamW {
    /// One step over all parameters, given in the order of the state's vectors. `decay` says which
    /// of them the weight decay applies to (biases and norms are usually spared).
    pub fn step(
        &self,
        learning_rate: f32,
        parameters: &mut [&mut [f32]],
        gradients: &[&[f32]],
        decay: &[bool],
        state: &mut AdamWState,
    ) {
        let count = parameters.len();
        assert!(gradients.len() == count && decay.len() == count, "one gradient per parameter");
        assert!(state.first.len() == count && state.second.len() == count, "a state for each");
        state.step += 1;
        let correct1 = 1.0 - f64::from(self.beta1).powf(state.step as f64);
        let correct2 = 1.0 - f64::from(self.beta2).powf(state.step as f64);
        let rate = (f64::from(learning_rate) / correct1) as f32;
        let root = (1.0 / correct2.sqrt()) as f32;
        for (index, p) in parameters.iter_mut().enumerate() {
            let (m, v) = (&mut state.first[index], &mut state.second[index]);
            let g = gradients[index];
            assert!(m.len() == p.len() && v.len() == p.len() && g.len() == p.len(), "lengths");
            let keep = if decay[index] { 1.0 - learning_rate * self.weight_decay } else { 1.0 };
            let second = SharedMut(v.as_mut_ptr());
            let values = SharedMut(p.as_mut_ptr());
            threads::run_chunks(m, CHUNK, |piece, m| {
                let at = piece * CHUNK;
                // SAFETY: pieces are disjoint and inside `v` and `p`, which are as long as `m`.
                let (v, p) = unsafe {
                    (
                        std::slice::from_raw_parts_mut(second.get().add(at), m.len()),
                        std::slice::from_raw_parts_mut(values.get().add(at), m.len()),
                    )
                };
                let constants = [self.beta1, self.beta2, self.eps, rate, root, keep];
                rows::adamw(p, &g[at..at + m.len()], m, v, constants);
            });
        }
    }
}

/// Scales all gradients down so that their common Euclidean norm is at most `largest`; gives the
/// norm before. A norm that is not finite leaves the gradients as they are: the caller decides.
pub fn clip_gradients(gradients: &mut [&mut [f32]], largest: f32) -> f32 {
    let mut sum = 0.0f64;
    for gradient in gradients.iter() {
        for piece in gradient.chunks(1024) {
            sum += f64::from(rows::dot(piece, piece));
        }
    }
    let norm = sum.sqrt();
    if norm.is_finite() && norm > f64::from(largest) {
        let scale = (f64::from(largest) / norm) as f32;
        for gradient in gradients.iter_mut() {
            gradient.iter_mut().for_each(|g| *g *= scale);
        }
    }
    norm as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_agree_with_the_algorithm_in_f64() {
        let config = AdamW { weight_decay: 0.1, ..AdamW::default() };
        let mut weights = vec![1.0f32, -2.0, 0.5];
        let mut state = AdamWState::new(&[3]);
        let (mut p, mut m, mut v) = ([1.0f64, -2.0, 0.5], [0.0f64; 3], [0.0f64; 3]);
        for (t, gradient) in [[0.1f32, -0.2, 3.0], [0.3, 0.0, -1.0]].iter().enumerate() {
            config.step(0.01, &mut [&mut weights], &[gradient], &[true], &mut state);
            for i in 0..3 {
                let g = f64::from(gradient[i]);
                p[i] -= 0.01 * 0.1 * p[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let mh = m[i] / (1.0 - 0.9f64.powi(t as i32 + 1));
                let vh = v[i] / (1.0 - 0.999f64.powi(t as i32 + 1));
                p[i] -= 0.01 * mh / (vh.sqrt() + 1e-8);
                assert!((f64::from(weights[i]) - p[i]).abs() < 1e-6, "step {t}, weight {i}");
            }
        }
        assert_eq!((state.step, state.bytes()), (2, 24));
    }

    #[test]
    fn clipping_keeps_the_direction_and_bounds_the_common_norm() {
        let (mut a, mut b) = (vec![3.0f32], vec![4.0f32, 0.0]);
        assert_eq!(clip_gradients(&mut [&mut a, &mut b], 10.0), 5.0);
        assert_eq!((a[0], b[0]), (3.0, 4.0));
        assert_eq!(clip_gradients(&mut [&mut a, &mut b], 1.0), 5.0);
        assert!((a[0] - 0.6).abs() < 1e-6 && (b[0] - 0.8).abs() < 1e-6);
    }
}
