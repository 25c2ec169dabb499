//! One layer of a decoder forward for training, keeping what backward needs, and backward.

use super::config::DecoderConfig;
use super::layer::Layer;
use super::projection::{Projection, Slot};
use super::weights::DecoderLayerWeights;
use crate::training::{Noise, Place};
use sprat_nn::{
    Dropout, Linear, Lora, LoraGrad, Mat, Placed, RmsNorm, RmsTape, RotatedHeads, Rotations,
    ScoredAttention, gated_backward_into, gated_into, lora,
};

/// The adapters of one product.
pub(crate) type SlotLoras = Vec<SlotLora>;

/// An adapter and the first output of its product that it adds to.
#[derive(Clone, Debug)]
pub(crate) struct SlotLora {
    pub(crate) part: Projection,
    pub(crate) column: usize,
    pub(crate) lora: Lora,
}

/// What stays the same for all layers of one pass, and which layer it is.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a DecoderConfig,
    pub(crate) layer: usize,
    pub(crate) bounds: &'a [usize],
    pub(crate) rotations: &'a [Rotations],
    pub(crate) noise: Option<&'a Noise>,
}

impl Pass<'_> {
    fn dropout(&self, slot: Slot) -> Option<Dropout> {
        let noise = self.noise?;
        let place = (self.layer as u64 + 1) * 8 + Place::Lora as u64 + slot as u64;
        noise.at(noise.lora, place)
    }

    fn attention(&self) -> ScoredAttention {
        let scoring = self.config.scoring(self.layer);
        ScoredAttention { heads: self.config.heads, scoring }
    }

    /// The rotations of queries and keys, which stand side by side.
    fn rotation(&self) -> Option<(&Rotations, RotatedHeads)> {
        let heads = self.config.heads;
        let turned = heads.query + heads.key_value;
        let turned = RotatedHeads { column: 0, heads: turned, width: heads.width };
        self.config.layers[self.layer].rope.map(|rope| (&self.rotations[rope], turned))
    }
}

/// Memory that the layers of a pass share, and passes one after another.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    normed: Mat,
    gated: Mat,
    change: Mat,
    part: Mat,
    /// Gradients on their way through a layer.
    dchange: Mat,
    dgated: Mat,
    dwide: Mat,
    dcontext: Mat,
    dqkv: Mat,
    dx: Mat,
}

/// What a layer's backward needs. What norms and gates put out is computed again.
#[derive(Debug, Default)]
pub(crate) struct LayerTape {
    /// The states before the layer, between its halves, and the norms' tapes.
    x: Mat,
    attention_norm: RmsTape,
    middle: Mat,
    feed_forward_norm: RmsTape,
    /// `x·Aᵀ` of each product's adapters.
    low: [Mat; 4],
    /// Queries, keys and values before their norms; empty without.
    plain: Mat,
    head_norms: Option<[RmsTape; 2]>,
    qkv: Mat,
    context: Mat,
    /// The feed-forward state before its gate.
    wide: Mat,
    /// Changes before the norms behind them; empty without.
    attention_change: (Mat, RmsTape),
    feed_forward_change: (Mat, RmsTape),
}

/// Replaces the states `x` by those after the layer and fills the tape.
pub(crate) fn forward(
    layer: &Layer,
    adapters: &[SlotLoras; 4],
    x: &mut Mat,
    pass: Pass<'_>,
    tape: &mut LayerTape,
    scratch: &mut Scratch,
) {
    let Scratch { normed, gated, change, part, .. } = scratch;
    let mut linear = |slot: Slot, x: &Mat, low: &mut [Mat; 4], y: &mut Mat| {
        layer.linear(slot).forward_into(x, y, part);
        let own = &adapters[slot as usize];
        if !own.is_empty() {
            let (low, dropout) = (&mut low[slot as usize], pass.dropout(slot));
            lora::forward_add_into(&placed(own), x, dropout, y, low);
        }
    };
    let heads = pass.config.heads;
    tape.x.copy_from(x);
    layer.attention_norm.forward_tape(x, normed, &mut tape.attention_norm);
    linear(Slot::Qkv, normed, &mut tape.low, &mut tape.qkv);
    let qkv = &mut tape.qkv;
    if let Some([queries, keys]) = &layer.head_norms {
        tape.plain.copy_from(qkv);
        tape.head_norms = Some([
            queries.heads_in_place(qkv, 0, heads.query),
            keys.heads_in_place(qkv, heads.query * heads.width, heads.key_value),
        ]);
    }
    if let Some((rotations, turned)) = pass.rotation() {
        rotations.forward(qkv, turned);
    }
    pass.attention().forward_into(qkv, pass.bounds, &mut tape.context);
    linear(Slot::AttentionOutput, &tape.context, &mut tape.low, change);
    let post = layer.attention_post_norm.as_ref();
    add_change(x, change, post, normed, &mut tape.attention_change);

    tape.middle.copy_from(x);
    layer.feed_forward_norm.forward_tape(x, normed, &mut tape.feed_forward_norm);
    linear(Slot::GateUp, normed, &mut tape.low, &mut tape.wide);
    gated_into(pass.config.activation, &tape.wide, gated);
    linear(Slot::Down, gated, &mut tape.low, change);
    let post = layer.feed_forward_post_norm.as_ref();
    add_change(x, change, post, normed, &mut tape.feed_forward_change);
}

/// `x += norm(change)`, or `x += change` without a norm; keeps what the norm's backward needs.
fn add_change(
    x: &mut Mat,
    change: &Mat,
    norm: Option<&RmsNorm>,
    normed: &mut Mat,
    (kept, tape): &mut (Mat, RmsTape),
) {
    let Some(norm) = norm else { return x.add(change) };
    norm.forward_tape(change, normed, tape);
    x.add(normed);
    kept.copy_from(change);
}

/// Where a layer's gradients go.
pub(crate) struct LayerGradients<'a> {
    pub(crate) lora: &'a mut [Vec<LoraGrad>; 4],
    pub(crate) full: Option<&'a mut DecoderLayerWeights>,
}

impl LayerGradients<'_> {
    /// The gradients of the norms, in the order of [`Layer::norms`].
    fn norms(&mut self, head_norms: bool, sandwich: bool) -> NormGradients<'_> {
        let mut all = self.full.as_mut().map(|full| full.norms.iter_mut().map(|g| &mut g[..]));
        let mut next = |has: bool| if has { all.as_mut()?.next() } else { None };
        NormGradients {
            attention: next(true),
            heads: [next(head_norms), next(head_norms)],
            attention_post: next(sandwich),
            feed_forward: next(true),
            feed_forward_post: next(sandwich),
        }
    }
}

struct NormGradients<'a> {
    attention: Option<&'a mut [f32]>,
    heads: [Option<&'a mut [f32]>; 2],
    attention_post: Option<&'a mut [f32]>,
    feed_forward: Option<&'a mut [f32]>,
    feed_forward_post: Option<&'a mut [f32]>,
}

/// Replaces the gradient `dy` for the layer's output by that for its input, unless nothing below
/// is trained (`below` false: what is left in `dy` then has no meaning), and adds to the gradients
/// of what is trained.
pub(crate) fn backward(
    layer: &Layer,
    adapters: &[SlotLoras; 4],
    (tape, scratch): (&LayerTape, &mut Scratch),
    dy: &mut Mat,
    mut gradients: LayerGradients<'_>,
    pass: Pass<'_>,
    below: bool,
) {
    let (heads, full) = (pass.config.heads, gradients.full.is_some());
    let trained = |slot: Slot| full || !adapters[slot as usize].is_empty();
    let Scratch { normed, gated, part, dchange, dgated, dwide, dcontext, dqkv, dx, .. } = scratch;
    // Adds to a product's gradients; the gradient for its input goes to `dx`, where wanted.
    let mut linear = |slot: Slot,
                      x: &Mat,
                      dy: &Mat,
                      gradients: &mut LayerGradients<'_>,
                      mut dx: Option<&mut Mat>| {
        if let Some(dx) = &mut dx {
            layer.linear(slot).backward_input_into(dy, dx, part);
        }
        let own = &adapters[slot as usize];
        if !own.is_empty() {
            let low = &tape.low[slot as usize];
            let into = &mut gradients.lora[slot as usize];
            lora::backward(&placed(own), x, pass.dropout(slot), low, dy, into, dx);
        }
        if let Some(full) = &mut gradients.full {
            let own = &mut full.linear[slot as usize];
            let bias = (!own.bias.is_empty()).then_some(&mut own.bias[..]);
            Linear::backward_weight(x, dy, &mut own.weight, bias);
        }
    };
    let (head_norms, sandwich) = (layer.head_norms.is_some(), layer.attention_post_norm.is_some());
    // The input of a product, computed again where it is needed.
    let again = |slot: Slot, norm: &RmsNorm, x: &Mat, y: &mut Mat| {
        if trained(slot) {
            norm.forward_into(x, y);
        }
    };

    // x = middle + post_norm(down(gated(gate_up(norm(middle)))))
    dchange.copy_from(dy);
    if let Some(norm) = &layer.feed_forward_post_norm {
        let (x, tape) = &tape.feed_forward_change;
        let dgamma = gradients.norms(head_norms, sandwich).feed_forward_post;
        norm.backward(x, tape, dchange, dgamma);
    }
    if trained(Slot::Down) {
        gated_into(pass.config.activation, &tape.wide, gated);
    }
    linear(Slot::Down, gated, dchange, &mut gradients, Some(dgated));
    gated_backward_into(pass.config.activation, &tape.wide, dgated, dwide);
    again(Slot::GateUp, &layer.feed_forward_norm, &tape.middle, normed);
    linear(Slot::GateUp, normed, dwide, &mut gradients, Some(dx));
    let dgamma = gradients.norms(head_norms, sandwich).feed_forward;
    layer.feed_forward_norm.backward(&tape.middle, &tape.feed_forward_norm, dx, dgamma);
    dy.add(dx);

    // middle = x + post_norm(output(attention(rotated(head_norms(qkv(norm(x)))))))
    if !below && !trained(Slot::AttentionOutput) && !trained(Slot::Qkv) {
        return;
    }
    dchange.copy_from(dy);
    if let Some(norm) = &layer.attention_post_norm {
        let (x, tape) = &tape.attention_change;
        let dgamma = gradients.norms(head_norms, sandwich).attention_post;
        norm.backward(x, tape, dchange, dgamma);
    }
    linear(Slot::AttentionOutput, &tape.context, dchange, &mut gradients, Some(dcontext));
    if !below && !trained(Slot::Qkv) {
        return;
    }
    pass.attention().backward_into(&tape.qkv, pass.bounds, dcontext, dqkv);
    if let Some((rotations, turned)) = pass.rotation() {
        rotations.backward(dqkv, turned);
    }
    if let (Some([queries, keys]), Some([of_queries, of_keys])) =
        (&layer.head_norms, &tape.head_norms)
    {
        let [dqueries, dkeys] = gradients.norms(head_norms, sandwich).heads;
        let place = (heads.query * heads.width, heads.key_value);
        queries.backward_heads(&tape.plain, of_queries, dqkv, (0, heads.query), dqueries);
        keys.backward_heads(&tape.plain, of_keys, dqkv, place, dkeys);
    }
    again(Slot::Qkv, &layer.attention_norm, &tape.x, normed);
    linear(Slot::Qkv, normed, dqkv, &mut gradients, below.then_some(&mut *dx));
    if below {
        let dgamma = gradients.norms(head_norms, sandwich).attention;
        layer.attention_norm.backward(&tape.x, &tape.attention_norm, dx, dgamma);
        dy.add(dx);
    }
}

fn placed(adapters: &SlotLoras) -> Vec<Placed<'_>> {
    adapters.iter().map(|own| Placed { lora: &own.lora, column: own.column }).collect()
}
