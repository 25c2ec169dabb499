//! The metadata of a GGUF file, by key and with the type that is asked for.

use super::{Array, Value};
use crate::codes;
use sprat_task::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The metadata of a file, in its order. Keys are unique.
///
/// Converters differ in the width of integers and floats, so getters take any width and check the
/// value's range; they do not take one kind for another.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
    /// For messages: the file, if it came from one.
    origin: Option<PathBuf>,
}

impl Metadata {
    /// Adds an entry; gives whether its key is new.
    pub(super) fn insert(&mut self, key: &str, value: Value) -> bool {
        let new = !self.index.contains_key(key);
        if new {
            self.index.insert(key.to_owned(), self.entries.len());
            self.entries.push((key.to_owned(), value));
        }
        new
    }

    /// Says which file the metadata is from.
    pub(super) fn set_origin(&mut self, path: &Path) {
        self.origin = Some(path.to_path_buf());
    }

    /// The keys, in the file's order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    /// Keys and values, in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A value of any type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(*self.index.get(key)?).map(|(_, value)| value)
    }

    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// What `get` gives for a key, or nothing where the key is not there:
    /// `metadata.optional("llama.rope.freq_base", Metadata::float)`.
    ///
    /// # Errors
    /// Those of `get`.
    pub fn optional<'a, T>(
        &'a self,
        key: &str,
        get: impl FnOnce(&'a Self, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.has(key) { get(self, key).map(Some) } else { Ok(None) }
    }

    /// A text.
    ///
    /// # Errors
    /// `SPRAT-MODEL-GGUF-KEY`, naming the key, when it is missing or of another type.
    pub fn text(&self, key: &str) -> Result<&str> {
        match self.needed(key)? {
            Value::Text(text) => Ok(text),
            other => Err(self.wrong(key, "a text", other)),
        }
    }

    /// An integer.
    ///
    /// # Errors
    /// As [`Self::text`]; also when it is more than an `i64` holds.
    pub fn number(&self, key: &str) -> Result<i64> {
        let value = self.needed(key)?;
        let number = match *value {
            Value::U8(number) => number.into(),
            Value::I8(number) => number.into(),
            Value::U16(number) => number.into(),
            Value::I16(number) => number.into(),
            Value::U32(number) => number.into(),
            Value::I32(number) => number.into(),
            Value::I64(number) => number,
            Value::U64(number) => {
                i64::try_from(number).map_err(|_| self.out_of_range(key, number))?
            }
            _ => return Err(self.wrong(key, "an integer", value)),
        };
        Ok(number)
    }

    /// A size: an integer that is not negative.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn size(&self, key: &str) -> Result<usize> {
        let number = self.number(key)?;
        usize::try_from(number).map_err(|_| self.out_of_range(key, number))
    }

    /// A float.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn float(&self, key: &str) -> Result<f64> {
        match self.needed(key)? {
            Value::F32(number) => Ok(f64::from(*number)),
            Value::F64(number) => Ok(*number),
            other => Err(self.wrong(key, "a float", other)),
        }
    }

    /// A flag.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.needed(key)? {
            Value::Bool(flag) => Ok(*flag),
            other => Err(self.wrong(key, "a flag", other)),
        }
    }

    /// An array of texts.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn texts(&self, key: &str) -> Result<&[String]> {
        match self.needed(key)? {
            Value::Array(Array::Text(texts)) => Ok(texts),
            other => Err(self.wrong(key, "an array of texts", other)),
        }
    }

    /// An array of floats; 64-bit ones are rounded.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn floats(&self, key: &str) -> Result<Vec<f32>> {
        match self.needed(key)? {
            Value::Array(Array::F32(numbers)) => Ok(numbers.clone()),
            Value::Array(Array::F64(numbers)) => Ok(numbers.iter().map(|n| *n as f32).collect()),
            other => Err(self.wrong(key, "an array of floats", other)),
        }
    }

    /// An array of integers.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn numbers(&self, key: &str) -> Result<Vec<i64>> {
        fn widen<T: Copy + Into<i64>>(numbers: &[T]) -> Vec<i64> {
            numbers.iter().map(|number| (*number).into()).collect()
        }
        let value = self.needed(key)?;
        let Value::Array(array) = value else {
            return Err(self.wrong(key, "an array of integers", value));
        };
        match array {
            Array::U8(numbers) => Ok(widen(numbers)),
            Array::I8(numbers) => Ok(widen(numbers)),
            Array::U16(numbers) => Ok(widen(numbers)),
            Array::I16(numbers) => Ok(widen(numbers)),
            Array::U32(numbers) => Ok(widen(numbers)),
            Array::I32(numbers) => Ok(widen(numbers)),
            Array::I64(numbers) => Ok(numbers.clone()),
            Array::U64(numbers) => numbers
                .iter()
                .map(|n| i64::try_from(*n).map_err(|_| self.out_of_range(key, n)))
                .collect(),
            _ => Err(self.wrong(key, "an array of integers", value)),
        }
    }

    fn needed(&self, key: &str) -> Result<&Value> {
        self.get(key).ok_or_else(|| self.error(key, format!("`{key}` is missing")))
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        self.error(key, format!("`{key}` is {}, expected {expected}", found.kind()))
    }

    fn out_of_range(&self, key: &str, found: impl std::fmt::Display) -> Error {
        self.error(key, format!("`{key}` is out of range: {found}"))
    }

    fn error(&self, key: &str, what: String) -> Error {
        let error = Error::new(&codes::GGUF_KEY, what).field(key);
        match &self.origin {
            Some(path) => error.file(path),
            None => error,
        }
    }
}
