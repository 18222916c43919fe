//! Files that pandas, polars, pyarrow and `datasets` wrote (`tests/tables/make.py`).

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
const TABLES: [&str; 8] = [
    "pandas.parquet",
    "pandas.feather",
    "polars.parquet",
    "polars.arrow",
    "pyarrow.feather",
    "datasets.arrow",
    "parts",
    "parts/part-*.parquet",
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
    for name in ["polars.parquet", "polars.arrow", "pyarrow.feather", "datasets.arrow", "parts"] {
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
