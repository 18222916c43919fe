//! IDX, the format of MNIST and its kin: big-endian arrays with a short header, gzipped or not.
//!
//! Format: <http://yann.lecun.com/exdb/mnist/>, "THE IDX FILE FORMAT".

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::array::{Array, DType, byte_length, swap_bytes};
use super::error::DataError;
use super::stored::{DataFile, Pieces, Stored};
use crate::files;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// With 255 axes.
const MAX_HEADER: u64 = 4 + 4 * 255;

/// Whether a file that starts with `magic` may be IDX.
pub fn recognises(magic: &[u8]) -> bool {
    magic.starts_with(&GZIP_MAGIC) || matches!(magic, [0, 0, code, ndim, ..] if dtype_of(*code).is_some() && *ndim > 0)
}

/// The array of an IDX file, gzipped or not; its first bytes decide, not its name. Without gzip its elements stay in the file.
pub fn stored(path: &Path) -> Result<Stored, DataError> {
    if files::first_bytes(path, 2)? == GZIP_MAGIC {
        let bytes = files::read(path)?;
        return Ok(parse(path, MultiGzDecoder::new(bytes.as_slice()))?.into());
    }
    let file = DataFile::open(path)?;
    let (dtype, dims, length) = header(path, files::first_bytes(path, MAX_HEADER)?.as_slice())?;
    let too_large = || DataError::Damaged { path: path.to_owned(), what: "its shape is too large".to_owned() };
    let mut pieces = Pieces::new(true);
    pieces.push(&file, length, byte_length(dtype, &dims).ok_or_else(too_large)?)?;
    Stored::in_files(dtype, dims, pieces).ok_or_else(too_large)
}

/// The dtype, the dims, and the number of bytes before the elements.
fn header(path: &Path, mut reader: impl Read) -> Result<(DType, Vec<usize>, u64), DataError> {
    let damaged = |what: String| DataError::Damaged { path: path.to_owned(), what };
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(|error| damaged(format!("it ends in its header ({error})")))?;
    let (Some(dtype), [0, 0, _, ndim @ 1..=u8::MAX]) = (dtype_of(magic[2]), magic) else {
        return Err(DataError::Format {
            path: path.to_owned(),
            reason: format!("{magic:02x?} is not the start of an IDX file"),
        });
    };
    let mut dims = Vec::with_capacity(usize::from(ndim));
    for _ in 0..ndim {
        let mut dim = [0; 4];
        reader.read_exact(&mut dim).map_err(|error| damaged(format!("it ends in its header ({error})")))?;
        dims.push(u32::from_be_bytes(dim) as usize);
    }
    Ok((dtype, dims, 4 + 4 * u64::from(ndim)))
}

fn parse(path: &Path, mut reader: impl Read) -> Result<Array, DataError> {
    let damaged = |what: String| DataError::Damaged { path: path.to_owned(), what };
    let (dtype, dims, _) = header(path, &mut reader)?;
    let expected = byte_length(dtype, &dims).ok_or_else(|| damaged("its shape is too large".to_owned()))?;
    let mut bytes = Vec::new();
    reader.take(expected as u64).read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
    let found = bytes.len();
    swap_bytes(dtype, &mut bytes);
    Array::new(dtype, dims, bytes).ok_or_else(|| damaged(format!("it ends after {found} of {expected} bytes of data")))
}

fn dtype_of(code: u8) -> Option<DType> {
    Some(match code {
        0x08 => DType::U8,
        0x09 => DType::I8,
        0x0b => DType::I16,
        0x0c => DType::I32,
        0x0d => DType::F32,
        0x0e => DType::F64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn path_with(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn plain_and_gzipped_agree() {
        let mut plain = vec![0, 0, 0x0b, 2, 0, 0, 0, 2, 0, 0, 0, 1];
        plain.extend([0x01, 0x02, 0xff, 0xff]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gzip.write_all(&plain).unwrap();
        for bytes in [plain.clone(), gzip.finish().unwrap()] {
            assert!(recognises(&bytes));
            let file = path_with(&bytes);
            let array = stored(file.path()).unwrap().in_memory().unwrap();
            assert_eq!(array.dims(), [2, 1]);
            assert_eq!(array.to_i64().unwrap(), [258, -1]);
        }
        let error = stored(path_with(&plain[..14]).path()).unwrap_err();
        assert!(error.to_string().contains("after 2 of 4 bytes"), "{error}");
        let error = stored(path_with(b"PNG!").path()).unwrap_err();
        assert!(matches!(error, DataError::Format { .. }));
    }
}
