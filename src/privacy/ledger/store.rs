//! Where a ledger keeps its lines: a file, or what the caller of the library provides.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::LedgerError;
use crate::files::{self, FileError};

/// Where a ledger keeps its lines. The guarantee of a run rests on it: a line that [`LedgerStore::append`] took must be
/// there when the ledger is next opened, whatever happens to the process, and no other run may write in between.
pub trait LedgerStore: fmt::Debug + Send {
    /// What errors call it.
    fn place(&self) -> &Path;

    /// All that it holds; `None` where nothing has been written yet.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&mut self) -> Result<Option<Vec<u8>>, LedgerError>;

    /// Holds `text` in place of what it held, or, on an error, what it held before.
    ///
    /// # Errors
    /// When it could not be written.
    fn replace(&mut self, text: &[u8]) -> Result<(), FileError>;

    /// Gets ready to append: called once, after all reading and replacing.
    ///
    /// # Errors
    /// When it cannot be appended to.
    fn begin(&mut self) -> Result<(), FileError> {
        Ok(())
    }

    /// Adds a line, which outlives the process on return.
    ///
    /// # Errors
    /// When that is not sure.
    fn append(&mut self, line: &[u8]) -> Result<(), LedgerError>;

    /// The same while this thread does `work`, once, which says whether that went well; before it where a store knows no better.
    /// The line stays there either way.
    ///
    /// # Errors
    /// As [`LedgerStore::append`].
    fn append_while(&mut self, line: &[u8], work: &mut dyn FnMut() -> bool) -> Result<(), LedgerError> {
        work();
        self.append(line)
    }
}

/// A ledger in a file, which one process at a time can have open.
#[derive(Debug)]
pub(super) struct FileStore {
    path: PathBuf,
    file: Option<File>,
    _lock: File,
}

impl FileStore {
    /// Follows links and locks the ledger at `path`.
    pub(super) fn lock(path: &Path) -> Result<FileStore, LedgerError> {
        let path = files::resolve(path)?;
        let lock = files::lock(&beside(&path))?.ok_or_else(|| LedgerError::Locked { path: path.clone() })?;
        Ok(FileStore { path, file: None, _lock: lock })
    }

    /// A ledger at `path` whose lines go to `file`.
    #[cfg(test)]
    pub(super) fn writing_to(path: &Path, file: File) -> FileStore {
        FileStore { path: path.to_owned(), _lock: file.try_clone().expect("a second handle"), file: Some(file) }
    }
}

impl LedgerStore for FileStore {
    fn place(&self) -> &Path {
        &self.path
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(if exists(&self.path)? { Some(files::read(&self.path)?) } else { None })
    }

    fn replace(&mut self, text: &[u8]) -> Result<(), FileError> {
        files::write_atomic(&self.path, |file| file.write_all(text))
    }

    fn begin(&mut self) -> Result<(), FileError> {
        // Its name, too, in case whoever made it was killed before it could.
        files::sync_directory_of(&self.path)?;
        let file = OpenOptions::new().append(true).open(&self.path);
        self.file = Some(file.map_err(|source| FileError::write(&self.path, source))?);
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> Result<(), LedgerError> {
        let written = match &mut self.file {
            Some(file) => file.write_all(line).and_then(|()| file.sync_data()),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        Ok(written.map_err(|source| FileError::write(&self.path, source))?)
    }
}

/// A ledger in memory, which is lost with the process: for runs whose steps the caller keeps in another way.
///
/// Clones are of one ledger, so that it can be looked at while a run has it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Vec<u8>>>);

impl MemoryStore {
    /// A store that holds the text of a ledger.
    pub fn holding(text: Vec<u8>) -> MemoryStore {
        MemoryStore(Arc::new(Mutex::new(text)))
    }

    /// The text of the ledger.
    pub fn text(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LedgerStore for MemoryStore {
    fn place(&self) -> &Path {
        Path::new("in memory")
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(Some(self.text()).filter(|text| !text.is_empty()))
    }

    fn replace(&mut self, text: &[u8]) -> Result<(), FileError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.to_vec();
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> Result<(), LedgerError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
        Ok(())
    }
}

/// Whether there is a file at `path`.
pub(super) fn exists(path: &Path) -> Result<bool, LedgerError> {
    match path.try_exists() {
        // What stands in the way is for whoever writes to say.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        exists => Ok(exists.map_err(|source| FileError::read(path, source))?),
    }
}

/// The file that is locked for a ledger.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}
