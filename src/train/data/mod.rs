//! Data sets: named arrays with one record a row, checked against the model.
//!
//! Everything that can be wrong is reported when the data are loaded, all at once: after
//! [`Dataset::load`] every record has the model's shape, and every id and label is in range. The elements stay
//! where they are, in the type that they are stored in; batches are gathered by record number
//! ([`Dataset::fill`]), and only then become what the model takes.

mod array;
mod column;
mod columns;
mod describe;
mod digest;
mod error;
mod idx;
mod images;
mod load_ahead;
mod normalize;
pub mod npz;
mod random;
mod safetensors;
mod source;
mod stored;
mod table;
mod tokens;

use std::collections::BTreeMap;

use crate::schema::{GROUP, Schema};
pub use array::{Array, DType, Shared};
pub use column::Column;
pub use columns::is_bytes;
pub use describe::{Described, Description, describe};
pub use error::{BadRows, DataError};
pub use images::Size;
pub use load_ahead::LoadAhead;
pub use normalize::Normalize;
pub use table::{Columns, Missing, Preparing, Reading, is_csv};
pub use tokens::Tokenizer;

use source::Source;
use stored::Stored;

/// The records of a data set, in the model's shapes and dtypes.
#[derive(Clone, Debug)]
pub struct Dataset {
    records: usize,
    inputs: Vec<Column>,
    targets: Vec<Column>,
    groups: Option<Vec<i64>>,
    bytes: Vec<String>,
    fitted: BTreeMap<String, Vec<String>>,
    held: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

/// A physical batch of fixed capacity: rows beyond its records are zeros of weight 0.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order of the model's inputs; each `rows × dims`.
    pub inputs: Vec<Values>,
    /// In the order of the schema's targets.
    pub targets: Vec<Values>,
    /// `[rows]`: 1 for a record, 0 for an empty row.
    pub weights: Vec<f32>,
}

impl Dataset {
    /// Loads the data that `spec` names, for a model that takes `schema`.
    ///
    /// `spec` is `FILE.npz`, `IMAGES,LABELS` (two IDX files, gzipped or not),
    /// `FILE.safetensors`, a table such as `FILE.csv`, or a folder with a subfolder of images for each class; what a file is, its first bytes decide, and for CSV its name. Arrays are named as the model's
    /// inputs and the schema's targets, [`LABEL`](crate::schema::LABEL) first; integers in [`GROUP`] say which records belong together; others are ignored. Bytes (uint8) for an input of floats become floats in [0, 1], whatever the format; see [`Dataset::bytes`].
    ///
    /// # Errors
    /// Every missing array, wrong dtype, wrong shape, differing length and value out of range
    /// (with its row), in one [`DataError`]. NaN and infinities are let through; see
    /// [`Dataset::nonfinite`].
    pub fn load(spec: &str, schema: &Schema) -> Result<Self, DataError> {
        Self::load_as(spec, schema, &Reading::default())
    }

    /// As [`Dataset::load`]; tables, such as CSV files, are read as `reading` says.
    ///
    /// # Errors
    /// As [`Dataset::load`], and where there is something to say of how tables are read but the data are none.
    pub fn load_as(spec: &str, schema: &Schema, reading: &Reading) -> Result<Self, DataError> {
        Self::load_watched(spec, schema, reading, &|_| {})
    }

    /// As [`Dataset::load_as`]; `watch` is told, again and again, while a table is prepared.
    ///
    /// # Errors
    /// As [`Dataset::load_as`], and where the prepared file cannot be written.
    pub fn load_watched(
        spec: &str,
        schema: &Schema,
        reading: &Reading,
        watch: &dyn Fn(Preparing<'_>),
    ) -> Result<Self, DataError> {
        let mut source = Source::open(spec, schema, reading, watch)?;
        let names = source.names();
        let mut data = Self::assemble(spec, schema, &names, |name| source.read(name))?;
        (data.fitted, data.held) = source.told();
        Ok(data)
    }

    /// The data set of a CSV or TSV file in memory, gzipped or not, as `reading` says; its `name` tells which, and stands for the file
    /// in errors. Its arrays are in memory too, however large.
    ///
    /// # Errors
    /// As [`Dataset::load_as`].
    pub fn from_csv(name: &str, bytes: Vec<u8>, schema: &Schema, reading: &Reading) -> Result<Self, DataError> {
        let reading = Reading { in_memory: usize::MAX, cache: None, ..reading.clone() };
        let mut source = Source::csv(name, bytes, schema, &reading)?;
        let names = source.names();
        let mut data = Self::assemble(name, schema, &names, |name| source.read(name))?;
        (data.fitted, data.held) = source.told();
        Ok(data)
    }

    /// The data set of `arrays` in memory, which keeps their bytes and copies none; `source_name` stands for the file in
    /// errors.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn from_arrays(
        source_name: &str,
        arrays: &BTreeMap<String, Array>,
        schema: &Schema,
    ) -> Result<Self, DataError> {
        let names: Vec<String> = arrays.keys().cloned().collect();
        Self::assemble(source_name, schema, &names, |name| {
            arrays.get(name).cloned().map(Stored::from).ok_or_else(|| DataError::MissingArray {
                path: source_name.into(),
                name: name.to_owned(),
                present: arrays.keys().cloned().collect(),
                help: format!("add an array of the name `{name}`"),
            })
        })
    }

    fn assemble(
        source_name: &str,
        schema: &Schema,
        names: &[String],
        mut read: impl FnMut(&str) -> Result<Stored, DataError>,
    ) -> Result<Self, DataError> {
        let mut problems = Vec::new();
        let mut lengths = Vec::new();
        let mut keep = |result: Result<(usize, Column), DataError>| match result {
            Ok((length, column)) => {
                lengths.push((column.name.clone(), length));
                Some(column)
            }
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let mut bytes = Vec::new();
        let mut inputs = Vec::new();
        for input in &schema.inputs {
            let column = read(&input.name).and_then(|array| {
                bytes.extend(is_bytes(input, array.dtype()).then(|| input.name.clone()));
                columns::input(source_name, input, array)
            });
            inputs.extend(keep(column));
        }
        let targets = schema
            .targets
            .iter()
            .filter_map(|target| keep(read(&target.name).and_then(|a| columns::target(source_name, target, a))))
            .collect();
        let taken = schema.inputs.iter().any(|input| input.name == GROUP);
        let groups = match names.iter().any(|name| name == GROUP) && !taken {
            true => match read(GROUP).and_then(|array| columns::groups(source_name, &array)) {
                Ok(groups) => {
                    lengths.push((GROUP.to_owned(), groups.len()));
                    Some(groups)
                }
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            },
            false => None,
        };

        let records = lengths.first().map_or(0, |(_, length)| *length);
        if lengths.iter().any(|(_, length)| *length != records) {
            problems.push(DataError::Lengths { source_name: source_name.to_owned(), lengths });
        }
        if problems.is_empty() && records == 0 {
            problems.push(DataError::Empty { source_name: source_name.to_owned() });
        }
        if !problems.is_empty() {
            return Err(DataError::all(source_name, problems));
        }
        Ok(Self { records, inputs, targets, groups, bytes, fitted: BTreeMap::new(), held: vec![] })
    }

    /// The number of records, at least 1.
    pub fn records(&self) -> usize {
        self.records
    }

    /// In the order of the model's inputs.
    pub fn inputs(&self) -> &[Column] {
        &self.inputs
    }

    /// The labels, in the order of the schema's targets.
    pub fn targets(&self) -> &[Column] {
        &self.targets
    }

    /// The group (user) of each record, where the data have an array [`GROUP`] that is not an input.
    pub fn groups(&self) -> Option<&[i64]> {
        self.groups.as_deref()
    }

    /// The inputs that the data hold as bytes, which were divided by 255.
    pub fn bytes(&self) -> &[String] {
        &self.bytes
    }

    /// The vocabularies that were taken from the data, by their columns. Where the data are private so are these, and no
    /// guarantee covers them.
    pub fn fitted(&self) -> &BTreeMap<String, Vec<String>> {
        &self.fitted
    }

    /// The arrays that were read into memory though they are larger than what was to be kept there, since their format
    /// does not let records be read alone.
    pub fn held(&self) -> &[String] {
        &self.held
    }

    /// How many elements of the inputs and the labels are NaN or infinite. Floats that stay in files are not looked at, which
    /// would take longer than to begin with them; [`describe`] does.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn nonfinite(&self) -> Result<usize, DataError> {
        self.inputs.iter().chain(&self.targets).map(Column::nonfinite).sum()
    }

    /// Scales every floating-point input to `(x - mean) / deviation`.
    ///
    /// # Errors
    /// Where the numbers are a list whose length is not the input's number of channels.
    pub fn normalize(&mut self, by: &Normalize) -> Result<(), DataError> {
        self.inputs.iter().try_for_each(|column| by.check(column))?;
        self.inputs.iter_mut().filter(|column| column.is_float()).for_each(|column| column.scale(by));
        Ok(())
    }

    /// Whether records are read from files when they are needed.
    pub fn is_in_files(&self) -> bool {
        self.inputs.iter().chain(&self.targets).any(Column::is_in_files)
    }

    /// Tells the system that these records are gathered soon, in their order, if they are in files: the disk is then asked for many at
    /// once. Nothing else depends on it.
    pub fn expect(&self, records: &[usize]) {
        self.inputs.iter().chain(&self.targets).filter(|c| c.is_in_files()).for_each(|column| column.expect(records));
    }

    /// Gathers `records` into the first rows of a physical batch of `rows`; the rest become zeros
    /// of weight 0. `out` keeps its allocations from call to call.
    ///
    /// # Errors
    /// Where the records cannot be read.
    ///
    /// # Panics
    /// If there are more records than rows, or a record is not in `0..self.records()`.
    pub fn fill(&self, records: &[usize], rows: usize, out: &mut Batch) -> Result<(), DataError> {
        assert!(records.len() <= rows, "a batch has a row for each record");
        for (columns, values) in [(&self.inputs, &mut out.inputs), (&self.targets, &mut out.targets)] {
            values.resize_with(columns.len(), || Values::F32(Vec::new()));
            for (column, values) in columns.iter().zip(values) {
                column.gather(records, rows, values)?;
            }
        }
        out.weights.clear();
        out.weights.resize(records.len(), 1.0);
        out.weights.resize(rows, 0.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{InputKind, InputSchema, LABEL, TargetKind, TargetSchema};

    fn schema(dims: &[usize], classes: usize) -> Schema {
        Schema {
            inputs: vec![InputSchema { name: "x".to_owned(), dims: dims.to_vec(), kind: InputKind::F32 }],
            targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Class { classes, ignore_index: Some(-100) })],
        }
    }

    fn arrays(x: Array, label: Array) -> BTreeMap<String, Array> {
        BTreeMap::from([("x".to_owned(), x), (LABEL.to_owned(), label)])
    }

    #[test]
    fn a_batch_has_its_records_then_zeros() {
        let x = Array::from_f32(vec![3, 2], &[1., 2., 3., 4., 5., f32::INFINITY]);
        let label = Array::from_i64(vec![3, 1], &[0, -100, 2]);
        let data = Dataset::from_arrays("memory", &arrays(x, label), &schema(&[2], 3)).unwrap();
        assert_eq!((data.records(), data.nonfinite().unwrap()), (3, 1));
        let mut batch = Batch::default();
        for _ in 0..2 {
            data.fill(&[1, 0], 3, &mut batch).unwrap();
            assert_eq!(batch.inputs, [Values::F32(vec![3., 4., 1., 2., 0., 0.])]);
            assert_eq!(batch.targets, [Values::I32(vec![-100, 0, 0])]);
            assert_eq!(batch.weights, [1.0, 1.0, 0.0]);
        }
        data.fill(&[], 1, &mut batch).unwrap();
        assert_eq!(batch.weights, [0.0]);
    }

    /// As a NumPy array does that begins anywhere.
    struct Foreign(Vec<u8>);

    impl AsRef<[u8]> for Foreign {
        fn as_ref(&self) -> &[u8] {
            &self.0[1..]
        }
    }

    #[test]
    fn shared_bytes_stay_where_they_are() {
        let values = [1.5f32, -2.0, 3.25, f32::MIN_POSITIVE, 0.1, -0.0];
        let bytes: Vec<u8> = [0].into_iter().chain(values.iter().flat_map(|v| v.to_le_bytes())).collect();
        let shared = std::sync::Arc::new(Foreign(bytes));
        let x = Array::shared(DType::F32, vec![3, 2], shared.clone()).unwrap();
        assert!(Array::shared(DType::F32, vec![4, 2], shared.clone()).is_none());
        let label = Array::new(DType::U8, vec![3], vec![2, 1, 0]).unwrap();
        let data = Dataset::from_arrays("memory", &arrays(x, label), &schema(&[2], 3)).unwrap();
        assert_eq!(std::sync::Arc::strong_count(&shared), 2, "the data set holds the bytes themselves");
        let mut batch = Batch::default();
        data.fill(&[2, 0], 2, &mut batch).unwrap();
        assert_eq!(batch.inputs, [Values::F32(vec![0.1, -0.0, 1.5, -2.0])]);
        assert_eq!(batch.targets, [Values::I32(vec![0, 2])]);
        drop(data);
        assert_eq!(std::sync::Arc::strong_count(&shared), 1);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let x = Array::from_f32(vec![2, 3], &[0.0; 6]);
        let labels: Vec<i64> = (0..32).collect();
        let label = Array::from_i64(vec![32], &labels);
        let error = Dataset::from_arrays("memory", &arrays(x, label), &schema(&[2], 10)).unwrap_err();
        let DataError::Several { problems, .. } = error else {
            panic!("{error}");
        };
        let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "array `x` of memory has the shape [2, 3], but the model takes records of shape [2]",
                "22 values out of range (10 at row 10, 11 at row 11, 12 at row 12, 13 at row 13, 14 at row 14, 15 at row \
                 15, 16 at row 16, 17 at row 17, 18 at row 18, 19 at row 19, 20 at row 20, 21 at row 21, 22 at row 22, 23 \
                 at row 23, 24 at row 24, 25 at row 25, 26 at row 26, 27 at row 27, 28 at row 28, 29 at row 29, …) of \
                 `label` in memory: labels must be class ids in [0, 10) or -100 (ignored)",
            ]
        );
    }

    #[test]
    fn lengths_must_agree_and_records_exist() {
        let one = |n, m| {
            let x = Array::from_f32(vec![n, 1], &vec![0.0; n]);
            let label = Array::from_i64(vec![m], &vec![0; m]);
            Dataset::from_arrays("memory", &arrays(x, label), &schema(&[1], 2)).unwrap_err()
        };
        assert_eq!(one(3, 2).to_string(), "the arrays of memory differ in their number of records: `x` 3, `label` 2");
        assert!(matches!(one(0, 0), DataError::Empty { .. }));
    }

    #[test]
    fn a_missing_array_lists_what_is_there() {
        let arrays = BTreeMap::from([
            ("image".to_owned(), Array::from_f32(vec![1, 1], &[0.0])),
            (LABEL.to_owned(), Array::from_i64(vec![1], &[0])),
        ]);
        let error = Dataset::from_arrays("memory", &arrays, &schema(&[1], 2)).unwrap_err();
        assert_eq!(error.to_string(), "memory has no array `x`; it has `image`, `label`");
    }
}
