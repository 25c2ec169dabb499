//! Where the tensors of a GGUF file that is to be written come from: from another one, or from a
//! model folder in Hugging Face's layout.

use super::adapter_gguf::interleaved;
use super::config::DecoderConfig;
use super::export::metadata;
use super::names::{self, Role};
use super::projection::Projection;
use super::rope::RopeScaling;
use super::source::Folder;
use super::weights::norm_roles;
use crate::files::gguf::Value;
use crate::files::{Gguf, GgufTensor, Tensor, Weights};
use sprat_nn::{BlockFormat, Format, Mat};
use sprat_task::Result;
use std::path::Path;

/// A model, opened to be written as a GGUF file.
pub(super) enum Origin {
    /// A GGUF file.
    File { file: Gguf, config: DecoderConfig },
    /// A folder, with the metadata that its file will have.
    Folder { weights: Weights, config: DecoderConfig, metadata: Vec<(String, Value)> },
}

/// A tensor under the name that it has in GGUF files.
pub(super) struct Matrix<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// The format in which it is stored now.
    pub(super) format: BlockFormat,
    /// The projection and its layer, for those that adapters change.
    pub(super) projection: Option<(usize, Projection)>,
    /// Whether logits are products with it.
    pub(super) is_output: bool,
    content: Content<'a>,
}

enum Content<'a> {
    /// Of a GGUF file.
    Blocks(GgufTensor<'a>),
    /// Of a folder; norms of some families are stored without the 1 that GGUF files have.
    Stored { tensor: Tensor<'a>, plus_one: bool, heads: Option<usize> },
    /// Computed.
    Values(Vec<f32>),
}

impl Origin {
    /// Opens a GGUF file or a model folder.
    ///
    /// # Errors
    /// Those of reading it; for a folder, those of [`metadata`].
    pub(super) fn open(base: &Path) -> Result<Origin> {
        if let Some(path) = crate::gguf_file(base)? {
            let file = Gguf::open(&path)?;
            let config = super::gguf::config(&file)?;
            return Ok(Origin::File { file, config });
        }
        let config = DecoderConfig::read(&base.join("config.json"))?;
        let metadata = metadata(base, &config)?;
        Ok(Origin::Folder { weights: Weights::open(base)?, config, metadata })
    }

    pub(super) fn config(&self) -> &DecoderConfig {
        match self {
            Origin::File { config, .. } | Origin::Folder { config, .. } => config,
        }
    }

    /// The metadata, in their order.
    pub(super) fn metadata(&self) -> Vec<(&str, &Value)> {
        match self {
            Origin::File { file, .. } => file.metadata().iter().collect(),
            Origin::Folder { metadata, .. } => {
                metadata.iter().map(|(key, value)| (key.as_str(), value)).collect()
            }
        }
    }

    /// Every tensor, in the order in which the file has it.
    ///
    /// # Errors
    /// `SPRAT-MODEL-MISSING-TENSOR` and `SPRAT-MODEL-SHAPE`, where a folder's weights and its
    /// configuration disagree.
    pub(super) fn matrices(&self) -> Result<Vec<Matrix<'_>>> {
        match self {
            Origin::File { file, config } => Ok(of_file(file, config)),
            Origin::Folder { weights, config, .. } => of_folder(weights, config),
        }
    }
}

impl Matrix<'_> {
    /// The blocks as they are stored, where nothing has to be computed.
    pub(super) fn blocks(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Blocks(tensor) => Some(tensor.bytes()),
            _ => None,
        }
    }

    /// The weights as plain numbers, rows in the order that GGUF files have.
    pub(super) fn values(&self) -> Result<Vec<f32>> {
        match &self.content {
            Content::Blocks(tensor) => tensor.dequantized(),
            Content::Values(values) => Ok(values.clone()),
            Content::Stored { tensor, plus_one, heads } => {
                let mut values = tensor.f32(&self.shape)?;
                if *plus_one {
                    values.iter_mut().for_each(|value| *value += 1.0);
                }
                let columns = self.shape.get(1).copied().unwrap_or(1);
                Ok(match heads {
                    Some(width) => interleaved(&Mat::new(self.shape[0], columns, values), *width),
                    None => values,
                })
            }
        }
    }
}

/// The projections of a model's layers by the names of their tensors.
fn projections(config: &DecoderConfig) -> impl Fn(&str) -> Option<(usize, Projection)> {
    let named = (0..config.layers.len()).flat_map(|layer| {
        let all = Projection::all(config).iter();
        all.map(move |&part| (format!("{}.weight", names::gguf(part.role(), layer)), (layer, part)))
    });
    let named: std::collections::HashMap<_, _> = named.collect();
    move |name| named.get(name).copied()
}

/// The name of the table that logits are products with.
fn output(config: &DecoderConfig) -> String {
    let role = if config.tied { Role::Embedding } else { Role::Output };
    format!("{}.weight", names::gguf(role, 0))
}

fn of_file<'a>(file: &'a Gguf, config: &DecoderConfig) -> Vec<Matrix<'a>> {
    let (projection, output) = (projections(config), output(config));
    let matrix = |tensor: GgufTensor<'a>| Matrix {
        name: tensor.name().to_owned(),
        shape: tensor.shape().to_vec(),
        format: tensor.format(),
        projection: projection(tensor.name()),
        is_output: tensor.name() == output,
        content: Content::Blocks(tensor),
    };
    file.tensors().map(matrix).collect()
}

fn of_folder<'a>(weights: &'a Weights, config: &DecoderConfig) -> Result<Vec<Matrix<'a>>> {
    let (folder, output) = (Folder::new(weights, config, Format::F32), output(config));
    let mut all = Vec::new();
    let mut add = |role: Role, layer: usize, kind: &str, shape: Vec<usize>, part| -> Result<()> {
        let tensor = weights.tensor(&format!("{}.{kind}", folder.name(layer, role)))?;
        tensor.expect_shape(&shape)?;
        let reordered =
            config.family.interleaved_in_gguf && matches!(role, Role::Query | Role::Key);
        let name = format!("{}.{kind}", names::gguf(role, layer));
        all.push(Matrix {
            is_output: name == output,
            name,
            format: match shape.len() {
                // llama.cpp computes norms and biases in this format.
                1 => BlockFormat::F32,
                _ => tensor.format(),
            },
            projection: part,
            content: Content::Stored {
                tensor,
                plus_one: config.family.norm_plus_one && shape.len() == 1 && kind == "weight",
                heads: reordered.then_some(config.heads.width),
            },
            shape,
        });
        Ok(())
    };
    let hidden = config.hidden;
    add(Role::Embedding, 0, "weight", vec![config.vocabulary, hidden], None)?;
    add(Role::OutputNorm, 0, "weight", vec![hidden], None)?;
    if !config.tied {
        add(Role::Output, 0, "weight", vec![config.vocabulary, hidden], None)?;
    }
    for layer in 0..config.layers.len() {
        for &part in Projection::all(config) {
            let (rows, columns) = config.projection_shape(part);
            let role = part.role();
            add(role, layer, "weight", vec![rows, columns], Some((layer, part)))?;
            if part.slot().biased(config) {
                add(role, layer, "bias", vec![rows], None)?;
            }
        }
        for role in norm_roles(config) {
            let width = match role {
                Role::QueryNorm | Role::KeyNorm => config.heads.width,
                _ => hidden,
            };
            add(role, layer, "weight", vec![width], None)?;
        }
    }
    let mut divisors = |name: &str, values: Vec<f32>| {
        let shape = vec![values.len()];
        let (name, format) = (name.to_owned(), BlockFormat::F32);
        let content = Content::Values(values);
        all.push(Matrix { name, shape, format, projection: None, is_output: false, content });
    };
    let plain = |list: &[f64]| list.iter().map(|&value| value as f32).collect::<Vec<f32>>();
    match &config.ropes[0].scaling {
        RopeScaling::LongRope { short, long, .. } => {
            divisors("rope_factors_short.weight", plain(short));
            divisors("rope_factors_long.weight", plain(long));
        }
        RopeScaling::Divisors(own) => divisors("rope_freqs.weight", plain(own)),
        RopeScaling::Llama3 { .. } => {
            let rope = &config.ropes[0];
            let scaled = rope.rotary(config.context).frequencies;
            let unscaled = super::RopeConfig { scaling: RopeScaling::None, ..rope.clone() };
            let frequencies = unscaled.rotary(config.context).frequencies;
            let divided = frequencies.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled);
            divisors("rope_freqs.weight", divided.collect());
        }
        RopeScaling::None | RopeScaling::Linear(_) | RopeScaling::Yarn { .. } => {}
    }
    Ok(all)
}
