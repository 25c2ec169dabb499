//! Where a decoder's tensors come from.

use super::config::DecoderConfig;
use super::names::{self, Role};
use crate::files::Weights;
use sprat_nn::{Embedding, Format, Linear, Mat};
use sprat_task::Result;

/// Tensors by their part in the model, whatever the file calls them.
pub(crate) trait Source {
    /// A linear layer over the rows of one or several tensors with the same inputs, one after
    /// another: `parts` are roles and rows.
    fn linear(
        &self,
        layer: usize,
        parts: &[(Role, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Vec<Linear>>;

    /// The token table, `[vocabulary, hidden]`.
    fn embedding(&self, vocabulary: usize, hidden: usize) -> Result<Embedding>;

    /// A bias, `[length]`.
    fn vector(&self, layer: usize, role: Role, length: usize) -> Result<Vec<f32>>;

    /// A norm's scale, `[length]`, as it multiplies.
    fn norm(&self, layer: usize, role: Role, length: usize) -> Result<Vec<f32>>;
}

/// The safetensors of a model folder.
pub(crate) struct Folder<'a> {
    weights: &'a Weights,
    config: &'a DecoderConfig,
    prefix: &'static str,
    format: Format,
}

/// Where checkpoints keep the language model, tried in order.
pub(crate) const PREFIXES: [&str; 4] =
    ["model.", "", "language_model.model.", "model.language_model."];

impl<'a> Folder<'a> {
    pub(crate) fn new(weights: &'a Weights, config: &'a DecoderConfig, format: Format) -> Self {
        let has = |prefix: &&str| weights.has(&format!("{prefix}embed_tokens.weight"));
        let prefix = PREFIXES.into_iter().find(has).unwrap_or(PREFIXES[0]);
        Folder { weights, config, prefix, format }
    }

    /// What the file calls the tensor that stands under `name` in a model of the usual layout.
    pub(crate) fn place(&self, name: &str) -> String {
        match name.strip_prefix("model.") {
            Some(inner) => format!("{}{inner}", self.prefix),
            None => format!("{}.weight", self.name(0, Role::Output)),
        }
    }

    /// What the file calls a tensor, without `.weight`.
    pub(crate) fn name(&self, layer: usize, role: Role) -> String {
        let name = names::hugging_face(self.config.family, role, layer);
        if role != Role::Output {
            return format!("{}{name}", self.prefix);
        }
        // The head stands outside of the model proper.
        let outside = self.prefix.strip_suffix("model.").unwrap_or("");
        let inside = format!("{outside}{name}");
        if self.weights.has(&format!("{inside}.weight")) { inside } else { name }
    }
}

impl Source for Folder<'_> {
    fn linear(
        &self,
        layer: usize,
        parts: &[(Role, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Vec<Linear>> {
        let (mut data, mut biases, mut rows) = (Vec::new(), Vec::new(), 0);
        for &(role, outputs) in parts {
            let name = self.name(layer, role);
            let weight = self.weights.tensor(&format!("{name}.weight"))?.f32(&[outputs, inputs])?;
            if data.is_empty() {
                data = weight;
            } else {
                data.extend_from_slice(&weight);
            }
            if bias {
                biases.extend(self.vector(layer, role, outputs)?);
            }
            rows += outputs;
        }
        let weight = Mat::new(rows, inputs, data);
        Ok(vec![Linear::new(weight, bias.then_some(biases), self.format)])
    }

    fn embedding(&self, vocabulary: usize, hidden: usize) -> Result<Embedding> {
        let name = format!("{}.weight", self.name(0, Role::Embedding));
        let data = self.weights.tensor(&name)?.f32(&[vocabulary, hidden])?;
        Ok(Embedding::new(Mat::new(vocabulary, hidden, data), self.format))
    }

    fn vector(&self, layer: usize, role: Role, length: usize) -> Result<Vec<f32>> {
        self.weights.tensor(&format!("{}.bias", self.name(layer, role)))?.f32(&[length])
    }

    fn norm(&self, layer: usize, role: Role, length: usize) -> Result<Vec<f32>> {
        let tensor = self.weights.tensor(&format!("{}.weight", self.name(layer, role)))?;
        let mut gamma = tensor.f32(&[length])?;
        if self.config.family.norm_plus_one {
            gamma.iter_mut().for_each(|g| *g += 1.0);
        }
        Ok(gamma)
    }
}
