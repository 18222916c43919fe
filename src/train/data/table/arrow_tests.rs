//! Files that pandas, polars, pyarrow and `datasets` wrote (`tests/tables/make.py`), and R's arrow (`tests/tables/make.R`).

use std::path::{Path, PathBuf};

use super::super::{DataError, Dataset, Values, describe};
use super::Reading;
use crate::schema::{InputKind, InputSchema, LABEL, Schema, TargetKind, TargetSchema};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(name)
}

fn schema(dims: &[usize]) -> Schema {
    Schema {
        inputs: vec![InputSchema { name: "input".to_owned(), dims: dims.to_vec(), kind: InputKind::F32 }],
        targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Class { classes: 3, ignore_index: None })],
    }
}

fn load(path: &Path, dims: &[usize], columns: &str, missing: Option<&str>) -> Result<Dataset, DataError> {
    let missing = missing.map(|text| text.parse().unwrap()).unwrap_or_default();
    let reading = Reading { columns: columns.parse().unwrap(), missing, ..Reading::default() };
    Dataset::load_as(path.to_str().unwrap(), &schema(dims), &reading)
}

fn floats(data: &Dataset) -> Vec<f32> {
    let Values::F32(values) = data.inputs()[0].values().unwrap() else { panic!("the input is floats") };
    values
}

const KINDS: &str = "label=kind{bird|cat|dog}";
const TABLES: [&str; 11] = [
    "pandas.parquet",
    "pandas.feather",
    "polars.parquet",
    "polars.arrow",
    "pyarrow.feather",
    "datasets.arrow",
    "parts",
    "parts/part-*.parquet",
    "r.parquet",
    "r.feather",
    "r.stream.arrow",
];

#[test]
fn the_same_records_are_read_of_every_file() {
    for name in TABLES {
        let data = load(&file(name), &[5], &format!("input=x,age,score;{KINDS}"), Some("age=31"));
        let data = data.unwrap_or_else(|error| panic!("{name}: {error}"));
        let record = |at: i32| {
            let at = at as f32;
            [at, at / 2.0, -at, 30.0 + at, at / 4.0]
        };
        assert_eq!(floats(&data), (0..6).flat_map(record).collect::<Vec<_>>(), "{name}");
        assert_eq!(data.targets()[0].values().unwrap(), Values::I32(vec![1, 2, 0, 2, 1, 1]), "{name}");
    }
    for name in ["pandas.csv", "polars.csv"] {
        let data = load(&file(name), &[2], &format!("input=age,score;{KINDS}"), Some("31")).unwrap();
        assert_eq!(&floats(&data)[..4], [30.0, 0.0, 31.0, 0.25], "{name}");
    }
}

#[test]
fn nested_lists_have_more_axes_and_lists_of_bytes_are_divided_by_255() {
    let nested = ["polars.parquet", "polars.arrow", "pyarrow.feather", "datasets.arrow", "parts"];
    for name in nested.into_iter().chain(["r.parquet", "r.feather", "r.stream.arrow"]) {
        let data = load(&file(name), &[1, 2, 2], &format!("input=grid;{KINDS}"), None).unwrap();
        assert_eq!(&floats(&data)[4..8], [1.0, 2.0, 3.0, 4.0], "{name}");
    }
    let data = load(&file("parts"), &[3], &format!("input=byte;{KINDS}"), None).unwrap();
    assert_eq!(&floats(&data)[..3], [0.0, 0.2, 1.0]);
    assert_eq!(data.bytes(), ["input"]);
}

#[test]
fn missing_values_and_other_types_are_told_by_file_row_and_column() {
    let wrong = |name: &str, columns: &str| load(&file(name), &[1], columns, None).unwrap_err().to_string();
    let error = wrong("pandas.parquet", &format!("input=age;{KINDS}"));
    assert!(error.starts_with("1 value of column `age` in ") && error.ends_with(" is missing: row 1"), "{error}");
    let error = wrong("parts", &format!("input=age;{KINDS}"));
    assert!(error.ends_with(" is missing: row 1 of part-0.parquet"), "{error}");
    let error = wrong("parts", "input=score;label=kind{dog|cat}");
    assert!(error.contains("not of its vocabulary `dog`, `cat`: \"bird\" in row 2 of part-0.parquet"), "{error}");
    let error = wrong("polars.arrow", "input=kind;label=age");
    assert!(error.starts_with("2 problems with"), "{error}");
    let error = wrong("datasets.arrow", &format!("input=nothing;{KINDS}"));
    assert!(
        error.contains("has no column `nothing` for `input`; it has `x`, `grid`, `age`, `kind`, `score`"),
        "{error}"
    );
}

#[test]
fn tables_are_described() {
    let path = file("parts");
    let description = describe(path.to_str().unwrap(), None, &Reading::default()).unwrap();
    assert_eq!(description.records, 6);
    let ranges: Vec<_> = description.columns.iter().map(|column| (column.name.as_str(), column.range)).collect();
    assert_eq!(ranges[0], ("x", Some([-5.0, 5.0])));
    assert_eq!((description.columns[3].missing, description.columns[4].different), (1, Some(3)));
    // What is missing is no value.
    for name in ["parts", "r.parquet", "pandas.parquet"] {
        let description = describe(file(name).to_str().unwrap(), None, &Reading::default()).unwrap();
        let age = description.columns.iter().find(|column| column.name == "age").unwrap();
        assert_eq!((age.missing, age.range), (1, Some([30.0, 35.0])), "{name}");
    }
}

/// Every file cut off anywhere, or with a byte changed, is an error or other values, and no panic.
#[test]
fn damaged_files_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["pandas.parquet", "polars.arrow", "pyarrow.feather", "datasets.arrow"] {
        let bytes = std::fs::read(file(name)).unwrap();
        let path = directory.path().join(name);
        let columns = format!("input=x;{KINDS}");
        for at in (0..bytes.len()).step_by(97) {
            std::fs::write(&path, &bytes[..at]).unwrap();
            let cut = load(&path, &[3], &columns, None);
            // The end of a stream may be left out.
            assert!(cut.is_err() || name == "datasets.arrow", "{name} cut off at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            std::fs::write(&path, changed).unwrap();
            let _ = load(&path, &[3], &columns, None);
        }
    }
}

/// A file as pyarrow writes it without compression: texts before the numbers, several batches.
fn uncompressed(path: &Path, with_null: bool) {
    use std::sync::Arc;

    use arrow_array::builder::{FixedSizeListBuilder, Float32Builder};
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    let batch = |first: usize| {
        let mut x = FixedSizeListBuilder::new(Float32Builder::new(), 2);
        for record in first..first + 3 {
            x.values().append_value(record as f32 + 0.5);
            x.values().append_option((!with_null || record != 4).then_some(-(record as f32)));
            x.append(true);
        }
        let text: Vec<String> = (first..first + 3).map(|record| format!("record {record}")).collect();
        let label = (first as i64..first as i64 + 3).map(|record| record % 3).collect::<Vec<_>>();
        let columns: [(&str, ArrayRef); 3] = [
            ("text", Arc::new(StringArray::from(text))),
            ("x", Arc::new(x.finish())),
            ("label", Arc::new(Int64Array::from(label))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let file = std::fs::File::create(path).unwrap();
    let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &batch(0).schema()).unwrap();
    for first in [0, 3] {
        writer.write(&batch(first)).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn columns_of_arrow_files_stay_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    uncompressed(&path, false);
    let schema = schema(&[2]);
    let load = |in_memory, told: &std::cell::Cell<bool>| {
        let reading = Reading { columns: "input=x".parse().unwrap(), in_memory, ..Reading::default() };
        Dataset::load_watched(path.to_str().unwrap(), &schema, &reading, &|_| told.set(true))
    };
    let told = std::cell::Cell::new(false);
    let (memory, files) = (load(1 << 20, &told).unwrap(), load(0, &told).unwrap());
    assert!(!told.get(), "there is nothing to prepare");
    assert_eq!(floats(&files), (0..6).flat_map(|at| [at as f32 + 0.5, -(at as f32)]).collect::<Vec<_>>());
    assert_eq!(floats(&files), floats(&memory));
    assert_eq!(files.targets()[0].values().unwrap(), Values::I32(vec![0, 1, 2, 0, 1, 2]));
    let kept = |want| super::arrow_files::stored(std::slice::from_ref(&path), "x", want);
    assert!(kept(super::Want::Floats(None)).is_some() && kept(super::Want::Integers).is_none());
    // What is missing has to be looked for.
    uncompressed(&path, true);
    assert!(kept(super::Want::Floats(None)).is_none());
    let error = load(0, &told).unwrap_err().to_string();
    assert!(error.contains("1 value of column `x`") && error.ends_with("missing: row 4"), "{error}");
}

#[test]
fn what_is_in_memory_is_what_is_prepared() {
    for name in TABLES {
        let cache = tempfile::tempdir().unwrap();
        let reading = |cache| Reading {
            columns: format!("input=x,age,score;{KINDS}").parse().unwrap(),
            missing: "age=31".parse().unwrap(),
            cache,
            ..Reading::default()
        };
        let load = |cache| Dataset::load_as(file(name).to_str().unwrap(), &schema(&[5]), &reading(cache)).unwrap();
        let (memory, first) = (load(None), load(Some(cache.path().to_owned())));
        let again = load(Some(cache.path().to_owned()));
        for data in [first, again] {
            assert_eq!(floats(&data), floats(&memory), "{name}");
            assert_eq!(data.targets()[0].values().unwrap(), memory.targets()[0].values().unwrap(), "{name}");
        }
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1, "{name}");
    }
}
