//! NumPy's `.npz`: a zip of `.npy` arrays, read and written.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. Versions 1 to
//! 3, both byte orders and both memory orders are read; members may be stored or deflated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::read::ZipFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive};

use super::array::{Array, DType, byte_length, fortran_to_c, swap_bytes};
use super::error::DataError;
use super::stored::{DataFile, Pieces, Stored};
use crate::files::{self, FileError};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// No header of a plain array comes near this.
const MAX_HEADER: usize = 1 << 20;

trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// An open `.npz`, whose arrays are read on demand.
pub struct Npz {
    path: PathBuf,
    archive: ZipArchive<Box<dyn ReadSeek>>,
    /// Where it is a file.
    file: Option<Arc<DataFile>>,
}

impl Npz {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| FileError::read(path, source))?;
        let archive = Self::new(path, Box::new(BufReader::new(file)))?;
        Ok(Self { file: Some(DataFile::open(path)?), ..archive })
    }

    /// Reads from memory; `name` stands for the path in errors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, DataError> {
        Self::new(Path::new(name), Box::new(Cursor::new(bytes)))
    }

    fn new(path: &Path, reader: Box<dyn ReadSeek>) -> Result<Self, DataError> {
        let archive = ZipArchive::new(reader).map_err(|error| DataError::Damaged {
            path: path.to_owned(),
            what: format!("not a whole zip archive ({error})"),
        })?;
        let path = path.to_owned();
        Ok(Self { path, archive, file: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the arrays, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_owned())).collect();
        names.sort();
        names
    }

    /// Reads one array.
    pub fn read(&mut self, name: &str) -> Result<Array, DataError> {
        self.member(name, |member, _| read_npy(member))
    }

    /// One array, whose elements stay in the file where they lie there as they are: neither compressed nor in Fortran order.
    pub(super) fn stored(&mut self, name: &str) -> Result<Stored, DataError> {
        self.member(name, |mut member, file| {
            let (start, is_stored) = (member.data_start(), member.compression() == CompressionMethod::Stored);
            let size = member.size();
            let (header, length) = read_header(&mut member)?;
            let (Some(file), Some(start), true) = (file, start, is_stored && !header.fortran_order) else {
                return Ok(read_elements(header, member)?.into());
            };
            let expected = header.bytes()?;
            let found = size.saturating_sub(length as u64);
            if found < expected as u64 {
                return Err(damaged(format!("it ends after {found} of {expected} bytes")));
            }
            let mut pieces = Pieces::new(header.big_endian);
            pieces.push(file, start + length as u64, expected).map_err(|error| damaged(error.to_string()))?;
            Stored::in_files(header.dtype, header.dims, pieces).ok_or_else(|| damaged("its shape is too large"))
        })
    }

    fn member<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(ZipFile<'_, Box<dyn ReadSeek>>, Option<&Arc<DataFile>>) -> Result<T, NpyError>,
    ) -> Result<T, DataError> {
        let present = self.names();
        let damaged =
            |what: String| DataError::Damaged { path: self.path.clone(), what: format!("array `{name}`: {what}") };
        let Some(index) = self.archive.index_for_name(&format!("{name}.npy")) else {
            return Err(DataError::MissingArray {
                path: self.path.clone(),
                name: name.to_owned(),
                present,
                help: format!("save it with numpy.savez(…, {name}=…)"),
            });
        };
        let member = self.archive.by_index(index).map_err(|error| damaged(error.to_string()))?;
        match read(member, self.file.as_ref()) {
            Ok(array) => Ok(array),
            Err(NpyError::Damaged(what)) => Err(damaged(what)),
            Err(NpyError::Unsupported(dtype)) => {
                Err(DataError::UnsupportedDtype { path: self.path.clone(), array: name.to_owned(), dtype })
            }
        }
    }
}

/// Writes `arrays` to `path`, atomically; the same arrays always give the same bytes.
pub fn write(path: &Path, arrays: &BTreeMap<String, Array>) -> Result<(), FileError> {
    files::write_zip(path, |archive| {
        for (name, array) in arrays {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(DateTime::default())
                .large_file(array.bytes().len() >= 1 << 31);
            archive.start_file(format!("{name}.npy"), options)?;
            archive.write_all(&npy_header(array))?;
            archive.write_all(array.bytes())?;
        }
        Ok(())
    })
}

fn npy_header(array: &Array) -> Vec<u8> {
    let dims: String = array.dims().iter().map(|dim| format!("{dim},")).collect();
    let mut header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({dims}), }}", descr_of(array.dtype()));
    // The data start at a multiple of 64 bytes, after a newline.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("a shape's text is short");
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend(length.to_le_bytes());
    out.extend(header.into_bytes());
    out
}

fn descr_of(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::U16 => "<u2",
        DType::I16 => "<i2",
        DType::U32 => "<u4",
        DType::I32 => "<i4",
        DType::U64 => "<u8",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        // NumPy has no bfloat16: its bits are written as integers.
        DType::Bf16 => "<u2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
    }
}

enum NpyError {
    Damaged(String),
    Unsupported(String),
}

fn damaged(what: impl Into<String>) -> NpyError {
    NpyError::Damaged(what.into())
}

fn read_npy(mut reader: impl Read) -> Result<Array, NpyError> {
    let (header, _) = read_header(&mut reader)?;
    read_elements(header, reader)
}

/// The header, and the number of bytes before the elements.
fn read_header(mut reader: impl Read) -> Result<(Header, usize), NpyError> {
    let mut preamble = [0; 8];
    fill(&mut reader, &mut preamble)?;
    if &preamble[..6] != MAGIC {
        return Err(damaged("not a .npy array"));
    }
    let (header_length, before) = match preamble[6] {
        1 => {
            let mut length = [0; 2];
            fill(&mut reader, &mut length)?;
            (usize::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            fill(&mut reader, &mut length)?;
            (u32::from_le_bytes(length) as usize, 12)
        }
        version => return Err(damaged(format!("unknown .npy version {version}"))),
    };
    if header_length > MAX_HEADER {
        return Err(damaged(format!("a header of {header_length} bytes")));
    }
    let mut header = vec![0; header_length];
    fill(&mut reader, &mut header)?;
    Ok((Header::parse(&String::from_utf8_lossy(&header))?, before + header_length))
}

fn read_elements(header: Header, reader: impl Read) -> Result<Array, NpyError> {
    let expected = header.bytes()?;
    let mut bytes = Vec::new();
    reader.take(expected as u64).read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
    if bytes.len() != expected {
        return Err(damaged(format!("it ends after {} of {expected} bytes", bytes.len())));
    }
    if header.big_endian {
        swap_bytes(header.dtype, &mut bytes);
    }
    if header.fortran_order {
        bytes = fortran_to_c(header.dtype, &header.dims, &bytes);
    }
    Array::new(header.dtype, header.dims, bytes).ok_or_else(|| damaged("its shape is too large"))
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), NpyError> {
    reader.read_exact(buffer).map_err(|error| damaged(format!("it ends in its header ({error})")))
}

/// The header's dictionary, a Python literal such as
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
struct Header {
    dtype: DType,
    big_endian: bool,
    fortran_order: bool,
    dims: Vec<usize>,
}

impl Header {
    /// Bytes of all elements.
    fn bytes(&self) -> Result<usize, NpyError> {
        byte_length(self.dtype, &self.dims).ok_or_else(|| damaged("its shape is too large"))
    }

    fn parse(text: &str) -> Result<Self, NpyError> {
        let malformed = || damaged(format!("its header is malformed: {}", text.trim_end()));
        let descr = value_of(text, "descr").ok_or_else(malformed)?;
        let order = value_of(text, "fortran_order").ok_or_else(malformed)?;
        let shape = value_of(text, "shape").ok_or_else(malformed)?;

        let Some(descr) = unquote(descr) else {
            return Err(NpyError::Unsupported("a structured type".to_owned()));
        };
        let (big_endian, dtype) = parse_descr(descr).ok_or_else(|| NpyError::Unsupported(format!("`{descr}`")))?;
        let fortran_order = match order {
            _ if order.starts_with("True") => true,
            _ if order.starts_with("False") => false,
            _ => return Err(malformed()),
        };
        let inside = shape.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(malformed)?.0;
        let dims = inside
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            // Python 2 wrote long integers with a suffix.
            .map(|part| part.trim_end_matches('L').parse())
            .collect::<Result<Vec<usize>, _>>()
            .map_err(|_| malformed())?;
        Ok(Self { dtype, big_endian, fortran_order, dims })
    }
}

/// The text after `'key':`.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let after = [format!("'{key}'"), format!("\"{key}\"")]
        .iter()
        .find_map(|quoted| Some(text.split_once(quoted.as_str())?.1))?;
    Some(after.trim_start().strip_prefix(':')?.trim_start())
}

fn unquote(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    Some(text[1..].split_once(quote)?.0)
}

/// Byte order and dtype of an array-protocol type string, `<f4` and the like.
fn parse_descr(descr: &str) -> Option<(bool, DType)> {
    let order = descr.chars().next()?;
    let dtype = match descr.get(1..)? {
        "b1" => DType::Bool,
        "u1" => DType::U8,
        "i1" => DType::I8,
        "u2" => DType::U16,
        "i2" => DType::I16,
        "u4" => DType::U32,
        "i4" => DType::I32,
        "u8" => DType::U64,
        "i8" => DType::I64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        _ => return None,
    };
    let big_endian = match order {
        '<' | '|' => false,
        '>' => true,
        '=' => cfg!(target_endian = "big"),
        _ => return None,
    };
    Some((big_endian, dtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(version: u8, descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut out = MAGIC.to_vec();
        out.extend([version, 0]);
        if version == 1 {
            out.extend((header.len() as u16).to_le_bytes());
        } else {
            out.extend((header.len() as u32).to_le_bytes());
        }
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    fn ok(bytes: &[u8]) -> Array {
        match read_npy(bytes) {
            Ok(array) => array,
            Err(NpyError::Damaged(what) | NpyError::Unsupported(what)) => panic!("{what}"),
        }
    }

    #[test]
    fn versions_orders_and_scalars() {
        let big: Vec<u8> = [1i32, 2, 3, 4].iter().flat_map(|v| v.to_be_bytes()).collect();
        let array = ok(&npy(2, "'>i4'", "True", "(2, 2)", &big));
        assert_eq!(array.to_i64().unwrap(), [1, 3, 2, 4]);
        let scalar = ok(&npy(3, "\"<f8\"", "False", "()", &0.5f64.to_le_bytes()));
        assert_eq!((scalar.dims(), scalar.to_f32()), (&[][..], vec![0.5]));
        let vector = ok(&npy(1, "'|b1'", "False", "(3L,)", &[1, 0, 1]));
        assert_eq!(vector.to_f32(), [1.0, 0.0, 1.0]);
        let empty = ok(&npy(1, "'<f4'", "True", "(0, 7)", &[]));
        assert_eq!(empty.dims(), [0, 7]);
    }

    #[test]
    fn bad_arrays_are_told_apart() {
        let what = |bytes: &[u8]| match read_npy(bytes) {
            Ok(_) => panic!("accepted"),
            Err(NpyError::Damaged(what)) => format!("damaged: {what}"),
            Err(NpyError::Unsupported(what)) => format!("unsupported: {what}"),
        };
        assert_eq!(what(&npy(1, "'<f4'", "False", "(3,)", &[0; 8])), "damaged: it ends after 8 of 12 bytes");
        assert_eq!(what(&npy(1, "'<U5'", "False", "(1,)", &[])), "unsupported: `<U5`");
        assert_eq!(what(&npy(1, "[('a', '<f4')]", "False", "(1,)", &[])), "unsupported: a structured type");
        let huge = "(18446744073709551615, 2)";
        assert_eq!(what(&npy(1, "'<f4'", "False", huge, &[])), "damaged: its shape is too large");
        assert!(what(&npy(1, "'<f4'", "Maybe", "(1,)", &[])).contains("malformed"));
        assert!(what(b"\x93NUMPY\x01\x00\xff\xff{").contains("ends in its header"));
    }

    #[test]
    fn what_is_written_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.npz");
        let arrays = BTreeMap::from([
            ("sum/fc.weight".to_owned(), Array::from_f32(vec![2, 2], &[1.0, -2.0, 3.5, f32::NAN])),
            ("steps".to_owned(), Array::from_i64(vec![], &[-7])),
        ]);
        write(&path, &arrays).unwrap();
        let mut npz = Npz::open(&path).unwrap();
        assert_eq!(npz.names(), ["steps", "sum/fc.weight"]);
        for (name, array) in &arrays {
            assert_eq!(npz.read(name).unwrap().bytes(), array.bytes());
            let stored = npz.stored(name).unwrap();
            assert!(stored.is_in_files());
            assert_eq!(stored.in_memory().unwrap(), *array);
        }
        let error = npz.read("label").unwrap_err().to_string();
        assert!(error.contains("it has `steps`, `sum/fc.weight`"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, header in "\\PC{0,80}") {
            let _ = Npz::from_bytes("fuzz", bytes.clone()).map(|npz| npz.names());
            let _ = read_npy(bytes.as_slice());
            let _ = Header::parse(&header);
            let _ = read_npy(npy(1, &header, "False", &header, &bytes).as_slice());
        }
    }
}
