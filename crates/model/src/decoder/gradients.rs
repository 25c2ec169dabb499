//! The gradients of everything that is trained of a decoder.

use super::DecoderConfig;
use super::weights::DecoderWeights;
use sprat_nn::LoraGrad;

/// The gradients of everything that is trained. Adding up over several batches is allowed.
#[derive(Clone, Debug)]
pub struct DecoderGradients {
    pub(crate) lora: Vec<[Vec<LoraGrad>; 4]>,
    pub(crate) full: Option<DecoderWeights>,
    pub(crate) config: DecoderConfig,
}

impl DecoderGradients {
    /// Sets all gradients to zero.
    pub fn clear(&mut self) {
        self.slices_mut().into_iter().for_each(|slice| slice.fill(0.0));
    }

    /// All gradients, in the order of [`crate::decoder::DecoderLearner::parameters`].
    pub fn slices(&self) -> Vec<&[f32]> {
        let mut all = Vec::new();
        for own in self.lora.iter().flatten().flatten() {
            all.extend([&own.a.data[..], &own.b.data[..]]);
        }
        if let Some(full) = &self.full {
            all.extend(full.tensors(&self.config).into_iter().map(|(_, values)| values));
        }
        all
    }

    /// All gradients, to change.
    pub fn slices_mut(&mut self) -> Vec<&mut [f32]> {
        let mut all = Vec::new();
        for own in self.lora.iter_mut().flatten().flatten() {
            all.extend([&mut own.a.data[..], &mut own.b.data[..]]);
        }
        if let Some(full) = &mut self.full {
            all.extend(full.values_mut(&self.config));
        }
        all
    }
}
