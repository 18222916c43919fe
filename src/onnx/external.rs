//! The initialisers of a graph, read from the file or from data files beside it
//! ([external data](https://onnx.ai/onnx/repo-docs/ExternalData.html)).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::error::OnnxError;
use super::proto::{GraphProto, TensorProto};
use super::tensor::{Elem, Tensor, TensorError};

/// Reads every initialiser, takes external data into `graph`, and notes values that lose precision.
///
/// # Errors
///
/// [`OnnxError::ElementType`], [`OnnxError::ExternalData`] or [`OnnxError::MalformedTensors`], each naming all of its kind.
pub(super) fn initializers(
    graph: &mut GraphProto,
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Tensor>, OnnxError> {
    let mut files = Files::new(path);
    let mut tensors = BTreeMap::new();
    let (mut types, mut external, mut malformed) = (Vec::new(), Vec::new(), Vec::new());
    let mut narrowed = Vec::new();
    for proto in &mut graph.initializer {
        if is_external(proto) {
            match files.read(proto) {
                Ok(raw) => embed(proto, raw),
                Err(problem) => {
                    external.push(format!("`{}`: {problem}", proto.name()));
                    continue;
                }
            }
        }
        let name = proto.name();
        match Tensor::from_proto(proto) {
            Ok(tensor) => {
                if Elem::from_onnx(proto.data_type()) == Elem::F64 {
                    narrowed.push(name.to_owned());
                }
                if tensors.insert(name.to_owned(), tensor).is_some() {
                    malformed.push(format!("`{name}`: there are two initialisers of this name"));
                }
            }
            Err(TensorError::ElementType(elem)) => types.push(format!("`{name}`: {elem}")),
            Err(TensorError::Malformed(problem)) => malformed.push(format!("`{name}`: {problem}")),
        }
    }
    for sparse in &graph.sparse_initializer {
        let name = sparse.values.as_ref().map_or("", |values| values.name());
        types.push(format!("`{name}`: a sparse tensor"));
    }
    if !types.is_empty() {
        return Err(OnnxError::ElementType { values: types });
    }
    if !external.is_empty() {
        return Err(OnnxError::ExternalData { tensors: external });
    }
    if !malformed.is_empty() {
        return Err(OnnxError::MalformedTensors { tensors: malformed });
    }
    if !narrowed.is_empty() {
        notes.push(format!(
            "initialisers in double precision are computed with in single precision: {}",
            narrowed.join(", ")
        ));
    }
    Ok(tensors)
}

/// Whether the tensor's data lie in another file.
pub(super) fn is_external(proto: &TensorProto) -> bool {
    const EXTERNAL: i32 = 1;
    proto.data_location() == EXTERNAL
}

fn embed(proto: &mut TensorProto, raw: Vec<u8>) {
    proto.raw_data = Some(raw.into());
    proto.external_data.clear();
    proto.data_location = None;
}

/// The data files of a model, each opened once.
struct Files {
    directory: PathBuf,
    open: HashMap<PathBuf, (File, u64)>,
}

impl Files {
    fn new(model: &Path) -> Files {
        let directory = match model.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Files { directory, open: HashMap::new() }
    }

    /// The bytes of an external tensor. The error completes the sentence "the tensor's data …".
    fn read(&mut self, proto: &TensorProto) -> Result<Vec<u8>, String> {
        let entry = |key: &str| proto.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value());
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("{key} `{text}` is not a number")),
        };
        let location = entry("location").ok_or("it names no file")?;
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?;
        let (file, size) = self.file(location)?;
        let available = size
            .checked_sub(offset)
            .ok_or_else(|| format!("offset {offset} lies behind the end of `{location}` ({size} bytes)"))?;
        let length = length.unwrap_or(available);
        if length > available {
            return Err(format!("`{location}` has {available} bytes from offset {offset}, {length} are needed"));
        }
        let unreadable = |error: std::io::Error| format!("`{location}` cannot be read: {error}");
        file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        let mut raw = Vec::new();
        file.take(length).read_to_end(&mut raw).map_err(unreadable)?;
        Ok(raw)
    }

    /// The file at `location`, which may not leave the model's directory, and its size.
    fn file(&mut self, location: &str) -> Result<(&mut File, u64), String> {
        let relative = Path::new(location);
        let stays = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !stays || location.is_empty() {
            return Err(format!("`{location}` is not a path below the model's directory"));
        }
        let unreadable = |error: std::io::Error| format!("`{location}` cannot be opened: {error}");
        let directory = self.directory.canonicalize().map_err(unreadable)?;
        let path = directory.join(relative).canonicalize().map_err(unreadable)?;
        if !path.starts_with(&directory) {
            return Err(format!("`{location}` is a link that leaves the model's directory"));
        }
        let entry = match self.open.entry(path) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let file = File::open(entry.key()).map_err(unreadable)?;
                let metadata = file.metadata().map_err(unreadable)?;
                if !metadata.is_file() {
                    return Err(format!("`{location}` is not a file"));
                }
                entry.insert((file, metadata.len()))
            }
        };
        Ok((&mut entry.0, entry.1))
    }
}
