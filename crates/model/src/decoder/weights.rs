//! A decoder's weights as plain numbers, for training all of them.

use super::Decoder;
use super::config::DecoderConfig;
use super::layer::Layer;
use super::names::{Role, hugging_face};
use super::projection::Slot;
use crate::named::Named;
use crate::weights::LinearWeights;
use sprat_nn::{Mat, RmsNorm};

/// What Hugging Face puts before the names of the model proper.
const PREFIX: &str = "model.";

/// The weights (or their gradients) of a decoder. Norms are as they multiply: with the 1 that
/// Gemma's files leave out.
#[derive(Clone, Debug)]
pub(crate) struct DecoderWeights {
    pub(crate) embedding: Mat,
    /// None where the embedding serves for both.
    pub(crate) output: Option<Mat>,
    pub(crate) norm: Vec<f32>,
    pub(crate) layers: Vec<DecoderLayerWeights>,
}

/// The weights of a layer; a product without biases has an empty one.
#[derive(Clone, Debug)]
pub(crate) struct DecoderLayerWeights {
    /// In the order of [`Slot::ALL`].
    pub(crate) linear: [LinearWeights; 4],
    /// In the order of [`Layer::norms`].
    pub(crate) norms: Vec<Vec<f32>>,
}

/// The norms that a layer may have, in the order of [`Layer::norms`].
pub(crate) const NORMS: [Role; 6] = [
    Role::AttentionNorm,
    Role::QueryNorm,
    Role::KeyNorm,
    Role::AttentionPostNorm,
    Role::FeedForwardNorm,
    Role::FeedForwardPostNorm,
];

/// The norms of this model's layers.
pub(crate) fn norm_roles(config: &DecoderConfig) -> Vec<Role> {
    let has = |role: &Role| match role {
        Role::QueryNorm | Role::KeyNorm => config.family.head_norms,
        Role::AttentionPostNorm | Role::FeedForwardPostNorm => config.family.sandwich,
        _ => true,
    };
    NORMS.into_iter().filter(has).collect()
}

impl DecoderWeights {
    /// The weights of a decoder.
    pub(crate) fn of(decoder: &Decoder) -> Self {
        let layer = |layer: &Layer| DecoderLayerWeights {
            linear: Slot::ALL.map(|slot| layer.linear(slot).weights()),
            norms: layer.norms().into_iter().map(|norm| norm.gamma.clone()).collect(),
        };
        let output = decoder.output.weights().weight;
        let (embedding, output) = match &decoder.embedding {
            None => (output, None),
            Some(table) => (table.table(), Some(output)),
        };
        DecoderWeights {
            embedding,
            output,
            norm: decoder.norm.gamma.clone(),
            layers: decoder.layers.iter().map(layer).collect(),
        }
    }

    /// Puts the weights into the form in which they are multiplied.
    pub(crate) fn install(&self, decoder: &mut Decoder) {
        match &mut decoder.embedding {
            None => decoder.output.set(&self.embedding, None),
            Some(table) => {
                table.set(&self.embedding);
                if let Some(output) = &self.output {
                    decoder.output.set(output, None);
                }
            }
        }
        decoder.norm.gamma.copy_from_slice(&self.norm);
        for (layer, weights) in decoder.layers.iter_mut().zip(&self.layers) {
            for (slot, LinearWeights { weight, bias }) in Slot::ALL.into_iter().zip(&weights.linear)
            {
                let bias = (!bias.is_empty()).then_some(&bias[..]);
                layer.linear_mut(slot).set(weight, bias);
            }
            let norms: Vec<&mut RmsNorm> = layer.norms_mut();
            for (norm, gamma) in norms.into_iter().zip(&weights.norms) {
                norm.gamma.copy_from_slice(gamma);
            }
        }
    }

    /// Every tensor under its name in Hugging Face's files, and its values.
    pub(crate) fn tensors(&self, config: &DecoderConfig) -> Vec<(Named, &[f32])> {
        let name = |role, layer| format!("{PREFIX}{}", hugging_face(config.family, role, layer));
        let table = |name: &str, mat: &Mat| Named::new(name.to_owned(), &[mat.rows, mat.cols]);
        let weight = |role, layer| format!("{}.weight", name(role, layer));
        let mut all =
            vec![(table(&weight(Role::Embedding, 0), &self.embedding), &self.embedding.data[..])];
        if let Some(output) = &self.output {
            all.push((table("lm_head.weight", output), &output.data));
        }
        let norm = Named::new(weight(Role::OutputNorm, 0), &[self.norm.len()]);
        all.push((norm, &self.norm));
        for (at, layer) in self.layers.iter().enumerate() {
            for (slot, LinearWeights { weight: data, bias }) in
                Slot::ALL.into_iter().zip(&layer.linear)
            {
                let mut row = 0;
                for (role, rows) in slot.parts(config) {
                    let own = &data.data[row * data.cols..(row + rows) * data.cols];
                    all.push((Named::new(weight(role, at), &[rows, data.cols]), own));
                    if !bias.is_empty() {
                        let named = Named::new(format!("{}.bias", name(role, at)), &[rows]);
                        all.push((named, &bias[row..row + rows]));
                    }
                    row += rows;
                }
            }
            for (role, gamma) in norm_roles(config).into_iter().zip(&layer.norms) {
                all.push((Named::new(weight(role, at), &[gamma.len()]), gamma));
            }
        }
        all
    }

    /// The values in the order of [`Self::tensors`], to change.
    pub(crate) fn values_mut(&mut self, config: &DecoderConfig) -> Vec<&mut [f32]> {
        let mut all = vec![&mut self.embedding.data[..]];
        all.extend(self.output.as_mut().map(|output| &mut output.data[..]));
        all.push(&mut self.norm);
        for layer in &mut self.layers {
            for (slot, LinearWeights { weight, bias }) in
                Slot::ALL.into_iter().zip(&mut layer.linear)
            {
                let cols = weight.cols;
                let (mut data, mut biases) = (&mut weight.data[..], &mut bias[..]);
                for (_, rows) in slot.parts(config) {
                    let (own, others) = data.split_at_mut(rows * cols);
                    all.push(own);
                    data = others;
                    if !biases.is_empty() {
                        let (own, others) = biases.split_at_mut(rows);
                        all.push(own);
                        biases = others;
                    }
                }
            }
            all.extend(layer.norms.iter_mut().map(|gamma| &mut gamma[..]));
        }
        all
    }
}
