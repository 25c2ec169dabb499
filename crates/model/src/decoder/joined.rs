//! A linear layer whose outputs are computed by one matrix, or by several of different formats.

use sprat_nn::{Linear, Mat};

/// Linear layers over the same inputs, their outputs side by side.
#[derive(Debug)]
pub(crate) struct Joined {
    parts: Vec<Linear>,
    outputs: usize,
}

impl Joined {
    pub(crate) fn new(parts: Vec<Linear>) -> Self {
        let outputs = parts.iter().map(Linear::outputs).sum();
        Joined { parts, outputs }
    }

    /// `[tokens, inputs]` to `[tokens, outputs]`; `part` is memory to reuse.
    pub(crate) fn forward_into(&self, x: &Mat, y: &mut Mat, part: &mut Mat) {
        if let [only] = &self.parts[..] {
            return only.forward_into(x, None, y);
        }
        y.reshape(x.rows, self.outputs);
        let mut column = 0;
        for linear in &self.parts {
            linear.forward_into(x, None, part);
            let width = linear.outputs();
            for (i, row) in y.data.chunks_exact_mut(self.outputs).enumerate() {
                row[column..column + width].copy_from_slice(part.row(i));
            }
            column += width;
        }
    }

    /// Row `at` of all outputs' weights, `[inputs]`.
    pub(crate) fn row(&self, at: usize, into: &mut [f32]) {
        let mut at = at;
        for part in &self.parts {
            if at < part.outputs() {
                return part.weight_row(at, into);
            }
            at -= part.outputs();
        }
    }

    /// Bytes that the weights take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(Linear::bytes).sum()
    }
}
