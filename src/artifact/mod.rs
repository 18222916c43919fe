//! `M.dpc`, the compiled artifact: one zip that any unzip opens.
//!
//! | member | holds |
//! |---|---|
//! | `manifest.json` | [`Manifest`], with the SHA-256 of every other member |
//! | `program.json` | the lowered program |
//! | `shaders/NAME.wgsl` | the specialised shaders, where they were asked for: to be read by people, and by nothing else |
//! | `source.onnx` | the model as it was read |
//! | `weights.safetensors` | the parameters' values |
//!
//! The same artifact always gives the same bytes: members are sorted and dated 1980-01-01.

mod build;
mod manifest;
mod reopen;
mod views;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use prost::bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

pub use build::{BuildError, build};
pub use manifest::{FormatVersion, Manifest, OutputEntry, ParameterEntry, compiler};
pub use reopen::Reopened;
pub use views::NoViews;

use crate::files::{self, FileError};
use crate::import::custom::{CustomOps, UnknownOps};
use crate::lower::check::{COUNTED_ROWS, check};
use crate::lower::program::Program;
use crate::privacy::certificate::Provenance;
use crate::tensors::{Tensors, from_safetensors, write_safetensors};

const MANIFEST: &str = "manifest.json";
const PROGRAM: &str = "program.json";
const SHADERS: &str = "shaders/";
const WGSL: &str = ".wgsl";
const SOURCE: &str = "source.onnx";
const WEIGHTS: &str = "weights.safetensors";
/// Members together are never larger, so that a small file cannot ask for endless memory.
const MAX_BYTES: u64 = 4 << 30;

/// A compiled model.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    pub manifest: Manifest,
    pub program: Program,
    /// The text of shaders for people to read, by name; a device emits its own.
    pub shaders: BTreeMap<String, String>,
    /// The ONNX file.
    pub source: Bytes,
    /// The values of the parameters, by their ONNX names.
    pub weights: Tensors,
    /// The ops from outside that it may use; a file names them and has no more of them.
    pub ops: CustomOps,
}

#[derive(Debug, Error, Diagnostic)]
pub enum ArtifactError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),

    #[error("{} is no dpc artifact: {what}", path.display())]
    #[diagnostic(code(dpc::artifact::not_one), help("make one with `dpc compile MODEL.onnx -o M.dpc --loss LOSS`"))]
    NotAnArtifact { path: PathBuf, what: String },

    #[error("{} is damaged: member {member}: {what}", path.display())]
    #[diagnostic(code(dpc::artifact::damaged), help("copy the file again, or compile the model again"))]
    Damaged { path: PathBuf, member: String, what: String },

    #[error(
        "{} has format {}.{}; this dpc reads {}.x",
        path.display(), found.major, found.minor, FormatVersion::CURRENT.major
    )]
    #[diagnostic(
        code(dpc::artifact::format),
        help("use the dpc that compiled it, or compile the model again with this one")
    )]
    OtherFormat { path: PathBuf, found: FormatVersion },

    #[error("{} cannot be used: {source}", path.display())]
    #[diagnostic(
        code(dpc::artifact::ops),
        help(
            "load it by the library, with the ops that it was compiled with; the command line has none but dpc's own"
        )
    )]
    UnknownOps { path: PathBuf, source: UnknownOps },

    #[error("{} unpacks to {bytes} bytes; the limit is {MAX_BYTES}", path.display())]
    #[diagnostic(code(dpc::artifact::too_large))]
    TooLarge { path: PathBuf, bytes: u128 },
}

impl Artifact {
    /// Writes the artifact atomically, with the hashes of its members.
    pub fn save(&self, path: &Path) -> Result<(), ArtifactError> {
        let members = self.to_members().map_err(|source| FileError::write(path, source))?;
        files::write_zip(path, |archive| write_members(archive, &members))?;
        Ok(())
    }

    /// The bytes that [`Artifact::save`] writes.
    ///
    /// # Errors
    /// When they would be no zip archive.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        let written = || -> io::Result<Vec<u8>> {
            let mut archive = ZipWriter::new(io::Cursor::new(Vec::new()));
            write_members(&mut archive, &self.to_members()?)?;
            Ok(archive.finish()?.into_inner())
        };
        Ok(written().map_err(|source| FileError::write(Path::new("an artifact"), source))?)
    }

    /// The digests of the source model, the program, and the data schema.
    pub fn provenance(&self) -> Result<Provenance, ArtifactError> {
        let json = |e| FileError::write(Path::new(PROGRAM), io::Error::from(e));
        let program = serde_json::to_vec(&self.program).map_err(json)?;
        let schema = serde_json::to_vec(&self.manifest.schema).map_err(json)?;
        Ok(Provenance {
            source_model: sha256(&self.source),
            program: sha256(&program),
            data_schema: sha256(&schema),
            initial_values: self.manifest.initial_values.clone(),
        })
    }

    fn to_members(&self) -> io::Result<BTreeMap<String, Content<'_>>> {
        let mut members: BTreeMap<String, Content> = BTreeMap::new();
        for (name, wgsl) in &self.shaders {
            members.insert(format!("{SHADERS}{name}{WGSL}"), Content::Bytes(wgsl.as_bytes().into()));
        }
        members.insert(PROGRAM.to_owned(), Content::Bytes(serde_json::to_vec(&self.program)?.into()));
        members.insert(SOURCE.to_owned(), Content::Bytes((*self.source).into()));
        members.insert(WEIGHTS.to_owned(), Content::Weights(&self.weights));

        let hashes = members.iter().map(|(name, content)| Ok((name.clone(), content.sha256()?)));
        let manifest = Manifest { members: hashes.collect::<io::Result<_>>()?, ..self.manifest.clone() };
        members.insert(MANIFEST.to_owned(), Content::Bytes(serde_json::to_vec_pretty(&manifest)?.into()));
        Ok(members)
    }

    /// Reads an artifact, and verifies it against its hashes.
    ///
    /// # Errors
    /// A typed error for any bytes that [`Artifact::save`] of a readable version did not write.
    pub fn load(path: &Path) -> Result<Self, ArtifactError> {
        Self::load_with(path, &CustomOps::default())
    }

    /// [`Artifact::load`], of one that may use ops from outside.
    ///
    /// # Errors
    /// As [`Artifact::load`]; [`ArtifactError::UnknownOps`] where it uses others.
    pub fn load_with(path: &Path, ops: &CustomOps) -> Result<Self, ArtifactError> {
        let file = File::open(path).map_err(|source| FileError::read(path, source))?;
        Self::read(path, BufReader::new(file), ops)
    }

    /// [`Artifact::load`] of the bytes of a file, which errors call `name`.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        Self::read(Path::new(name), io::Cursor::new(bytes), &CustomOps::default())
    }

    fn read(path: &Path, reader: impl Read + Seek, ops: &CustomOps) -> Result<Self, ArtifactError> {
        let mut members = Members::open(path, reader)?;
        let manifest = members.take(MANIFEST)?;
        let manifest = parse_manifest(path, &manifest)?;
        let mut verified = |name: &str| -> Result<Vec<u8>, ArtifactError> {
            let bytes = members.take(name)?;
            let found = sha256(&bytes);
            match manifest.members.get(name) {
                Some(expected) if *expected == found => Ok(bytes),
                Some(expected) => Err(damaged(path, name, format!("its SHA-256 is {found}, not {expected}"))),
                None => Err(damaged(path, name, "the manifest has no hash of it")),
            }
        };
        let program = verified(PROGRAM)?;
        let source = verified(SOURCE)?.into();
        let weights = verified(WEIGHTS)?;
        let (weights, _) = from_safetensors(&weights).map_err(|e| damaged(path, WEIGHTS, e.to_string()))?;
        let mut program: Program =
            serde_json::from_slice(&program).map_err(|e| damaged(path, PROGRAM, e.to_string()))?;
        ops.link(&mut program).map_err(|source| ArtifactError::UnknownOps { path: path.to_owned(), source })?;
        check(&program, &[1, COUNTED_ROWS]).map_err(|invalid| damaged(path, PROGRAM, invalid.what))?;
        let mut shaders = BTreeMap::new();
        for member in manifest.members.keys() {
            let Some(name) = member.strip_prefix(SHADERS).and_then(|name| name.strip_suffix(WGSL)) else { continue };
            let wgsl = String::from_utf8(verified(member)?).map_err(|e| damaged(path, member, e.to_string()))?;
            shaders.insert(name.to_owned(), wgsl);
        }
        Ok(Self { manifest, program, shaders, source, weights, ops: ops.clone() })
    }
}

/// What a member holds.
enum Content<'a> {
    Bytes(Cow<'a, [u8]>),
    /// A safetensors file, of which there is never a second copy in memory.
    Weights(&'a Tensors),
}

impl Content<'_> {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Content::Bytes(bytes) => to.write_all(bytes),
            Content::Weights(weights) => write_safetensors(to, *weights, None),
        }
    }

    fn sha256(&self) -> io::Result<String> {
        let mut hash = Hashing(Sha256::new());
        self.write(&mut hash)?;
        Ok(hex(hash.0))
    }

    /// Whether it may pass the size that a zip archive has by default.
    fn is_large(&self) -> bool {
        let bytes = match self {
            Content::Bytes(bytes) => bytes.len(),
            Content::Weights(weights) => weights.values().map(|tensor| tensor.bytes().len()).sum(),
        };
        bytes >= 1 << 31
    }
}

/// Takes what is written for a digest of it.
struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_members(archive: &mut ZipWriter<impl Write + Seek>, members: &BTreeMap<String, Content<'_>>) -> ZipResult<()> {
    for (name, content) in members {
        let is_text = name != SOURCE && name != WEIGHTS;
        let options = SimpleFileOptions::default()
            .compression_method(if is_text { CompressionMethod::Deflated } else { CompressionMethod::Stored })
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644)
            .large_file(content.is_large());
        archive.start_file(name.as_str(), options)?;
        content.write(archive)?;
    }
    Ok(())
}

fn parse_manifest(path: &Path, json: &[u8]) -> Result<Manifest, ArtifactError> {
    #[derive(Deserialize)]
    struct Versioned {
        format_version: FormatVersion,
    }
    let bad = |e: serde_json::Error| damaged(path, MANIFEST, e.to_string());
    let Versioned { format_version } = serde_json::from_slice(json).map_err(bad)?;
    if format_version.major != FormatVersion::CURRENT.major {
        return Err(ArtifactError::OtherFormat { path: path.to_owned(), found: format_version });
    }
    serde_json::from_slice(json).map_err(bad)
}

/// The members of an artifact's zip, within the limit on their size.
struct Members<'a, R> {
    path: &'a Path,
    archive: ZipArchive<R>,
    left: u64,
}

impl<'a, R: Read + Seek> Members<'a, R> {
    fn open(path: &'a Path, reader: R) -> Result<Self, ArtifactError> {
        let archive = ZipArchive::new(reader)
            .map_err(|error| ArtifactError::NotAnArtifact { path: path.to_owned(), what: error.to_string() })?;
        match archive.decompressed_size() {
            Some(bytes) if bytes > u128::from(MAX_BYTES) => {
                Err(ArtifactError::TooLarge { path: path.to_owned(), bytes })
            }
            _ => Ok(Self { path, archive, left: MAX_BYTES }),
        }
    }

    fn take(&mut self, name: &str) -> Result<Vec<u8>, ArtifactError> {
        let Some(index) = self.archive.index_for_name(name) else {
            return Err(if name == MANIFEST {
                ArtifactError::NotAnArtifact { path: self.path.to_owned(), what: format!("it has no {MANIFEST}") }
            } else {
                damaged(self.path, name, "it is missing")
            });
        };
        let unreadable = |what: String| damaged(self.path, name, what);
        let member = self.archive.by_index(index).map_err(|error| unreadable(error.to_string()))?;
        let declared = member.size();
        if declared > self.left {
            return Err(unreadable(format!("it declares {declared} bytes")));
        }
        let mut bytes = Vec::new();
        member.take(declared + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 != declared {
            return Err(unreadable(format!("it is not of the {declared} bytes declared")));
        }
        self.left -= declared;
        Ok(bytes)
    }
}

fn damaged(path: &Path, member: &str, what: impl Into<String>) -> ArtifactError {
    ArtifactError::Damaged { path: path.to_owned(), member: member.to_owned(), what: what.into() }
}

fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::graph::DType;
    use crate::import::axes::{Axes, Axis};
    use crate::lower::program::{Buffer, Extent, Role};
    use crate::options::{Classes, NormChoice};
    use crate::schema::{InputKind, InputSchema, LABEL, Schema, TargetKind, TargetSchema};
    use crate::tensors::Tensor;

    fn artifact() -> Artifact {
        Artifact {
            manifest: Manifest {
                format_version: FormatVersion::CURRENT,
                compiler: compiler(),
                schema: Schema {
                    inputs: vec![InputSchema {
                        name: "ids".to_owned(),
                        dims: vec![4],
                        kind: InputKind::I32 { table: Some(10) },
                    }],
                    targets: vec![TargetSchema::new(
                        LABEL,
                        &[],
                        TargetKind::Class { classes: 2, ignore_index: Some(Classes::IGNORE_INDEX) },
                    )],
                },
                shared: vec![],
                inputs: BTreeMap::from([("ids".to_owned(), Axes(vec![Axis::batch(), Axis::size(4)]))]),
                outputs: vec![OutputEntry {
                    nothing: None,
                    name: "logits".to_owned(),
                    axes: Axes(vec![Axis::batch(), Axis::size(2)]),
                }],
                loss: Some("cross-entropy".parse().unwrap()),
                clip: "flat:0.5".parse().unwrap(),
                clip_groups: vec![],
                norm: NormChoice::Auto,
                precision: Default::default(),
                optimizer: "sgd:momentum=0.9".parse().unwrap(),
                max_batch: 64,
                parameters: vec![ParameterEntry {
                    name: "fc.weight".to_owned(),
                    dims: vec![2],
                    trained: true,
                    padding_idx: None,
                    aliases: vec![],
                }],
                grid: None,
                norms: vec![],
                initial_values: None,
                members: BTreeMap::new(),
            },
            program: Program {
                buffers: vec![Buffer {
                    name: "mask".to_owned(),
                    dtype: DType::F32,
                    len: Extent::fixed(2),
                    role: Role::ConstantF32(vec![f32::NEG_INFINITY, 0.1]),
                    slot: 0,
                }],
                ..Program::default()
            },
            shaders: BTreeMap::from([("gemm-1f".to_owned(), "fn main() {}".to_owned())]),
            source: Bytes::from_static(b"onnx bytes"),
            weights: Tensors::from([("fc.weight".to_owned(), Tensor { dims: vec![2], data: vec![1.0, -2.0] })]),
            ops: CustomOps::default(),
        }
    }

    fn saved(artifact: &Artifact) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.dpc");
        artifact.save(&path).unwrap();
        std::fs::read(&path).unwrap()
    }

    fn zip(members: &BTreeMap<String, Content<'_>>) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        write_members(&mut archive, members).unwrap();
        archive.finish().unwrap().into_inner()
    }

    fn load(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        Artifact::read(Path::new("m.dpc"), Cursor::new(bytes), &CustomOps::default())
    }

    #[test]
    fn it_reads_back_and_is_deterministic() {
        let artifact = artifact();
        let bytes = saved(&artifact);
        assert_eq!(bytes, saved(&artifact));
        let mut read = load(&bytes).unwrap();
        assert_eq!(read.manifest.members.len(), 4);
        read.manifest.members.clear();
        assert_eq!(read, artifact);
    }

    #[test]
    fn damage_never_panics_and_never_changes_what_is_read() {
        let bytes = saved(&artifact());
        let whole = load(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            if let Ok(read) = load(&flipped) {
                assert_eq!(read, whole, "byte {at}");
            }
            assert!(load(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn other_majors_and_foreign_zips_are_refused() {
        let mut other = artifact();
        for major in [1, 2, 3, 4, 5, 6, 7] {
            other.manifest.format_version = FormatVersion { major, minor: 0 };
            let error = load(&saved(&other)).unwrap_err();
            assert_eq!(error.to_string(), format!("m.dpc has format {major}.0; this dpc reads 8.x"));
        }
        let error = load(&zip(&BTreeMap::from([("a".to_owned(), Content::Bytes(Cow::Borrowed(&[1])))]))).unwrap_err();
        assert!(error.to_string().contains("it has no manifest.json"));
    }

    #[test]
    fn a_member_that_disagrees_with_its_hash_is_named() {
        let mut members = BTreeMap::new();
        let bytes = saved(&artifact());
        let mut archive = ZipArchive::new(Cursor::new(&bytes)).unwrap();
        for index in 0..archive.len() {
            let mut member = archive.by_index(index).unwrap();
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            members.insert(member.name().unwrap().into_owned(), Content::Bytes(content.into()));
        }
        members.insert(SOURCE.to_owned(), Content::Bytes(b"another".into()));
        let error = load(&zip(&members)).unwrap_err().to_string();
        assert!(error.contains("member source.onnx: its SHA-256 is"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = load(&bytes);
        }
    }
}
