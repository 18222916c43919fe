//! Files that appear whole or not at all.
//!
//! Every output of a command is written to a temporary file beside its destination, synced, and
//! renamed over it, so that a crash or a full disk leaves either the old file or the new one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;
use zip::ZipWriter;
use zip::result::ZipResult;

/// A file or directory that could not be read or written.
#[derive(Debug, Error, Diagnostic)]
pub enum FileError {
    #[error("cannot read {}", path.display())]
    #[diagnostic(code(dpc::file::read), help("check that the path is right and that you may read it"))]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot write {}", path.display())]
    #[diagnostic(
        code(dpc::file::write),
        help(
            "check that the directory exists, that you may write in it, and that the disk has \
             room; nothing was left behind"
        )
    )]
    Write { path: PathBuf, source: io::Error },
}

impl FileError {
    pub fn read(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Read { path, source }
    }

    pub fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Write { path, source }
    }
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::read(path, source))
}

/// Reads all of `to` from the position `offset` of a file on; several threads may do so at once.
pub fn read_at(file: &File, offset: u64, to: &mut [u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, to, offset);
    #[cfg(not(unix))]
    {
        // A file has one position.
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(to)
    }
}

/// Says that bytes of a file are read soon, so that the system can begin with it; nothing where it cannot be told.
pub fn expect(file: &File, offset: u64, length: usize) {
    #[cfg(target_os = "linux")]
    if let Some(length) = std::num::NonZeroU64::new(length as u64) {
        // Without it reading takes longer, and that is all.
        let _ = rustix::fs::fadvise(file, offset, Some(length), rustix::fs::Advice::WillNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}

/// The first bytes of a file, at most `count`.
pub fn first_bytes(path: &Path, count: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(count).read_to_end(&mut bytes))
        .map_err(|source| FileError::read(path, source))?;
    Ok(bytes)
}

/// Writes `path` through `write`: the file is replaced, durably, once `write` has returned `Ok`,
/// and is left as it was otherwise.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), FileError> {
    try_write(path, 0o666, write).map_err(|source| FileError::write(path, source))
}

/// As [`write_atomic`], for a file that nobody but its owner may read.
pub fn write_atomic_private(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), FileError> {
    try_write(path, 0o600, write).map_err(|source| FileError::write(path, source))
}

/// `mode` is what the system may allow by the process's mask.
#[cfg_attr(not(unix), allow(unused_variables))]
fn try_write(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let directory = directory_of(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    let mut temporary = builder.tempfile_in(directory)?;
    let mut buffered = BufWriter::new(temporary.as_file_mut());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)
}

/// How the names of temporary files begin.
const TEMPORARY: &str = ".dpc-";

/// Removes the temporary files that processes which were killed left in `directory`. Only for directories that no other
/// process writes to.
pub fn remove_temporaries(directory: &Path) -> Result<(), FileError> {
    let unreadable = |source| FileError::read(directory, source);
    if !directory.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            std::fs::remove_file(entry.path()).map_err(|source| FileError::write(&entry.path(), source))?;
        }
    }
    Ok(())
}

/// Writes the zip archive `path` through `write`, as [`write_atomic`] writes a file.
pub fn write_zip(path: &Path, write: impl FnOnce(&mut Archive<'_, '_>) -> ZipResult<()>) -> Result<(), FileError> {
    write_atomic(path, |file| {
        let mut archive = ZipWriter::new(UntilError { file, position: 0, length: 0, error: None });
        let written = write(&mut archive);
        match archive.finish() {
            Ok(UntilError { error: Some(error), .. }) => Err(error),
            finished => Ok(written.and(finished.map(|_| ()))?),
        }
    })
}

/// A zip archive that is being written.
pub type Archive<'a, 'b> = ZipWriter<UntilError<'a, 'b>>;

/// A file that keeps its first error and takes everything after it. A [`ZipWriter`] whose file fails would print a line
/// of its own.
pub struct UntilError<'a, 'b> {
    file: &'a mut BufWriter<&'b mut File>,
    position: u64,
    length: u64,
    error: Option<io::Error>,
}

impl UntilError<'_, '_> {
    fn to(&mut self, position: Option<u64>, done: io::Result<()>) -> io::Result<u64> {
        self.error = self.error.take().or(done.err());
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        self.length = self.length.max(self.position);
        Ok(self.position)
    }
}

impl Write for UntilError<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = if self.error.is_none() { self.file.write_all(bytes) } else { Ok(()) };
        self.to(self.position.checked_add(bytes.len() as u64), written)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for UntilError<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
            SeekFrom::End(distance) => self.length.checked_add_signed(distance),
        };
        let moved = match position {
            Some(position) if self.error.is_none() => self.file.seek(SeekFrom::Start(position)).map(|_| ()),
            _ => Ok(()),
        };
        self.to(position, moved)
    }
}

/// Locks `path`, made if there is none, until the file that is returned is dropped; `None` where another process has it
/// locked. The system releases the lock when the process ends, however it ends.
pub fn lock(path: &Path) -> Result<Option<File>, FileError> {
    let unlocked = |source| FileError::write(path, source);
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(unlocked)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(unlocked(source)),
    }
}

/// The file that `path` names once links are followed, which need not exist; its directory must.
pub fn resolve(path: &Path) -> Result<PathBuf, FileError> {
    let unresolved = |source| FileError::write(path, source);
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        resolved => return resolved.map_err(unresolved),
    }
    // Links in a circle are another error.
    if let Ok(target) = path.read_link() {
        return resolve(&directory_of(path).join(target));
    }
    let directory = directory_of(path).canonicalize().map_err(unresolved)?;
    Ok(directory.join(path.file_name().ok_or(io::ErrorKind::InvalidInput).map_err(|kind| unresolved(kind.into()))?))
}

/// The way from `directory` to `path`, both resolved; `path` itself where they have nothing in common.
pub fn relative(directory: &Path, path: &Path) -> PathBuf {
    let alike = directory.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    if alike == 0 {
        return path.to_owned();
    }
    let up = directory.components().skip(alike).map(|_| Component::ParentDir);
    up.chain(path.components().skip(alike)).collect()
}

/// Makes `directory` and those above it where they do not exist, durably.
pub fn create_directory(directory: &Path) -> Result<(), FileError> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = directory_of(directory);
    if above != directory {
        create_directory(above)?;
    }
    let made = match std::fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made,
    };
    made.and_then(|()| sync_directory(above)).map_err(|source| FileError::write(directory, source))
}

/// Makes `directory`, which nobody but its owner may look into, where there is none.
pub fn create_private_directory(directory: &Path) -> Result<(), FileError> {
    create_directory(directory_of(directory))?;
    #[cfg_attr(not(unix), allow(unused_mut))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = match builder.create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made.and_then(|()| sync_directory(directory_of(directory))),
    };
    made.map_err(|source| FileError::write(directory, source))
}

/// Removes `directory` with all that is in it, durably, if it exists.
pub fn remove_directory(directory: &Path) -> Result<(), FileError> {
    match std::fs::remove_dir_all(directory) {
        Ok(()) => sync_directory_of(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::write(directory, error)),
    }
}

/// Removes `path`, durably, if it exists.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::write(path, error)),
    }
}

/// Makes what was done to the name of `path` durable.
pub fn sync_directory_of(path: &Path) -> Result<(), FileError> {
    let directory = directory_of(path);
    sync_directory(directory).map_err(|source| FileError::write(directory, source))
}

/// Makes renames and removals in `directory` durable, where the platform can.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use zip::write::SimpleFileOptions;

    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        write_atomic(&path, |file| file.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(matches!(error, Err(FileError::Write { .. })));
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        write_atomic(&path, |file| file.write_all(b"whole")).unwrap();
        std::fs::write(directory.path().join(".dpc-x1y2z3"), b"ha").unwrap();
        remove_temporaries(directory.path()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(read(&path).unwrap(), b"whole");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_archive_keeps_the_first_error_of_its_file() {
        for buffered in [0, 1 << 16] {
            let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let mut file = BufWriter::with_capacity(buffered, &mut full);
            let mut archive = ZipWriter::new(UntilError { file: &mut file, position: 0, length: 0, error: None });
            for name in ["a", "b"] {
                archive.start_file(name, SimpleFileOptions::default()).unwrap();
                archive.write_all(&[7; 100_000]).unwrap();
            }
            let error = archive.finish().unwrap().error.unwrap();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn a_missing_directory_is_an_error_with_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("absent/out");
        let error = write_atomic(&path, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("absent"));
    }
}
