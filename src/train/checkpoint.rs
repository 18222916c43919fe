//! Checkpoints: what a run needs to go on, one safetensors file a checkpoint.
//!
//! A file holds the tensors `parameter/NAME`, `average/NAME` and `state/NAME/STATE`; its `__metadata__` entry
//! `dpc.checkpoint` holds the step, the run, its context and a SHA-256 over all of these and the
//! tensors. A checkpoint is written beside the others, synced and renamed into place; only then
//! are those older than its predecessor removed, so that two whole ones stay.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::files::{self, FileError};
use crate::ranks::{Ranks, RanksError};
use crate::tensors::{Tensor, Tensors, from_safetensors, write_safetensors};

const KEY: &str = "dpc.checkpoint";
const FORMAT: u32 = 1;
const KEPT: usize = 2;

/// The state of a run after a logical step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Logical steps taken.
    pub step: u64,
    /// The run that took them.
    pub run: String,
    /// What a resumed run must share with it.
    pub context: serde_json::Value,
    pub parameters: Tensors,
    /// Moving averages of the trained parameters, which are then the trained model; empty where there are none.
    pub averages: Tensors,
    /// Optimizer states, by `NAME/STATE`.
    pub states: Tensors,
}

#[derive(Debug, Error, Diagnostic)]
pub enum CheckpointError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),

    #[error(transparent)]
    #[diagnostic(transparent)]
    Ranks(#[from] RanksError),

    #[error("checkpoint {} is damaged: {what}", path.display())]
    #[diagnostic(
        code(dpc::checkpoint::damaged),
        help(
            "remove this file to go on from the checkpoint before it; the ledger keeps counting \
             the steps in between"
        )
    )]
    Damaged { path: PathBuf, what: String },

    #[error("checkpoint {} has format {found}; this dpc reads format {FORMAT}", path.display())]
    #[diagnostic(code(dpc::checkpoint::format), help("resume with the dpc that wrote it"))]
    Format { path: PathBuf, found: u32 },
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    step: u64,
    run: String,
    context: serde_json::Value,
    sha256: String,
}

/// The checkpoints of one run, in a directory.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    directory: PathBuf,
}

impl Checkpoints {
    /// Those in `directory`, which is made for the first of them.
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Writes a checkpoint; when this returns it survives a crash.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<PathBuf, CheckpointError> {
        let path = self.directory.join(format!("step-{:010}.safetensors", checkpoint.step));
        files::create_directory(&self.directory)?;
        files::write_atomic(&path, |file| checkpoint.write(file))?;
        let steps = self.list()?;
        for (_, old) in steps.iter().rev().skip(KEPT) {
            std::fs::remove_file(old).map_err(|e| FileError::write(old, e))?;
        }
        Ok(path)
    }

    /// The checkpoint of the highest step, or `None` where there is none yet.
    ///
    /// # Errors
    /// Where that file is damaged: nothing is resumed from an older one unasked.
    pub fn latest(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        match self.list()?.pop() {
            None => Ok(None),
            Some((_, path)) => Checkpoint::load(&path).map(Some),
        }
    }

    /// [`Checkpoints::latest`], which rank 0 reads for all.
    ///
    /// # Errors
    /// Where that file is damaged, or a rank has left.
    pub fn latest_among(&self, ranks: &dyn Ranks) -> Result<Option<Checkpoint>, CheckpointError> {
        let (mut bytes, mut place) = (Vec::new(), self.directory.clone());
        if ranks.is_first()
            && let Some((_, path)) = self.list()?.pop()
        {
            bytes = files::read(&path)?;
            place = path;
        }
        ranks.broadcast(&mut bytes)?;
        // An empty file is a damaged one, and has a path.
        match bytes.is_empty() && place == self.directory {
            true => Ok(None),
            false => Checkpoint::parse(&bytes, &place).map(Some),
        }
    }

    /// The steps of those that there are, in order.
    pub fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        Ok(self.list()?.into_iter().map(|(step, _)| step).collect())
    }

    fn list(&self) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
        let unreadable = |e| FileError::read(&self.directory, e);
        let mut steps = Vec::new();
        if !self.directory.exists() {
            return Ok(steps);
        }
        for entry in std::fs::read_dir(&self.directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(step) = name
                .and_then(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors"))
                .and_then(|digits| digits.parse().ok())
            {
                steps.push((step, path));
            }
        }
        steps.sort();
        Ok(steps)
    }
}

impl Checkpoint {
    /// Reads and verifies a checkpoint.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        Self::parse(&files::read(path)?, path)
    }

    /// The checkpoint that these bytes hold, which errors call `name`.
    ///
    /// # Errors
    /// When they are not whole.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, CheckpointError> {
        Self::parse(bytes, Path::new(name))
    }

    /// The checkpoint that the file at `path` holds.
    fn parse(bytes: &[u8], path: &Path) -> Result<Self, CheckpointError> {
        let damaged = |what: String| CheckpointError::Damaged { path: path.to_owned(), what };
        let (tensors, metadata) = from_safetensors(bytes).map_err(|e| damaged(e.to_string()))?;
        let header: Header = metadata
            .get(KEY)
            .ok_or_else(|| damaged(format!("it has no `{KEY}` entry")))
            .and_then(|text| serde_json::from_str(text).map_err(|e| damaged(e.to_string())))?;
        if header.format != FORMAT {
            return Err(CheckpointError::Format { path: path.to_owned(), found: header.format });
        }
        let found = digest(header.step, &header.run, &header.context, tensors.iter());
        if found != header.sha256 {
            return Err(damaged(format!("its SHA-256 is {found}, not {}", header.sha256)));
        }
        let mut checkpoint = Self {
            step: header.step,
            run: header.run,
            context: header.context,
            parameters: Tensors::new(),
            averages: Tensors::new(),
            states: Tensors::new(),
        };
        for (name, tensor) in tensors {
            if let Some(name) = name.strip_prefix("parameter/") {
                checkpoint.parameters.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix("average/") {
                checkpoint.averages.insert(name.to_owned(), tensor);
            } else if let Some(name) = name.strip_prefix("state/") {
                checkpoint.states.insert(name.to_owned(), tensor);
            }
        }
        Ok(checkpoint)
    }

    /// The content of the checkpoint's file.
    ///
    /// # Errors
    /// When its context cannot be written as JSON.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the same.
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let parameters = self.parameters.iter().map(|entry| ("parameter", entry));
        let states = self.states.iter().map(|entry| ("state", entry));
        let averages = self.averages.iter().map(|entry| ("average", entry));
        let tensors: BTreeMap<String, &Tensor> = parameters
            .chain(averages)
            .chain(states)
            .map(|(kind, (name, tensor))| (format!("{kind}/{name}"), tensor))
            .collect();
        let all = || tensors.iter().map(|(name, tensor)| (name, *tensor));
        let header = Header {
            format: FORMAT,
            step: self.step,
            run: self.run.clone(),
            context: self.context.clone(),
            sha256: digest(self.step, &self.run, &self.context, all()),
        };
        let header = serde_json::to_string(&header)?;
        write_safetensors(to, all(), Some((KEY, header)))
    }
}

/// SHA-256, in hexadecimal, of everything a checkpoint says.
fn digest<'t>(
    step: u64,
    run: &str,
    context: &serde_json::Value,
    tensors: impl Iterator<Item = (&'t String, &'t Tensor)> + Clone,
) -> String {
    let mut hash = Sha256::new();
    let mut text = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    text(&step.to_string());
    text(run);
    text(&context.to_string());
    for (name, tensor) in tensors.clone() {
        text(name);
        text(&format!("{:?}", tensor.dims));
    }
    for (_, tensor) in tensors {
        hash.update(tensor.bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        let tensor = |data: &[f32]| Tensor { dims: vec![data.len()], data: data.to_vec() };
        Checkpoint {
            step,
            run: "run".to_owned(),
            context: serde_json::json!({"sample_rate": 0.1, "noise_multiplier": 1.1}),
            parameters: Tensors::from([("w".to_owned(), tensor(&[1.0, f32::NAN]))]),
            averages: Tensors::from([("w".to_owned(), tensor(&[0.75, 2.0]))]),
            states: Tensors::from([("w/momentum".to_owned(), tensor(&[0.5, 0.25]))]),
        }
    }

    #[test]
    fn the_newest_is_read_and_two_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::at(&directory.path().join("checkpoints"));
        assert_eq!(checkpoints.latest().unwrap(), None);
        for step in [1, 2, 10] {
            checkpoints.save(&checkpoint(step)).unwrap();
        }
        let latest = checkpoints.latest().unwrap().unwrap();
        assert_eq!((latest.step, latest.run.as_str()), (10, "run"));
        assert_eq!(latest.context, checkpoint(10).context);
        assert_eq!(latest.averages, checkpoint(10).averages);
        assert_eq!(latest.states, checkpoint(10).states);
        let bits = |c: &Checkpoint| -> Vec<u32> { c.parameters["w"].data.iter().map(|v| v.to_bits()).collect() };
        assert_eq!(bits(&latest), bits(&checkpoint(10)));
        let steps: Vec<u64> = checkpoints.list().unwrap().iter().map(|(s, _)| *s).collect();
        assert_eq!(steps, [2, 10]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::at(directory.path());
        let path = checkpoints.save(&checkpoint(3)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            // White space in the header is the only content that says nothing.
            if !whole[at].is_ascii_whitespace() {
                assert!(checkpoints.latest().is_err(), "byte {at}");
            }
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(checkpoints.latest().is_err(), "cut at {at}");
        }
    }
}
