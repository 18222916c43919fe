//! Arrays where they are: in memory, or in files of which records are read when they are needed.
//!
//! Files are read at positions instead of being mapped. Records that nobody asks for are not read, what is read stays
//! part of the process's memory for no longer than it is used, and a file that was cut off while it is in use is an error,
//! where a map would end the process.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::array::{Array, DType, byte_length, swap_bytes};
use super::error::DataError;
use crate::files::{self, FileError};

/// Bytes that are read and converted at a time: whole elements of every type.
const CHUNK: usize = 1 << 20;

/// A dense array in C order.
#[derive(Clone, Debug)]
pub struct Stored {
    dtype: DType,
    dims: Vec<usize>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Memory(Array),
    Files(Arc<Pieces>),
}

/// Where the elements of an array are in files, piece by piece.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: Vec<Piece>,
    /// Bytes of all pieces.
    bytes: usize,
    big_endian: bool,
}

#[derive(Debug)]
struct Piece {
    /// The byte of the array with which the piece begins.
    first: usize,
    file: Arc<DataFile>,
    /// Where that is in the file.
    offset: u64,
}

/// An open file of data, and how long it was when it was opened.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl DataFile {
    /// Opens a file to read some of it at a time.
    pub fn open(path: &Path) -> Result<Arc<Self>, DataError> {
        let file = File::open(path).map_err(|source| FileError::read(path, source))?;
        let length = file.metadata().map_err(|source| FileError::read(path, source))?.len();
        Ok(Arc::new(Self { path: path.to_owned(), file, length }))
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Says that `count` bytes from `offset` on are read soon.
    pub fn expect(&self, offset: u64, count: usize) {
        files::expect(&self.file, offset, count);
    }

    /// Reads all of `to` from `offset` on.
    ///
    /// # Errors
    /// Where the file cannot be read, or ends before.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), DataError> {
        files::read_at(&self.file, offset, to).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                DataError::CutOff { path: self.path.clone(), length: self.length, needed: offset + to.len() as u64 }
            }
            _ => FileError::read(&self.path, source).into(),
        })
    }
}

impl Pieces {
    /// No pieces yet, of elements in one byte order.
    pub fn new(big_endian: bool) -> Self {
        Self { big_endian, ..Self::default() }
    }

    /// Adds what lies in `file` from `offset` on, whole elements, or says that the file is shorter.
    pub fn push(&mut self, file: &Arc<DataFile>, offset: u64, bytes: usize) -> Result<(), DataError> {
        let end = offset.checked_add(bytes as u64).filter(|end| *end <= file.length);
        if end.is_none() {
            let (path, found) = (file.path.clone(), file.length.saturating_sub(offset));
            let what = format!("it ends after {found} of {bytes} bytes of data");
            return Err(DataError::Damaged { path, what });
        }
        self.pieces.push(Piece { first: self.bytes, file: file.clone(), offset });
        self.bytes += bytes;
        Ok(())
    }

    /// Where bytes of the array are: in which file, from where on, and how many of them.
    fn places(&self, bytes: Range<usize>) -> impl Iterator<Item = (&DataFile, u64, usize)> {
        let first = self.pieces.partition_point(|piece| piece.first <= bytes.start).saturating_sub(1);
        let ends = self.pieces.iter().skip(1).map(|next| next.first).chain([self.bytes]);
        let pieces = self.pieces.iter().zip(ends).skip(first).take_while(move |(piece, _)| piece.first < bytes.end);
        pieces.map(move |(piece, end)| {
            let (start, end) = (bytes.start.max(piece.first), bytes.end.min(end));
            (&*piece.file, piece.offset + (start - piece.first) as u64, end - start)
        })
    }

    fn read(&self, dtype: DType, start: usize, to: &mut [u8]) -> Result<(), DataError> {
        let mut rest = &mut *to;
        for (file, offset, count) in self.places(start..start + rest.len()) {
            let (now, later) = rest.split_at_mut(count);
            file.read(offset, now)?;
            rest = later;
        }
        if self.big_endian {
            swap_bytes(dtype, to);
        }
        Ok(())
    }
}

impl From<Array> for Stored {
    fn from(array: Array) -> Self {
        Self { dtype: array.dtype(), dims: array.dims().to_vec(), place: Place::Memory(array) }
    }
}

impl Stored {
    /// The array whose elements are in `pieces`, or `None` where their number does not fit.
    pub fn in_files(dtype: DType, dims: Vec<usize>, pieces: Pieces) -> Option<Self> {
        let place = Place::Files(Arc::new(pieces));
        let array = Self { dtype, dims, place };
        match &array.place {
            Place::Files(pieces) if byte_length(dtype, &array.dims)? != pieces.bytes => None,
            _ => Some(array),
        }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        match &self.place {
            Place::Memory(array) => array.bytes().len(),
            Place::Files(pieces) => pieces.bytes,
        }
    }

    /// Whether the elements are read from files when they are needed.
    pub fn is_in_files(&self) -> bool {
        matches!(self.place, Place::Files(_))
    }

    /// The array in memory, with all of its elements.
    pub fn in_memory(self) -> Result<Array, DataError> {
        match &self.place {
            Place::Memory(array) => Ok(array.clone()),
            Place::Files(pieces) => {
                let mut bytes = vec![0; pieces.bytes];
                pieces.read(self.dtype, 0, &mut bytes)?;
                Ok(Array::new(self.dtype, self.dims, bytes).expect("as many as the dims say"))
            }
        }
    }

    /// The files that elements are read from; none where they are in memory. One may be there several times.
    pub fn files(&self) -> impl Iterator<Item = Arc<DataFile>> {
        let pieces = match &self.place {
            Place::Memory(_) => &[][..],
            Place::Files(pieces) => &pieces.pieces,
        };
        pieces.iter().map(|piece| piece.file.clone())
    }

    /// Says that these elements are read soon.
    pub fn expect(&self, elements: Range<usize>) {
        if let Place::Files(pieces) = &self.place {
            let size = self.dtype.size();
            for (file, offset, count) in pieces.places(elements.start * size..elements.end * size) {
                file.expect(offset, count);
            }
        }
    }

    /// Hands these elements to `take`, little-endian and some at a time.
    ///
    /// # Panics
    /// Where there are no such elements.
    pub fn read(&self, elements: Range<usize>, take: &mut dyn FnMut(&[u8])) -> Result<(), DataError> {
        let size = self.dtype.size();
        let (start, end) = (elements.start * size, elements.end * size);
        match &self.place {
            Place::Memory(array) => array.bytes()[start..end].chunks(CHUNK).for_each(take),
            Place::Files(pieces) => {
                let mut bytes = vec![0; CHUNK.min(end.saturating_sub(start))];
                for start in (start..end).step_by(CHUNK) {
                    let bytes = &mut bytes[..CHUNK.min(end - start)];
                    pieces.read(self.dtype, start, bytes)?;
                    take(bytes);
                }
            }
        }
        Ok(())
    }
}
