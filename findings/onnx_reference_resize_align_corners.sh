#!/usr/bin/env bash
# onnx 1.22.0: by scales that give no whole size, the reference evaluator aligns the corners of a Resize otherwise than the
# specification says, and so do two conformance cases that were made with it.
#
# The specification has x_original = x_resized · (length_original − 1) / (length_resized − 1), where length_resized is the
# length of the resized tensor. The reference evaluator takes scale · length_original in its place, which need not be whole.
# onnxruntime goes by the specification, as PyTorch does, and fails the cases `resize_downsample_scales_linear_align_corners`
# and `resize_downsample_scales_cubic_align_corners`. Seen: [1, 2, 3, 4] scaled by 0.6 to two elements ends at 3.14 in the
# reference evaluator and at 4 in onnxruntime.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.22.0 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
x = np.array([[[[1, 2, 3, 4]]]], "f4")
scales = numpy_helper.from_array(np.array([1, 1, 1, 0.6], "f4"), "scales")
node = helper.make_node(
    "Resize", ["x", "", "scales"], ["y"], mode="linear", coordinate_transformation_mode="align_corners"
)
value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
graph = helper.make_graph([node], "g", [value("x", [1, 1, 1, 4])], [value("y", [1, 1, 1, 2])], [scales])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
onnx.checker.check_model(model)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
runtime = session.run(None, {"x": x})[0].ravel()
reference = ReferenceEvaluator(model).run(None, {"x": x})[0].ravel()
print("onnxruntime", runtime, "reference", reference)
assert np.allclose(runtime, [1, 4]), "onnxruntime no longer goes by the specification"
assert np.allclose(reference, [1, 1 + 3 / 1.4]), "the reference evaluator no longer goes by the scale"
PY
