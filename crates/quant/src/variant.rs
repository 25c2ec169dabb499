//! The number formats that a model can be converted to, and how large the result is.

use sprat_model::Stored;
use sprat_task::{Error, Result};
use std::path::{Path, PathBuf};

/// A number format to convert to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// 32-bit floats: merged, but not smaller. What the others are compared with.
    F32,
    /// bfloat16 matrices.
    Bf16,
    /// 8-bit integer matrices.
    Int8,
}

impl Variant {
    /// All of them, the largest first.
    pub const ALL: [Variant; 3] = [Variant::F32, Variant::Bf16, Variant::Int8];

    /// The name in settings, reports and folders.
    pub fn name(self) -> &'static str {
        match self {
            Variant::F32 => "f32",
            Variant::Bf16 => "bf16",
            Variant::Int8 => "int8",
        }
    }

    /// The variant called `name`.
    pub fn by_name(name: &str) -> Option<Variant> {
        Variant::ALL.into_iter().find(|variant| variant.name() == name)
    }

    /// The kind of weights that a manifest names.
    pub fn stored(self) -> Stored {
        match self {
            Variant::F32 => Stored::Full,
            Variant::Bf16 => Stored::Bf16,
            Variant::Int8 => Stored::Int8,
        }
    }
}

/// A variant that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// Its number format.
    pub variant: Variant,
    /// Its folder.
    pub folder: PathBuf,
    /// Size of `model.safetensors`, in bytes.
    pub weight_bytes: u64,
    /// Size of all files of the folder, in bytes.
    pub total_bytes: u64,
}

/// The size of all files in a folder and the folders in it, in bytes.
///
/// # Errors
/// `SPRAT-MODEL-READ` when it cannot be listed.
pub fn folder_bytes(folder: &Path) -> Result<u64> {
    let failed = |why| Error::io(&sprat_model::codes::READ, "measure a folder", folder, &why);
    let mut total = 0;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            total += folder_bytes(&entry.path())?;
        } else if kind.is_file() {
            total += entry.metadata().map_err(failed)?.len();
        }
    }
    Ok(total)
}
