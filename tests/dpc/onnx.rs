//! Reading ONNX files: the committed models, damaged ones and hostile ones.

mod export;
mod hostile;
mod zoo;

use std::path::{Path, PathBuf};

use dpc::onnx::Source;
use prost::Message;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// The `.onnx` files of a directory below `models`, sorted.
fn files(directory: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(models().join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory}");
    files
}

fn open(file: &str) -> Source {
    Source::open(&models().join(file)).unwrap()
}

/// Reads `model` as a file of its own that stands in `models/zoo`.
fn read(model: &dpc::onnx::proto::ModelProto) -> Result<Source, dpc::onnx::OnnxError> {
    Source::from_bytes(model.encode_to_vec().into(), &models().join("zoo/test.onnx"))
}
