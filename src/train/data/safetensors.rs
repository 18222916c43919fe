//! Data sets in safetensors files.
//!
//! Format: <https://huggingface.co/docs/safetensors>, read by its own crate.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::array::{Array, DType};
use super::error::DataError;
use crate::files;

/// A safetensors file in memory, whose header has been checked.
pub struct SafetensorsFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Whether a file that starts with `magic` may be safetensors: a header length, then JSON.
pub fn recognises(magic: &[u8]) -> bool {
    matches!(magic, [_, _, _, _, 0, 0, 0, 0, b'{', ..])
}

impl SafetensorsFile {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let bytes = files::read(path)?;
        let file = Self { path: path.to_owned(), bytes };
        file.tensors()?;
        Ok(file)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, DataError> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|error| DataError::Damaged { path: self.path.clone(), what: error.to_string() })
    }

    /// The names of the arrays, sorted.
    pub fn names(&self) -> Result<Vec<String>, DataError> {
        let mut names: Vec<String> = self.tensors()?.names().into_iter().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// Reads one array.
    pub fn read(&self, name: &str) -> Result<Array, DataError> {
        let tensors = self.tensors()?;
        let Ok(view) = tensors.tensor(name) else {
            return Err(DataError::MissingArray {
                path: self.path.clone(),
                name: name.to_owned(),
                present: self.names()?,
                help: format!("save a tensor of the name `{name}`"),
            });
        };
        dtype_of(view.dtype())
            .and_then(|dtype| Array::new(dtype, view.shape().to_vec(), view.data().to_vec()))
            .ok_or_else(|| DataError::UnsupportedDtype {
                path: self.path.clone(),
                array: name.to_owned(),
                dtype: format!("{:?}", view.dtype()),
            })
    }
}

fn dtype_of(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::U16 => DType::U16,
        Dtype::I16 => DType::I16,
        Dtype::U32 => DType::U32,
        Dtype::I32 => DType::I32,
        Dtype::U64 => DType::U64,
        Dtype::I64 => DType::I64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
}
