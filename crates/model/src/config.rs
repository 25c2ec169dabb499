//! `config.json`: an encoder's shape.

use crate::codes;
use crate::family::{Family, FirstPosition, Part};
use crate::fields::Fields;
use crate::files::json_file;
use serde_json::{Map, Value};
use sprat_nn::Activation;
use sprat_task::{Error, Result};
use std::path::Path;

/// An encoder's shape and constants.
#[derive(Clone, Debug)]
pub struct EncoderConfig {
    /// The family's row in the table of differences.
    pub family: &'static Family,
    /// Rows of the word table.
    pub vocabulary: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of attention heads; divides `hidden`.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub intermediate: usize,
    /// Activation of the feed-forward part.
    pub activation: Activation,
    /// Added to the variance in layer normalization.
    pub norm_epsilon: f32,
    /// Rows of the position table.
    pub positions: usize,
    /// Rows of the token-type table; 0 where the family has none.
    pub token_types: usize,
    /// The padding token.
    pub pad: u32,
    /// Dropout probability of hidden states in training, as the model's makers had it.
    pub dropout: f32,
}

impl EncoderConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// `SPRAT-MODEL-FAMILY` for an architecture that is not supported, `SPRAT-MODEL-CONFIG` for
    /// a missing or impossible setting, and those of reading the file.
    pub fn read(path: &Path) -> Result<Self> {
        let map: Map<String, Value> = json_file(path)?;
        let fields = Fields::new(&map, path);
        let model_type = fields.text("model_type")?;
        let Some(family) = Family::of(model_type) else {
            return Err(Error::new(
                &codes::FAMILY,
                format!("models of type `{model_type}` are not supported"),
            )
            .file(path)
            .field("model_type")
            .help(format!("Supported types: {}.", Family::supported())));
        };
        let names = &family.settings;
        let token_types = match family.embeddings.token_type {
            Some(_) => fields.size("type_vocab_size", Some(2))?,
            None => 0,
        };
        let config = EncoderConfig {
            family,
            vocabulary: fields.size("vocab_size", None)?,
            hidden: fields.size(names.hidden, None)?,
            layers: fields.size(names.layers, None)?,
            heads: fields.size(names.heads, None)?,
            intermediate: fields.size(names.intermediate, None)?,
            activation: fields.activation(names.activation)?,
            norm_epsilon: fields.number("layer_norm_eps", 1e-12)?,
            positions: fields.size("max_position_embeddings", None)?,
            token_types,
            pad: fields.pad()?,
            dropout: fields.number(names.dropout, 0.1)?,
        };
        config.check(&fields)?;
        Ok(config)
    }

    /// Checks what the single settings cannot show.
    fn check(&self, fields: &Fields<'_>) -> Result<()> {
        let names = &self.family.settings;
        if !self.hidden.is_multiple_of(self.heads) {
            let what = format!("width {} is not a multiple of {} heads", self.hidden, self.heads);
            return Err(fields.wrong(names.heads, what));
        }
        if self.max_tokens() == 0 {
            return Err(fields.wrong("max_position_embeddings", "no position is left for a token"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(fields.wrong(names.dropout, "dropout must be in [0, 1)"));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return Err(fields.wrong("layer_norm_eps", "must be between 0 and 1"));
        }
        for (field, value, expected) in [
            ("position_embedding_type", "absolute", "learned absolute positions"),
            ("is_decoder", "false", "an encoder"),
        ] {
            let found = match fields.map.get(field) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            if found != value {
                let what = format!("`{field}` is `{found}`, but only {expected} is supported");
                return Err(Error::new(&codes::FAMILY, what).file(fields.path).field(field));
            }
        }
        Ok(())
    }

    /// The longest sequence that the position table has room for, in tokens.
    pub fn max_tokens(&self) -> usize {
        self.positions.saturating_sub(self.first_position())
    }

    /// The position of the first token.
    pub fn first_position(&self) -> usize {
        match self.family.first_position {
            FirstPosition::Zero => 0,
            FirstPosition::AfterPadding => self.pad as usize + 1,
        }
    }

    /// Outputs and inputs of one of a layer's linear layers.
    pub fn linear_shape(&self, part: Part) -> (usize, usize) {
        match part {
            Part::Intermediate => (self.intermediate, self.hidden),
            Part::Output => (self.hidden, self.intermediate),
            _ => (self.hidden, self.hidden),
        }
    }

    /// How many weights the encoder has (its pooler, which embeddings do not use, apart).
    pub fn parameters(&self) -> usize {
        let (hidden, wide) = (self.hidden, self.intermediate);
        let tables = (self.vocabulary + self.positions + self.token_types) * hidden;
        let layer = 4 * (hidden * hidden + hidden) + 2 * hidden * wide + wide + hidden + 4 * hidden;
        tables + 2 * hidden + self.layers * layer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<EncoderConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, value.to_string()).unwrap();
        EncoderConfig::read(&path)
    }

    fn minilm() -> Value {
        json!({"model_type": "bert", "vocab_size": 30522, "hidden_size": 384,
            "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
            "hidden_act": "gelu", "max_position_embeddings": 512, "type_vocab_size": 2,
            "layer_norm_eps": 1e-12, "pad_token_id": 0})
    }

    fn with(mut value: Value, field: &str, new: Value) -> Value {
        value[field] = new;
        value
    }

    #[test]
    fn minilm_has_its_published_size() {
        let config = read(&minilm()).unwrap();
        // 22,713,216 with the pooler (384 x 384 + 384) that embeddings do not use.
        assert_eq!(config.parameters(), 22_713_216 - 384 * 384 - 384);
        assert_eq!((config.max_tokens(), config.first_position()), (512, 0));
    }

    #[test]
    fn roberta_counts_positions_after_the_padding_token() {
        let roberta = with(minilm(), "model_type", json!("xlm-roberta"));
        let roberta = with(with(roberta, "pad_token_id", json!(1)), "type_vocab_size", json!(1));
        let config = read(&with(roberta, "max_position_embeddings", json!(514))).unwrap();
        assert_eq!((config.max_tokens(), config.first_position()), (512, 2));
    }

    #[test]
    fn an_unknown_family_is_told_which_are_known() {
        let error = read(&with(minilm(), "model_type", json!("mamba"))).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-MODEL-FAMILY");
        assert!(error.remedy().contains("xlm-roberta"));
    }

    #[test]
    fn impossible_settings_are_named() {
        for (field, value, code) in [
            ("num_attention_heads", json!(7), "SPRAT-MODEL-CONFIG"),
            ("hidden_size", json!(0), "SPRAT-MODEL-CONFIG"),
            ("hidden_size", json!(-1), "SPRAT-MODEL-CONFIG"),
            ("hidden_size", json!(1u64 << 60), "SPRAT-MODEL-CONFIG"),
            ("num_hidden_layers", json!("six"), "SPRAT-MODEL-CONFIG"),
            ("vocab_size", json!(null), "SPRAT-MODEL-CONFIG"),
            ("hidden_act", json!("tanhish"), "SPRAT-MODEL-CONFIG"),
            ("layer_norm_eps", json!(-1), "SPRAT-MODEL-CONFIG"),
            ("hidden_dropout_prob", json!(1.5), "SPRAT-MODEL-CONFIG"),
            ("position_embedding_type", json!("relative_key"), "SPRAT-MODEL-FAMILY"),
            ("is_decoder", json!(true), "SPRAT-MODEL-FAMILY"),
        ] {
            let error = read(&with(minilm(), field, value)).unwrap_err();
            assert_eq!(error.code().id, code, "{error}");
            assert!(error.to_string().contains(field), "{error}");
        }
    }
}
