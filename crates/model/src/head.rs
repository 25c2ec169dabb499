//! The head forward and backward.

use crate::artefact::Head;
use sprat_nn::{Format, Linear, Mat};

impl Head {
    /// `pooled·Wᵀ + b`: `[texts, hidden]` to `[texts, labels]`.
    pub fn logits(&self, pooled: &Mat) -> Mat {
        Linear::new(self.weight.clone(), Some(self.bias.clone()), Format::F32).forward(pooled)
    }

    /// Adds the gradients of `head` to this one, which holds gradients; gives the gradient for
    /// `pooled`.
    pub fn accumulate(&mut self, head: &Head, pooled: &Mat, dlogits: &Mat) -> Mat {
        Linear::backward_weight(pooled, dlogits, &mut self.weight, Some(&mut self.bias));
        Linear::new(head.weight.clone(), None, Format::F32).backward_input(dlogits)
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.weight.data.len() + self.bias.len()
    }

    /// Whether it has no classes.
    pub fn is_empty(&self) -> bool {
        self.bias.is_empty()
    }
}
