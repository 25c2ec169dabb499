//! Training a decoder: LoRA adapters beside its frozen weights, in whatever format these are, or
//! all weights in F32. This module goes forward and backward; whoever calls has the data, the
//! optimizer and the loop.

use super::batch::TokenBatch;
use super::gradients::DecoderGradients;
use super::output::TokenSum;
use super::projection::{Projection, Slot};
use super::training::{self, LayerGradients, LayerTape, Pass, Scratch, SlotLora, SlotLoras};
use super::weights::DecoderWeights;
use super::{Decoder, DecoderConfig};
use crate::adapter::{Adapter, LoraPair, tensor_name};
use crate::artefact::BaseModel;
use crate::codes;
use crate::named::Named;
use crate::training::Noise;
use crate::tuning::{LoraSettings, uniform};
use sprat_nn::{Embedding, Format, Lora, Mat, Rotations};
use sprat_task::random::stream;
use sprat_task::{Error, Result};
use std::sync::{Mutex, PoisonError};

/// What is trained of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub enum DecoderTuning {
    /// LoRA adapters. The decoder may be in any format; over blocks of a GGUF file it is what is
    /// called QLoRA (Dettmers et al. 2023).
    Lora(LoraSettings<Projection>),
    /// All weights, embeddings included; the decoder must be in F32.
    Full,
}

/// What is kept between forward and backward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// All that backward needs.
    #[default]
    Normal,
    /// The states before each layer; the rest is computed again (Chen et al. 2016). The result is
    /// the same to the bit, and takes about a third more time.
    Low,
}

/// A decoder in training.
#[derive(Debug)]
pub struct DecoderLearner {
    pub(super) decoder: Decoder,
    tuning: DecoderTuning,
    memory: Memory,
    /// Of every layer; empty where nothing is adapted.
    adapters: Vec<[SlotLoras; 4]>,
    pub(super) full: Option<DecoderWeights>,
    /// Locked for as long as a pass goes.
    pass_memory: Mutex<PassMemory>,
}

/// What passes compute in, kept from one to the next: fetching a gigabyte from the system anew at
/// every step costs time (the kernel clears each page).
#[derive(Debug, Default)]
struct PassMemory {
    /// One for each layer whose backward follows; with [`Memory::Low`] one for all.
    tapes: Vec<LayerTape>,
    /// The states before each layer, with [`Memory::Low`].
    before: Vec<Mat>,
    scratch: Scratch,
}

impl DecoderLearner {
    /// Prepares a decoder. Adapters begin without any effect, drawn from `seed`.
    ///
    /// # Errors
    /// `SPRAT-MODEL-ADAPTER` for settings that fit no adapter (rank 0, no targets or ones that the
    /// model does not have, a first layer that does not exist), `SPRAT-MODEL-CONFIG` when full
    /// training is asked of a decoder whose weights are not F32.
    pub fn new(decoder: Decoder, tuning: DecoderTuning, seed: u64) -> Result<Self> {
        let config = decoder.config();
        let full = match &tuning {
            DecoderTuning::Lora(settings) => {
                check(settings, config)?;
                None
            }
            DecoderTuning::Full => {
                let linear = decoder.layers.iter().flat_map(|l| Slot::ALL.map(|s| l.linear(s)));
                if !linear.chain([&decoder.output]).all(|joined| joined.is(Format::F32)) {
                    let what = "all weights can be trained only in F32";
                    return Err(Error::new(&codes::CONFIG, what).field("format"));
                }
                Some(DecoderWeights::of(&decoder))
            }
        };
        let layers = 0..config.layers.len();
        let adapters = layers.map(|layer| fresh(config, &tuning, layer, seed)).collect();
        let (memory, pass_memory) = (Memory::Normal, Mutex::default());
        Ok(DecoderLearner { decoder, tuning, memory, adapters, full, pass_memory })
    }

    /// Chooses what is kept between forward and backward.
    pub fn set_memory(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// The decoder as it stands. With LoRA its weights are still the base model's.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// What is trained.
    pub fn tuning(&self) -> &DecoderTuning {
        &self.tuning
    }

    /// The first layer of which something is trained.
    fn first(&self) -> usize {
        match &self.tuning {
            DecoderTuning::Lora(settings) => settings.first_layer,
            DecoderTuning::Full => 0,
        }
    }

    fn rotations(&self, batch: &TokenBatch) -> Vec<Rotations> {
        self.decoder.rotaries.iter().map(|rotary| rotary.rotations(&batch.positions)).collect()
    }

    /// The losses of a batch, without dropout.
    pub fn measure(&self, batch: &TokenBatch) -> TokenSum {
        let rotations = self.rotations(batch);
        let mut x = self.decoder.embed(&batch.ids);
        let mut memory = self.pass_memory.lock().unwrap_or_else(PoisonError::into_inner);
        let PassMemory { tapes, scratch, .. } = &mut *memory;
        tapes.resize_with(tapes.len().max(1), LayerTape::default);
        for (at, layer) in self.decoder.layers.iter().enumerate() {
            let pass = self.pass(batch, &rotations, None, at);
            training::forward(layer, &self.adapters[at], &mut x, pass, &mut tapes[0], scratch);
        }
        drop(memory);
        self.decoder.losses(batch, &x)
    }

    /// The losses of a batch, and adds the gradients of `weight · Σ loss` to those of what is
    /// trained. Without `noise` nothing is dropped. Several batches add up: with `weight` one by
    /// the number of all their tokens that count, to the gradient of the mean.
    pub fn accumulate(
        &self,
        batch: &TokenBatch,
        noise: Option<&Noise>,
        weight: f32,
        gradients: &mut DecoderGradients,
    ) -> TokenSum {
        let rotations = self.rotations(batch);
        let pass = |layer| self.pass(batch, &rotations, noise, layer);
        let first = self.first();
        let mut x = self.decoder.embed(&batch.ids);
        let mut memory = self.pass_memory.lock().unwrap_or_else(PoisonError::into_inner);
        let PassMemory { tapes, before, scratch } = &mut *memory;
        let (layers, low) = (self.decoder.layers.len(), self.memory == Memory::Low);
        let kept = layers - first;
        tapes.resize_with(if low { 1 } else { kept }, LayerTape::default);
        before.resize_with(if low { kept } else { 0 }, Mat::default);
        for (at, layer) in self.decoder.layers.iter().enumerate() {
            // Layers without backward use any tape.
            let own = at.saturating_sub(first);
            if low && at >= first {
                before[own].copy_from(&x);
            }
            let tape = &mut tapes[if low { 0 } else { own }];
            training::forward(layer, &self.adapters[at], &mut x, pass(at), tape, scratch);
        }
        let sum = self.decoder.losses_backward(batch, &mut x, weight, gradients.full.as_mut());
        let mut dx = x;
        for at in (first..layers).rev() {
            let (layer, adapters) = (&self.decoder.layers[at], &self.adapters[at]);
            let tape = &mut tapes[if low { 0 } else { at - first }];
            if low {
                let x = &mut before[at - first];
                training::forward(layer, adapters, x, pass(at), tape, scratch);
            }
            let into = LayerGradients {
                lora: &mut gradients.lora[at],
                full: gradients.full.as_mut().map(|full| &mut full.layers[at]),
            };
            let below = at > first || self.full.is_some();
            let own = (&*tape, &mut *scratch);
            training::backward(layer, adapters, own, &mut dx, into, pass(at), below);
        }
        drop(memory);
        if let Some(full) = &mut gradients.full {
            let scale = self.decoder.config.embedding_scale;
            dx.data.iter_mut().for_each(|d| *d *= scale);
            Embedding::scatter_add(&batch.ids, &dx, &mut full.embedding);
        }
        sum
    }

    fn pass<'a>(
        &'a self,
        batch: &'a TokenBatch,
        rotations: &'a [Rotations],
        noise: Option<&'a Noise>,
        layer: usize,
    ) -> Pass<'a> {
        Pass { config: self.decoder.config(), layer, bounds: &batch.bounds, rotations, noise }
    }

    /// Gradients of zero.
    pub fn zero_gradients(&self) -> DecoderGradients {
        let zero = |slots: &[SlotLoras; 4]| {
            slots.each_ref().map(|own| own.iter().map(|a| a.lora.zero_gradient()).collect())
        };
        let mut gradients = DecoderGradients {
            lora: self.adapters.iter().map(zero).collect(),
            full: self.full.clone(),
            config: self.decoder.config.clone(),
        };
        gradients.clear();
        gradients
    }

    /// The names and shapes of everything that is trained, in the order of
    /// [`Self::parameters_mut`] and [`DecoderGradients::slices`]. Adapters have the names that
    /// PEFT gives them, weights those of Hugging Face's files.
    pub fn parameters(&self) -> Vec<Named> {
        self.visit().into_iter().map(|(named, _)| named).collect()
    }

    /// The values of everything that is trained, in the order of [`Self::parameters`].
    pub fn values(&self) -> Vec<&[f32]> {
        self.visit().into_iter().map(|(_, values)| values).collect()
    }

    fn visit(&self) -> Vec<(Named, &[f32])> {
        let config = self.decoder.config();
        let mut all = Vec::new();
        for (layer, slots) in self.adapters.iter().enumerate() {
            for own in slots.iter().flatten() {
                for (matrix, mat) in [("lora_A", &own.lora.a), ("lora_B", &own.lora.b)] {
                    let name = tensor_name(config, layer, own.part, matrix);
                    all.push((Named::new(name, &[mat.rows, mat.cols]), &mat.data[..]));
                }
            }
        }
        all.extend(self.full.iter().flat_map(|full| full.tensors(config)));
        all
    }

    /// The values of everything that is trained, to change. After changing them, and before the
    /// next forward, call [`Self::refresh`].
    pub fn parameters_mut(&mut self) -> Vec<&mut [f32]> {
        let mut all = Vec::new();
        for own in self.adapters.iter_mut().flatten().flatten() {
            all.extend([&mut own.lora.a.data[..], &mut own.lora.b.data[..]]);
        }
        if let Some(full) = &mut self.full {
            all.extend(full.values_mut(&self.decoder.config));
        }
        all
    }

    /// Puts changed weights into the form in which they are multiplied.
    pub fn refresh(&mut self) {
        if let Some(full) = &self.full {
            full.install(&mut self.decoder);
        }
    }

    /// How many numbers are trained, and how many there are in all.
    pub fn trained_of(&self) -> (usize, usize) {
        let trained: usize = self.values().iter().map(|values| values.len()).sum();
        let own = if self.full.is_some() { 0 } else { trained };
        (trained, self.decoder.config.parameters() + own)
    }

    /// Puts a trained adapter in the place of the present one, which must adapt the same
    /// projections with the same rank.
    ///
    /// # Errors
    /// `SPRAT-MODEL-ADAPTER` when the two do not belong together.
    pub fn load(&mut self, adapter: &Adapter<Projection>) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(&codes::ADAPTER, what));
        let mut left = adapter.pairs.len();
        for (layer, slots) in self.adapters.iter_mut().enumerate() {
            for own in slots.iter_mut().flatten() {
                let fits =
                    |pair: &&LoraPair<Projection>| pair.layer == layer && pair.part == own.part;
                let Some(pair) = adapter.pairs.iter().find(fits) else {
                    return wrong("the adapter lacks a projection that is trained");
                };
                let same = own.lora.a.rows == pair.a.rows && own.lora.b.rows == pair.b.rows;
                if !same || own.lora.a.cols != pair.a.cols {
                    return wrong("the adapter's matrices have other shapes");
                }
                own.lora.a.clone_from(&pair.a);
                own.lora.b.clone_from(&pair.b);
                own.lora.scale = adapter.scale;
                left -= 1;
            }
        }
        if left > 0 {
            return wrong("the adapter has projections that are not trained");
        }
        Ok(())
    }

    /// The adapter as it stands; `None` unless LoRA is trained.
    pub fn adapter(&self, base: &BaseModel) -> Option<Adapter<Projection>> {
        let DecoderTuning::Lora(settings) = &self.tuning else { return None };
        let pairs = self.adapters.iter().enumerate().flat_map(|(layer, slots)| {
            slots.iter().flatten().map(move |own| LoraPair {
                layer,
                part: own.part,
                a: own.lora.a.clone(),
                b: own.lora.b.clone(),
            })
        });
        Some(Adapter {
            rank: settings.rank,
            alpha: settings.alpha,
            dropout: settings.dropout,
            base: base.reference.clone(),
            digest: base.digest.clone(),
            scale: settings.alpha / settings.rank as f32,
            pairs: pairs.collect(),
        })
    }
}

fn check(settings: &LoraSettings<Projection>, config: &DecoderConfig) -> Result<()> {
    let wrong = |field: &str, what: String| Err(Error::new(&codes::ADAPTER, what).field(field));
    let LoraSettings { rank, targets, first_layer, .. } = settings;
    if *rank == 0 || *rank > config.hidden {
        let what = format!("rank {rank} is not between 1 and the model's width {}", config.hidden);
        return wrong("rank", what);
    }
    if targets.is_empty() {
        return wrong("targets", "no layer is to be adapted".to_owned());
    }
    if let Some(other) = targets.iter().find(|part| !Projection::all(config).contains(part)) {
        return wrong("targets", format!("this model has no projection `{}`", other.name()));
    }
    let layers = config.layers.len();
    if *first_layer >= layers {
        let what = format!("layer {first_layer} does not exist: the model has {layers}");
        return wrong("first_layer", what);
    }
    Ok(())
}

/// The adapters of one layer as training begins, as [`crate::Learner`]'s: `A` uniform in
/// ±1/√inputs and `B` zero.
fn fresh(
    config: &DecoderConfig,
    tuning: &DecoderTuning,
    layer: usize,
    seed: u64,
) -> [SlotLoras; 4] {
    let DecoderTuning::Lora(settings) = tuning else { return Default::default() };
    Slot::ALL.map(|slot| {
        let parts = slot.projections(config).iter().copied();
        let parts = parts.filter(|part| settings.targets.contains(part));
        parts
            .filter(|_| layer >= settings.first_layer)
            .map(|part| {
                let (outputs, inputs) = config.projection_shape(part);
                let mut random = stream(seed, &format!("lora {layer} {}", part.name()));
                let bound = 1.0 / (inputs as f32).sqrt();
                let a = uniform(&mut random, settings.rank, inputs, bound);
                let b = Mat::zeros(outputs, settings.rank);
                let scale = settings.alpha / settings.rank as f32;
                SlotLora { part, column: part.column(config), lora: Lora { a, b, scale } }
            })
            .collect()
    })
}
