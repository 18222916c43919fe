//! The version of ONNX's operators that a file goes by.

use std::path::Path;

use super::error::OnnxError;
use super::proto::ModelProto;

/// The version of the default operator set.
pub(super) fn opset(model: &ModelProto, path: &Path) -> Result<i64, OnnxError> {
    let found = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx")).map(|set| set.version());
    match found {
        Some(version @ OLDEST_OPSET..=NEWEST_OPSET) => Ok(version),
        Some(version @ 1..OLDEST_OPSET) if reads_as_now(model, version) => Ok(version),
        // Of operators of other domains alone.
        None if model.opset_import.iter().any(|set| set.domain() == TRAINING) => Ok(NEWEST_OPSET),
        found => Err(OnnxError::Opset { path: path.to_owned(), found }),
    }
}

/// Whether all operators of a file older than [`OLDEST_OPSET`] are as they are in that version.
fn reads_as_now(model: &ModelProto, version: i64) -> bool {
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let functions = model.functions.iter().flat_map(|function| &function.node);
    nodes.chain(functions).all(|node| {
        let found = UNCHANGED.iter().find(|(_, ops)| ops.contains(&node.op_type()));
        found.is_some_and(|&(since, _)| version >= since)
    })
}

/// The operators that [`OLDEST_OPSET`] has from an older version, and that version.
#[rustfmt::skip]
const UNCHANGED: [(i64, &[&str]); 5] = [
    (1, &[
        "And", "ArgMax", "ArgMin", "AveragePool", "Constant", "Conv", "ConvTranspose", "DepthToSpace", "Equal", "Flatten",
        "Gather", "GlobalAveragePool", "GlobalMaxPool", "Greater", "Hardmax", "Identity", "LRN", "LSTM", "Less",
        "LogSoftmax", "LpNormalization", "MatMul", "MaxPool", "Not", "Or", "Pow", "RNN", "ReduceL1", "ReduceL2",
        "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
        "ReduceSumSquare", "Shape", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Squeeze", "TopK",
        "Transpose", "Unsqueeze", "Xor",
    ]),
    (2, &["GlobalLpPool", "LpPool", "Pad", "Split"]),
    (3, &["GRU"]),
    (4, &["Concat"]),
    (5, &["Reshape"]),
];

/// The domain of optimizers as operators.
pub const TRAINING: &str = "ai.onnx.preview.training";

/// The first version in which attributes say what they say today, but for broadcasting.
pub const OLDEST_OPSET: i64 = 6;

/// The last version whose operators were compared with those before, one by one.
pub const NEWEST_OPSET: i64 = 28;
