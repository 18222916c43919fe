//! Arrays that a table was read into, kept in a file of which records can be read alone.
//!
//! Neither Parquet nor CSV lets a record be read without those around it, and batches are of records from anywhere. So
//! where the arrays of a table are larger than what is kept in memory they are written to a file beside it, part by part
//! as they are read, and the file is found again as long as neither the table nor what is read of it has changed.
//! The file appears whole or not at all: what is written has another name until it is done.
//!
//! The file: eight bytes [`MAGIC`], the parts' elements, little-endian, the [`Contents`] as JSON, its length in eight bytes,
//! and [`MAGIC`] again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::array::{Array, DType};
use super::super::error::DataError;
use super::super::stored::{DataFile, Pieces, Stored};
use crate::files::{self, FileError};

const MAGIC: [u8; 8] = *b"dpc-data";

/// The values of columns, in order.
type Vocabularies = BTreeMap<String, Vec<String>>;

/// How the names of prepared files end.
pub const ENDING: &str = ".prepared";

/// Where the arrays of a table are kept, and for what they are good.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    key: String,
    sources: String,
    /// Whether somebody chose the folder.
    chosen: bool,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    /// What is kept: of which files, how they are read, and by which version.
    key: String,
    /// The files as they were: their sizes, and when they were last written.
    sources: String,
    arrays: Vec<Kept>,
    fitted: Vocabularies,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    dtype: String,
    /// With the number of records.
    dims: Vec<usize>,
    /// Where in the file the parts begin, and their bytes.
    parts: Vec<(u64, usize)>,
}

impl Place {
    /// For the table `table` of `sources`, read as `what` says: in `folder`, in the table where it is one, or beside the first
    /// source.
    pub fn new(table: &Path, sources: &[PathBuf], what: &str, folder: Option<&Path>) -> Result<Self, DataError> {
        let mut key = Sha256::new().chain_update(env!("CARGO_PKG_VERSION")).chain_update(what);
        let mut state = Sha256::new();
        let mut stamp = |path: &PathBuf| -> io::Result<()> {
            let metadata = fs::metadata(path)?;
            let modified_ns = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
            let path = fs::canonicalize(path)?;
            let path = path.as_os_str().as_encoded_bytes();
            key.update((path.len() as u64).to_le_bytes());
            key.update(path);
            state.update(metadata.len().to_le_bytes());
            state.update(modified_ns.to_le_bytes());
            Ok(())
        };
        sources.iter().try_for_each(|path| stamp(path).map_err(|source| FileError::read(path, source)))?;
        let hex = |digest: Sha256| digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (key, sources_are) = (hex(key), hex(state));
        let name = table.file_name().unwrap_or_default().to_string_lossy().replace(['*', '?'], "_");
        let beside = match sources.first().and_then(|path| path.parent()) {
            _ if table.is_dir() => table,
            Some(folder) => folder,
            None => Path::new(""),
        };
        let path = folder.unwrap_or(beside).join(format!("{name}.{}{ENDING}", &key[..12]));
        Ok(Self { path, key, sources: sources_are, chosen: folder.is_some() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The arrays, and the vocabularies that were taken from the data, where they were prepared of the table as it is now.
    pub fn open(&self) -> Option<(BTreeMap<String, Stored>, Vocabularies)> {
        let file = DataFile::open(&self.path).ok()?;
        let mut tail = [0; 16];
        let end = file.length().checked_sub(16)?;
        file.read(end, &mut tail).ok()?;
        let (length, magic) = tail.split_at(8);
        let length = u64::from_le_bytes(length.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let start = end.checked_sub(length)?;
        let mut json = vec![0; usize::try_from(length).ok()?];
        file.read(start, &mut json).ok()?;
        let contents: Contents = serde_json::from_slice(&json).ok()?;
        if contents.key != self.key || contents.sources != self.sources {
            return None;
        }
        let mut arrays = BTreeMap::new();
        for kept in contents.arrays {
            let mut pieces = Pieces::new(false);
            kept.parts.iter().try_for_each(|&(offset, bytes)| pieces.push(&file, offset, bytes)).ok()?;
            arrays.insert(kept.name, Stored::in_files(DType::of_name(&kept.dtype)?, kept.dims, pieces)?);
        }
        Some((arrays, contents.fitted))
    }
}

/// The arrays of a table as they grow: in memory, until they are too large for it and there is a place for them.
pub struct Growing<'a> {
    arrays: Vec<Grown>,
    bytes: usize,
    in_memory: usize,
    /// `None` where nothing can be written there.
    place: Option<&'a Place>,
    file: Option<Unfinished>,
}

/// An array so far: the elements that are not in the file yet, and where the others are.
struct Grown {
    name: String,
    dtype: DType,
    record: Vec<usize>,
    records: usize,
    bytes: Vec<u8>,
    parts: Vec<(u64, usize)>,
}

impl<'a> Growing<'a> {
    /// Up to `in_memory` bytes stay in memory, beyond that they go to `place`.
    pub fn new(in_memory: usize, place: &'a Place) -> Self {
        Self { arrays: vec![], bytes: 0, in_memory, place: Some(place), file: None }
    }

    /// Whether a file is being written.
    pub fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    /// Appends some records to the array `name`.
    pub fn push(&mut self, name: &str, part: &Array) -> Result<(), DataError> {
        let at = self.arrays.iter().position(|grown| grown.name == name).unwrap_or_else(|| {
            self.arrays.push(Grown {
                name: name.to_owned(),
                dtype: part.dtype(),
                record: part.dims()[1..].to_vec(),
                records: 0,
                bytes: vec![],
                parts: vec![],
            });
            self.arrays.len() - 1
        });
        let grown = &mut self.arrays[at];
        grown.records += part.dims()[0];
        grown.bytes.extend_from_slice(part.bytes());
        self.bytes += part.bytes().len();
        if let (None, Some(place), true) = (&self.file, self.place, self.bytes > self.in_memory) {
            match Unfinished::begin(&place.path) {
                Ok(file) => self.file = Some(file),
                // Where nobody may write beside the data, memory may be large enough.
                Err(DataError::File(_)) if !place.chosen => self.place = None,
                Err(error) => return Err(error),
            }
        }
        if let Some(file) = &mut self.file {
            for grown in self.arrays.iter_mut().filter(|grown| !grown.bytes.is_empty()) {
                grown.parts.push((file.append(&grown.bytes)?, grown.bytes.len()));
                grown.bytes.clear();
            }
        }
        Ok(())
    }

    /// Leaves out an array, of which some records cannot be had.
    pub fn remove(&mut self, name: &str) {
        self.arrays.retain(|grown| grown.name != name);
    }

    /// All arrays by their names, after the last part; in the file for good, where there is one.
    pub fn finish(mut self, fitted: &Vocabularies) -> Result<BTreeMap<String, Stored>, DataError> {
        let (Some(mut file), Some(place)) = (self.file.take(), self.place) else { return self.unkept() };
        let kept = |grown: &Grown| Kept {
            name: grown.name.clone(),
            dtype: grown.dtype.name().to_owned(),
            dims: grown.dims(),
            parts: grown.parts.clone(),
        };
        let contents = Contents {
            key: place.key.clone(),
            sources: place.sources.clone(),
            arrays: self.arrays.iter().map(kept).collect(),
            fitted: fitted.clone(),
        };
        let json = serde_json::to_vec(&contents).map_err(|error| FileError::write(&place.path, error.into()))?;
        file.append(&json)?;
        file.append(&(json.len() as u64).to_le_bytes())?;
        file.append(&MAGIC)?;
        file.finish()?;
        let what = || DataError::Damaged { path: place.path.clone(), what: "it is not what was written".to_owned() };
        Ok(place.open().ok_or_else(what)?.0)
    }

    /// The arrays for as long as they are used: no file of them stays.
    pub fn unkept(self) -> Result<BTreeMap<String, Stored>, DataError> {
        let file = match self.file {
            Some(mut file) => {
                file.flush()?;
                Some(DataFile::open(&file.part)?)
            }
            None => None,
        };
        let array = |grown: Grown| {
            let (name, dims) = (grown.name.clone(), grown.dims());
            let stored = match &file {
                None => Array::new(grown.dtype, dims, grown.bytes).map(Stored::from),
                Some(file) => {
                    let mut pieces = Pieces::new(false);
                    grown.parts.iter().try_for_each(|&(offset, bytes)| pieces.push(file, offset, bytes))?;
                    Stored::in_files(grown.dtype, dims, pieces)
                }
            };
            Ok((name, stored.expect("as many bytes as records")))
        };
        self.arrays.into_iter().map(array).collect()
    }
}

impl Grown {
    /// With the number of records.
    fn dims(&self) -> Vec<usize> {
        [&[self.records], &self.record[..]].concat()
    }
}

/// A file that is written under another name until it is whole, by one process at a time.
struct Unfinished {
    path: PathBuf,
    /// What it is called so far. One that was left by a process that was killed is begun anew.
    part: PathBuf,
    file: BufWriter<File>,
    length: u64,
}

impl Unfinished {
    fn begin(path: &Path) -> Result<Self, DataError> {
        let part = path.with_extension("part");
        let failed = |source| DataError::from(FileError::write(&part, source));
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(false);
        // Records are for those who may read the table, and of them only for whoever prepares it.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = loop {
            let file = options.open(&part).map_err(failed)?;
            match file.try_lock() {
                // Whoever held it may have given it its name in the meantime.
                Ok(()) if is_at(&file, &part) => break file,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(DataError::InPreparation { path: path.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        };
        file.set_len(0).map_err(failed)?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let mut unfinished = Self { path: path.to_owned(), part, file, length: 0 };
        unfinished.append(&MAGIC)?;
        Ok(unfinished)
    }

    /// Where the bytes begin that were appended.
    fn append(&mut self, bytes: &[u8]) -> Result<u64, DataError> {
        self.file.write_all(bytes).map_err(|source| FileError::write(&self.path, source))?;
        let start = self.length;
        self.length += bytes.len() as u64;
        Ok(start)
    }

    fn flush(&mut self) -> Result<(), DataError> {
        Ok(self.file.flush().map_err(|source| FileError::write(&self.path, source))?)
    }

    fn finish(&mut self) -> Result<(), DataError> {
        let mut finish = || -> io::Result<()> {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            fs::rename(&self.part, &self.path)
        };
        finish().map_err(|source| FileError::write(&self.path, source))?;
        Ok(files::sync_directory_of(&self.path)?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it was finished there is none of that name, or it is another process's.
        if is_at(self.file.get_ref(), &self.part) {
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Whether a path is that of an open file, as far as the system can tell.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (open.dev(), open.ino()) == (named.dev(), named.ino())
    }
    #[cfg(not(unix))]
    {
        open.len() == named.len()
    }
}
