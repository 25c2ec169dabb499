//! The fields of a model's `config.json`, read with errors that name them.

use crate::codes;
use serde_json::{Map, Value};
use sprat_nn::Activation;
use sprat_task::{Error, Result};
use std::path::Path;

/// The fields of one configuration file.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) map: &'a Map<String, Value>,
    pub(crate) path: &'a Path,
    /// The object that the fields are inside of, if it is not the whole file.
    inside: Option<&'static str>,
}

/// No dimension of a model is larger; a guard against overflow in the products of dimensions.
pub(crate) const LARGEST: u64 = 1 << 24;

impl<'a> Fields<'a> {
    /// All fields of a file.
    pub(crate) fn new(map: &'a Map<String, Value>, path: &'a Path) -> Self {
        Fields { map, path, inside: None }
    }

    /// The fields of an object inside this one, called `name` in messages.
    pub(crate) fn inner(&self, map: &'a Map<String, Value>, name: &'static str) -> Fields<'a> {
        Fields { map, path: self.path, inside: Some(name) }
    }

    /// An object inside this one, unless it is missing or null.
    pub(crate) fn object(&self, field: &str) -> Result<Option<&'a Map<String, Value>>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(self.wrong(field, "must be an object")),
        }
    }

    /// A size, unless it is missing or null.
    pub(crate) fn optional_size(&self, field: &str) -> Result<Option<usize>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.size(field, None).map(Some),
        }
    }

    /// A positive, finite number. A default that is not a number makes the field a must.
    pub(crate) fn positive(&self, field: &str, default: f64) -> Result<f64> {
        let number = match self.map.get(field) {
            None | Some(Value::Null) if default.is_nan() => {
                return Err(self.wrong(field, format!("`{field}` is missing")));
            }
            None | Some(Value::Null) => default,
            Some(value) => value.as_f64().unwrap_or(f64::NAN),
        };
        if number > 0.0 && number.is_finite() {
            return Ok(number);
        }
        Err(self.wrong(field, "must be a positive number"))
    }

    /// A positive number, unless it is missing or null.
    pub(crate) fn optional_positive(&self, field: &str) -> Result<Option<f64>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.positive(field, f64::NAN).map(Some),
        }
    }

    /// A list of positive numbers.
    pub(crate) fn positives(&self, field: &str) -> Result<Vec<f64>> {
        let wrong = || self.wrong(field, "must be a list of positive numbers");
        let list = self.map.get(field).and_then(Value::as_array).ok_or_else(wrong)?;
        let number = |value: &Value| value.as_f64().filter(|n| *n > 0.0 && n.is_finite());
        list.iter().map(|value| number(value).ok_or_else(wrong)).collect()
    }

    /// Yes or no.
    pub(crate) fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(field, "must be true or false")),
        }
    }

    /// The tokens of a field that holds one or several, as `eos_token_id` does; none when missing.
    pub(crate) fn tokens(&self, field: &str) -> Result<Vec<u32>> {
        let token = |value: &Value| {
            let token = value.as_u64().filter(|token| *token <= LARGEST);
            token
                .map(|token| token as u32)
                .ok_or_else(|| self.wrong(field, format!("`{value}` is no token")))
        };
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(token).collect(),
            Some(value) => Ok(vec![token(value)?]),
        }
    }

    pub(crate) fn wrong(&self, field: &str, what: impl Into<String>) -> Error {
        let field = match self.inside {
            Some(outer) => format!("{outer}.{field}"),
            None => field.to_owned(),
        };
        Error::new(&codes::CONFIG, what).file(self.path).field(field)
    }

    pub(crate) fn text(&self, field: &str) -> Result<&str> {
        match self.map.get(field) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(field, "must be a text")),
            None => Err(self.wrong(field, format!("`{field}` is missing"))),
        }
    }

    pub(crate) fn size(&self, field: &str, default: Option<usize>) -> Result<usize> {
        match (self.map.get(field), default) {
            (None | Some(Value::Null), Some(default)) => Ok(default),
            (None | Some(Value::Null), None) => {
                Err(self.wrong(field, format!("`{field}` is missing")))
            }
            (Some(value), _) => match value.as_u64() {
                Some(size) if (1..=LARGEST).contains(&size) => Ok(size as usize),
                _ => Err(self.wrong(field, format!("`{value}` is no number from 1 to {LARGEST}"))),
            },
        }
    }

    pub(crate) fn number(&self, field: &str, default: f32) -> Result<f32> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(number as f32),
                None => Err(self.wrong(field, format!("`{value}` is no number"))),
            },
        }
    }

    pub(crate) fn pad(&self) -> Result<u32> {
        match self.map.get("pad_token_id") {
            None | Some(Value::Null) => Ok(0),
            Some(value) => match value.as_u64() {
                Some(pad) if pad <= LARGEST => Ok(pad as u32),
                _ => Err(self.wrong("pad_token_id", format!("`{value}` is no token"))),
            },
        }
    }

    /// The names are those of Hugging Face's `ACT2FN`.
    pub(crate) fn activation(&self, field: &str) -> Result<Activation> {
        match self.text(field)? {
            "gelu" | "gelu_python" => Ok(Activation::GeluErf),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => Err(self
                .wrong(field, format!("activation `{other}` is not supported"))
                .help("Supported: gelu, gelu_new, gelu_pytorch_tanh, relu, silu.")),
        }
    }
}
