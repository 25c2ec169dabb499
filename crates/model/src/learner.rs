//! Training: an encoder with a head, of which the head alone, LoRA adapters, or all weights are
//! trained. This module goes forward and backward; whoever calls has the data, the optimizer and
//! the loop.

use crate::adapter::{Adapter, LoraPair};
use crate::artefact::{BaseModel, Head, Manifest, Stored, copy_encoder_files};
use crate::batch::Batch;
use crate::codes;
use crate::encoder::Encoder;
use crate::gradients::{FullWeights, Gradients};
use crate::named::Named;
use crate::shrunk::write_encoder;
use crate::training::{self, EMBEDDING_PLACE, LayerGradients, LayerTape, Noise, Pass};
use crate::training::{SlotAdapters, slices};
use crate::tuning::{Tuning, check, fresh_adapters, uniform};
use crate::weights::Slot;
use sprat_nn::{Embedding, Mat, NormTape, l2_normalize, l2_normalize_backward};
use sprat_task::random::stream;
use sprat_task::{Error, Result};
use std::path::Path;

/// A model in training.
#[derive(Debug)]
pub struct Learner {
    encoder: Encoder,
    tuning: Tuning,
    head: Head,
    /// Of every layer; empty where nothing is adapted.
    adapters: Vec<[SlotAdapters; 4]>,
    full: Option<FullWeights>,
}

/// What [`Learner::backward`] needs from [`Learner::forward`].
#[derive(Debug)]
pub struct Tape {
    batch: Batch,
    noise: Option<Noise>,
    /// The embeddings' sum, where the tables are trained.
    embedding: Option<(Mat, NormTape)>,
    layers: Vec<LayerTape>,
    /// What the head saw, `[texts, hidden]`, and its lengths before normalization.
    pooled: Mat,
    lengths: Vec<f32>,
}

impl Learner {
    /// Prepares an encoder with a fresh head for `labels` classes. Adapters begin without any
    /// effect, the head with small random weights, both drawn from `seed`.
    ///
    /// # Errors
    /// `SPRAT-MODEL-ADAPTER` for settings that fit no adapter (rank 0, no targets, a first layer
    /// that does not exist), `SPRAT-MODEL-CONFIG` when full training is asked of an encoder
    /// whose weights are not F32.
    pub fn new(encoder: Encoder, labels: usize, tuning: Tuning, seed: u64) -> Result<Self> {
        let config = encoder.config().clone();
        check(&tuning, &encoder)?;
        let mut random = stream(seed, "head");
        let bound = 1.0 / (config.hidden as f32).sqrt();
        let weight = uniform(&mut random, labels, config.hidden, bound);
        let head = Head { weight, bias: vec![0.0; labels] };
        let adapters =
            (0..config.layers).map(|layer| fresh_adapters(&config, &tuning, layer, seed));
        let adapters = adapters.collect();
        let full = match tuning {
            Tuning::Full { first_layer } => Some(FullWeights::of(&encoder, first_layer)),
            _ => None,
        };
        Ok(Learner { encoder, tuning, head, adapters, full })
    }

    /// The encoder as it stands. With LoRA its weights are still the base model's.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What is trained besides the head.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Replaces the head, for instance by one that was fitted to frozen embeddings.
    ///
    /// # Errors
    /// `SPRAT-MODEL-SHAPE` when it has another shape.
    pub fn set_head(&mut self, head: Head) -> Result<()> {
        let shape = |head: &Head| (head.weight.rows, head.weight.cols, head.bias.len());
        if shape(&head) != shape(&self.head) {
            let what = format!(
                "a head of {:?} cannot replace one of {:?}",
                shape(&head),
                shape(&self.head)
            );
            return Err(Error::new(&codes::SHAPE, what));
        }
        self.head = head;
        Ok(())
    }

    /// The first layer of which something is trained.
    fn first(&self) -> usize {
        match &self.tuning {
            Tuning::Head => self.encoder.layers.len(),
            Tuning::Lora(settings) => settings.first_layer,
            Tuning::Full { first_layer } => *first_layer,
        }
    }

    /// Logits `[texts, labels]` and what backward needs. Without `noise` nothing is dropped.
    pub fn forward(&self, batch: &Batch, noise: Option<&Noise>) -> (Mat, Tape) {
        let encoder = &self.encoder;
        let first = self.first();
        let trains_tables = self.full.as_ref().is_some_and(|full| full.embeddings.is_some());
        let (mut x, embedding) = if trains_tables || (first == 0 && noise.is_some()) {
            let sum = encoder.embedding_sum(batch);
            let (mut x, norm) = encoder.embedding_norm.forward(&sum);
            if let Some(dropout) = noise.and_then(|noise| noise.at(noise.hidden, EMBEDDING_PLACE)) {
                dropout.apply_all(&mut x.data);
            }
            (x, trains_tables.then_some((sum, norm)))
        } else {
            (encoder.states(batch, first), None)
        };
        let layers = (first..encoder.layers.len()).map(|layer| {
            let pass = self.pass(batch, noise, layer);
            training::forward(&encoder.layers[layer], &self.adapters[layer], &mut x, pass)
        });
        let layers = layers.collect();
        let mut pooled = encoder.sentence.pooling.forward(&x, &batch.bounds);
        let lengths = match encoder.sentence.normalize {
            true => l2_normalize(&mut pooled),
            false => Vec::new(),
        };
        let logits = self.head.logits(&pooled);
        let noise = noise.copied();
        (logits, Tape { batch: batch.clone(), noise, embedding, layers, pooled, lengths })
    }

    fn pass<'a>(&self, batch: &'a Batch, noise: Option<&'a Noise>, layer: usize) -> Pass<'a> {
        Pass {
            bounds: &batch.bounds,
            attention: self.encoder.attention,
            activation: self.encoder.config.activation,
            noise,
            layer,
            full: self.full.is_some(),
        }
    }

    /// Adds the gradients that follow from the gradient `dlogits` `[texts, labels]` for the
    /// logits. Nothing is computed below the first layer that is trained.
    pub fn backward(&self, tape: Tape, dlogits: &Mat, gradients: &mut Gradients) {
        let Tape { batch, noise, embedding, layers, pooled, lengths } = tape;
        let mut dpooled = gradients.head.accumulate(&self.head, &pooled, dlogits);
        let first = self.first();
        if first == self.encoder.layers.len() {
            return;
        }
        if self.encoder.sentence.normalize {
            l2_normalize_backward(&pooled, &lengths, &mut dpooled);
        }
        let mut dx = self.encoder.sentence.pooling.backward(&dpooled, &batch.bounds);
        for (at, tape) in layers.into_iter().enumerate().rev() {
            let layer = first + at;
            let into = LayerGradients {
                lora: &mut gradients.lora[layer],
                full: gradients.full.as_mut().map(|full| &mut full.layers[at]),
            };
            let below = at > 0 || embedding.is_some();
            let pass = self.pass(&batch, noise.as_ref(), layer);
            let own = &self.encoder.layers[layer];
            training::backward(own, &self.adapters[layer], tape, &mut dx, into, pass, below);
        }
        let tables = gradients.full.as_mut().and_then(|full| full.embeddings.as_mut());
        if let (Some((sum, norm)), Some(tables)) = (embedding, tables) {
            let dropout = noise.and_then(|noise| noise.at(noise.hidden, EMBEDDING_PLACE));
            if let Some(dropout) = dropout {
                dropout.apply_all(&mut dx.data);
            }
            let into = Some(slices(&mut tables.norm));
            self.encoder.embedding_norm.backward(&sum, &norm, &mut dx, into);
            Embedding::scatter_add(&batch.ids, &dx, &mut tables.word);
            let positions = self.encoder.positions(&batch);
            Embedding::scatter_add(&positions, &dx, &mut tables.position);
            if tables.token_type.rows > 0 {
                Embedding::scatter_add(&vec![0; batch.ids.len()], &dx, &mut tables.token_type);
            }
        }
    }

    /// Gradients of zero.
    pub fn zero_gradients(&self) -> Gradients {
        let zero = |adapters: &[SlotAdapters; 4]| {
            adapters.each_ref().map(|own| own.iter().map(|a| a.lora.zero_gradient()).collect())
        };
        let mut gradients = Gradients {
            head: self.head.clone(),
            lora: self.adapters.iter().map(zero).collect(),
            full: self.full.clone(),
            shape: self.encoder.config.clone(),
        };
        gradients.clear();
        gradients
    }

    /// The names and shapes of everything that is trained, in the order of
    /// [`Learner::parameters_mut`] and [`Gradients::slices`]. Adapters have the names that PEFT
    /// gives them in files.
    pub fn parameters(&self) -> Vec<Named> {
        self.visit().into_iter().map(|(named, _)| named).collect()
    }

    /// The values of everything that is trained, in the order of [`Learner::parameters`].
    pub fn values(&self) -> Vec<&[f32]> {
        self.visit().into_iter().map(|(_, values)| values).collect()
    }

    fn visit(&self) -> Vec<(Named, &[f32])> {
        let config = &self.encoder.config;
        let mut all = vec![
            (
                Named::new(
                    "head.weight".to_owned(),
                    &[self.head.weight.rows, self.head.weight.cols],
                ),
                &self.head.weight.data[..],
            ),
            (Named::new("head.bias".to_owned(), &[self.head.bias.len()]), &self.head.bias[..]),
        ];
        for (layer, slots) in self.adapters.iter().enumerate() {
            for own in slots.iter().flatten() {
                for (matrix, mat) in [("lora_A", &own.lora.a), ("lora_B", &own.lora.b)] {
                    let name = crate::adapter::tensor_name(config, layer, own.part, matrix);
                    all.push((Named::new(name, &[mat.rows, mat.cols]), &mat.data));
                }
            }
        }
        if let Some(full) = &self.full {
            full.visit(self.first(), config, &mut |named, values| all.push((named, values)));
        }
        all
    }

    /// The values of everything that is trained, to change. After changing them, and before the
    /// next forward, call [`Learner::refresh`].
    pub fn parameters_mut(&mut self) -> Vec<&mut [f32]> {
        let mut all = vec![&mut self.head.weight.data[..], &mut self.head.bias[..]];
        for own in self.adapters.iter_mut().flatten().flatten() {
            all.extend([&mut own.lora.a.data[..], &mut own.lora.b.data[..]]);
        }
        if let Some(full) = &mut self.full {
            full.visit_mut(&self.encoder.config, &mut |values| all.push(values));
        }
        all
    }

    /// Puts changed weights into the form in which they are multiplied.
    pub fn refresh(&mut self) {
        let Some(full) = &self.full else { return };
        let encoder = &mut self.encoder;
        if let Some(tables) = &full.embeddings {
            encoder.word.set(&tables.word);
            encoder.position.set(&tables.position);
            if let Some(token_type) = &mut encoder.token_type {
                token_type.set(&tables.token_type);
            }
            encoder.embedding_norm.gamma.copy_from_slice(&tables.norm.gamma);
            encoder.embedding_norm.beta.copy_from_slice(&tables.norm.beta);
        }
        let first = encoder.layers.len() - full.layers.len();
        for (layer, weights) in encoder.layers[first..].iter_mut().zip(&full.layers) {
            for slot in Slot::ALL {
                let own = &weights.linear[slot as usize];
                layer.linear_mut(slot).set(&own.weight, Some(&own.bias));
            }
            let norms = [
                (&mut layer.attention_norm, &weights.attention_norm),
                (&mut layer.output_norm, &weights.output_norm),
            ];
            for (norm, weights) in norms {
                norm.gamma.copy_from_slice(&weights.gamma);
                norm.beta.copy_from_slice(&weights.beta);
            }
        }
    }

    /// How many numbers are trained, and how many there are in all.
    pub fn trained_of(&self) -> (usize, usize) {
        let trained: usize = self.values().iter().map(|values| values.len()).sum();
        let full = self.full.as_ref().map_or(0, |_| trained - self.head.len());
        (trained, self.encoder.config.parameters() + trained - full)
    }

    /// The adapter as it stands; `None` unless LoRA is trained.
    pub fn adapter(&self, base: &BaseModel) -> Option<Adapter> {
        let Tuning::Lora(settings) = &self.tuning else { return None };
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

    /// Writes a classifier's folder. `manifest.weights` is set to what is written. `base` is the
    /// folder of the base model, from which the encoder's other files are copied after full
    /// training.
    ///
    /// # Errors
    /// `SPRAT-MODEL-WRITE`, `SPRAT-MODEL-READ`.
    pub fn save(&self, folder: &Path, base: &Path, manifest: &Manifest) -> Result<()> {
        let mut manifest = manifest.clone();
        self.head.write(folder)?;
        manifest.weights = match (&self.tuning, &self.full) {
            (Tuning::Full { .. }, Some(_)) => {
                let weights = self.encoder.weights();
                write_encoder(&weights, &self.encoder.config, Stored::Full, folder)?;
                copy_encoder_files(base, folder)?;
                Stored::Full
            }
            _ => match self.adapter(&manifest.base) {
                Some(adapter) => {
                    adapter.write(folder, &self.encoder.config)?;
                    Stored::Adapter
                }
                None => Stored::Head,
            },
        };
        manifest.write(folder)
    }
}
