"""Nodes of constants with all their attributes set, by dpc and by onnxruntime, or by the reference evaluator where that has none.

    pip install onnx onnxruntime numpy
    python tests/oracles/folding.py DPC [OPERATOR...]

A node whose operands are all constants is computed when the model is compiled, by dpc or, of the operators that
`src/onnx/facts/folded.rs` lists, by tract. Each node here becomes a model of its own, whose output is a record times what the node
yields. Prints where `dpc run` has another result, and how many it refuses; what no specification says (numbers out of the range
of an integer type, the order of NaN) differs.
"""

import concurrent.futures
import collections
import itertools
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
R = np.random.default_rng(3)
f = lambda *s: (R.standard_normal(s) * 2).astype("f4")
i = lambda *v: np.array(v, "i8")
cases = []


def add(op, inputs, opset=20, outs=1, **grid):
    """The node with every combination of what the lists hold for its attributes; None leaves one away."""
    for combo in itertools.product(*grid.values()):
        cases.append((op, inputs, opset, outs, {k: v for k, v in zip(grid, combo) if v is not None}))


x = f(2, 3, 4)
for (
    op
) in "Relu Tanh Sigmoid Softplus Softsign HardSwish Mish Erf Abs Sign Floor Ceil Round Neg Exp Sin Cos Tan Sinh Cosh Asinh Atan IsNaN Not Identity Reciprocal".split():
    add(op, [x if op != "Not" else x > 0])
for op in "Acos Asin Atanh".split():
    add(op, [np.tanh(x)])
for op in "Log Sqrt Acosh".split():
    add(op, [np.abs(x) + 1])
add("Round", [np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.5], "f4")])
add("Elu", [x], alpha=[None, 0.3, 2.0])
add("Celu", [x], alpha=[None, 0.3, 2.0])
add("Swish", [x], opset=24, alpha=[None, 0.3, 1.7])
add("Selu", [x], alpha=[None, 0.5], gamma=[None, 2.0])
add("LeakyRelu", [x], alpha=[None, 0.3])
add("ThresholdedRelu", [x], alpha=[None, 0.3])
add("HardSigmoid", [x], alpha=[None, 0.4], beta=[None, 0.1])
add("Shrink", [x], lambd=[None, 1.0], bias=[None, 0.3])
add("Gelu", [x], approximate=[None, "none", "tanh"])
add("PRelu", [x, f(4)])
add("PRelu", [x, f(3, 1)])
add("Clip", [x], opset=6, min=[None, -0.5], max=[None, 0.5])
add("Clip", [x, np.float32(-0.5)], opset=13)
add("Clip", [x, None, np.float32(0.5)], opset=13)
add("Clip", [x, np.float32(0.5), np.float32(-0.5)], opset=13)
for op in ("Softmax", "LogSoftmax", "Hardmax"):
    add(op, [x], opset=11, axis=[None, 0, 1, 2])
    add(op, [x], opset=13, axis=[None, 0, 1, 2, -2])
add("LayerNormalization", [x, f(4), f(4)], opset=17, epsilon=[None, 0.5])
add("LayerNormalization", [x, f(3, 4), f(3, 4)], opset=17, epsilon=[None, 0.5], axis=[1, -2])
add("LayerNormalization", [x, f(4)], opset=17, axis=[None, 2])
add("RMSNormalization", [x, f(4)], opset=23, epsilon=[None, 0.5])
add("RMSNormalization", [x, f(3, 4)], opset=23, axis=[1], epsilon=[None, 0.5])
add("InstanceNormalization", [x, f(3), f(3)], epsilon=[None, 0.5])
add("GroupNormalization", [f(2, 4, 5), f(4), f(4)], opset=21, num_groups=[1, 2, 4], epsilon=[None, 0.5])
add("GroupNormalization", [f(2, 4, 5), f(2), f(2)], opset=18, num_groups=[2], epsilon=[None, 0.5])
add("BatchNormalization", [x, f(3), f(3), f(3), np.abs(f(3))], opset=15, epsilon=[None, 0.5], momentum=[None, 0.1])
add("LRN", [f(1, 5, 3, 3)], size=[3, 5], alpha=[None, 0.3], beta=[None, 0.5], bias=[None, 2.0])
add("MeanVarianceNormalization", [f(2, 3, 4, 2)], opset=13, axes=[None, [0, 1], [2, 3]])
add("LpNormalization", [x], opset=1, axis=[None, 0, 1], p=[None, 1, 2])
add("LpNormalization", [x], opset=22, axis=[None, 0, 1], p=[None, 1, 2])
add("Gemm", [f(3, 4), f(4, 5), f(5)], alpha=[None, 0.5], beta=[None, 0.3])
add("Gemm", [f(4, 3), f(5, 4), f(3, 1)], transA=[1], transB=[1], alpha=[None, 0.5], beta=[None, 0.3])
add("Gemm", [f(3, 4), f(4, 5)], alpha=[0.5])
add("MatMul", [f(2, 3, 4), f(4, 5)])
add("MatMul", [f(4), f(4, 5)])
add("MatMul", [f(2, 1, 3, 4), f(5, 4, 2)])
for (
    op
) in "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum ReduceLogSumExp".split():
    d = np.abs(x) + 0.1
    old = 11
    new = 18
    add(op, [d], opset=old, axes=[None, [0], [1, 2], [-1]], keepdims=[None, 0, 1])
    for ax in (i(0), i(1, 2), i(-1), None, i()):
        ins = [d] if ax is None else [d, ax]
        add(op, ins, opset=20, keepdims=[None, 0], noop_with_empty_axes=[None, 1])
    add(
        op,
        [np.array([[-3, 2], [4, -5]], "i4") if op not in ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean") else d],
        opset=11,
        keepdims=[0],
    )
add("ReduceMax", [np.array([[True, False], [False, False]]), i(1)], opset=20, keepdims=[0])
add("ReduceMin", [np.array([[True, False], [False, False]]), i(1)], opset=20, keepdims=[0])
for op in ("ArgMax", "ArgMin"):
    add(
        op,
        [np.array([[1, 3, 3, 0, 0], [2, 2, 1, 1, 2]], "f4")],
        opset=13,
        axis=[None, 1, -1],
        keepdims=[None, 0],
        select_last_index=[None, 1],
    )
add("CumSum", [x, np.array(1, "i8")], exclusive=[None, 1], reverse=[None, 1])
add("CumSum", [x, np.array(-1, "i4")], exclusive=[None, 1], reverse=[None, 1])
add("TopK", [x, i(2)], outs=2, opset=11, axis=[None, 1, 0], largest=[None, 0])
add("TopK", [np.array([[1, 3, 3, 0, 0], [2, 2, 1, 1, 2]], "f4"), i(3)], outs=2, opset=11, largest=[None, 0])
add("Gather", [x, i(1, -1, 0)], axis=[None, 0, 1, 2, -1])
add("Gather", [x, np.array(1)], axis=[None, 1])
add("GatherElements", [x, np.array([[[0, 1, 1, 0]]])], axis=[0, 2])
add("GatherElements", [x, np.array([[[0, -1, 1, 2]], [[1, 1, 0, 0]]])], axis=[1, 2])
add("GatherND", [x, np.array([[0, 1], [1, 2]])])
add("GatherND", [x, np.array([[1, 0], [2, 3]])], batch_dims=[1])
add("GatherND", [x, np.array([[-1], [2]])], batch_dims=[0, 1])
for red in (None, "add", "mul", "max", "min"):
    add("ScatterElements", [x, np.array([[[0, 1, 1, 0]]]), f(1, 1, 4)], opset=18, axis=[0, 1], reduction=[red])
    add(
        "ScatterElements",
        [x, np.array([[[0, 0, 0, 0]] * 2]), f(1, 2, 4)],
        opset=18,
        axis=[0, -1] if red else [1],
        reduction=[red],
    )
    add("ScatterND", [x, np.array([[0, 1], [1, 2]]), f(2, 4)], opset=18, reduction=[red])
    if red:
        add("ScatterND", [x, np.array([[0, 1], [0, 1]]), f(2, 4)], opset=18, reduction=[red])
add("OneHot", [i(1, -1, 0), np.array(4), np.array([0.5, 2], "f4")], axis=[None, 0, 1, -1, -2])
add("OneHot", [i(1, 7, -9), np.array(4), np.array([0.5, 2], "f4")])
add("Split", [f(6, 4)], opset=11, outs=2, axis=[None, 1])
add("Split", [f(6, 4)], opset=11, outs=2, split=[[2, 4]])
add("Split", [f(7, 5)], opset=18, outs=3, num_outputs=[3], axis=[0, 1])
add("Split", [f(6, 4), i(1, 3)], opset=18, outs=2, axis=[1, -1])
add("Slice", [x], opset=9, starts=[[0, -2]], ends=[[1, 1000]], axes=[None, [1, 2]])
add("Slice", [x, i(-1, 3), i(-100, 0), i(1, 2), i(-1, -2)], opset=13)
add("Slice", [x, i(1), i(2**63 - 1), i(-1)], opset=13)
add("Slice", [x, i(-1), i(-(2**63)), i(-1), i(-1)], opset=13)
add("Squeeze", [f(1, 3, 1)], opset=11, axes=[None, [0], [-1]])
add("Squeeze", [f(1, 3, 1), i(-1)], opset=13)
add("Unsqueeze", [x], opset=11, axes=[[0], [1, 3]])
add("Unsqueeze", [x, i(-1, 0)], opset=13)
add("Transpose", [x], perm=[None, [1, 0, 2], [2, 0, 1]])
add("Concat", [x, f(2, 3, 4)], axis=[0, 1, -1])
add("Flatten", [x], axis=[None, 0, 2, 3, -1, -2])
add("Reshape", [x, i(0, -1)], opset=14, allowzero=[None, 0])
add("Reshape", [x, i(4, 6)], opset=14, allowzero=[1])
add("Expand", [f(3, 1), i(2, 1, 4)])
add("Tile", [x, i(1, 2, 2)])
add("DepthToSpace", [f(1, 8, 2, 3)], opset=13, blocksize=[2], mode=[None, "DCR", "CRD"])
add("SpaceToDepth", [f(1, 2, 4, 6)], opset=13, blocksize=[2])
add("Trilu", [f(4, 5)], upper=[None, 0, 1])
for k in (-2, 1, 7, -7):
    add("Trilu", [f(4, 5), np.array(k)], upper=[None, 0])
add("Mod", [np.array([-7, 7, -7, 7]), np.array([3, -3, -3, 3])], opset=13, fmod=[None, 1])
add("Mod", [np.array([-7.5, 7, -7, 7], "f4"), np.array([3, -3, -3, 3], "f4")], opset=13, fmod=[1])
add("Div", [np.array([-7, 7, -7, 7]), np.array([3, -3, -3, 3])])
add("Pow", [np.array([2, 3, -2]), np.array([2, 3, 3])])
add("Pow", [np.array([2.0, 3, -2], "f4"), np.array([2, 3, 3])])
add("Pow", [np.array([2, 3, -2]), np.array([2.0, 0.5, 2.0], "f4")])
for op in "Add Sub Mul Max Min Sum Mean".split():
    add(op, [x, f(3, 1)])
    if op not in ("Sum", "Mean"):
        add(op, [np.array([5, -3], "i4"), np.array([2], "i4")])
add("Max", [np.array([np.nan, 1, 2], "f4"), np.array([1, np.nan, 3], "f4")])
add("Min", [np.array([np.nan, 1, 2], "f4"), np.array([1, np.nan, 3], "f4")])
add("Max", [x])
add("Mean", [x, f(4), f(3, 1)])
add("Sum", [x, f(4), f(3, 1)])
for op in "Equal Less LessOrEqual Greater GreaterOrEqual".split():
    add(op, [np.array([1, 2, 3], "f4"), np.array([2, 2, 2], "f4")])
    add(op, [np.array([1, 2, 3]), np.array([2, 2, 2])])
add("Equal", [np.array([np.nan, 1], "f4"), np.array([np.nan, 1], "f4")])
for op in "And Or Xor".split():
    add(op, [np.array([True, True, False, False]), np.array([True, False, True, False])])
for op in "BitwiseAnd BitwiseOr BitwiseXor".split():
    add(op, [np.array([12, 7]), np.array([10, 9])])
add("BitwiseNot", [np.array([12, 7])])
add("BitShift", [np.array([12, 7], "u8"), np.array([1, 2], "u8")], direction=["LEFT", "RIGHT"])
add("IsInf", [np.array([np.inf, -np.inf, np.nan, 1], "f4")], detect_negative=[None, 0], detect_positive=[None, 0])
add("Where", [x > 0, x, f(4)])
add("Einsum", [x, f(4, 3)], equation=["ijk,kl->ijl", "ijk,kj->i"])
add("NonZero", [x > 0])
for to in (1, 6, 7, 9, 10, 2, 3, 11):
    add("Cast", [np.array([-1.7, 0, 0.3, 2.5, 120.9], "f4")], opset=13, to=[to])
add("Cast", [np.array([300, -1, 5])], opset=13, to=[3, 2, 9, 1])
add("Cast", [np.array([np.nan, 1, 0], "f4")], opset=13, to=[9])
add("Cast", [np.array([3.7e9, -2.5], "f4")], opset=13, to=[7])
add("CastLike", [np.array([-1.7, 0, 0.3, 2.5], "f4"), i(1)], opset=15)
img = f(1, 1, 4, 5)
add(
    "Resize",
    [img, None, np.array([1, 1, 1.5, 2], "f4")],
    opset=19,
    mode=["nearest", "linear", "cubic"],
    coordinate_transformation_mode=[
        None,
        "half_pixel",
        "asymmetric",
        "align_corners",
        "pytorch_half_pixel",
        "half_pixel_symmetric",
    ],
    nearest_mode=[None, "floor", "ceil", "round_prefer_ceil"],
    exclude_outside=[None],
    cubic_coeff_a=[None, -0.5],
)
add(
    "Resize",
    [img, None, None, i(1, 1, 3, 7)],
    opset=19,
    mode=["nearest", "linear", "cubic"],
    coordinate_transformation_mode=[None, "asymmetric", "align_corners"],
    exclude_outside=[None, 1],
)
add("Resize", [img, None, None, i(1, 1, 3, 3)], opset=19, mode=["linear", "cubic"], antialias=[1])
add(
    "Resize",
    [img, None, None, i(6, 6)],
    opset=19,
    mode=["linear"],
    axes=[[2, 3]],
    keep_aspect_ratio_policy=[None, "not_larger", "not_smaller"],
)
add(
    "Resize",
    [img, np.array([0.1, 0.2, 0.9, 0.8], "f4"), None, i(3, 3)],
    opset=19,
    axes=[[2, 3]],
    mode=["linear"],
    coordinate_transformation_mode=["tf_crop_and_resize"],
    extrapolation_value=[None, 7.0],
)
add("Upsample", [img, np.array([1, 1, 2, 2], "f4")], opset=9, mode=["nearest", "linear"])
# windows, dft and such
for op in "HannWindow HammingWindow BlackmanWindow".split():
    add(op, [np.array(6)], opset=17, periodic=[None, 0])
add("DFT", [f(1, 6, 1), None], opset=17, onesided=[None, 1], inverse=[None], axis=[1])
add("Range", [np.float32(1), np.float32(5), np.float32(0.7)])
add("ConstantOfShape", [i(2, 3)], value=[helper.make_tensor("v", 1, [1], [2.5])])
add("EyeLike", [f(3, 4)], opset=9, k=[None, 1, -1], dtype=[None, 6])
add("Pad", [img, i(0, 0, 1, 1, 0, 0, 2, 1), np.float32(3)], opset=19, mode=[None, "reflect", "edge", "wrap"])
add("Unique", [np.array([3, 1, 3, 2], "f4")], opset=11, outs=1, sorted=[0, 1])
add("Compress", [x, np.array([True, False])], opset=11, axis=[0])
add("ReverseSequence", [f(4, 3), i(1, 2, 3)], opset=10, batch_axis=[None, 1], time_axis=[None, 0])
add("DynamicQuantizeLinear", [f(3, 4)], opset=11, outs=3)
add("QuantizeLinear", [x, np.float32(0.1), np.uint8(100)], opset=13)
add("DequantizeLinear", [np.array([1, 200], "u1"), np.float32(0.1), np.uint8(100)], opset=13)
add("Shape", [x], opset=15, start=[None, 1, -1], end=[None, 2, -1])
add("Det", [f(2, 3, 3)], opset=11)
add("GlobalAveragePool", [img])
add("GlobalMaxPool", [img])
add("GlobalLpPool", [img], opset=18, p=[None, 1, 3])
add(
    "MaxPool",
    [img],
    opset=19,
    kernel_shape=[[2, 2]],
    strides=[None, [2, 1]],
    pads=[None, [1, 0, 0, 1]],
    ceil_mode=[None, 1],
    dilations=[None, [2, 1]],
)
add(
    "AveragePool",
    [img],
    opset=19,
    kernel_shape=[[2, 2]],
    strides=[None, [2, 1]],
    pads=[None, [1, 0, 0, 1]],
    ceil_mode=[None, 1],
    count_include_pad=[None, 1],
    dilations=[None, [2, 1]],
)
add("LpPool", [img], opset=18, kernel_shape=[[2, 2]], p=[None, 1, 3], pads=[None, [1, 0, 0, 1]])
add(
    "Conv",
    [f(1, 2, 5, 5), f(4, 1, 3, 3), f(4)],
    group=[2],
    strides=[None, [2, 1]],
    pads=[None, [1, 0, 2, 1]],
    dilations=[None, [1, 2]],
)
add(
    "ConvTranspose",
    [f(1, 2, 3, 3), f(2, 2, 3, 3), f(4)],
    opset=11,
    group=[2],
    strides=[None, [2, 1]],
    pads=[None, [1, 0, 0, 1]],
    dilations=[None, [1, 2]],
    output_padding=[None],
)
add(
    "ConvTranspose",
    [f(1, 2, 3, 3), f(2, 2, 3, 3)],
    opset=11,
    strides=[[2, 2]],
    output_shape=[[7, 6]],
    auto_pad=["SAME_UPPER", "SAME_LOWER"],
)
add("Dropout", [x], opset=13, outs=2, seed=[None, 3])
add("Dropout", [x, np.float32(0.9)], opset=13, seed=[3])
add("BitShift", [np.array([12, 7], "u1"), np.array([1, 6], "u1")], direction=["LEFT"])
add(
    "Attention",
    [f(1, 2, 3, 4), f(1, 2, 5, 4), f(1, 2, 5, 4)],
    opset=23,
    scale=[None, 0.3],
    is_causal=[None, 1],
    softcap=[None, 2.0],
)
add("RotaryEmbedding", [f(1, 2, 3, 4), f(9, 2), f(9, 2), np.array([[1, 3, 5]])], opset=23, interleaved=[None, 1])
add("CenterCropPad", [x, i(2, 5)], opset=18, axes=[[0, 2], [1, 2]])
add("AffineGrid", [f(1, 2, 3), i(1, 1, 3, 4)], opset=20, align_corners=[None, 1])
add(
    "GridSample",
    [f(1, 1, 4, 4), np.tanh(f(1, 3, 3, 2)) * 1.2],
    opset=20,
    mode=[None, "nearest", "cubic"],
    align_corners=[None, 1],
    padding_mode=[None, "border", "reflection"],
)
add(
    "TfIdfVectorizer",
    [np.array([[1, 2, 3, 1]], "i4")],
    opset=9,
    mode=["TF", "IDF"],
    min_gram_length=[1],
    max_gram_length=[2],
    max_skip_count=[0, 1],
    ngram_counts=[[0, 2]],
    ngram_indexes=[[0, 1, 2]],
    pool_int64s=[[1, 2, 1, 2]],
    weights=[None, [0.5, 2.0, 3.0]],
)
add(
    "RoiAlign",
    [f(1, 2, 5, 5), np.array([[0, 0, 3, 3]], "f4"), i(0)],
    opset=16,
    mode=[None, "max"],
    output_height=[2],
    output_width=[2],
    sampling_ratio=[None, 2],
    spatial_scale=[None, 0.5],
    coordinate_transformation_mode=[None, "output_half_pixel"],
)

# infinities, as masks have them
m = np.array([[0, -np.inf, 1, np.inf], [np.inf, 2, -np.inf, -3]], "f4")
for (
    op
) in "Relu Tanh Sigmoid Softplus Softsign HardSwish Mish Erf Abs Sign Floor Ceil Round Neg Exp Atan IsNaN IsInf Reciprocal Elu Selu LeakyRelu ThresholdedRelu HardSigmoid Gelu Shrink Sqrt Log Asinh Sinh Cosh Identity ReduceSum ReduceMax ReduceMin ReduceMean ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp Softmax LogSoftmax Hardmax ArgMax ArgMin Transpose Trilu".split():
    add(op, [m])
add("Clip", [m, np.float32(-0.5), np.float32(1)], opset=13)
add("PRelu", [m, f(4)])
add("CumSum", [m, np.array(1)])
add("TopK", [m, i(2)], outs=2, opset=11)
add("Cast", [m], opset=13, to=[1, 9])
for op in "Add Sub Mul Div Max Min Pow Equal Less Greater LessOrEqual GreaterOrEqual".split():
    add(op, [m, np.array([[2, -np.inf, 0, 1], [-np.inf, 0, 2, np.inf]], "f4")])
add("MatMul", [m, f(4, 2)])
add("Where", [m > 0, m, f(4)])
add("Mod", [m, np.array([2, 3, 2, 3], "f4")], opset=13, fmod=[1])
for (
    op
) in "Relu Clip Sign Floor ReduceMax ReduceMin ArgMax Softmax Where IsNaN Equal Less Greater TopK Abs CumSum Identity Trilu Concat Transpose".split():
    nn = np.array([[np.nan, 1, 2], [3, np.nan, -1]], "f4")
    add(
        op,
        (
            [nn]
            + (
                [np.float32(0)]
                if op == "Clip"
                else (
                    [nn]
                    if op in ("Equal", "Less", "Greater", "Concat")
                    else [i(2)] if op == "TopK" else [np.array(1)] if op == "CumSum" else []
                )
            )
            if op != "Where"
            else [nn > 0, nn, nn]
        ),
        outs=2 if op == "TopK" else 1,
        **({"axis": [0]} if op == "Concat" else {}),
    )
for op in "Add Sub Mul".split():
    for t in ("u1", "i1", "i4", "i8", "u4", "i2"):
        add(op, [np.array([100, 127], t), np.array([100, 2], t)], opset=14)
# recurrences
T, N, I, H = 4, 2, 3, 5


def rec(op, gates, dirs):
    D = 2 if dirs == "bidirectional" else 1
    return [f(T, N, I), f(D, gates * H, I) * 0.5, f(D, gates * H, H) * 0.5, f(D, 2 * gates * H) * 0.5]


for op, g in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
    for d in ("forward", "reverse", "bidirectional"):
        D = 2 if d == "bidirectional" else 1
        ins = rec(op, g, d)
        h = f(D, N, H)
        ins2 = ins + [np.array([2, 4], "i4"), h] + ([f(D, N, H), f(D, 3 * H)] if op == "LSTM" else [])
        outs = 3 if op == "LSTM" else 2
        acts = {"RNN": ["Relu"], "GRU": ["HardSigmoid", "Softsign"], "LSTM": ["HardSigmoid", "LeakyRelu", "Relu"]}[op] * D
        kw = dict(direction=[d], hidden_size=[H])
        ext = {"GRU": dict(linear_before_reset=[None, 1]), "LSTM": dict(input_forget=[None, 1]), "RNN": {}}[op]
        for inp in (ins, ins2):
            add(op, inp, 14, outs, clip=[None, 0.4], **kw, **ext)
            al = {"RNN": None, "GRU": [0.3] * 1 * D, "LSTM": [0.3, 0.05] * D}[op]
            be = {"RNN": None, "GRU": [0.4] * D, "LSTM": [0.4] * D}[op]
            add(
                op,
                inp,
                14,
                outs,
                activations=[acts],
                clip=[None, 0.4],
                **kw,
                **ext,
                **({"activation_alpha": [al], "activation_beta": [be]} if al else {}),
            )
        lay = [ins[0].transpose(1, 0, 2).copy()] + ins[1:]
        add(op, lay, 14, outs, layout=[1], **kw)


def wrap(node, names, arrays, opset, outs):
    """A model of a record times what the node yields of these constants."""
    constants = [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(v)) for name, v in zip(names, arrays)]
    nodes = [*constants, node, helper.make_node("MatMul", ["x", "w"], ["xw"])]
    flat = numpy_helper.from_array(np.array([1, -1]))
    for k in range(outs):
        nodes += [
            helper.make_node("Cast", [f"o{k}"], [f"f{k}"], to=TensorProto.FLOAT),
            helper.make_node("Constant", [], [f"s{k}"], value=flat),
            helper.make_node("Reshape", [f"f{k}", f"s{k}"], [f"r{k}"]),
            helper.make_node("Mul", ["xw", f"r{k}"], [f"y{k}"]),
        ]
    value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    weight = numpy_helper.from_array(np.ones((1, 1), "f4"), "w")
    graph = helper.make_graph(nodes, "g", [value("x", ["N", 1])], [value(f"y{k}", ["N", None]) for k in range(outs)], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def expected(node, names, arrays, opset, outs):
    typed = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in zip(names, arrays)]
    results = [helper.make_tensor_value_info(f"o{k}", TensorProto.UNDEFINED, None) for k in range(outs)]
    graph = helper.make_graph([node], "g", typed, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    feeds = dict(zip(names, arrays))
    try:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        inferred = onnx.shape_inference.infer_shapes(model).SerializeToString()
        return onnxruntime.InferenceSession(inferred, options, providers=["CPUExecutionProvider"]).run(None, feeds)
    except Exception:
        return ReferenceEvaluator(model).run(None, feeds)


def check(dpc, folder, number):
    op, inputs, opset, outs, attributes = cases[number]
    operands = ["" if v is None else f"i{j}" for j, v in enumerate(inputs)]
    while not operands[-1]:
        operands.pop()
    names, arrays = [n for n in operands if n], [np.asarray(v) for v in inputs if v is not None]
    node = helper.make_node(op, operands, [f"o{k}" for k in range(outs)], **attributes)
    what = f"{op} {attributes} of operator set {opset}"
    try:
        right = expected(node, names, arrays, opset, outs)
    except Exception as error:
        return "no oracle", f"{what}: {error!r:.100}"
    path = folder / f"{number}.onnx"
    onnx.save(wrap(node, names, arrays, opset, outs), path)
    np.savez(path.with_suffix(".npz"), x=np.array([[1], [2], [1]], "f4"))
    out = folder / f"{number}.out.npz"
    done = subprocess.run(
        [dpc, "run", path, "--data", path.with_suffix(".npz"), "--out", out, "--device", "cpu"], capture_output=True, text=True
    )
    if done.returncode:
        return "refused", f"{what}: {done.stderr[:200]}"
    found = np.load(out)
    for k, value in enumerate(right):
        value, ours = np.asarray(value).astype("f4").reshape(1, -1), found[f"y{k}"][:1]
        if ours.shape != value.shape or not np.allclose(ours, value, rtol=1e-3, atol=1e-4, equal_nan=True):
            return "other", f"{what}: {ours[0, :6]}, expected {value[0, :6]}"
    return "same", what


def main():
    dpc, *wanted = sys.argv[1:]
    numbers = [k for k, case in enumerate(cases) if not wanted or case[0] in wanted]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda number: check(dpc, pathlib.Path(folder), number), numbers))
    for kind, words in results:
        if kind in ("other", "no oracle"):
            print(kind, words)
    print(collections.Counter(kind for kind, _ in results))


if __name__ == "__main__":
    main()
