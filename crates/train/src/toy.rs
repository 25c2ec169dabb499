//! A learner small enough to train in a blink, for the tests of the loop: a softmax regression
//! written out, with dropout on its inputs.

use crate::learner::{Learner, Parameter};
use crate::metrics::Metrics;
use rand::Rng;
use sprat_task::{Result, random::stream};

pub(crate) const CLASSES: usize = 3;
const WIDTH: usize = 6;

pub(crate) struct Toy {
    weight: Vec<f32>,
    bias: Vec<f32>,
    gradients: (Vec<f32>, Vec<f32>),
    train: Vec<([f32; WIDTH], usize)>,
    valid: Vec<([f32; WIDTH], usize)>,
    seed: u64,
    /// Makes every step this slow, so that a test can kill it in the middle.
    pub(crate) pause: std::time::Duration,
}

impl Toy {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = stream(9, "toy");
        let mut draw = |n: usize| {
            let one = |at: usize| {
                let mut x = [0.0; WIDTH];
                x.iter_mut().for_each(|x| *x = random.random_range(-1.0..1.0));
                x[at % CLASSES] += 0.8;
                (x, at % CLASSES)
            };
            (0..n).map(one).collect()
        };
        Toy {
            weight: vec![0.0; CLASSES * WIDTH],
            bias: vec![0.0; CLASSES],
            gradients: (vec![0.0; CLASSES * WIDTH], vec![0.0; CLASSES]),
            train: draw(90),
            valid: draw(60),
            seed,
            pause: std::time::Duration::ZERO,
        }
    }

    pub(crate) fn lengths(&self) -> Vec<usize> {
        (0..self.train.len()).map(|at| 3 + at % 7).collect()
    }

    pub(crate) fn gold(&self) -> Vec<usize> {
        self.valid.iter().map(|(_, class)| *class).collect()
    }

    /// All weights as bits.
    pub(crate) fn bits(&self) -> Vec<u32> {
        self.weight.iter().chain(&self.bias).map(|value| value.to_bits()).collect()
    }

    fn logits(&self, x: &[f32; WIDTH]) -> [f32; CLASSES] {
        let mut z = [0.0; CLASSES];
        for (class, z) in z.iter_mut().enumerate() {
            let row = &self.weight[class * WIDTH..][..WIDTH];
            *z = self.bias[class] + row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        }
        z
    }
}

impl Learner for Toy {
    type Measure = Metrics;

    fn gradients(&mut self, rows: &[usize], step: u64) -> Result<f64> {
        std::thread::sleep(self.pause);
        let mut random = stream(self.seed, &format!("toy/dropout/{step}"));
        let mut loss = 0.0;
        for &row in rows {
            let (mut x, gold) = self.train[row];
            x.iter_mut().for_each(|x| *x *= if random.random_bool(0.1) { 0.0 } else { 1.0 / 0.9 });
            let z = self.logits(&x);
            let sum: f32 = z.iter().map(|z| z.exp()).sum();
            loss += f64::from(sum.ln() - z[gold]);
            for (class, z) in z.iter().enumerate() {
                let d = (z.exp() / sum - f32::from(class == gold)) / rows.len() as f32;
                self.gradients.1[class] += d;
                for (slope, x) in self.gradients.0[class * WIDTH..].iter_mut().zip(&x) {
                    *slope += d * x;
                }
            }
        }
        Ok(loss / rows.len() as f64)
    }

    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter<'_>)) {
        visit(Parameter {
            name: "weight",
            value: &mut self.weight,
            gradient: &mut self.gradients.0,
            decays: true,
            rate: 1.0,
        });
        visit(Parameter {
            name: "bias",
            value: &mut self.bias,
            gradient: &mut self.gradients.1,
            decays: false,
            rate: 2.0,
        });
    }

    fn updated(&mut self) {}

    fn validate(&mut self) -> Result<Metrics> {
        let logits: Vec<f32> = self.valid.iter().flat_map(|(x, _)| self.logits(x)).collect();
        Ok(Metrics::of(&logits, &self.gold(), CLASSES))
    }
}
