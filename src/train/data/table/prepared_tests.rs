//! Tables that are prepared give what they give from memory.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Batch, DataError, Dataset, Preparing, Values};
use super::Reading;
use crate::schema::{InputKind, InputSchema, LABEL, Schema, TargetKind, TargetSchema};

/// More than one part.
const ROWS: usize = 20_000;

fn schema() -> Schema {
    Schema {
        inputs: vec![InputSchema { name: "input".to_owned(), dims: vec![2], kind: InputKind::F32 }],
        targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Class { classes: 3, ignore_index: None })],
    }
}

fn table(folder: &Path, row: impl Fn(usize) -> String) -> PathBuf {
    let rows: String = (0..ROWS).map(row).collect();
    let path = folder.join("t.csv");
    fs::write(&path, format!("a,b,kind,group\n{rows}")).unwrap();
    path
}

fn row(at: usize) -> String {
    format!("{},{}.5,{},{}\n", at, at % 97, ["dog", "cat", "bird"][at % 3], ["u", "v", "w", "x"][at / 7 % 4])
}

fn reading(in_memory: usize, cache: Option<&Path>) -> Reading {
    let columns = "input=a[0:30000],b;label=kind{}".parse().unwrap();
    Reading { columns, in_memory, cache: cache.map(Path::to_owned), ..Reading::default() }
}

/// The data, and how often preparation was told of.
fn load(path: &Path, reading: &Reading) -> (Result<Dataset, DataError>, usize) {
    let told = Cell::new(0);
    let watch = |preparing: Preparing<'_>| {
        assert!(preparing.records <= ROWS && preparing.done.is_some_and(|done| (0.0..=1.0).contains(&done)));
        told.set(told.get() + 1);
    };
    (Dataset::load_watched(path.to_str().unwrap(), &schema(), reading, &watch), told.get())
}

fn all(data: &Dataset) -> (Values, Values, Vec<i64>, Batch) {
    let mut batch = Batch::default();
    data.fill(&[ROWS - 1, 8191, 8192, 5], 5, &mut batch).unwrap();
    let values = |column: &super::super::Column| column.values().unwrap();
    (values(&data.inputs()[0]), values(&data.targets()[0]), data.groups().unwrap().to_vec(), batch)
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_prepared_table_is_what_it_is_in_memory_and_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = table(folder.path(), row);
    let (data, told) = load(&path, &reading(1 << 30, None));
    let expected = data.unwrap();
    assert_eq!((told, names(folder.path())), (0, vec!["t.csv".to_owned()]));
    let (data, told) = load(&path, &reading(1000, None));
    let data = data.unwrap();
    assert!(told > 0);
    assert_eq!(all(&data).0, all(&expected).0);
    assert_eq!(format!("{:?}", all(&data)), format!("{:?}", all(&expected)));
    assert_eq!(data.fitted(), expected.fitted());
    let prepared = names(folder.path()).into_iter().find(|name| name.ends_with(".prepared")).unwrap();
    assert_eq!(names(folder.path()), ["t.csv", &prepared]);
    let (again, told) = load(&path, &reading(1000, None));
    assert_eq!((told, format!("{:?}", all(&again.unwrap()))), (0, format!("{:?}", all(&expected))));

    // Another table, or one that is read otherwise, is prepared anew; what cannot be read is, too.
    table(folder.path(), |at| row(at + 1));
    let (data, told) = load(&path, &reading(1000, None));
    assert!(told > 0 && all(&data.unwrap()).0 != all(&expected).0);
    assert_eq!(names(folder.path()).len(), 2);
    let prepared = folder.path().join(prepared);
    let length = fs::metadata(&prepared).unwrap().len();
    fs::OpenOptions::new().write(true).open(&prepared).unwrap().set_len(length - 1).unwrap();
    assert!(load(&path, &reading(1000, None)).1 > 0);
    let elsewhere = tempfile::tempdir().unwrap();
    let (data, told) = load(&path, &reading(1 << 30, Some(elsewhere.path())));
    assert!(told > 0 && data.is_ok());
    assert_eq!(names(elsewhere.path()).len(), 1);
}

#[test]
fn what_is_wrong_is_told_once_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let bad = |at: usize| match at {
        5 | 9000 | 19_999 => "x,1,dog,u\n".to_owned(),
        7 | 12_000 => ",1,,u\n".to_owned(),
        _ => row(at),
    };
    let path = table(folder.path(), bad);
    let texts = |in_memory| match load(&path, &reading(in_memory, None)).0.unwrap_err() {
        DataError::Several { problems, .. } => problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => vec![other.to_string()],
    };
    let path = path.display();
    let expected = [
        format!(
            "3 values of column `a` in {path} are no numbers: \"x\" in line 7, \"x\" in line 9002, \"x\" in line 20001"
        ),
        format!("2 values of column `a` in {path} are missing: line 9, line 12002"),
        format!("2 values of column `kind` in {path} are missing: line 9, line 12002"),
    ];
    assert_eq!(texts(1 << 30), expected);
    assert_eq!(texts(1000), expected);
    assert_eq!(names(folder.path()), ["t.csv"]);
}

/// As a process leaves it that was killed, and while it is at it.
#[test]
fn what_was_left_unfinished_is_begun_anew_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = table(folder.path(), row);
    load(&path, &reading(1000, None)).0.unwrap();
    let prepared =
        folder.path().join(names(folder.path()).into_iter().find(|name| name.ends_with(".prepared")).unwrap());
    let part = prepared.with_extension("part");
    fs::rename(&prepared, &part).unwrap();
    let held = fs::OpenOptions::new().write(true).open(&part).unwrap();
    held.try_lock().unwrap();
    let error = load(&path, &reading(1000, None)).0.unwrap_err();
    assert!(matches!(error, DataError::InPreparation { .. }), "{error}");
    drop(held);
    assert!(load(&path, &reading(1000, None)).1 > 0);
    assert!(prepared.exists() && !part.exists());
}
