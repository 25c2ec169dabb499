//! From token vectors to one vector per sequence.

use crate::Mat;
use crate::kernels::elementwise;

/// How a sequence's token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's vector.
    Cls,
    /// The last token's vector.
    Last,
}

impl Pooling {
    /// `[tokens, width]` to `[sequences, width]`; `bounds` holds `sequences + 1` offsets. An empty
    /// sequence gives zeros.
    pub fn forward(self, x: &Mat, bounds: &[usize]) -> Mat {
        let mut y = Mat::zeros(bounds.len().saturating_sub(1), x.cols);
        for (s, w) in bounds.windows(2).enumerate().filter(|(_, w)| w[0] < w[1]) {
            let row = y.row_mut(s);
            match self {
                Pooling::Cls => row.copy_from_slice(x.row(w[0])),
                Pooling::Last => row.copy_from_slice(x.row(w[1] - 1)),
                Pooling::Mean => {
                    (w[0]..w[1]).for_each(|i| elementwise::add(row, x.row(i)));
                    let share = 1.0 / (w[1] - w[0]) as f32;
                    row.iter_mut().for_each(|v| *v *= share);
                }
            }
        }
        y
    }

    /// The gradient for the tokens `[tokens, width]` from that for the pooled vectors.
    pub fn backward(self, dy: &Mat, bounds: &[usize]) -> Mat {
        let mut dx = Mat::zeros(bounds.last().copied().unwrap_or(0), dy.cols);
        for (s, w) in bounds.windows(2).enumerate().filter(|(_, w)| w[0] < w[1]) {
            match self {
                Pooling::Cls => dx.row_mut(w[0]).copy_from_slice(dy.row(s)),
                Pooling::Last => dx.row_mut(w[1] - 1).copy_from_slice(dy.row(s)),
                Pooling::Mean => {
                    let share = 1.0 / (w[1] - w[0]) as f32;
                    for i in w[0]..w[1] {
                        let row = dx.row_mut(i).iter_mut();
                        row.zip(dy.row(s)).for_each(|(d, g)| *d = g * share);
                    }
                }
            }
        }
        dx
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pooling_takes_its_tokens_and_gives_their_gradient_back() {
        let x = Mat::new(3, 2, vec![1.0, 2.0, 3.0, 6.0, 9.0, 9.0]);
        let bounds = [0, 2, 3];
        let dy = Mat::new(2, 2, vec![1.0, 2.0, 3.0, 4.0]);
        let cases = [
            (Pooling::Mean, [2.0, 4.0, 9.0, 9.0], [0.5, 1.0, 0.5, 1.0, 3.0, 4.0]),
            (Pooling::Cls, [1.0, 2.0, 9.0, 9.0], [1.0, 2.0, 0.0, 0.0, 3.0, 4.0]),
            (Pooling::Last, [3.0, 6.0, 9.0, 9.0], [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]),
        ];
        for (pooling, want, gradient) in cases {
            assert_eq!(pooling.forward(&x, &bounds).data, want);
            assert_eq!(pooling.backward(&dy, &bounds).data, gradient);
        }
        assert_eq!(Pooling::Mean.forward(&x, &[0, 0, 3]).row(0), [0.0, 0.0]);
    }
}
