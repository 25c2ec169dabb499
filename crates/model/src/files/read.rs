//! The weights of one model: one safetensors file, or several with an index.

use super::convert;
use super::tensor_file::TensorFile;
use crate::codes;
use safetensors::Dtype;
use serde::de::DeserializeOwned;
use sprat_nn::BlockFormat;
use sprat_task::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// All weight files of one model, mapped.
#[derive(Debug)]
pub struct Weights {
    files: Vec<TensorFile>,
    /// Which file holds a tensor; unused with a single file.
    index: HashMap<String, usize>,
    /// For messages: the file or folder that was opened.
    origin: PathBuf,
}

/// `model.safetensors.index.json`: which shard holds which tensor.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens `model.safetensors` of a folder, or the shards that
    /// `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// `SPRAT-MODEL-MISSING-FILE` when there are no weights; otherwise those of
    /// [`TensorFile::open`], and `SPRAT-MODEL-CONFIG` for a wrong index.
    pub fn open(folder: &Path) -> Result<Self> {
        let single = folder.join("model.safetensors");
        if single.exists() {
            return Weights::open_file(&single);
        }
        let index_path = folder.join("model.safetensors.index.json");
        if index_path.exists() {
            return Weights::open_shards(folder, &index_path);
        }
        let mut error =
            Error::new(&codes::MISSING_FILE, "no `model.safetensors` in this folder").file(folder);
        if folder.join("pytorch_model.bin").exists() {
            error = error
                .why("its weights are in `pytorch_model.bin`, a pickle, which may run code")
                .help("Use a revision of the model that has `model.safetensors`.");
        }
        Err(error)
    }

    /// Opens one file.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`].
    pub fn open_file(path: &Path) -> Result<Self> {
        let files = vec![TensorFile::open(path)?];
        Ok(Weights { files, index: HashMap::new(), origin: path.to_path_buf() })
    }

    fn open_shards(folder: &Path, index_path: &Path) -> Result<Self> {
        let Index { weight_map } = json_file(index_path)?;
        let mut shards: BTreeMap<&str, usize> = BTreeMap::new();
        let mut files = Vec::new();
        let mut index = HashMap::new();
        for (tensor, shard) in &weight_map {
            // A shard's name is not a path: it may not lead out of the folder.
            if shard.contains(['/', '\\']) || shard == ".." {
                return Err(Error::new(&codes::CONFIG, format!("`{shard}` is no shard's name"))
                    .file(index_path)
                    .field(format!("weight_map.{tensor}")));
            }
            let at = match shards.get(shard.as_str()) {
                Some(&at) => at,
                None => {
                    files.push(TensorFile::open(&folder.join(shard))?);
                    shards.insert(shard, files.len() - 1);
                    files.len() - 1
                }
            };
            index.insert(tensor.clone(), at);
        }
        Ok(Weights { files, index, origin: index_path.to_path_buf() })
    }

    /// What was opened, for messages.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.files.iter().flat_map(TensorFile::names).collect();
        names.sort();
        names
    }

    /// Whether a tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A free-form text entry of the first file's header.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.files.first()?.note(key)
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// `SPRAT-MODEL-MISSING-TENSOR`.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        self.find(name).ok_or_else(|| {
            Error::new(&codes::MISSING_TENSOR, format!("tensor `{name}` is missing"))
                .file(&self.origin)
        })
    }

    fn find(&self, name: &str) -> Option<Tensor<'_>> {
        let file = match self.index.is_empty() {
            true => self.files.first()?,
            false => self.files.get(*self.index.get(name)?)?,
        };
        let (info, bytes) = file.find(name)?;
        Some(Tensor {
            name: name.to_owned(),
            shape: info.shape.clone(),
            dtype: info.dtype,
            bytes,
            path: file.path(),
        })
    }
}

/// One tensor of a mapped file.
#[derive(Debug)]
pub struct Tensor<'a> {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: &'a [u8],
    path: &'a Path,
}

impl Tensor<'_> {
    /// The tensor's dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the tensor holds signed bytes (a quantized weight).
    pub fn is_i8(&self) -> bool {
        self.dtype == Dtype::I8
    }

    /// The format that a GGUF file has for numbers of this kind.
    pub(crate) fn format(&self) -> BlockFormat {
        match self.dtype {
            Dtype::F16 => BlockFormat::F16,
            Dtype::BF16 => BlockFormat::Bf16,
            _ => BlockFormat::F32,
        }
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The values as `f32`, after checking that the shape is `shape`.
    ///
    /// # Errors
    /// `SPRAT-MODEL-SHAPE`; `SPRAT-MODEL-DTYPE` unless F32, F16 or BF16;
    /// `SPRAT-MODEL-VALUES` when a value is infinite or not a number.
    pub fn f32(&self, shape: &[usize]) -> Result<Vec<f32>> {
        self.expect_shape(shape)?;
        let values = match self.dtype {
            Dtype::F32 => convert::from_f32(self.bytes),
            Dtype::F16 => convert::from_f16(self.bytes),
            Dtype::BF16 => convert::from_bf16(self.bytes),
            other => return Err(self.wrong_dtype("F32, F16 or BF16", other)),
        };
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let what = format!("value {at} of tensor `{}` is {}", self.name, values[at]);
            return Err(Error::new(&codes::VALUES, what).file(self.path));
        }
        Ok(values)
    }

    /// The values of a quantized tensor, after checking its shape.
    ///
    /// # Errors
    /// `SPRAT-MODEL-SHAPE`; `SPRAT-MODEL-DTYPE` unless I8.
    pub fn i8(&self, shape: &[usize]) -> Result<Vec<i8>> {
        self.expect_shape(shape)?;
        match self.dtype {
            Dtype::I8 => Ok(convert::from_i8(self.bytes)),
            other => Err(self.wrong_dtype("I8", other)),
        }
    }

    /// Checks the dimensions.
    ///
    /// # Errors
    /// `SPRAT-MODEL-SHAPE`.
    pub(crate) fn expect_shape(&self, shape: &[usize]) -> Result<()> {
        if self.shape == shape {
            return Ok(());
        }
        let what = format!("tensor `{}` is {:?}, expected {shape:?}", self.name, self.shape);
        Err(Error::new(&codes::SHAPE, what).file(self.path))
    }

    fn wrong_dtype(&self, expected: &str, found: Dtype) -> Error {
        let what = format!("tensor `{}` is {found:?}, expected {expected}", self.name);
        Error::new(&codes::DTYPE, what).file(self.path)
    }
}

/// A text file of a model folder, which must be UTF-8.
///
/// # Errors
/// `SPRAT-MODEL-MISSING-FILE` when it is not there, `SPRAT-MODEL-READ` otherwise.
pub(crate) fn text_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Error::new(&codes::MISSING_FILE, format!("`{name}` is missing")).file(path)
        }
        _ => Error::io(&codes::READ, "read a file of the model", path, &why),
    })
}

/// A JSON file of a model folder.
///
/// # Errors
/// Those of [`text_file`]; `SPRAT-MODEL-CONFIG` with line and column when it does not parse.
pub(crate) fn json_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&text_file(path)?).map_err(|why| {
        Error::new(&codes::CONFIG, "could not understand this file")
            .file(path)
            .line(why.line() as u64)
            .column(why.column() as u64)
            .why(why.to_string())
    })
}
