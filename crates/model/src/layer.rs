//! One post-norm transformer layer (Vaswani et al. 2017; Devlin et al. 2019):
//! `h = norm(x + attention(x))`, `y = norm(h + feed_forward(h))`.

use crate::weights::{LayerWeights, LinearWeights, NormWeights, Slot};
use sprat_nn::{Activation, Attention, Format, LayerNorm, Linear, Mat};

/// A layer, packed for computing.
#[derive(Debug)]
pub(crate) struct Layer {
    linear: [Linear; 4],
    pub(crate) attention_norm: LayerNorm,
    pub(crate) output_norm: LayerNorm,
}

/// Memory that the layers of one forward pass share.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    qkv: Mat,
    context: Mat,
    middle: Mat,
    wide: Mat,
}

impl Layer {
    /// Packs a layer's weights.
    pub(crate) fn new(weights: LayerWeights, epsilon: f32, format: Format) -> Self {
        let norm = |NormWeights { gamma, beta }| LayerNorm { gamma, beta, eps: epsilon };
        Layer {
            linear: weights
                .linear
                .map(|LinearWeights { weight, bias }| Linear::new(weight, Some(bias), format)),
            attention_norm: norm(weights.attention_norm),
            output_norm: norm(weights.output_norm),
        }
    }

    /// The linear layer in a slot.
    pub(crate) fn linear(&self, slot: Slot) -> &Linear {
        &self.linear[slot as usize]
    }

    /// The weights as they are multiplied, unpacked.
    pub(crate) fn weights(&self) -> LayerWeights {
        let norm =
            |norm: &LayerNorm| NormWeights { gamma: norm.gamma.clone(), beta: norm.beta.clone() };
        let linear = |linear: &Linear| LinearWeights {
            weight: linear.weight(),
            bias: linear.bias().map(<[f32]>::to_vec).unwrap_or_default(),
        };
        LayerWeights {
            linear: self.linear.each_ref().map(linear),
            attention_norm: norm(&self.attention_norm),
            output_norm: norm(&self.output_norm),
        }
    }

    /// The linear layer in a slot, to change.
    pub(crate) fn linear_mut(&mut self, slot: Slot) -> &mut Linear {
        &mut self.linear[slot as usize]
    }

    /// Replaces the states `x` `[tokens, hidden]` by those after the layer.
    pub(crate) fn infer(
        &self,
        x: &mut Mat,
        bounds: &[usize],
        attention: Attention,
        activation: Activation,
        buffers: &mut Buffers,
    ) {
        let Buffers { qkv, context, middle, wide } = buffers;
        self.linear(Slot::Qkv).forward_into(x, None, qkv);
        attention.forward_into(qkv, bounds, context);
        self.linear(Slot::AttentionOutput).forward_into(context, None, middle);
        self.attention_norm.add_forward(x, middle);
        self.linear(Slot::Intermediate).forward_into(middle, Some(activation), wide);
        self.linear(Slot::Output).forward_into(wide, None, x);
        self.output_norm.add_forward(middle, x);
    }
}
