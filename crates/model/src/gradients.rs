//! What is trained as a whole, and the gradients of everything that is trained.

use crate::artefact::Head;
use crate::config::EncoderConfig;
use crate::encoder::Encoder;
use crate::named::{Visit, VisitMut};
use crate::weights::{EmbeddingWeights, EncoderWeights, LayerWeights};
use sprat_nn::LoraGrad;

/// Weights (or their gradients) that are trained as a whole.
#[derive(Clone, Debug)]
pub(crate) struct FullWeights {
    pub(crate) embeddings: Option<EmbeddingWeights>,
    /// From the first trained layer on.
    pub(crate) layers: Vec<LayerWeights>,
}

/// The gradients of everything that is trained. Adding up over several batches is allowed.
#[derive(Clone, Debug)]
pub struct Gradients {
    pub(crate) head: Head,
    pub(crate) lora: Vec<[Vec<LoraGrad>; 4]>,
    pub(crate) full: Option<FullWeights>,
    pub(crate) shape: EncoderConfig,
}

impl Gradients {
    /// Sets all gradients to zero.
    pub fn clear(&mut self) {
        self.slices_mut().into_iter().for_each(|slice| slice.fill(0.0));
    }

    /// All gradients, in the order of [`crate::Learner::parameters`].
    pub fn slices(&self) -> Vec<&[f32]> {
        let mut all = vec![&self.head.weight.data[..], &self.head.bias[..]];
        for own in self.lora.iter().flatten().flatten() {
            all.extend([&own.a.data[..], &own.b.data[..]]);
        }
        if let Some(full) = &self.full {
            full.visit(0, &self.shape, &mut |_, values| all.push(values));
        }
        all
    }

    /// All gradients, to change (to clip, for instance).
    pub fn slices_mut(&mut self) -> Vec<&mut [f32]> {
        let mut all = vec![&mut self.head.weight.data[..], &mut self.head.bias[..]];
        for own in self.lora.iter_mut().flatten().flatten() {
            all.extend([&mut own.a.data[..], &mut own.b.data[..]]);
        }
        if let Some(full) = &mut self.full {
            full.visit_mut(&self.shape, &mut |values| all.push(values));
        }
        all
    }
}

impl FullWeights {
    /// The weights of an encoder from a layer on.
    pub(crate) fn of(encoder: &Encoder, first_layer: usize) -> Self {
        let EncoderWeights { embeddings, mut layers } = encoder.weights();
        layers.drain(..first_layer);
        FullWeights { embeddings: (first_layer == 0).then_some(embeddings), layers }
    }

    pub(crate) fn visit<'a>(&'a self, first: usize, config: &EncoderConfig, visit: Visit<'_, 'a>) {
        if let Some(embeddings) = &self.embeddings {
            embeddings.visit(config, visit);
        }
        for (at, layer) in self.layers.iter().enumerate() {
            layer.visit(first + at, config, visit);
        }
    }

    pub(crate) fn visit_mut<'a>(&'a mut self, config: &EncoderConfig, visit: VisitMut<'_, 'a>) {
        if let Some(embeddings) = &mut self.embeddings {
            embeddings.visit_mut(config, visit);
        }
        for layer in &mut self.layers {
            layer.visit_mut(config, visit);
        }
    }
}
