//! Training from a CSV file, as a person would.

use super::place::{Place, models};

const COLUMNS: &str = "input=a[0:10],b,job{clerk|teacher|*},*;label=kind{cat|dog|bird}";

/// A compiled model of seven inputs and three classes, and 60 records for it in a table.
fn place() -> Place {
    let place = Place::new();
    place.ok(&format!("compile {} --loss cross-entropy -o m.dpc", models("zoo/gemm_alpha_beta.ts.onnx")));
    let mut text = "a,b,job,c,d,kind\n".to_owned();
    for at in 0..60 {
        let (job, kind) = (["clerk", "pilot", "teacher"][at % 3], ["dog", "bird", "cat"][at % 3]);
        text += &format!("{},{},{job},{},0.5,{kind}\n", at % 10, at % 7, at % 5);
    }
    std::fs::write(place.path("people.csv"), text).expect("a file");
    place
}

const TRAIN: &str = "--noise-multiplier 1 --delta 1e-3 --batch 20 --epochs 1 --lr 1 --device cpu --insecure-seed 1";

#[test]
fn a_table_trains_and_is_evaluated() {
    let place = place();
    place.ok(&format!("train m.dpc --data people.csv --valid people.csv --columns {COLUMNS} {TRAIN} --out run"));
    let text = place.ok(&format!("eval run --data people.csv --columns {COLUMNS} --device cpu"));
    assert!(text.contains("on 60 records"), "{text}");
}

#[test]
fn what_does_not_fit_is_told_and_nothing_is_left_behind() {
    let place = place();
    let error = place.fails(&format!("train m.dpc --data people.csv {TRAIN} --out run"), 1);
    assert!(error.contains("dpc::data::no_column") && error.contains("--columns 'input=COLUMN,COLUMN,…'"), "{error}");
    assert!(!place.path("run").exists());
    let error = place.fails(&format!("train m.dpc --data people.csv --columns input=a[ {TRAIN}"), 2);
    assert!(error.contains("`]` is missing"), "{error}");
}

#[test]
fn a_folder_of_images_trains_and_is_evaluated() {
    let photos = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/photos");
    let photos = photos.to_str().expect("a path in Unicode");
    let train = TRAIN.replace("--batch 20", "--batch 5");
    let place = Place::new();
    place.ok(&format!("compile {} --loss cross-entropy -o m.dpc", models("digits_cnn.onnx")));
    let error = place.fails(&format!("train m.dpc --data {photos} {TRAIN} --out run"), 1);
    assert!(error.contains("dpc::data::bad_images") && error.contains("bird/0_rgb.png is 20x26"), "{error}");
    assert!(!place.path("run").exists());
    let output = place.run(&format!("train m.dpc --data {photos} --valid {photos} --resize 8x8 {train} --out run"));
    let error = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
    assert!(output.status.success() && error.contains("label{bird|cat|dog}"), "{error}");
    let config = std::fs::read_to_string(place.path("run/config.toml")).expect("a configuration");
    assert!(config.contains("resize = \"8x8\""), "{config}");
    let text = place.ok(&format!("eval run --data {photos} --resize 8x8 --device cpu"));
    assert!(text.contains("on 10 records"), "{text}");
    // Larger than what is kept in memory: prepared, and the same.
    let cached = place.ok(&format!("eval run --data {photos} --resize 8x8 --cache . --device cpu"));
    assert_eq!(cached, text);
    let text = place.ok(&format!("data {photos} --model m.dpc --resize 8x8"));
    assert!(text.contains("10 records of 2 columns") && text.contains("20x26 colour PNG ×3"), "{text}");
}

#[test]
fn texts_train_by_their_tokens() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/text");
    let file = |name: &str| folder.join(name).to_str().expect("a path in Unicode").to_owned();
    let (texts, tokenizer) = (file("texts.csv"), file("bpe.json"));
    let train = TRAIN.replace("--batch 20", "--batch 6");
    let place = Place::new();
    place.ok(&format!("compile {} --loss cross-entropy -o m.dpc", models("imdb_embedding.onnx")));
    let error = place.fails(&format!("train m.dpc --data {texts} --columns tokens=text {train} --out run"), 1);
    let error = error.replace('│', "").split_whitespace().collect::<Vec<_>>().join(" ");
    let fox = "\"The quick brown fox jumps over the lazy …\" in line 2";
    assert!(error.contains(fox) && error.contains("--tokenizer tokenizer.json"), "{error}");
    let tokens = format!("--tokenizer {tokenizer} --columns tokens=text");
    place.ok(&format!("train m.dpc --data {texts} --valid {texts} {tokens} {train} --out run"));
    let text = place.ok(&format!("eval run --data {texts} {tokens} --device cpu"));
    assert!(text.contains("on 12 records"), "{text}");
    let config = std::fs::read_to_string(place.path("run/config.toml")).expect("a configuration");
    assert!(config.contains("tokenizer = "), "{config}");
    let text = place.ok(&format!("data {texts} --model m.dpc {tokens}"));
    assert!(text.contains("tokens") && text.contains("12 different"), "{text}");
}

#[test]
fn a_table_is_described_with_what_it_feeds() {
    let place = place();
    let text = place.ok(&format!("data people.csv --model m.dpc --columns {COLUMNS}"));
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(text.contains("60 records of 6 columns") && text.contains("not private"), "{text}");
    assert!(line("job").contains("input") && line("job").contains("clerk ×20"), "{text}");
    assert!(line("kind").contains("label"), "{text}");
    let alone = place.ok("data people.csv --json");
    assert!(alone.starts_with("{\"data\":\"people.csv\",\"private\":false,\"records\":60,"), "{alone}");
    place.fails("data people.csv --model m.dpc", 1);
    let arrays = place.ok(&format!("data {}", models("digits_test.npz")));
    assert!(arrays.contains("records of 2 columns") && arrays.contains("10 different: "), "{arrays}");
}
