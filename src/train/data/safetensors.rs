//! Data sets in safetensors files.
//!
//! Format: <https://huggingface.co/docs/safetensors>, read by its own crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::array::DType;
use super::error::DataError;
use super::stored::{DataFile, Pieces, Stored};

/// An open safetensors file, whose header has been checked.
pub struct SafetensorsFile {
    path: PathBuf,
    file: Arc<DataFile>,
    metadata: Metadata,
    /// Where the elements begin.
    start: u64,
}

/// Whether a file that starts with `magic` may be safetensors: a header length, then JSON.
pub fn recognises(magic: &[u8]) -> bool {
    matches!(magic, [_, _, _, _, 0, 0, 0, 0, b'{', ..])
}

/// As the crate has it.
const MAX_HEADER: u64 = 100_000_000;

impl SafetensorsFile {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let damaged = |what: String| DataError::Damaged { path: path.to_owned(), what };
        let file = DataFile::open(path)?;
        let mut length = [0; 8];
        file.read(0, &mut length[..file.length().min(8) as usize])?;
        let start = u64::from_le_bytes(length).saturating_add(8);
        let mut header = vec![0; start.min(file.length()).min(MAX_HEADER + 8) as usize];
        file.read(0, &mut header)?;
        match SafeTensors::read_metadata(&header) {
            // Without the elements there is only the header to check.
            Ok(_) | Err(SafeTensorError::MetadataIncompleteBuffer) => {}
            Err(error) => return Err(damaged(error.to_string())),
        }
        let metadata: Metadata = serde_json::from_slice(&header[8..]).map_err(|error| damaged(error.to_string()))?;
        if start.checked_add(metadata.data_len() as u64) != Some(file.length()) {
            return Err(damaged(SafeTensorError::MetadataIncompleteBuffer.to_string()));
        }
        Ok(Self { path: path.to_owned(), file, metadata, start })
    }

    /// The names of the arrays, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metadata.tensors().into_keys().collect();
        names.sort();
        names
    }

    /// One array, whose elements stay in the file.
    pub fn stored(&self, name: &str) -> Result<Stored, DataError> {
        let Some(info) = self.metadata.info(name) else {
            return Err(DataError::MissingArray {
                path: self.path.clone(),
                name: name.to_owned(),
                present: self.names(),
                help: format!("save a tensor of the name `{name}`"),
            });
        };
        let unread = || DataError::UnsupportedDtype {
            path: self.path.clone(),
            array: name.to_owned(),
            dtype: format!("{:?}", info.dtype),
        };
        let dtype = dtype_of(info.dtype).ok_or_else(unread)?;
        let (start, end) = info.data_offsets;
        let mut pieces = Pieces::new(false);
        pieces.push(&self.file, self.start + start as u64, end - start)?;
        Stored::in_files(dtype, info.shape.clone(), pieces).ok_or_else(unread)
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
