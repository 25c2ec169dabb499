//! Decoders in GGUF files: their shape from the metadata, their tensors in the formats they are
//! stored in. Keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>; what they leave
//! open is as in llama.cpp.

use super::config::{DecoderConfig, LayerKind, MOST_LAYERS, ProjectionBiases};
use super::family::{DecoderFamily, Windows};
use super::names::{self, Role};
use super::rope::{RopeConfig, RopeScaling};
use super::source::Source;
use crate::files::gguf::Metadata;
use crate::files::{Gguf, GgufTensor};
use crate::{codes, fields};
use sprat_nn::{Activation, Embedding, Format, Heads, Linear, Mat};
use sprat_task::{Error, Result};
use std::borrow::Cow;

/// A GGUF file as the source of a decoder's tensors.
pub(crate) struct GgufSource<'a> {
    file: &'a Gguf,
    config: &'a DecoderConfig,
}

/// No dimension of a model is larger.
const LARGEST: usize = fields::LARGEST as usize;
/// SmolLM3 leaves out the positions of each fourth layer; its files do not say so.
const SMOLLM3_WITHOUT_POSITIONS: usize = 4;
/// The rotary base of Gemma 3's layers with a window; its files do not say so.
const GEMMA3_LOCAL_THETA: f64 = 1e4;

/// The shape of the decoder in a file.
///
/// # Errors
/// `SPRAT-MODEL-FAMILY` for an architecture that is not supported; otherwise those of
/// [`Metadata`] and `SPRAT-MODEL-CONFIG` for impossible settings.
pub(crate) fn config(file: &Gguf) -> Result<DecoderConfig> {
    let metadata = file.metadata();
    let architecture = metadata.text("general.architecture")?;
    let Some(family) = DecoderFamily::of_architecture(architecture) else {
        let what = format!("models of architecture `{architecture}` are not supported");
        return Err(Error::new(&codes::FAMILY, what)
            .file(file.path())
            .field("general.architecture")
            .help(format!("Supported decoders: {}.", DecoderFamily::supported())));
    };
    let keys = Keys { metadata, architecture, file };
    let count = keys.size("block_count", MOST_LAYERS)?;
    let hidden = keys.size("embedding_length", LARGEST)?;
    let query = keys.size("attention.head_count", LARGEST)?;
    let key_value = keys.optional("attention.head_count_kv")?.unwrap_or(query);
    let width = keys.optional("attention.key_length")?.unwrap_or(hidden / query);
    if width == 0 || key_value == 0 || query % key_value != 0 {
        let what = format!("{query} query and {key_value} key heads of width {width} do not fit");
        return Err(keys.wrong("attention.head_count", what));
    }
    let table = file.tensor("token_embd.weight")?;
    let vocabulary = match table.shape() {
        [rows, columns] if *columns == hidden => *rows,
        other => {
            let what = format!("tensor `token_embd.weight` is {other:?}, expected [_, {hidden}]");
            return Err(Error::new(&codes::SHAPE, what).file(file.path()));
        }
    };
    let has = |name: &str| file.has(name);
    let cap = |key: &str| -> Result<Option<f32>> { Ok(keys.float(key)?.map(|cap| cap as f32)) };
    let token = |key: &str| -> Result<Option<u32>> {
        let id = metadata.optional(key, Metadata::number)?;
        Ok(id.and_then(|id| u32::try_from(id).ok()))
    };
    let (ropes, layers) = layers(&keys, family, count, width)?;
    let norm_epsilon = keys.float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-6) as f32;
    // The largest Gemmas scale by their width, the others by that of a head.
    let wide = matches!((architecture, count), ("gemma2", 46) | ("gemma3", 62));
    let scalar = if wide { hidden / query } else { width };
    Ok(DecoderConfig {
        family,
        vocabulary,
        hidden,
        intermediate: keys.size("feed_forward_length", LARGEST)?,
        heads: Heads { query, key_value, width },
        context: keys.size("context_length", usize::MAX)?,
        norm_epsilon,
        activation: if family.norm_plus_one { Activation::GeluTanh } else { Activation::Silu },
        tied: !has("output.weight"),
        biases: ProjectionBiases {
            qkv: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
            output: has("blk.0.attn_output.bias"),
            feed_forward: has("blk.0.ffn_down.bias"),
        },
        attention_scale: 1.0 / (scalar as f32).sqrt(),
        attention_cap: cap("attn_logit_softcapping")?,
        logit_cap: cap("final_logit_softcapping")?,
        embedding_scale: if family.scaled_embeddings { (hidden as f32).sqrt() } else { 1.0 },
        ropes,
        layers,
        bos: token("tokenizer.ggml.bos_token_id")?,
        eos: token("tokenizer.ggml.eos_token_id")?.into_iter().collect(),
    })
}

/// The keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
    file: &'a Gguf,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn wrong(&self, name: &str, what: impl Into<String>) -> Error {
        Error::new(&codes::CONFIG, what).file(self.file.path()).field(self.key(name))
    }

    /// A size from 1 to `most`.
    fn size(&self, name: &str, most: usize) -> Result<usize> {
        let size = self.metadata.size(&self.key(name))?;
        if (1..=most).contains(&size) {
            return Ok(size);
        }
        Err(self.wrong(name, format!("`{size}` is no number from 1 to {most}")))
    }

    fn optional(&self, name: &str) -> Result<Option<usize>> {
        match self.metadata.has(&self.key(name)) {
            true => self.size(name, LARGEST).map(Some),
            false => Ok(None),
        }
    }

    /// A positive number, where there is one.
    fn float(&self, name: &str) -> Result<Option<f64>> {
        let found = self.metadata.optional(&self.key(name), Metadata::float)?;
        match found {
            Some(number) if !(number > 0.0 && number.is_finite()) => {
                Err(self.wrong(name, "must be a positive number"))
            }
            found => Ok(found),
        }
    }
}

fn layers(
    keys: &Keys<'_>,
    family: &DecoderFamily,
    count: usize,
    width: usize,
) -> Result<(Vec<RopeConfig>, Vec<LayerKind>)> {
    let columns = keys.optional("rope.dimension_count")?.unwrap_or(width);
    if columns > width || !columns.is_multiple_of(2) {
        let what = format!("{columns} of {width} columns cannot be rotated");
        return Err(keys.wrong("rope.dimension_count", what));
    }
    let theta = keys.float("rope.freq_base")?.unwrap_or(1e4);
    let mut ropes = vec![RopeConfig { theta, columns, scaling: scaling(keys, columns / 2)? }];
    let window = keys.optional("attention.sliding_window")?;
    let pattern = match family.windows {
        Windows::AllBut(pattern) => Some(pattern),
        Windows::All | Windows::Switched => None,
    };
    let local = family.head_norms && pattern.is_some();
    if local {
        let theta = keys.float("rope.freq_base_swa")?.unwrap_or(GEMMA3_LOCAL_THETA);
        ropes.push(RopeConfig { theta, columns, scaling: RopeScaling::None });
    }
    let kinds = (0..count).map(|layer| {
        let slides = pattern.is_none_or(|pattern| (layer + 1) % pattern != 0);
        let rotated = family.architecture != "smollm3"
            || !(layer + 1).is_multiple_of(SMOLLM3_WITHOUT_POSITIONS);
        LayerKind {
            rope: rotated.then_some(usize::from(local && slides)),
            window: window.filter(|_| slides),
        }
    });
    let kinds = kinds.collect();
    Ok((ropes, kinds))
}

fn scaling(keys: &Keys<'_>, pairs: usize) -> Result<RopeScaling> {
    let divisors = |name: &str| -> Result<Option<Vec<f64>>> {
        if !keys.file.has(name) {
            return Ok(None);
        }
        let values = keys.file.tensor(name)?.f32(&[pairs])?;
        if values.iter().any(|divisor| *divisor <= 0.0) {
            let what = format!("tensor `{name}` holds divisors that are not positive");
            return Err(Error::new(&codes::VALUES, what).file(keys.file.path()));
        }
        Ok(Some(values.into_iter().map(f64::from).collect()))
    };
    let original = || -> Result<f64> {
        let found = keys.optional("rope.scaling.original_context_length")?;
        Ok(found.map_or(keys.size("context_length", usize::MAX)?, |found| found) as f64)
    };
    if let Some(divisors) = divisors("rope_freqs.weight")? {
        return Ok(RopeScaling::Divisors(divisors));
    }
    let short = divisors("rope_factors_short.weight")?;
    if let (Some(short), Some(long)) = (short, divisors("rope_factors_long.weight")?) {
        let magnitude = keys.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
        return Ok(RopeScaling::LongRope { short, long, original: original()?, magnitude });
    }
    let kind = keys.key("rope.scaling.type");
    let kind = keys.metadata.optional(&kind, Metadata::text)?.unwrap_or("none");
    let factor = || -> Result<f64> {
        keys.float("rope.scaling.factor")?
            .ok_or_else(|| keys.wrong("rope.scaling.factor", "is missing"))
    };
    match kind {
        "none" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear(factor()?)),
        "yarn" => {
            let factor = factor()?;
            Ok(RopeScaling::Yarn {
                factor,
                fast: keys.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                slow: keys.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                original: original()?,
                magnitude: 0.1 * factor.ln() + 1.0,
                truncate: true,
            })
        }
        other => Err(keys
            .wrong("rope.scaling.type", format!("rotary scaling `{other}` is not supported"))
            .help("Supported: none, linear, yarn, and factors in tensors.")),
    }
}

impl<'a> GgufSource<'a> {
    pub(crate) fn new(file: &'a Gguf, config: &'a DecoderConfig) -> Self {
        GgufSource { file, config }
    }

    fn weight(&self, layer: usize, role: Role) -> Result<GgufTensor<'a>> {
        self.file.tensor(&format!("{}.weight", names::gguf(role, layer)))
    }

    /// Whether the rows of this part are reordered for interleaved pairs.
    fn interleaved(&self, role: Role) -> bool {
        self.config.family.interleaved_in_gguf && matches!(role, Role::Query | Role::Key)
    }

    /// Puts rows of `size` items into the order of halves: first all first members of the pairs.
    fn halves<T: Copy>(&self, rows: &[T], size: usize) -> Vec<T> {
        let width = self.config.heads.width;
        let mut ordered = Vec::with_capacity(rows.len());
        for head in rows.chunks_exact(width * size) {
            for member in 0..2 {
                for pair in 0..width / 2 {
                    let row = 2 * pair + member;
                    ordered.extend_from_slice(&head[row * size..(row + 1) * size]);
                }
            }
        }
        ordered
    }
}

impl Source for GgufSource<'_> {
    fn linear(
        &self,
        layer: usize,
        parts: &[(Role, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Vec<Linear>> {
        let mut joined: Vec<(sprat_nn::BlockFormat, Cow<'_, [u8]>, Vec<f32>)> = Vec::new();
        for &(role, outputs) in parts {
            let tensor = self.weight(layer, role)?;
            tensor.expect_shape(&[outputs, inputs])?;
            let bytes = match self.interleaved(role) {
                true => Cow::Owned(self.halves(tensor.bytes(), tensor.bytes().len() / outputs)),
                false => Cow::Borrowed(tensor.bytes()),
            };
            let biases = if bias { self.vector(layer, role, outputs)? } else { Vec::new() };
            match joined.last_mut() {
                // Parts of one format are one product.
                Some((format, all, all_biases)) if *format == tensor.format() => {
                    all.to_mut().extend_from_slice(&bytes);
                    all_biases.extend(biases);
                }
                _ => joined.push((tensor.format(), bytes, biases)),
            }
        }
        let linears = joined.into_iter().map(|(format, bytes, biases)| {
            Linear::from_blocks(format, inputs, &bytes, bias.then_some(biases))
        });
        Ok(linears.collect())
    }

    fn embedding(&self, vocabulary: usize, hidden: usize) -> Result<Embedding> {
        let tensor = self.weight(0, Role::Embedding)?;
        let table = Mat::new(vocabulary, hidden, tensor.f32(&[vocabulary, hidden])?);
        // Formats of blocks hold fewer bits than bfloat16 does.
        let exact = tensor.format() == sprat_nn::BlockFormat::F32;
        Ok(Embedding::new(table, if exact { Format::F32 } else { Format::Bf16 }))
    }

    fn vector(&self, layer: usize, role: Role, length: usize) -> Result<Vec<f32>> {
        let name = format!("{}.bias", names::gguf(role, layer));
        let values = self.file.tensor(&name)?.f32(&[length])?;
        Ok(if self.interleaved(role) { self.halves(&values, 1) } else { values })
    }

    fn norm(&self, layer: usize, role: Role, length: usize) -> Result<Vec<f32>> {
        self.weight(layer, role)?.f32(&[length])
    }
}
