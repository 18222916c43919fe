//! Where arrays come from: which format a data specification names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::array::Array;
use super::error::DataError;
use super::npz::Npz;
use super::safetensors::SafetensorsFile;
#[cfg(feature = "tables")]
use super::table::{ArrowTable, is_arrow};
use super::table::{CsvTable, Reading, Table, TableArrays, is_csv};
use super::{idx, safetensors};
use crate::files;
#[cfg(feature = "tables")]
use crate::files::FileError;
#[cfg(feature = "tables")]
use crate::glob::Glob;
use crate::schema::{LABEL, Schema};

/// An opened data specification.
pub(super) enum Source {
    Npz(Npz),
    Safetensors(SafetensorsFile),
    Idx(Box<IdxPair>),
    Table(TableArrays),
}

/// Images for the model's only input and, where the loss needs them, labels.
pub(super) struct IdxPair {
    input: String,
    images: PathBuf,
    labels: Option<PathBuf>,
}

impl Source {
    pub(super) fn open(spec: &str, schema: &Schema, reading: &Reading) -> Result<Self, DataError> {
        let path = Path::new(spec);
        if let Some(mut table) = table(spec)? {
            return Ok(Self::Table(TableArrays::read(&mut *table, reading, schema)?));
        }
        if !reading.is_default() {
            let what = "it holds arrays, which go by their names".to_owned();
            let help = "leave out --columns and --missing, which are for tables such as CSV".to_owned();
            return Err(DataError::Columns { path: path.to_owned(), what, help });
        }
        if let Some((images, labels)) = spec.split_once(',')
            && !path.exists()
        {
            return IdxPair::open(path, images, Some(labels), schema);
        }
        let magic = files::first_bytes(path, 16)?;
        if magic.starts_with(b"PK") || path.extension().is_some_and(|end| end == "npz") {
            return Npz::open(path).map(Self::Npz);
        }
        if safetensors::recognises(&magic) {
            return SafetensorsFile::open(path).map(Self::Safetensors);
        }
        if idx::recognises(&magic) {
            return IdxPair::open(path, spec, None, schema);
        }
        let reason = match magic.starts_with(b"PAR1") || magic.starts_with(b"ARROW1") {
            true => "this dpc is built without the feature `tables`, which reads Parquet and Arrow".to_owned(),
            false => "it is no zip, safetensors or IDX file, and its name does not end in .csv or .tsv".to_owned(),
        };
        Err(DataError::Format { path: path.to_owned(), reason })
    }

    /// The names of the arrays, as far as they are the file's to say.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Npz(file) => file.names(),
            Self::Safetensors(file) => file.names().unwrap_or_default(),
            Self::Idx(pair) => pair.names(),
            Self::Table(arrays) => arrays.names(),
        }
    }

    /// The vocabularies that were taken from the data, by column.
    pub(super) fn fitted(self) -> BTreeMap<String, Vec<String>> {
        match self {
            Self::Table(arrays) => arrays.fitted,
            _ => BTreeMap::new(),
        }
    }

    pub(super) fn read(&mut self, name: &str) -> Result<Array, DataError> {
        match self {
            Self::Npz(file) => file.read(name),
            Self::Safetensors(file) => file.read(name),
            Self::Idx(pair) => pair.read(name),
            Self::Table(arrays) => arrays.take(name),
        }
    }
}

/// The table that a specification names, if it is one.
pub(super) fn table(spec: &str) -> Result<Option<Box<dyn Table>>, DataError> {
    let path = Path::new(spec);
    if is_csv(path) {
        return Ok(Some(Box::new(CsvTable::open(path)?)));
    }
    #[cfg(feature = "tables")]
    {
        let files = files_of(path)?;
        if let Some(first) = files.first()
            && is_arrow(&files::first_bytes(first, 8)?)
        {
            return Ok(Some(Box::new(ArrowTable::open(path, files)?)));
        }
    }
    Ok(None)
}

/// The files that a path names, a folder or a pattern for file names, sorted; none where it is two files of other formats.
#[cfg(feature = "tables")]
fn files_of(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let (folder, globs) = match path.file_name().and_then(|name| name.to_str()) {
        _ if path.is_dir() => (path, ["*.parquet", "*.arrow", "*.feather", "*.ipc"].map(Glob::new).to_vec()),
        Some(name) if name.contains('*') => (path.parent().unwrap_or(Path::new("")), vec![Glob::new(name)]),
        _ => return Ok(vec![]),
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let fits = |name: &str| globs.iter().any(|glob| glob.matches(name));
    let entries = std::fs::read_dir(folder).map_err(|source| FileError::read(folder, source))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| FileError::read(folder, source))?;
        if fits(&entry.file_name().to_string_lossy()) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        let reason = "no Parquet, Arrow or Feather file goes by that name".to_owned();
        return Err(DataError::Format { path: path.to_owned(), reason });
    }
    found.sort();
    Ok(found)
}

impl IdxPair {
    fn open(spec: &Path, images: &str, labels: Option<&str>, schema: &Schema) -> Result<Source, DataError> {
        let [input] = schema.inputs.as_slice() else {
            let names: Vec<&str> = schema.inputs.iter().map(|i| i.name.as_str()).collect();
            return Err(DataError::Format {
                path: spec.to_owned(),
                reason: format!("an IDX file holds one input, but the model takes {}", names.join(", ")),
            });
        };
        Ok(Source::Idx(Box::new(Self {
            input: input.name.clone(),
            images: images.into(),
            labels: labels.map(PathBuf::from),
        })))
    }

    fn names(&self) -> Vec<String> {
        let label = self.labels.as_ref().map(|_| LABEL.to_owned());
        [self.input.clone()].into_iter().chain(label).collect()
    }

    fn read(&self, name: &str) -> Result<Array, DataError> {
        if name == self.input {
            return idx::read(&self.images);
        }
        match &self.labels {
            Some(labels) if name == LABEL => idx::read(labels),
            _ => Err(DataError::MissingArray {
                path: self.images.clone(),
                name: name.to_owned(),
                present: vec![self.input.clone()],
                help: match name {
                    LABEL => "give the labels after a comma: IMAGES,LABELS".to_owned(),
                    _ => "two IDX files hold one input and one array of labels; give all arrays in FILE.npz".to_owned(),
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dataset, Values};
    use super::*;
    use crate::schema::{InputKind, InputSchema, TargetKind, TargetSchema};

    fn schema() -> Schema {
        Schema {
            inputs: vec![InputSchema { name: "image".to_owned(), dims: vec![1, 1, 2], kind: InputKind::F32 }],
            targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Class { classes: 10, ignore_index: None })],
        }
    }

    #[test]
    fn idx_bytes_become_unit_floats_in_the_models_shape() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let images = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 255, 51, 102];
        std::fs::write(at("images"), images).unwrap();
        std::fs::write(at("labels"), [0, 0, 8, 1, 0, 0, 0, 2, 9, 3]).unwrap();
        let data = Dataset::load(&format!("{},{}", at("images"), at("labels")), &schema()).unwrap();
        let column = &data.inputs()[0];
        assert_eq!(column.dims, [1, 1, 2]);
        assert_eq!(column.values().unwrap(), Values::F32(vec![0.0, 1.0, 0.2, 0.4]));
        assert_eq!(data.bytes(), ["image"]);
        assert_eq!(data.targets()[0].values().unwrap(), Values::I32(vec![9, 3]));
        let error = Dataset::load(&at("images"), &schema()).unwrap_err();
        assert!(error.to_string().contains("no array `label`"), "{error}");
    }

    #[test]
    fn unknown_and_unread_formats_say_so() {
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes, reason) in [
            ("a.csv", "1,2,3", "its first line has numbers where a table has the names of its columns"),
            ("a.parquet", "PAR1....", "is damaged"),
            ("a.bin", "hello", "it is no zip, safetensors or IDX file"),
            ("a.npz", "hello", "not a whole zip archive"),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = Dataset::load(path.to_str().unwrap(), &schema()).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let absent = directory.path().join("absent.npz");
        let error = Dataset::load(absent.to_str().unwrap(), &schema()).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
    }
}
