//! A GGUF file, mapped into memory.

use super::header::in_quotes;
use super::{Header, Metadata, TensorInfo, check_gguf};
use crate::codes;
use crate::files::map::map_file;
use memmap2::Mmap;
use sprat_nn::{BlockFormat, Mat};
use sprat_task::{Error, Result};
use std::path::{Path, PathBuf};

/// A GGUF file whose header has been checked.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl Gguf {
    /// Maps a file and checks its header.
    ///
    /// # Errors
    /// `SPRAT-MODEL-MISSING-FILE`, `SPRAT-MODEL-READ` when it cannot be opened; those of
    /// [`check_gguf`].
    pub fn open(path: &Path) -> Result<Self> {
        let map = map_file(path)?;
        let mut header = check_gguf(&map).map_err(|error| error.file(path))?;
        header.metadata.set_origin(path);
        Ok(Gguf { path: path.to_path_buf(), map, header })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        self.header.metadata()
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = GgufTensor<'_>> {
        self.header.tensors().iter().map(|info| self.with_bytes(info))
    }

    /// Whether a tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.header.find(name).is_some()
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// `SPRAT-MODEL-MISSING-TENSOR`.
    pub fn tensor(&self, name: &str) -> Result<GgufTensor<'_>> {
        match self.header.find(name) {
            Some(info) => Ok(self.with_bytes(info)),
            None => {
                let what = format!("tensor `{name}` is missing");
                Err(Error::new(&codes::MISSING_TENSOR, what).file(&self.path))
            }
        }
    }

    fn with_bytes<'a>(&'a self, info: &'a TensorInfo) -> GgufTensor<'a> {
        // The header was checked against this map, so the bytes are there.
        GgufTensor { info, bytes: &self.map[info.range.clone()], path: &self.path }
    }
}

/// One tensor of a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct GgufTensor<'a> {
    info: &'a TensorInfo,
    bytes: &'a [u8],
    path: &'a Path,
}

impl<'a> GgufTensor<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// Its dimensions, rows first and columns last: the reverse of what the file lists.
    pub fn shape(&self) -> &'a [usize] {
        &self.info.shape
    }

    /// Its number format.
    pub fn format(&self) -> BlockFormat {
        self.info.format
    }

    /// Its blocks, row after row.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of weights.
    pub fn elements(&self) -> usize {
        self.info.shape.iter().product()
    }

    /// The weights as `f32`, after checking that the shape is `shape`.
    ///
    /// # Errors
    /// `SPRAT-MODEL-SHAPE`; `SPRAT-MODEL-VALUES` when a weight is infinite or not a number.
    pub fn f32(&self, shape: &[usize]) -> Result<Vec<f32>> {
        self.expect_shape(shape)?;
        self.dequantized()
    }

    /// Checks the shape.
    ///
    /// # Errors
    /// `SPRAT-MODEL-SHAPE`.
    pub(crate) fn expect_shape(&self, shape: &[usize]) -> Result<()> {
        if self.info.shape == shape {
            return Ok(());
        }
        let name = in_quotes(self.name());
        let what = format!("tensor {name} is {:?}, expected {shape:?}", self.info.shape);
        Err(Error::new(&codes::SHAPE, what).file(self.path))
    }

    /// The weights as a matrix `[rows, columns]`; a vector is one row, and of more dimensions all
    /// but the last count as rows.
    ///
    /// # Errors
    /// `SPRAT-MODEL-VALUES` when a weight is infinite or not a number.
    pub fn to_mat(&self) -> Result<Mat> {
        let (columns, rows) = match self.info.shape.split_last() {
            Some((columns, rows)) => (*columns, rows.iter().product()),
            None => (1, 1),
        };
        Ok(Mat::new(rows, columns, self.dequantized()?))
    }

    /// The weights as `f32`, row after row.
    ///
    /// # Errors
    /// `SPRAT-MODEL-VALUES` when a weight is infinite or not a number.
    pub fn dequantized(&self) -> Result<Vec<f32>> {
        // As many as the file has bytes for: the header was checked.
        let mut values = vec![0.0; self.elements()];
        self.info.format.dequantize_all(self.bytes, &mut values);
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => {
                let name = in_quotes(self.name());
                let what = format!("value {at} of tensor {name} is {}", values[at]);
                Err(Error::new(&codes::VALUES, what).file(self.path))
            }
        }
    }
}
