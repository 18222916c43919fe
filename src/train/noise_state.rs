//! What correlated noise goes on from, beside each checkpoint: a file that nobody but its owner may read.
//!
//! `noise-N.state` holds the integers that were added for noise in the last steps ([`StreamState`]) and what the parts
//! of the cycle follow from ([`Parts`]). With the released parameters it tells the sums without noise, so that it is as
//! private as the data: no guarantee covers it, it stands apart from what is released, it is removed with its
//! checkpoint, and a run that has taken all its steps leaves none.
//!
//! A line with the format, one of JSON, the integers in 8 bytes each, slot by slot and parameter by parameter, and a
//! SHA-256 of all that. The checkpoint holds that digest too, so that one does not go on from another's noise. It is
//! written before its checkpoint.

use std::io::Write;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::released::NoiseState;
use crate::files::{self, FileError};
use crate::privacy::correlation::{NoiseStream, StreamState};
use crate::privacy::sampler::Parts;
use crate::ranks::{Ranks, RanksError};

const FORMAT: &[u8] = b"dpc noise state 1\n";
const DIGEST: usize = 32;
/// Integers that are written together.
const BLOCK: usize = 1 << 13;

#[derive(Serialize, Deserialize)]
struct Header {
    parts: Parts,
    next: u64,
    /// By slot and parameter, the elements.
    sizes: Vec<Vec<usize>>,
}

#[derive(Debug, Error, Diagnostic)]
pub enum NoiseStateError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),

    #[error(transparent)]
    #[diagnostic(transparent)]
    Ranks(#[from] RanksError),

    #[error("{} is not the noise that its checkpoint goes on from", path.display())]
    #[diagnostic(
        code(dpc::checkpoint::noise),
        help(
            "remove it and its checkpoint to go on from the one before; without the noise of the steps before, a run with \
             correlated noise cannot go on"
        )
    )]
    Damaged { path: PathBuf },
}

impl NoiseState {
    /// The file for the checkpoint of `step` in `directory`.
    pub fn path(directory: &Path, step: u64) -> PathBuf {
        directory.join(format!("noise-{step:010}.state"))
    }

    /// Writes `parts` and what `stream` goes on from beside the checkpoint of `step` that is to come, and yields its
    /// digest.
    pub fn save(parts: Parts, stream: &NoiseStream, directory: &Path, step: u64) -> Result<String, NoiseStateError> {
        let path = NoiseState::path(directory, step);
        files::create_directory(directory)?;
        let mut digest = Vec::new();
        files::write_atomic_private(&path, |file| {
            digest = write(file, parts, stream)?;
            Ok(())
        })?;
        Ok(hexadecimal(&digest))
    }

    /// That beside the checkpoint of `step`, of this digest. Rank 0 reads it for all.
    pub fn load_among(
        ranks: &dyn Ranks,
        directory: &Path,
        step: u64,
        digest: &str,
    ) -> Result<NoiseState, NoiseStateError> {
        let path = NoiseState::path(directory, step);
        let mut bytes = if ranks.is_first() { files::read(&path)? } else { Vec::new() };
        ranks.broadcast(&mut bytes)?;
        let own = bytes.len().checked_sub(DIGEST).map(|at| hexadecimal(&bytes[at..]));
        let state = if own.as_deref() == Some(digest) { NoiseState::parse(&bytes) } else { None };
        state.ok_or(NoiseStateError::Damaged { path })
    }

    /// Removes those in `directory` but of the steps in `kept`.
    pub fn remove_others(directory: &Path, kept: &[u64]) -> Result<(), NoiseStateError> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(FileError::read(directory, error).into()),
        };
        for entry in entries {
            let path = entry.map_err(|error| FileError::read(directory, error))?.path();
            let is_noise = path.extension().is_some_and(|extension| extension == "state");
            if is_noise && !kept.iter().any(|step| NoiseState::path(directory, *step) == path) {
                files::remove(&path)?;
            }
        }
        Ok(())
    }

    fn parse(bytes: &[u8]) -> Option<NoiseState> {
        let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
        if Sha256::digest(content)[..] != *digest {
            return None;
        }
        let rest = content.strip_prefix(FORMAT)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let header: Header = serde_json::from_slice(&rest[..end]).ok()?;
        let (values, odd) = rest[end + 1..].as_chunks::<8>();
        let total = header.sizes.iter().flatten().try_fold(0_usize, |sum, size| sum.checked_add(*size))?;
        if total != values.len() || !odd.is_empty() {
            return None;
        }
        let mut values = values.iter().map(|value| i64::from_le_bytes(*value));
        let slot = |sizes: &Vec<usize>| sizes.iter().map(|&size| values.by_ref().take(size).collect()).collect();
        let history = header.sizes.iter().map(slot).collect();
        Some(NoiseState { parts: header.parts, stream: StreamState { next: header.next, history } })
    }
}

/// Writes a state, and yields its digest.
fn write(file: &mut dyn Write, parts: Parts, stream: &NoiseStream) -> std::io::Result<Vec<u8>> {
    let history = stream.history();
    let sizes = history.iter().map(|slot| slot.iter().map(Vec::len).collect()).collect();
    let header = serde_json::to_string(&Header { parts, next: stream.next_step(), sizes })?;
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update(bytes);
        file.write_all(bytes)
    };
    put(FORMAT)?;
    put(header.as_bytes())?;
    put(b"\n")?;
    for values in history.iter().flatten().flat_map(|values| values.chunks(BLOCK)) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        put(&bytes)?;
    }
    let digest = hash.finalize().to_vec();
    file.write_all(&digest)?;
    Ok(digest)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::correlation::Correlation;
    use crate::privacy::keys::RunKey;
    use crate::ranks::Alone;

    fn parts() -> Parts {
        Parts::of(&RunKey::insecure(1))
    }

    /// A stream that has taken nine steps.
    fn stream() -> NoiseStream {
        let mut stream = NoiseStream::new(&Correlation::Banded { bands: 3 }.strategy(3, 20), &[3, 0]);
        for step in 0..9 {
            stream.correlate(step, &[vec![1 << 40, -2, step as i64], vec![]]).unwrap();
        }
        stream
    }

    #[test]
    fn it_reads_back_and_is_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let digest = NoiseState::save(parts(), &stream(), place.path(), 9).unwrap();
        let read = NoiseState::load_among(&Alone, place.path(), 9, &digest).unwrap();
        assert_eq!((read.parts, &read.stream), (parts(), &stream().state()));
        assert!(format!("{read:?}").contains("secret"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(NoiseState::path(place.path(), 9)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        NoiseState::save(parts(), &stream(), place.path(), 10).unwrap();
        NoiseState::remove_others(place.path(), &[10]).unwrap();
        assert!(matches!(NoiseState::load_among(&Alone, place.path(), 9, &digest), Err(NoiseStateError::File(_))));
        assert!(matches!(NoiseState::load_among(&Alone, place.path(), 10, "0"), Err(NoiseStateError::Damaged { .. })));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let mut whole = Vec::new();
        write(&mut whole, parts(), &stream()).unwrap();
        assert!(NoiseState::parse(&whole).is_some());
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(NoiseState::parse(&flipped).is_none() && NoiseState::parse(&whole[..at]).is_none(), "{at}");
        }
    }
}
