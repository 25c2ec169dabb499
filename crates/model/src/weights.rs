//! An encoder's weights as plain matrices: what is read, merged, trained and written.
//!
//! Queries, keys and values are one matrix here, because they are computed as one; files keep
//! them apart.

use crate::adapter::Adapter;
use crate::config::EncoderConfig;
use crate::family::Part;
use crate::files::Weights;
use sprat_nn::{Lora, Mat};
use sprat_task::Result;

/// The linear layers of an encoder layer as they are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Queries, keys and values in one: `[3 · hidden, hidden]`.
    Qkv,
    /// Attention's output: `[hidden, hidden]`.
    AttentionOutput,
    /// Into the feed-forward part: `[intermediate, hidden]`.
    Intermediate,
    /// Out of the feed-forward part: `[hidden, intermediate]`.
    Output,
}

impl Slot {
    /// All of them, in the order of computation.
    pub const ALL: [Slot; 4] = [Slot::Qkv, Slot::AttentionOutput, Slot::Intermediate, Slot::Output];

    /// The parts whose outputs stand side by side in this slot.
    pub fn parts(self) -> &'static [Part] {
        match self {
            Slot::Qkv => &[Part::Query, Part::Key, Part::Value],
            Slot::AttentionOutput => &[Part::AttentionOutput],
            Slot::Intermediate => &[Part::Intermediate],
            Slot::Output => &[Part::Output],
        }
    }

    /// The slot that computes a part, and the part's first output in it.
    pub fn of(part: Part, config: &EncoderConfig) -> (Slot, usize) {
        match part {
            Part::Query => (Slot::Qkv, 0),
            Part::Key => (Slot::Qkv, config.hidden),
            Part::Value => (Slot::Qkv, 2 * config.hidden),
            Part::AttentionOutput => (Slot::AttentionOutput, 0),
            Part::Intermediate => (Slot::Intermediate, 0),
            Part::Output => (Slot::Output, 0),
        }
    }
}

/// A linear layer's weight `[outputs, inputs]` and bias `[outputs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearWeights {
    /// `[outputs, inputs]`.
    pub weight: Mat,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// A layer normalization's scale and shift, `[width]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct NormWeights {
    /// The scale `γ`.
    pub gamma: Vec<f32>,
    /// The shift `β`.
    pub beta: Vec<f32>,
}

/// The embedding tables.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingWeights {
    /// `[vocabulary, hidden]`.
    pub word: Mat,
    /// `[positions, hidden]`.
    pub position: Mat,
    /// `[token types, hidden]`; no rows where the family has none.
    pub token_type: Mat,
    /// The normalization of their sum.
    pub norm: NormWeights,
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// In the order of [`Slot::ALL`].
    pub linear: [LinearWeights; 4],
    /// After attention.
    pub attention_norm: NormWeights,
    /// After the feed-forward part.
    pub output_norm: NormWeights,
}

/// A whole encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderWeights {
    /// The embedding tables.
    pub embeddings: EmbeddingWeights,
    /// The layers, from the input.
    pub layers: Vec<LayerWeights>,
}

impl EncoderWeights {
    /// Reads the weights of an encoder of the given shape.
    ///
    /// # Errors
    /// A coded error that names file and tensor when one is missing, has another shape or
    /// number format, or holds a value that is not finite.
    pub fn read(weights: &Weights, config: &EncoderConfig) -> Result<Self> {
        let reader = Reader::new(weights, config);
        let layers = (0..config.layers).map(|layer| reader.layer(layer));
        Ok(EncoderWeights {
            embeddings: reader.embeddings()?,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// Adds an adapter's `scale·B·A` to the weights it belongs to.
    pub fn merge(&mut self, adapter: &Adapter, config: &EncoderConfig) {
        for pair in &adapter.pairs {
            let lora = Lora { a: pair.a.clone(), b: pair.b.clone(), scale: adapter.scale };
            let delta = lora.delta();
            let (slot, first) = Slot::of(pair.part, config);
            let weight = &mut self.layers[pair.layer].linear[slot as usize].weight;
            let rows = &mut weight.data[first * delta.cols..][..delta.data.len()];
            rows.iter_mut().zip(&delta.data).for_each(|(w, d)| *w += d);
        }
    }
}

/// Reads tensors under the prefix that the checkpoint uses.
struct Reader<'a> {
    weights: &'a Weights,
    config: &'a EncoderConfig,
    prefix: &'static str,
}

impl<'a> Reader<'a> {
    fn new(weights: &'a Weights, config: &'a EncoderConfig) -> Self {
        let word = format!("{}.weight", config.family.embeddings.word);
        let prefixes = config.family.prefixes.iter();
        let found = prefixes.copied().find(|prefix| weights.has(&format!("{prefix}{word}")));
        Reader { weights, config, prefix: found.unwrap_or_default() }
    }

    /// The values of a tensor; a quantized one is multiplied by its scales.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.weights.tensor(name)?;
        if !tensor.is_i8() {
            return tensor.f32(shape);
        }
        let codes = tensor.i8(shape)?;
        let rows = shape.first().copied().unwrap_or(0);
        let scale_name = format!("{name}{}", crate::shrunk::SCALE_SUFFIX);
        let scales = self.weights.tensor(&scale_name)?.f32(&[rows])?;
        let width = codes.len() / rows.max(1);
        let codes = codes.chunks_exact(width.max(1)).zip(&scales);
        Ok(codes.flat_map(|(row, s)| row.iter().map(move |&c| f32::from(c) * s)).collect())
    }

    fn mat(&self, name: &str, rows: usize, cols: usize) -> Result<Mat> {
        let name = format!("{}{name}.weight", self.prefix);
        Ok(Mat::new(rows, cols, self.values(&name, &[rows, cols])?))
    }

    fn norm(&self, name: &str) -> Result<NormWeights> {
        let name = format!("{}{name}", self.prefix);
        // Checkpoints converted from TensorFlow keep its names.
        let (gamma, beta) = match self.weights.has(&format!("{name}.gamma")) {
            true => (format!("{name}.gamma"), format!("{name}.beta")),
            false => (format!("{name}.weight"), format!("{name}.bias")),
        };
        let width = [self.config.hidden];
        Ok(NormWeights { gamma: self.values(&gamma, &width)?, beta: self.values(&beta, &width)? })
    }

    fn embeddings(&self) -> Result<EmbeddingWeights> {
        let (config, names) = (self.config, &self.config.family.embeddings);
        Ok(EmbeddingWeights {
            word: self.mat(names.word, config.vocabulary, config.hidden)?,
            position: self.mat(names.position, config.positions, config.hidden)?,
            token_type: match names.token_type {
                Some(name) => self.mat(name, config.token_types, config.hidden)?,
                None => Mat::zeros(0, config.hidden),
            },
            norm: self.norm(names.norm)?,
        })
    }

    fn layer(&self, layer: usize) -> Result<LayerWeights> {
        let family = self.config.family;
        let [qkv, attention_output, intermediate, output] = Slot::ALL;
        Ok(LayerWeights {
            linear: [
                self.linear(layer, qkv)?,
                self.linear(layer, attention_output)?,
                self.linear(layer, intermediate)?,
                self.linear(layer, output)?,
            ],
            attention_norm: self.norm(&family.in_layer(layer, family.parts.attention_norm))?,
            output_norm: self.norm(&family.in_layer(layer, family.parts.output_norm))?,
        })
    }

    fn linear(&self, layer: usize, slot: Slot) -> Result<LinearWeights> {
        let (mut data, mut bias, mut rows, mut cols) = (Vec::new(), Vec::new(), 0, 0);
        for &part in slot.parts() {
            let (outputs, inputs) = self.config.linear_shape(part);
            let name = self.config.family.linear_name(layer, part);
            let weight = self.mat(&name, outputs, inputs)?;
            // The first part's memory is kept where there is only one.
            if data.is_empty() {
                data = weight.data
            } else {
                data.extend(weight.data)
            }
            bias.extend(self.values(&format!("{}{name}.bias", self.prefix), &[outputs])?);
            (rows, cols) = (rows + outputs, inputs);
        }
        Ok(LinearWeights { weight: Mat::new(rows, cols, data), bias })
    }
}
