//! Where arrays come from: which format a data specification names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::DataError;
#[cfg(feature = "images")]
use super::images::{ImageFolder, holds_classes};
use super::npz::Npz;
use super::safetensors::SafetensorsFile;
use super::stored::Stored;
#[cfg(feature = "tables")]
use super::table::{ArrowTable, PREPARED, is_arrow};
use super::table::{CsvTable, Preparing, Reading, Table, TableArrays, is_csv};
use super::{idx, safetensors};
use crate::files;
#[cfg(feature = "tables")]
use crate::files::FileError;
#[cfg(feature = "tables")]
use crate::glob::Glob;
use crate::schema::{LABEL, Schema};

/// An opened data specification.
pub(super) struct Source {
    format: Format,
    /// Bytes that may still be kept in memory.
    room: usize,
    /// Arrays that had to be read into memory though there was no room for them.
    held: Vec<String>,
}

enum Format {
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
    pub(super) fn open(
        spec: &str,
        schema: &Schema,
        reading: &Reading,
        watch: &dyn Fn(Preparing<'_>),
    ) -> Result<Self, DataError> {
        Ok(Self { format: Format::open(spec, schema, reading, watch)?, room: reading.in_memory, held: vec![] })
    }

    /// A CSV or TSV file in memory.
    pub(super) fn csv(name: &str, bytes: Vec<u8>, schema: &Schema, reading: &Reading) -> Result<Self, DataError> {
        let arrays = TableArrays::read(&mut CsvTable::from_bytes(name, bytes)?, reading, schema, &|_| {})?;
        Ok(Self { format: Format::Table(arrays), room: reading.in_memory, held: vec![] })
    }

    /// The names of the arrays, as far as they are the file's to say.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.format {
            Format::Npz(file) => file.names(),
            Format::Safetensors(file) => file.names(),
            Format::Idx(pair) => pair.names(),
            Format::Table(arrays) => arrays.names(),
        }
    }

    /// The vocabularies that were taken from the data, by column, and the arrays that are in memory though they are larger
    /// than was to be kept there.
    pub(super) fn told(self) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
        match self.format {
            Format::Table(arrays) => (arrays.fitted, self.held),
            _ => (BTreeMap::new(), self.held),
        }
    }

    /// One array, in memory where there is room for it.
    pub(super) fn read(&mut self, name: &str) -> Result<Stored, DataError> {
        let array = match &mut self.format {
            Format::Npz(file) => file.stored(name)?,
            Format::Safetensors(file) => file.stored(name)?,
            Format::Idx(pair) => pair.stored(name)?,
            Format::Table(arrays) => arrays.take(name)?,
        };
        match self.room.checked_sub(array.bytes()) {
            Some(room) => {
                self.room = room;
                Ok(array.in_memory()?.into())
            }
            None => {
                self.held.extend((!array.is_in_files()).then(|| name.to_owned()));
                Ok(array)
            }
        }
    }
}

impl Format {
    fn open(spec: &str, schema: &Schema, reading: &Reading, watch: &dyn Fn(Preparing<'_>)) -> Result<Self, DataError> {
        let path = Path::new(spec);
        if let Some(mut table) = table(spec)? {
            return Ok(Self::Table(TableArrays::read(&mut *table, reading, schema, watch)?));
        }
        if !reading.says_nothing_of_tables() {
            let what = "it holds arrays, which go by their names".to_owned();
            let help = "leave out --columns and --missing, which are for tables such as CSV, --resize, which is for images, and --tokenizer, which is for texts".to_owned();
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
    #[cfg(feature = "images")]
    if holds_classes(path) {
        return Ok(Some(Box::new(ImageFolder::open(path)?)));
    }
    match path.is_dir() {
        true => {
            let reason = "it is a folder that holds neither tables nor a folder of images for each class".to_owned();
            Err(DataError::Format { path: path.to_owned(), reason })
        }
        false => Ok(None),
    }
}

/// The tables that a path names, a folder or a pattern for file names, sorted; none where it is something else.
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
    let fits = |name: &str| !name.ends_with(PREPARED) && globs.iter().any(|glob| glob.matches(name));
    let entries = std::fs::read_dir(folder).map_err(|source| FileError::read(folder, source))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| FileError::read(folder, source))?;
        if fits(&entry.file_name().to_string_lossy()) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    if found.is_empty() && !path.is_dir() {
        let reason = "no Parquet, Arrow or Feather file goes by that name".to_owned();
        return Err(DataError::Format { path: path.to_owned(), reason });
    }
    found.sort();
    Ok(found)
}

impl IdxPair {
    fn open(spec: &Path, images: &str, labels: Option<&str>, schema: &Schema) -> Result<Format, DataError> {
        let [input] = schema.inputs.as_slice() else {
            let names: Vec<&str> = schema.inputs.iter().map(|i| i.name.as_str()).collect();
            return Err(DataError::Format {
                path: spec.to_owned(),
                reason: format!("an IDX file holds one input, but the model takes {}", names.join(", ")),
            });
        };
        Ok(Format::Idx(Box::new(Self {
            input: input.name.clone(),
            images: images.into(),
            labels: labels.map(PathBuf::from),
        })))
    }

    fn names(&self) -> Vec<String> {
        let label = self.labels.as_ref().map(|_| LABEL.to_owned());
        [self.input.clone()].into_iter().chain(label).collect()
    }

    fn stored(&self, name: &str) -> Result<Stored, DataError> {
        if name == self.input {
            return idx::stored(&self.images);
        }
        match &self.labels {
            Some(labels) if name == LABEL => idx::stored(labels),
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
    use super::super::{Array, Batch, DType, Dataset, Normalize, Values, npz};
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

    /// The same records by every format, with what there is room for in memory.
    fn formats(folder: &Path, records: usize, in_memory: usize) -> Vec<(String, Dataset)> {
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let pixels: Vec<f32> = (0..2 * records).map(|at| (at * 37 % 101) as f32 - 50.25).collect();
        let classes: Vec<u8> = (0..records).map(|at| (at * 7 % 10) as u8).collect();
        let arrays = BTreeMap::from([
            ("image".to_owned(), Array::from_f32(vec![records, 2], &pixels)),
            (LABEL.to_owned(), Array::new(DType::U8, vec![records], classes.clone()).unwrap()),
        ]);
        npz::write(Path::new(&at("a.npz")), &arrays).unwrap();
        let views = arrays.iter().map(|(name, array)| {
            let dtype = if name == LABEL { ::safetensors::Dtype::U8 } else { ::safetensors::Dtype::F32 };
            let view = ::safetensors::tensor::TensorView::new(dtype, array.dims().to_vec(), array.bytes());
            (name.clone(), view.unwrap())
        });
        ::safetensors::serialize_to_file(views.collect::<Vec<_>>(), None, Path::new(&at("a.safetensors"))).unwrap();
        let count = (records as u32).to_be_bytes();
        let mut images = [&[0, 0, 13, 2], &count[..], &2u32.to_be_bytes()].concat();
        images.extend(pixels.iter().flat_map(|pixel| pixel.to_be_bytes()));
        std::fs::write(at("images"), images).unwrap();
        std::fs::write(at("labels"), [&[0, 0, 8, 1], &count[..], &classes].concat()).unwrap();
        let reading = Reading { in_memory, ..Reading::default() };
        let specs = [at("a.npz"), at("a.safetensors"), format!("{},{}", at("images"), at("labels"))];
        specs.map(|spec| (spec.clone(), Dataset::load_as(&spec, &schema(), &reading).unwrap())).into()
    }

    #[test]
    fn what_stays_in_files_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let by: Normalize = "0.5,3".parse().unwrap();
        let mut expected = None;
        // Nothing fits in memory, the labels alone do, all does.
        for in_memory in [0, 64, 1 << 20] {
            for (name, mut data) in formats(directory.path(), 50, in_memory) {
                assert!(data.held().is_empty());
                assert_eq!(data.nonfinite().unwrap(), 0);
                data.normalize(&by).unwrap();
                let mut batch = Batch::default();
                data.fill(&[49, 3, 4, 5, 0], 6, &mut batch).unwrap();
                let found = (batch.inputs, batch.targets, data.inputs()[0].values().unwrap());
                assert_eq!(*expected.get_or_insert(found.clone()), found, "{name}");
            }
        }
    }

    #[test]
    fn files_that_are_cut_off_in_use_are_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for (name, data) in formats(directory.path(), 50, 64) {
            let file = name.split(',').next().unwrap();
            std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(300).unwrap();
            let mut batch = Batch::default();
            data.fill(&[0], 1, &mut batch).unwrap();
            let error = data.fill(&[0, 49], 2, &mut batch).unwrap_err();
            assert!(matches!(error, DataError::CutOff { .. }), "{error}");
            let error = Dataset::load(&name, &schema()).unwrap_err();
            assert!(error.to_string().contains("is damaged"), "{error}");
        }
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
