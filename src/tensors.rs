//! Named f32 tensors, and their form as safetensors: weights, optimizer states, trained models.
//!
//! Format: <https://huggingface.co/docs/safetensors>.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, TensorInfo, View};
use thiserror::Error;

/// A dense tensor in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dims: Vec<usize>,
    /// As many as the product of `dims`.
    pub data: Vec<f32>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// The bytes of a safetensors file that holds `tensors` and, where there is one, an entry of its
/// `__metadata__`. The same tensors always give the same bytes.
///
/// # Errors
/// Where a tensor has not as many elements as its dims, or the header passes the format's limit.
pub fn to_safetensors(tensors: &Tensors, metadata: Option<(&str, String)>) -> Result<Vec<u8>, SafeTensorError> {
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_owned(), value)]));
    safetensors::serialize(tensors, metadata)
}

/// Bytes of a header that no reader takes.
const HEADER_TOO_LARGE: usize = 100_000_001;

/// Writes what [`to_safetensors`] yields, tensor by tensor, so that never all of it is in memory. Names come in their order.
///
/// # Errors
/// As [`to_safetensors`]; and when `to` takes no more.
pub fn write_safetensors<'t, S: AsRef<str>>(
    to: &mut impl Write,
    tensors: impl IntoIterator<Item = (S, &'t Tensor)>,
    metadata: Option<(&str, String)>,
) -> io::Result<()> {
    let mut offset = 0;
    let info = |(name, tensor): (S, &'t Tensor)| {
        let begins = offset;
        offset += tensor.bytes().len();
        let (shape, data_offsets) = (tensor.dims.clone(), (begins, offset));
        ((name.as_ref().to_owned(), TensorInfo { dtype: Dtype::F32, shape, data_offsets }), tensor)
    };
    let (infos, tensors): (Vec<(String, TensorInfo)>, Vec<&Tensor>) = tensors.into_iter().map(info).unzip();
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_owned(), value)]));
    let header = Metadata::new(metadata, infos).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() >= HEADER_TOO_LARGE {
        return Err(io::Error::other(SafeTensorError::HeaderTooLarge));
    }
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    tensors.into_iter().try_for_each(|tensor| to.write_all(&tensor.bytes()))
}

/// The tensors and metadata of a safetensors file.
///
/// # Errors
/// Where the bytes are no safetensors file, or a tensor is not f32.
pub fn from_safetensors(bytes: &[u8]) -> Result<(Tensors, HashMap<String, String>), SafetensorsError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let mut tensors = Tensors::new();
    for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(SafetensorsError::NotF32 { name: name.to_owned(), dtype: format!("{:?}", view.dtype()) });
        }
        let (words, _) = view.data().as_chunks::<4>();
        let data = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        let dims = view.shape().to_vec();
        tensors.insert(name.to_owned(), Tensor { dims, data });
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

#[derive(Debug, Error)]
pub enum SafetensorsError {
    #[error("{0}")]
    Format(#[from] SafeTensorError),
    #[error("tensor `{name}` is {dtype}, not F32")]
    NotF32 { name: String, dtype: String },
}

impl Tensor {
    /// The elements as a file holds them: little-endian, one after another.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match cfg!(target_endian = "little") {
            true => Cow::Borrowed(bytemuck::cast_slice(&self.data)),
            false => self.data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.dims
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.bytes()
    }

    fn data_len(&self) -> usize {
        4 * self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_with_their_metadata() {
        let tensors = Tensors::from([
            ("b".to_owned(), Tensor { dims: vec![], data: vec![-0.0] }),
            ("a/w".to_owned(), Tensor { dims: vec![2, 1], data: vec![1.5, f32::MIN] }),
            ("empty".to_owned(), Tensor { dims: vec![0, 3], data: vec![] }),
        ]);
        let bytes = to_safetensors(&tensors, Some(("key", "value".to_owned()))).unwrap();
        let mut written = Vec::new();
        write_safetensors(&mut written, &tensors, Some(("key", "value".to_owned()))).unwrap();
        assert_eq!(written, bytes);
        let (read, metadata) = from_safetensors(&bytes).unwrap();
        assert_eq!(read, tensors);
        assert_eq!(metadata["key"], "value");
        for length in 0..bytes.len() {
            assert!(from_safetensors(&bytes[..length]).is_err());
        }
    }
}
