//! One layer forward for training, keeping what backward needs, and backward.

use crate::layer::Layer;
use crate::weights::{LayerWeights, LinearWeights, NormWeights, Slot};
use sprat_nn::{
    Activation, Attention, AttentionTape, Dropout, Linear, Lora, LoraGrad, Mat, NormTape, Placed,
    lora,
};

/// The dropout of one training step. Masks depend on seed, step and place alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// The run's seed.
    pub seed: u64,
    /// The step, counted over the whole run; with several batches a step, number them too.
    pub step: u64,
    /// Probability of dropping an element of hidden states, in `[0, 1)`.
    pub hidden: f32,
    /// Probability of dropping an attention weight.
    pub attention: f32,
    /// Probability of dropping an element of an adapter's input.
    pub lora: f32,
}

/// Places in a layer at which something is dropped.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Attention = 0,
    AttentionOutput = 1,
    Output = 2,
    /// Four of them, one a slot.
    Lora = 3,
}

/// The place after the embeddings; layers follow from 1.
pub(crate) const EMBEDDING_PLACE: u64 = 0;

impl Noise {
    pub(crate) fn at(&self, probability: f32, place: u64) -> Option<Dropout> {
        (probability > 0.0).then(|| Dropout::new(probability, self.seed, self.step, place))
    }
}

/// The adapters of one slot: the part's number in the slot decides the column.
pub(crate) type SlotAdapters = Vec<SlotAdapter>;

/// An adapter and the first output of its slot that it adds to.
#[derive(Clone, Debug)]
pub(crate) struct SlotAdapter {
    pub(crate) part: crate::family::Part,
    pub(crate) column: usize,
    pub(crate) lora: Lora,
}

/// What stays the same for all layers of one pass, and which layer it is.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) bounds: &'a [usize],
    pub(crate) attention: Attention,
    pub(crate) activation: Activation,
    pub(crate) noise: Option<&'a Noise>,
    /// The layer's number, from 0.
    pub(crate) layer: usize,
    /// Whether all weights are trained.
    pub(crate) full: bool,
}

impl Pass<'_> {
    fn dropout(&self, place: Place, slot: usize) -> Option<Dropout> {
        let noise = self.noise?;
        let probability = match place {
            Place::Attention => noise.attention,
            Place::AttentionOutput | Place::Output => noise.hidden,
            Place::Lora => noise.lora,
        };
        noise.at(probability, (self.layer as u64 + 1) * 8 + place as u64 + slot as u64)
    }
}

/// What a layer's backward needs. Inputs of linear layers are kept only where something of the
/// layer is trained; the feed-forward activation is computed again.
#[derive(Debug, Default)]
pub(crate) struct LayerTape {
    /// Input of each slot, `[tokens, inputs]`, except the last one's; empty where not needed.
    inputs: [Mat; 3],
    /// `x·Aᵀ` of each slot's adapters.
    low: [Mat; 4],
    qkv: Mat,
    attention: AttentionTape,
    attention_sum: Mat,
    attention_norm: NormTape,
    /// The feed-forward state before its activation.
    wide: Mat,
    output_sum: Mat,
    output_norm: NormTape,
}

/// Replaces the states `x` by those after the layer and gives the tape.
pub(crate) fn forward(
    layer: &Layer,
    adapters: &[SlotAdapters; 4],
    x: &mut Mat,
    pass: Pass<'_>,
) -> LayerTape {
    let mut tape = LayerTape::default();
    let [qkv, attention_output, intermediate, output] = Slot::ALL;
    let kept = |slot: Slot| pass.full || !adapters[slot as usize].is_empty();
    let mut linear = |slot: Slot, x: &Mat| {
        let mut y = layer.linear(slot).forward(x);
        let own = &adapters[slot as usize];
        if !own.is_empty() {
            let dropout = pass.dropout(Place::Lora, slot as usize);
            tape.low[slot as usize] = lora::forward_add(&placed(own), x, dropout, &mut y);
        }
        y
    };

    tape.qkv = linear(qkv, x);
    let dropout = pass.dropout(Place::Attention, 0);
    let (context, attention) = pass.attention.forward_tape(&tape.qkv, pass.bounds, dropout);
    tape.attention = attention;
    let mut sum = linear(attention_output, &context);
    if let Some(dropout) = pass.dropout(Place::AttentionOutput, 0) {
        dropout.apply_all(&mut sum.data);
    }
    sum.add(x);
    let (middle, norm) = layer.attention_norm.forward(&sum);
    (tape.attention_sum, tape.attention_norm) = (sum, norm);

    tape.wide = linear(intermediate, &middle);
    let mut sum = linear(output, &pass.activation.forward(&tape.wide));
    if let Some(dropout) = pass.dropout(Place::Output, 0) {
        dropout.apply_all(&mut sum.data);
    }
    sum.add(&middle);
    let (y, norm) = layer.output_norm.forward(&sum);
    (tape.output_sum, tape.output_norm) = (sum, norm);

    let x = std::mem::replace(x, y);
    for (slot, input) in [(qkv, x), (attention_output, context), (intermediate, middle)] {
        if kept(slot) {
            tape.inputs[slot as usize] = input;
        }
    }
    tape
}

/// Where a layer's gradients go.
pub(crate) struct LayerGradients<'a> {
    pub(crate) lora: &'a mut [Vec<LoraGrad>; 4],
    pub(crate) full: Option<&'a mut LayerWeights>,
}

/// Replaces the gradient `dy` for the layer's output by that for its input, unless nothing
/// below is trained (`below` false: what is left in `dy` then has no meaning), and adds to the
/// gradients of what is trained.
pub(crate) fn backward(
    layer: &Layer,
    adapters: &[SlotAdapters; 4],
    mut tape: LayerTape,
    dy: &mut Mat,
    gradients: LayerGradients<'_>,
    pass: Pass<'_>,
    below: bool,
) {
    let LayerGradients { lora, mut full } = gradients;
    let [qkv, attention_output, intermediate, output] = Slot::ALL;
    let low = std::mem::take(&mut tape.low);
    // Adds to a slot's gradients; gives the gradient for its input, where wanted.
    let mut linear =
        |slot: Slot, x: &Mat, dy: &Mat, full: &mut Option<&mut LayerWeights>, wanted: bool| {
            let mut dx = match wanted {
                true => Some(layer.linear(slot).backward_input(dy)),
                false => None,
            };
            let own = &adapters[slot as usize];
            if !own.is_empty() {
                let dropout = pass.dropout(Place::Lora, slot as usize);
                let (low, gradients) = (&low[slot as usize], &mut lora[slot as usize]);
                lora::backward(&placed(own), x, dropout, low, dy, gradients, dx.as_mut());
            }
            if let Some(full) = full {
                let LinearWeights { weight, bias } = &mut full.linear[slot as usize];
                Linear::backward_weight(x, dy, weight, Some(bias));
            }
            dx.unwrap_or_default()
        };

    // y = norm(middle + dropout(output(activation(wide))))
    let norm = full.as_mut().map(|full| slices(&mut full.output_norm));
    layer.output_norm.backward(&tape.output_sum, &tape.output_norm, dy, norm);
    let mut dsum = dy.clone();
    if let Some(dropout) = pass.dropout(Place::Output, 0) {
        dropout.apply_all(&mut dsum.data);
    }
    let activated = match pass.full || !adapters[output as usize].is_empty() {
        true => pass.activation.forward(&tape.wide),
        false => Mat::default(),
    };
    let mut dwide = linear(output, &activated, &dsum, &mut full, true);
    drop(activated);
    pass.activation.backward(&tape.wide, &mut dwide);
    dy.add(&linear(intermediate, &tape.inputs[intermediate as usize], &dwide, &mut full, true));

    // middle = norm(x + dropout(attention_output(attention(qkv(x)))))
    let norm = full.as_mut().map(|full| slices(&mut full.attention_norm));
    layer.attention_norm.backward(&tape.attention_sum, &tape.attention_norm, dy, norm);
    let mut dsum = dy.clone();
    if let Some(dropout) = pass.dropout(Place::AttentionOutput, 0) {
        dropout.apply_all(&mut dsum.data);
    }
    let context = &tape.inputs[attention_output as usize];
    let dcontext = linear(attention_output, context, &dsum, &mut full, true);
    let dropout = pass.dropout(Place::Attention, 0);
    let dqkv = pass.attention.backward(&tape.qkv, pass.bounds, dropout, &tape.attention, &dcontext);
    let dx = linear(qkv, &tape.inputs[qkv as usize], &dqkv, &mut full, below);
    if below {
        dy.add(&dx);
    }
}

fn placed(adapters: &SlotAdapters) -> Vec<Placed<'_>> {
    adapters.iter().map(|own| Placed { lora: &own.lora, column: own.column }).collect()
}

pub(crate) fn slices(norm: &mut NormWeights) -> (&mut [f32], &mut [f32]) {
    (&mut norm.gamma, &mut norm.beta)
}
