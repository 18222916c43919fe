//! CSV files as people write them, and what is said of those that are wrong.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use miette::Diagnostic;

use super::super::{DataError, Dataset, Values};
use super::Reading;
use crate::schema::{InputKind, InputSchema, LABEL, Schema, TargetKind, TargetSchema};

fn schema(width: usize, kind: InputKind, target: TargetKind) -> Schema {
    let dims = if width == 1 { vec![] } else { vec![width] };
    Schema {
        inputs: vec![InputSchema { name: "input".to_owned(), dims, kind }],
        targets: vec![TargetSchema::new(LABEL, &[], target)],
    }
}

fn classes(width: usize, classes: usize) -> Schema {
    schema(width, InputKind::F32, TargetKind::Class { classes, ignore_index: None })
}

fn reading(columns: &str) -> Reading {
    Reading { columns: columns.parse().unwrap(), ..Reading::default() }
}

fn load_named(name: &str, bytes: &[u8], schema: &Schema, reading: &Reading) -> Result<Dataset, DataError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Dataset::load_as(path.to_str().unwrap(), schema, reading)
}

fn load(text: &str, schema: &Schema, columns: &str) -> Result<Dataset, DataError> {
    load_named("t.csv", text.as_bytes(), schema, &reading(columns))
}

#[test]
fn a_table_in_memory_reads_as_its_file() {
    let texts: [(&str, &[u8]); 6] = [
        ("t.csv", b"a,b,label\n1,2,0\n3,4,1\n"),
        ("t.csv", b"\xef\xbb\xbfa;b;label\n1;2;0\n3;4;1\n"),
        ("t.tsv", b"a\tb\tlabel\n1\t2\t0\n"),
        ("t.csv", b"a,b,label\n1,x,0\n3,4,7\n"),
        ("t.csv", b"a,b,label\n1,2\n"),
        ("t.csv", b"\xff\xfea"),
    ];
    let mut gzipped = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzipped.write_all(texts[0].1).unwrap();
    let gzipped = gzipped.finish().unwrap();
    for (name, bytes) in texts.into_iter().chain([("t.csv.gz", &gzipped[..])]) {
        let (schema, reading) = (classes(2, 2), reading("input=a,b"));
        let file = load_named(name, bytes, &schema, &reading);
        let memory = Dataset::from_csv(name, bytes.to_vec(), &schema, &reading);
        let known = |data: Result<Dataset, DataError>| match data {
            Ok(data) => (data.records(), floats(&data), vec![]),
            Err(error) => (0, vec![], problems(error)),
        };
        assert_eq!(known(memory), known(file), "{name}: {}", String::from_utf8_lossy(bytes));
    }
}

/// What is wrong, without the directory.
fn problems(error: DataError) -> Vec<String> {
    let all = match error {
        DataError::Several { problems, .. } => problems,
        error => vec![error],
    };
    all.iter()
        .map(|error| {
            let text = error.to_string();
            let words = text.split(' ').map(|word| match Path::new(word).file_name() {
                Some(name) if word.starts_with('/') => name.to_string_lossy().into_owned(),
                _ => word.to_owned(),
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn floats(data: &Dataset) -> Vec<f32> {
    let Values::F32(values) = data.inputs()[0].values().unwrap() else { panic!("the input is floats") };
    values
}

fn labels(data: &Dataset) -> Vec<i32> {
    let Values::I32(values) = data.targets()[0].values().unwrap() else { panic!("labels are ids") };
    values
}

const PEOPLE: &str = "age, job ,\"hours, a week\",income\n\
                      17,clerk,40,<=50K\n\n90, teacher ,20,>50K\n\
                      53.5,\"road\nworker\",1e1,<=50K\n";

#[test]
fn columns_become_numbers_ranges_and_one_of_a_vocabulary() {
    let columns = "input=age[17:90],\"hours, a week\",job{clerk|teacher|*};label=income{<=50K|>50K}";
    let data = load(PEOPLE, &classes(5, 2), columns).unwrap();
    let expected = [[0., 40., 1., 0., 0.], [1., 20., 0., 1., 0.], [0.5, 10., 0., 0., 1.]];
    assert_eq!(floats(&data), expected.concat());
    assert_eq!(labels(&data), [0, 1, 0]);
    assert!(data.fitted().is_empty());
}

#[test]
fn a_logarithmic_range_ends_at_one() {
    let data = load("x,label\n0,0\n9,1\n99,1\n1e9,0\n", &classes(1, 2), "input=x[0:99:log]").unwrap();
    assert_eq!(floats(&data), [0.0, 0.5, 1.0, 1.0]);
}

#[test]
fn ids_of_a_table_are_positions_in_the_vocabulary() {
    let schema = schema(2, InputKind::I32 { table: Some(3) }, TargetKind::Real { within: Some([0.0, 1.0]) });
    let data = load("a,b,y\nx,0,no\nz,2,yes\n", &schema, "input=a{x|y|z},b;label=y{no|yes}").unwrap();
    assert_eq!(data.inputs()[0].values().unwrap(), Values::I32(vec![0, 0, 2, 2]));
    assert_eq!(data.targets()[0].values().unwrap(), Values::F32(vec![0.0, 1.0]));
    let error = load("a,b,y\nx,0,no\n", &schema, "input=a{x|y|z|*},b;label=y{no|yes}").unwrap_err();
    assert_eq!(problems(error), ["t.csv cannot be read as --columns says: `a` has 4 values, but `input` has only 3"]);
}

#[test]
fn a_pattern_leaves_out_what_is_named_elsewhere() {
    let text = "p1,p2,y,group,p10\n1,2,0,a,3\n4,5,1,b,6\n7,8,1,a,9\n";
    let data = load(text, &classes(3, 2), "input=*;label=y").unwrap();
    assert_eq!(floats(&data), (1..10).map(|v| v as f32).collect::<Vec<_>>());
    assert_eq!(data.groups().unwrap(), [0, 1, 0]);
    let by_user = load(&text.replace("group", "user"), &classes(3, 2), "input=p*;label=y;group=user").unwrap();
    assert_eq!(by_user.groups(), data.groups());
}

#[test]
fn a_vocabulary_of_the_data_is_sorted_kept_and_told() {
    let schema = classes(1, 3);
    let train = load("input,y\n1,b\n2,c\n3,a\n", &schema, "label=y{}").unwrap();
    assert_eq!(labels(&train), [1, 2, 0]);
    assert_eq!(train.fitted()["y"], ["a", "b", "c"]);
    let like = Reading { fitted: train.fitted().clone(), ..reading("label=y{}") };
    let valid = load_named("v.csv", b"input,y\n1,c\n", &schema, &like).unwrap();
    assert_eq!(labels(&valid), [2]);
    let numbers = load("input,y\n1,10\n2,9\n3,-1\n", &schema, "label=y{}").unwrap();
    assert_eq!(numbers.fitted()["y"], ["-1", "9", "10"]);
}

#[test]
fn delimiters_marks_and_compression() {
    let schema = classes(2, 2);
    let by = |name: &str, text: &[u8]| {
        let data = load_named(name, text, &schema, &reading("input=a,b")).unwrap();
        assert_eq!((floats(&data), labels(&data)), (vec![1.0, 2.0, 3.0, 4.0], vec![1, 0]), "{name}");
    };
    by("t.csv", b"\xef\xbb\xbfa;b;label\r\n1;2;1\r\n3;4;0\r\n");
    by("t.csv", b"\"\",\"a\",\"b\",\"label\"\n\"1\",1,2,TRUE\n\"2\",3,4,FALSE\n");
    by("T.TSV", b"a\tb\tlabel\n1\t2\t1.0\n3\t4\t0.0");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gzip.write_all(b"a\tb\tlabel\n1\t2\t1\n3\t4\t0\n").unwrap();
    by("t.csv.gz", &gzip.finish().unwrap());
    let wide = load_named("t.csv", b"\xff\xfea\0", &schema, &Reading::default()).unwrap_err();
    assert!(wide.to_string().contains("16 bits a character"), "{wide}");
}

#[test]
fn missing_values_are_refused_unless_something_stands_for_them() {
    let text = "a,b,label\n1,x,0\n,?,1\nNA,x,\n";
    let columns = "input=a,b{x|y}";
    let error = load(text, &classes(3, 2), columns).unwrap_err();
    assert_eq!(
        problems(error),
        [
            "2 values of column `a` in t.csv are missing: line 3, line 4",
            "1 value of column `b` in t.csv is missing: line 3",
            "1 value of column `label` in t.csv is missing: line 4",
        ]
    );
    let with = |missing: &[&str]| {
        let mut reading = reading(columns);
        missing.iter().for_each(|text| reading.missing.extend(text.parse().unwrap()));
        load_named("t.csv", text.as_bytes(), &classes(3, 2), &reading)
    };
    let data = with(&["1", "a=-2.5", "b=y"]).unwrap();
    assert_eq!(floats(&data), [1.0, 1.0, 0.0, -2.5, 0.0, 1.0, -2.5, 1.0, 0.0]);
    assert_eq!(labels(&data), [0, 1, 1]);
    let error = with(&["y"]).unwrap_err();
    assert!(problems(error)[0].contains("the value `y` of --missing is no number that `a` can have"));
    // As a value of the vocabulary, `?` is one; and `*` stands for what is missing, too.
    let data = load("a,label\n?,0\nx,1\n,1\n", &classes(3, 2), "input=a{x|?|*}").unwrap();
    assert_eq!(floats(&data), [[0., 1., 0.], [1., 0., 0.], [0., 0., 1.]].concat());
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = "a,b,job,label\n1,one,clerk,0\ntwo,2,pilot,cat\n3,4\n5,6,clerk,0.5,7\n";
    let error = load(text, &classes(4, 2), "input=a,b,job{clerk|teacher};lable=y").unwrap_err();
    assert_eq!(
        problems(error),
        [
            "--columns feeds `lable`, which the model does not take; it takes `input`, `label`, `group`",
            "2 records of t.csv have not as many fields as the header, which has 4: 2 in line 4, 5 in line 5",
            "1 value of column `a` in t.csv is no number: \"two\" in line 3",
            "1 value of column `b` in t.csv is no number: \"one\" in line 2",
            "1 value of column `job` in t.csv is not of its vocabulary `clerk`, `teacher`: \"pilot\" in line 3",
            "1 value of column `job` in t.csv is missing: line 4",
            "2 values of column `label` in t.csv are no integers: \"cat\" in line 3, \"0.5\" in line 5",
            "1 value of column `label` in t.csv is missing: line 4",
        ]
    );
    let many: String = (0..30).map(|at| format!("x{at},0\n")).collect();
    let error = load(&format!("input,label\n{many}"), &classes(1, 2), "input=input").unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("30 values") && text.ends_with("\"x19\" in line 21, …"), "{text}");
}

#[test]
fn missing_and_doubled_columns_are_named() {
    let error = load("a,b,a\n1,2,3\n", &classes(2, 2), "input=a,c,q*").unwrap_err();
    assert_eq!(
        problems(error),
        [
            "t.csv has several columns of one name: `a`",
            "t.csv has no column `c`, `q*` for `input`; it has `a`, `b`, `a`",
            "t.csv has no column `label` for `label`; it has `a`, `b`, `a`",
        ]
    );
    let error = load("a,label\n1,0\n", &classes(1, 2), "label=label").unwrap_err();
    assert!(error.help().unwrap().to_string().contains("--columns 'input=COLUMN,COLUMN,…'"));
    let error = load("a,b,label\n1,2,0\n", &classes(3, 2), "input=a,b").unwrap_err();
    assert!(matches!(error, DataError::WrongShape { .. }), "{error}");
    assert!(matches!(load("input,label\n", &classes(1, 2), "label=label"), Err(DataError::Empty { .. })));
    assert!(matches!(load("", &classes(1, 2), "label=label"), Err(DataError::Empty { .. })));
}

#[test]
fn arrays_are_not_read_as_tables() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.npz");
    super::super::npz::write(&path, &BTreeMap::new()).unwrap();
    let error = Dataset::load_as(path.to_str().unwrap(), &classes(1, 2), &reading("input=a")).unwrap_err();
    assert!(error.to_string().contains("it holds arrays, which go by their names"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, text in "[a-z0-9,\"\n ]{0,80}") {
        let columns = "input=a,b{x|*};label=label{}";
        let _ = load_named("t.csv", &bytes, &classes(3, 2), &reading(columns));
        let text = format!("a,b,label\n{text}");
        let _ = load(&text, &classes(3, 2), columns);
    }
}
