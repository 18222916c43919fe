//! The operators whose results tract computes of constants.
//!
//! tract reads few of some operators' attributes and says nothing of the others: of a recurrence neither `clip` nor
//! `activations`, of a lone backward direction not even that. So it computes those operators alone that were compared with
//! ONNX Runtime with every attribute set (`tests/oracles/folding.py`); all others dpc computes by rules of its own.

use super::pinned::Known;
use crate::onnx::node::OnnxNode;
use crate::onnx::tensor::TensorData;

/// Those that move or select elements, or ask whether they are numbers: a NaN among their operands stays one.
#[rustfmt::skip]
const MOVE: &[&str] = &[
    "Cast", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "IsInf",
    "IsNaN", "OneHot", "Pad", "Reshape", "Shape", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
    "Trilu", "Unsqueeze", "Where",
];

/// Those that compute. What they make of NaN is not ONNX's: the largest of NaN and 1 is 1, say.
#[rustfmt::skip]
const COMPUTE: &[&str] = &[
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd",
    "BitwiseNot", "BitwiseOr", "BitwiseXor", "BlackmanWindow", "Ceil", "Clip", "Cos", "Cosh", "CumSum", "DFT", "Div",
    "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf", "Exp", "Floor", "Gemm", "Greater", "GreaterOrEqual",
    "HammingWindow", "HannWindow", "HardSigmoid", "HardSwish", "Hardmax", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "LogSoftmax", "MatMul", "MatMulInteger", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
    "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Round", "Scatter", "ScatterElements", "ScatterND", "Selu",
    "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tan", "Tanh",
    "ThresholdedRelu", "TopK", "Xor",
];

/// Whether tract computes what `node` yields as ONNX has it, of operands that [agree](takes).
pub(super) fn folds(node: &OnnxNode) -> bool {
    let op = node.op_type.as_str();
    // By any mode, tract fills with the operand that is for `constant`.
    let constant = || node.string("mode", "constant").is_ok_and(|mode| mode == "constant");
    (MOVE.contains(&op) || COMPUTE.contains(&op)) && (op != "Pad" || constant())
}

/// Whether `node` is computed of these constants: not of NaN where it would not stay, nor an extremum of nothing, which
/// tract has finite.
pub(super) fn takes(op: &str, operands: &[&Known]) -> bool {
    let values = || operands.iter().filter_map(|operand| operand.value.as_ref());
    let undefined = |data: &TensorData| matches!(data, TensorData::F32(values) if values.iter().any(|x| x.is_nan()));
    let extremum = matches!(op, "ReduceMax" | "ReduceMin");
    (MOVE.contains(&op) || !values().any(|value| undefined(&value.data)))
        && !(extremum && values().next().is_some_and(|value| value.is_empty()))
}
