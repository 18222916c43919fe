//! Tokens as Python's `tokenizers` makes them (`tests/text/make.py`).

use std::path::{Path, PathBuf};

use miette::Diagnostic;

use super::super::{DataError, Dataset, Reading, Values, npz};
use super::*;
use crate::schema::{InputKind, InputSchema, LABEL, Schema, TargetKind, TargetSchema};

const TOKENIZERS: [&str; 3] = ["wordpiece", "bpe", "unigram"];

fn at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/text").join(name)
}

fn input(name: &str, length: usize, kind: InputKind) -> InputSchema {
    InputSchema { name: name.to_owned(), dims: vec![length], kind }
}

/// Ids with a mask of floats and types.
fn schema(length: usize) -> Schema {
    Schema {
        inputs: vec![
            input("input_ids", length, InputKind::I32 { table: Some(330) }),
            input("attention_mask", length, InputKind::F32),
            input("token_type_ids", length, InputKind::I32 { table: None }),
        ],
        targets: vec![TargetSchema::new(LABEL, &[], TargetKind::Class { classes: 2, ignore_index: None })],
    }
}

fn reading(tokenizer: &str, columns: &str) -> Reading {
    let tokenizer = Some(Tokenizer::open(&at(&format!("{tokenizer}.json"))).unwrap());
    Reading { tokenizer, columns: columns.parse().unwrap(), ..Reading::default() }
}

fn load(path: &Path, schema: &Schema, reading: &Reading) -> Result<Dataset, DataError> {
    Dataset::load_as(path.to_str().unwrap(), schema, reading)
}

fn all(data: &Dataset) -> Vec<Values> {
    data.inputs().iter().map(|column| column.values().unwrap()).collect()
}

fn expected(name: &str, length: usize) -> Vec<Values> {
    let mut file = npz::Npz::open(&at("expected.npz")).unwrap();
    let mut of = |what: &str| {
        let values = file.read(&format!("{name}_{what}_{length}")).unwrap().to_i64().unwrap();
        values.into_iter().map(|value| value as i32).collect::<Vec<i32>>()
    };
    let mask = of("mask").into_iter().map(|value| value as f32).collect();
    vec![Values::I32(of("ids")), Values::F32(mask), Values::I32(of("types"))]
}

#[test]
fn tokens_are_those_of_python() {
    for name in TOKENIZERS {
        for length in [12, 40] {
            let files: &[&str] =
                if cfg!(feature = "tables") { &["texts.csv", "texts.parquet"] } else { &["texts.csv"] };
            for file in files {
                let data = load(&at(file), &schema(length), &reading(name, "input_ids=text")).unwrap();
                assert_eq!(all(&data), expected(name, length), "{name} {length} {file}");
            }
        }
    }
}

#[test]
fn what_is_said_of_masks_counts_and_what_is_prepared_is_the_same() {
    let columns = "a=text[mask];b=text;c=text[types]";
    let schema = Schema {
        inputs: vec![
            input("a", 12, InputKind::F32),
            input("b", 12, InputKind::I32 { table: None }),
            input("c", 12, InputKind::I32 { table: None }),
        ],
        ..schema(12)
    };
    let cache = tempfile::tempdir().unwrap();
    for name in TOKENIZERS {
        let [ids, mask, types] = <[Values; 3]>::try_from(expected(name, 12)).unwrap();
        let whole = reading(name, columns);
        let cached = Reading { in_memory: 0, cache: Some(cache.path().to_owned()), ..whole.clone() };
        for reading in [&whole, &cached, &cached] {
            let data = load(&at("texts.csv"), &schema, reading).unwrap();
            assert_eq!(all(&data), [mask.clone(), ids.clone(), types.clone()], "{name}");
        }
    }
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 3, "one file for each tokenizer");
}

/// What is wrong with a table of some lines.
fn error(text: &str, schema: &Schema, reading: &Reading) -> DataError {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    load(&path, schema, reading).unwrap_err()
}

#[test]
fn missing_texts_are_refused_unless_something_stands_for_them() {
    let text = "text,label\nNone,0\n,1\n\"\",0\none,1\n";
    let wordpiece = reading("wordpiece", "input_ids=text");
    let message = error(text, &schema(4), &wordpiece).to_string();
    assert!(message.contains("2 values of column `text`") && message.contains("line 3, line 4"), "{message}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    let data = load(&path, &schema(4), &Reading { missing: "text=".parse().unwrap(), ..wordpiece }).unwrap();
    let Values::I32(ids) = &all(&data)[0] else { panic!("ids are integers") };
    // Begin, end and padding alone.
    assert_eq!(ids[4..8], [2, 3, 0, 0]);
}

#[test]
fn tokenizers_that_do_not_fit_say_so() {
    let text = "text,label\nfox,0\n";
    let help = |error: &DataError| error.help().unwrap().to_string();
    let two = error(text, &schema(2), &reading("wordpiece", "input_ids=text"));
    assert!(two.to_string().contains("adds 2 tokens to every text, and the model takes 2"), "{two}");
    let ids = |table| Schema { inputs: vec![input("input_ids", 4, InputKind::I32 { table })], ..schema(4) };
    let unread = Reading { tokenizer: None, ..reading("bpe", "input_ids=text[ids]") };
    assert!(help(&error(text, &ids(None), &unread)).contains("--tokenizer tokenizer.json"));
    let plain = Schema { inputs: vec![input("x", 4, InputKind::F32)], ..schema(4) };
    let unused = error("x,label\n1,0\n", &plain, &reading("bpe", "label=label"));
    assert!(unused.to_string().contains("no column of texts feeds an input"), "{unused}");
    let beyond = error(text, &ids(Some(20)), &reading("bpe", "input_ids=text"));
    assert!(beyond.to_string().contains("ids must be in [-20, 20)"), "{beyond}");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    std::fs::write(&path, "{}").unwrap();
    let none = Tokenizer::open(&path).unwrap_err();
    assert!(none.to_string().contains("it is no tokenizer.json"), "{none}");
    // Without padding, and without a token for what it does not know.
    let model = r#"{"model":{"type":"WordLevel","vocab":{"fox":0},"unk_token":"[UNK]"}}"#;
    std::fs::write(&path, model).unwrap();
    let tokenizer = Tokenizer::open(&path).unwrap();
    let unpadded = tokenizer.encode(&["fox"], 4).unwrap_err();
    assert!(help(&unpadded).contains("enable_padding"), "{unpadded}");
    std::fs::write(&path, model.replace("\"fox\":0", "\"fox\":0,\"[PAD]\":1")).unwrap();
    let tokenizer = Tokenizer::open(&path).unwrap();
    let reading = Reading { tokenizer: Some(tokenizer), ..reading("bpe", "input_ids=text") };
    let unknown = error("text,label\nfox,0\ndog,1\nfox,0\ncat,1\n", &schema(4), &reading);
    let message = unknown.to_string();
    assert!(
        message.contains("2 texts of column `text`") && message.contains("line 3 ") && message.contains("line 5 "),
        "{message}"
    );
}
