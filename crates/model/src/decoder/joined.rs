//! A linear layer whose outputs are computed by one matrix, or by several of different formats.

use crate::weights::LinearWeights;
use sprat_nn::{Format, Linear, Mat};

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

    /// Adds the product to `y` `[tokens, outputs]`: the same bits as computing it first.
    pub(crate) fn forward_add(&self, x: &Mat, y: &mut Mat, part: &mut Mat) {
        if let [only] = &self.parts[..] {
            return only.forward_add(x, y);
        }
        self.forward_into(x, part, &mut Mat::default());
        y.add(part);
    }

    /// `dx = dy·W`: `[tokens, outputs]` to `[tokens, inputs]`; `part` is memory to reuse.
    pub(crate) fn backward_input_into(&self, dy: &Mat, dx: &mut Mat, part: &mut Mat) {
        if let [only] = &self.parts[..] {
            return only.backward_input_into(dy, false, dx);
        }
        let mut column = 0;
        for (at, linear) in self.parts.iter().enumerate() {
            let width = linear.outputs();
            part.reshape(dy.rows, width);
            for (i, row) in part.data.chunks_exact_mut(width).enumerate() {
                row.copy_from_slice(&dy.row(i)[column..column + width]);
            }
            linear.backward_input_into(part, at > 0, dx);
            column += width;
        }
    }

    /// Whether all of it is in this format.
    pub(crate) fn is(&self, format: Format) -> bool {
        self.parts.iter().all(|part| part.format() == format)
    }

    /// The weight `[outputs, inputs]` as it is multiplied, and the bias, empty where there is none.
    pub(crate) fn weights(&self) -> LinearWeights {
        let inputs = self.parts.first().map_or(0, Linear::inputs);
        let (mut data, mut bias) = (Vec::with_capacity(self.outputs * inputs), Vec::new());
        for part in &self.parts {
            data.extend(part.weight().data);
            bias.extend(part.bias().unwrap_or_default());
        }
        LinearWeights { weight: Mat::new(self.outputs, inputs, data), bias }
    }

    /// Replaces weight and bias, which keep their shapes.
    pub(crate) fn set(&mut self, weight: &Mat, bias: Option<&[f32]>) {
        if let [only] = &mut self.parts[..] {
            only.set(weight, bias);
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
