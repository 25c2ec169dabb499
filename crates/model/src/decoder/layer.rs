//! One pre-norm layer: `x += attention(norm(x))`, `x += feed_forward(norm(x))`.

use super::adapter::{Gathered, Groups};
use super::config::DecoderConfig;
use super::importance::Observer;
use super::joined::Joined;
use super::names::Role;
use super::projection::Slot;
use super::source::Source;
use sprat_nn::{Mat, PagedCache, RmsNorm, RotatedHeads, Rotations, Span, gated_into};
use sprat_task::Result;

/// A layer, packed for computing.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: RmsNorm,
    qkv: Joined,
    pub(crate) head_norms: Option<[RmsNorm; 2]>,
    attention_output: Joined,
    pub(crate) attention_post_norm: Option<RmsNorm>,
    pub(crate) feed_forward_norm: RmsNorm,
    gate_up: Joined,
    down: Joined,
    pub(crate) feed_forward_post_norm: Option<RmsNorm>,
}

/// Memory that the layers of one forward pass share.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    normed: Mat,
    qkv: Mat,
    context: Mat,
    wide: Mat,
    gated: Mat,
    change: Mat,
    part: Mat,
    gathered: Gathered,
}

/// What a layer needs to know of the batch.
pub(crate) struct Place<'a> {
    pub(crate) config: &'a DecoderConfig,
    pub(crate) layer: usize,
    pub(crate) rotations: &'a [Rotations],
    pub(crate) spans: &'a [Span<'a>],
    pub(crate) kept: &'a [Span<'a>],
    pub(crate) adapters: &'a Groups<'a>,
}

impl Layer {
    /// Reads and packs the layer.
    pub(crate) fn read(source: &dyn Source, config: &DecoderConfig, layer: usize) -> Result<Self> {
        let (hidden, heads) = (config.hidden, config.heads);
        let norm = |role, width| -> Result<RmsNorm> {
            let gamma = source.norm(layer, role, width)?;
            Ok(RmsNorm { gamma, eps: config.norm_epsilon })
        };
        let linear = |slot: Slot| -> Result<Joined> {
            let (parts, (_, inputs)) = (slot.parts(config), slot.shape(config));
            Ok(Joined::new(source.linear(layer, &parts, inputs, slot.biased(config))?))
        };
        let post = |role| config.family.sandwich.then(|| norm(role, hidden)).transpose();
        let head_norms = match config.family.head_norms {
            true => Some([norm(Role::QueryNorm, heads.width)?, norm(Role::KeyNorm, heads.width)?]),
            false => None,
        };
        Ok(Layer {
            attention_norm: norm(Role::AttentionNorm, hidden)?,
            qkv: linear(Slot::Qkv)?,
            head_norms,
            attention_output: linear(Slot::AttentionOutput)?,
            attention_post_norm: post(Role::AttentionPostNorm)?,
            feed_forward_norm: norm(Role::FeedForwardNorm, hidden)?,
            gate_up: linear(Slot::GateUp)?,
            down: linear(Slot::Down)?,
            feed_forward_post_norm: post(Role::FeedForwardPostNorm)?,
        })
    }

    /// Replaces the states `x` `[tokens, hidden]` by those after the layer; keeps keys and values.
    /// The inputs of each product are shown to `observe`.
    pub(crate) fn infer(
        &self,
        x: &mut Mat,
        cache: &mut PagedCache,
        place: &Place<'_>,
        buffers: &mut Buffers,
        observe: &mut Observer<'_>,
    ) {
        let Buffers { normed, qkv, context, wide, gated, change, part, gathered } = buffers;
        let heads = place.config.heads;
        let mut products = Products { layer: self, place, part, gathered, observe };
        self.attention_norm.forward_into(x, normed);
        products.replace(Slot::Qkv, normed, qkv);
        if let Some([queries, keys]) = &self.head_norms {
            queries.heads_in_place(qkv, 0, heads.query);
            keys.heads_in_place(qkv, heads.query * heads.width, heads.key_value);
        }
        if let Some(rope) = place.config.layers[place.layer].rope {
            // Queries and keys stand side by side.
            let turned = heads.query + heads.key_value;
            let turned = RotatedHeads { column: 0, heads: turned, width: heads.width };
            place.rotations[rope].forward(qkv, turned);
        }
        cache.write(place.layer, qkv, place.kept);
        let scoring = place.config.scoring(place.layer);
        cache.attend(place.layer, qkv, place.spans, scoring, context);
        let norm = self.attention_post_norm.as_ref();
        products.add(Slot::AttentionOutput, context, norm, x, (change, normed));
        self.feed_forward_norm.forward_into(x, normed);
        products.replace(Slot::GateUp, normed, wide);
        gated_into(place.config.activation, wide, gated);
        let norm = self.feed_forward_post_norm.as_ref();
        products.add(Slot::Down, gated, norm, x, (change, normed));
    }

    /// The product of a slot.
    pub(crate) fn linear(&self, slot: Slot) -> &Joined {
        match slot {
            Slot::Qkv => &self.qkv,
            Slot::AttentionOutput => &self.attention_output,
            Slot::GateUp => &self.gate_up,
            Slot::Down => &self.down,
        }
    }

    /// The product of a slot, to change.
    pub(crate) fn linear_mut(&mut self, slot: Slot) -> &mut Joined {
        match slot {
            Slot::Qkv => &mut self.qkv,
            Slot::AttentionOutput => &mut self.attention_output,
            Slot::GateUp => &mut self.gate_up,
            Slot::Down => &mut self.down,
        }
    }

    /// The norms that the layer has, in the order in which they are computed.
    pub(crate) fn norms(&self) -> Vec<&RmsNorm> {
        let mut all = vec![&self.attention_norm];
        all.extend(self.head_norms.iter().flatten());
        all.extend(&self.attention_post_norm);
        all.push(&self.feed_forward_norm);
        all.extend(&self.feed_forward_post_norm);
        all
    }

    /// [`Self::norms`], to change.
    pub(crate) fn norms_mut(&mut self) -> Vec<&mut RmsNorm> {
        let mut all = vec![&mut self.attention_norm];
        all.extend(self.head_norms.iter_mut().flatten());
        all.extend(&mut self.attention_post_norm);
        all.push(&mut self.feed_forward_norm);
        all.extend(&mut self.feed_forward_post_norm);
        all
    }

    /// Bytes that the weights take in memory.
    pub(crate) fn bytes(&self) -> usize {
        Slot::ALL.into_iter().map(|slot| self.linear(slot).bytes()).sum()
    }
}

/// The products of a layer, with what adapters add to them.
struct Products<'a, 'o> {
    layer: &'a Layer,
    place: &'a Place<'a>,
    part: &'a mut Mat,
    gathered: &'a mut Gathered,
    observe: &'a mut Observer<'o>,
}

impl Products<'_, '_> {
    /// `y = linear(input)`.
    fn replace(&mut self, slot: Slot, input: &Mat, y: &mut Mat) {
        (self.observe)(self.place.layer, slot, input);
        self.layer.linear(slot).forward_into(input, y, self.part);
        self.place.adapters.add((self.place.layer, slot), input, y, self.gathered);
    }

    /// `x += norm(linear(input))`, or `x += linear(input)` without a norm; the last are matrices
    /// to reuse.
    fn add(
        &mut self,
        slot: Slot,
        input: &Mat,
        norm: Option<&RmsNorm>,
        x: &mut Mat,
        (change, normed): (&mut Mat, &mut Mat),
    ) {
        // What no adapter changes goes straight to its place. Others' adapters in the step decide
        // about the way, not about the bits.
        if norm.is_none() && !self.place.adapters.change((self.place.layer, slot)) {
            (self.observe)(self.place.layer, slot, input);
            return self.layer.linear(slot).forward_add(input, x, self.part);
        }
        self.replace(slot, input, change);
        match norm {
            Some(norm) => {
                norm.forward_into(change, normed);
                x.add(normed);
            }
            None => x.add(change),
        }
    }
}
