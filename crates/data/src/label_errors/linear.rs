//! A multinomial logistic regression over sparse features, trained by AdaGrad (Duchi et al. 2011)
//! with one accumulator a feature. Small and quick: it stands in for a neural model where only
//! the order of the probabilities matters.

use super::features::Features;
use rand::seq::SliceRandom;
use sprat_task::{Interrupt, Result, random};

/// Weights `[buckets, classes]` and a bias a class.
pub(super) struct Linear {
    classes: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

const RATE: f32 = 1.0;

impl Linear {
    pub(super) fn new(buckets: u32, classes: usize) -> Self {
        Linear { classes, weight: vec![0.0; buckets as usize * classes], bias: vec![0.0; classes] }
    }

    /// Trains on `rows` (text, class), in an order drawn from the seed.
    pub(super) fn fit(
        &mut self,
        features: &Features,
        rows: &mut [(u32, u32)],
        epochs: usize,
        seed: u64,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut random = random::stream(seed, "data.label-errors");
        let mut seen = vec![0.0_f32; self.weight.len() / self.classes];
        let mut p = vec![0.0; self.classes];
        for _ in 0..epochs {
            rows.shuffle(&mut random);
            for (at, (text, class)) in rows.iter().enumerate() {
                if at % 8192 == 0 {
                    interrupt.check()?;
                }
                self.probabilities(features, *text, &mut p);
                p[*class as usize] -= 1.0;
                let size: f32 = p.iter().map(|g| g * g).sum();
                for (feature, x) in features.row(*text) {
                    let feature = feature as usize;
                    seen[feature] += size * x * x;
                    let step = RATE * x / (0.1 + seen[feature].sqrt());
                    let own = &mut self.weight[feature * self.classes..][..self.classes];
                    own.iter_mut().zip(&p).for_each(|(w, g)| *w -= step * g);
                }
                self.bias.iter_mut().zip(&p).for_each(|(b, g)| *b -= 0.01 * g);
            }
        }
        Ok(())
    }

    /// Writes the probability of each class.
    pub(super) fn probabilities(&self, features: &Features, text: u32, p: &mut [f32]) {
        p.copy_from_slice(&self.bias);
        for (feature, x) in features.row(text) {
            let own = &self.weight[feature as usize * self.classes..][..self.classes];
            p.iter_mut().zip(own).for_each(|(p, w)| *p += x * w);
        }
        let top = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for value in p.iter_mut() {
            *value = (*value - top).exp();
            sum += *value;
        }
        p.iter_mut().for_each(|value| *value /= sum);
    }
}
