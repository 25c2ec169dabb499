//! A decoder's shape and constants, from `config.json`.

use super::family::{Biases, DecoderFamily, Windows};
use super::rope::{self, RopeConfig};
use crate::codes;
use crate::fields::Fields;
use crate::files::json_file;
use serde_json::{Map, Value};
use sprat_nn::{Activation, Heads, Scoring};
use sprat_task::{Error, Result};
use std::path::Path;

/// A decoder's shape and constants.
#[derive(Clone, Debug)]
pub struct DecoderConfig {
    /// The family's row in the table of differences.
    pub family: &'static DecoderFamily,
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub intermediate: usize,
    /// Heads of queries, keys and values.
    pub heads: Heads,
    /// Longest sequence that the model was made for, in tokens.
    pub context: usize,
    /// Added to the mean square in norms.
    pub norm_epsilon: f32,
    /// Activation of the gate.
    pub activation: Activation,
    /// Whether the output shares the token table.
    pub tied: bool,
    /// Which projections have biases.
    pub biases: ProjectionBiases,
    /// Multiplies products of queries and keys.
    pub attention_scale: f32,
    /// Bound of attention scores (Gemma 2).
    pub attention_cap: Option<f32>,
    /// Bound of logits (Gemma 2).
    pub logit_cap: Option<f32>,
    /// Multiplies embeddings.
    pub embedding_scale: f32,
    /// The rotary descriptions that layers choose from.
    pub ropes: Vec<RopeConfig>,
    /// What distinguishes the layers.
    pub layers: Vec<LayerKind>,
    /// Begins a sequence.
    pub bos: Option<u32>,
    /// End a sequence.
    pub eos: Vec<u32>,
}

/// Which projections have biases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectionBiases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// Attention's output.
    pub output: bool,
    /// The feed-forward part.
    pub feed_forward: bool,
}

/// What distinguishes a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// Which of the rotary descriptions it uses; none: no positions.
    pub rope: Option<usize>,
    /// How many tokens it sees, itself included; none: all.
    pub window: Option<usize>,
}

/// No model has more layers.
pub(crate) const MOST_LAYERS: usize = 1024;

impl DecoderConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// `SPRAT-MODEL-FAMILY` for an architecture that is not supported, `SPRAT-MODEL-CONFIG` for a
    /// missing or impossible setting, and those of reading the file.
    pub fn read(path: &Path) -> Result<Self> {
        let map: Map<String, Value> = json_file(path)?;
        let whole = Fields::new(&map, path);
        let model_type = whole.text("model_type")?;
        let Some(family) = DecoderFamily::of(model_type) else {
            return Err(Error::new(
                &codes::FAMILY,
                format!("models of type `{model_type}` are not supported"),
            )
            .file(path)
            .field("model_type")
            .help(format!("Supported decoders: {}.", DecoderFamily::supported())));
        };
        // Models that also see images keep their language part apart.
        let fields = match whole.object("text_config")? {
            Some(text) => whole.inner(text, "text_config"),
            None => whole,
        };
        let hidden = fields.size("hidden_size", None)?;
        let count = fields.size("num_hidden_layers", None)?;
        if count > MOST_LAYERS {
            let what = format!("{count} layers are more than {MOST_LAYERS}");
            return Err(fields.wrong("num_hidden_layers", what));
        }
        let query = fields.size("num_attention_heads", None)?;
        let key_value = fields.size("num_key_value_heads", Some(query))?;
        let width = match fields.optional_size("head_dim")? {
            Some(width) => width,
            None if hidden.is_multiple_of(query) => hidden / query,
            None => {
                let what = format!("width {hidden} is not a multiple of {query} heads");
                return Err(fields.wrong("num_attention_heads", what));
            }
        };
        if !query.is_multiple_of(key_value) {
            let what = format!("{query} query heads are not shared evenly by {key_value}");
            return Err(fields.wrong("num_key_value_heads", what));
        }
        let context = fields.size("max_position_embeddings", Some(8192))?;
        let (ropes, layers) = layer_kinds(&fields, family, count, (width, context))?;
        let scalar = fields.positive("query_pre_attn_scalar", width as f64)?;
        let cap = |field: &str, default: Option<f64>| -> Result<Option<f32>> {
            let found = match fields.map.get(field) {
                None => default,
                Some(_) => fields.optional_positive(field)?,
            };
            Ok(found.map(|cap| cap as f32))
        };
        let capped = |default: f64| (family.model_types == ["gemma2"]).then_some(default);
        let activation = if fields.map.contains_key("hidden_activation") {
            "hidden_activation"
        } else {
            "hidden_act"
        };
        let norm_epsilon = fields.number("rms_norm_eps", 1e-6)?;
        if !(norm_epsilon > 0.0 && norm_epsilon < 1.0) {
            return Err(fields.wrong("rms_norm_eps", "must be between 0 and 1"));
        }
        Ok(DecoderConfig {
            family,
            vocabulary: fields.size("vocab_size", None)?,
            hidden,
            intermediate: fields.size("intermediate_size", None)?,
            heads: Heads { query, key_value, width },
            context,
            norm_epsilon,
            activation: match fields.map.get(activation) {
                None | Some(Value::Null) if family.norm_plus_one => Activation::GeluTanh,
                None | Some(Value::Null) => Activation::Silu,
                Some(_) => fields.activation(activation)?,
            },
            tied: whole
                .flag("tie_word_embeddings", fields.flag("tie_word_embeddings", family.tied)?)?,
            biases: biases(&fields, family)?,
            attention_scale: 1.0 / (scalar as f32).sqrt(),
            attention_cap: cap("attn_logit_softcapping", capped(50.0))?,
            logit_cap: cap("final_logit_softcapping", capped(30.0))?,
            embedding_scale: if family.scaled_embeddings { (hidden as f32).sqrt() } else { 1.0 },
            ropes,
            layers,
            bos: fields.tokens("bos_token_id")?.first().copied(),
            eos: fields.tokens("eos_token_id")?,
        })
    }

    /// How layer `layer` scores.
    pub fn scoring(&self, layer: usize) -> Scoring {
        Scoring {
            scale: self.attention_scale,
            window: self.layers[layer].window,
            soft_cap: self.attention_cap,
        }
    }

    /// How many weights the decoder has.
    pub fn parameters(&self) -> usize {
        let (hidden, wide) = (self.hidden, self.intermediate);
        let tables = self.vocabulary * hidden * if self.tied { 1 } else { 2 };
        let inner = self.heads.query * self.heads.width;
        let norms = if self.family.sandwich { 4 } else { 2 } * hidden
            + if self.family.head_norms { 2 * self.heads.width } else { 0 };
        let biases = usize::from(self.biases.qkv) * self.heads.columns()
            + usize::from(self.biases.output) * hidden
            + usize::from(self.biases.feed_forward) * (2 * wide + hidden);
        let matrices = hidden * self.heads.columns() + inner * hidden + 3 * hidden * wide;
        tables + hidden + self.layers.len() * (matrices + norms + biases)
    }
}

fn biases(fields: &Fields<'_>, family: &DecoderFamily) -> Result<ProjectionBiases> {
    Ok(match family.biases {
        Biases::None => ProjectionBiases::default(),
        Biases::Qkv => ProjectionBiases { qkv: true, ..ProjectionBiases::default() },
        Biases::Configured => {
            let attention = fields.flag("attention_bias", false)?;
            ProjectionBiases {
                qkv: attention,
                output: attention,
                feed_forward: fields.flag("mlp_bias", false)?,
            }
        }
    })
}

/// The rotary descriptions, and which layer uses which with what window.
fn layer_kinds(
    fields: &Fields<'_>,
    family: &DecoderFamily,
    count: usize,
    (width, context): (usize, usize),
) -> Result<(Vec<RopeConfig>, Vec<LayerKind>)> {
    let sliding = sliding_layers(fields, family, count)?;
    let window = match fields.optional_size("sliding_window")? {
        Some(window) => Some(window),
        None if sliding.contains(&true) && !matches!(family.windows, Windows::All) => {
            return Err(fields.wrong("sliding_window", "`sliding_window` is missing"));
        }
        None => None,
    };
    let shape = (width, context);
    // Newer files have one object for all, older ones two fields.
    let parameters = fields.object("rope_parameters")?;
    let by_kind = |kind: &str| parameters.and_then(|all| all.get(kind)).and_then(Value::as_object);
    let local_base = fields.map.get("rope_local_base_freq").is_some_and(|v| !v.is_null());
    let mut ropes = Vec::new();
    if let (Some(full), Some(local)) = (by_kind("full_attention"), by_kind("sliding_attention")) {
        ropes.push(rope::read(fields, Some(full), 1e6, shape)?);
        ropes.push(rope::read(fields, Some(local), 1e4, shape)?);
    } else {
        let scaling = fields.object("rope_scaling")?;
        let theta = fields.positive("rope_theta", default_theta(family))?;
        ropes.push(rope::read(fields, parameters.or(scaling), theta, shape)?);
        if local_base {
            let theta = fields.positive("rope_local_base_freq", 1e4)?;
            ropes.push(rope::read(fields, None, theta, shape)?);
        }
    }
    let rotated = rotated_layers(fields, count)?;
    let layers = (0..count).map(|layer| {
        let slides = sliding[layer];
        LayerKind {
            rope: rotated[layer].then_some(if slides && ropes.len() > 1 { 1 } else { 0 }),
            window: window.filter(|_| slides),
        }
    });
    let layers = layers.collect();
    Ok((ropes, layers))
}

/// What `rope_theta` is where it does not stand in the file.
fn default_theta(family: &DecoderFamily) -> f64 {
    match family.model_types[0] {
        "gemma3_text" => 1e6,
        "smollm3" => 2e6,
        _ => 1e4,
    }
}

/// Which layers see a window only.
fn sliding_layers(fields: &Fields<'_>, family: &DecoderFamily, count: usize) -> Result<Vec<bool>> {
    if let Some(Value::Array(types)) = fields.map.get("layer_types") {
        let kind =
            |value: &Value| match value.as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                _ => Err(fields
                    .wrong("layer_types", format!("layers of type {value} are not supported"))),
            };
        let kinds = types.iter().map(kind).collect::<Result<Vec<bool>>>()?;
        if kinds.len() != count {
            let what = format!("{} types for {count} layers", kinds.len());
            return Err(fields.wrong("layer_types", what));
        }
        return Ok(kinds);
    }
    Ok(match family.windows {
        Windows::All => vec![true; count],
        Windows::Switched => {
            let on = fields.flag("use_sliding_window", false)?;
            let from = match fields.map.get("max_window_layers").and_then(Value::as_u64) {
                Some(from) => from as usize,
                None => 0,
            };
            (0..count).map(|layer| on && layer >= from).collect()
        }
        Windows::AllBut(default) => {
            let pattern = fields.size("sliding_window_pattern", Some(default))?;
            (0..count).map(|layer| (layer + 1) % pattern != 0).collect()
        }
    })
}

/// Which layers have rotary positions: all, unless SmolLM3's `no_rope_layers` says otherwise (1
/// stands for a layer that has them).
fn rotated_layers(fields: &Fields<'_>, count: usize) -> Result<Vec<bool>> {
    match fields.map.get("no_rope_layers") {
        Some(Value::Array(list)) if list.len() == count => {
            Ok(list.iter().map(|value| value.as_u64() != Some(0)).collect())
        }
        Some(Value::Array(list)) => {
            let what = format!("{} entries for {count} layers", list.len());
            Err(fields.wrong("no_rope_layers", what))
        }
        _ => match fields.optional_size("no_rope_layer_interval")? {
            Some(interval) => Ok((0..count).map(|layer| (layer + 1) % interval != 0).collect()),
            None => Ok(vec![true; count]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<DecoderConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, value.to_string()).unwrap();
        DecoderConfig::read(&path)
    }

    fn smollm() -> Value {
        json!({"model_type": "llama", "vocab_size": 49152, "hidden_size": 576,
            "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
            "num_key_value_heads": 3, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
            "rope_theta": 100000.0, "hidden_act": "silu", "tie_word_embeddings": true,
            "bos_token_id": 1, "eos_token_id": [2, 7]})
    }

    #[test]
    fn smollm2_has_its_published_size() {
        let config = read(&smollm()).unwrap();
        assert_eq!(config.parameters(), 134_515_008);
        assert_eq!((config.heads.width, config.eos.len(), config.bos), (64, 2, Some(1)));
        assert_eq!(config.ropes[0].theta, 100_000.0);
        assert!(config.layers.iter().all(|l| l.rope == Some(0) && l.window.is_none()));
    }

    #[test]
    fn gemma3_alternates_windows_and_bases() {
        let gemma = json!({"model_type": "gemma3", "text_config": {
            "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152,
            "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 256, "sliding_window": 512,
            "rope_theta": 1e6, "rope_local_base_freq": 1e4, "query_pre_attn_scalar": 256}});
        let config = read(&gemma).unwrap();
        assert_eq!(config.layers[4], LayerKind { rope: Some(1), window: Some(512) });
        assert_eq!(config.layers[5], LayerKind { rope: Some(0), window: None });
        assert_eq!((config.ropes[0].theta, config.ropes[1].theta), (1e6, 1e4));
        assert_eq!(config.attention_scale, 1.0 / 16.0);
        assert_eq!(config.activation, Activation::GeluTanh);
        assert!(config.tied);
        assert_eq!(config.parameters(), 999_885_952);
    }

    #[test]
    fn impossible_settings_are_named() {
        for (field, value) in [
            ("num_key_value_heads", json!(2)),
            ("num_hidden_layers", json!(100_000)),
            ("hidden_size", json!(0)),
            ("rope_theta", json!(-1)),
            ("rope_scaling", json!({"rope_type": "dynamic", "factor": 2.0})),
            ("rope_scaling", json!({"rope_type": "linear"})),
            ("layer_types", json!(["linear_attention"])),
            ("eos_token_id", json!("two")),
            ("rms_norm_eps", json!(0)),
        ] {
            let mut config = smollm();
            config[field] = value;
            let error = read(&config).unwrap_err();
            assert_eq!(error.code().id, "SPRAT-MODEL-CONFIG", "{error}");
        }
    }
}
