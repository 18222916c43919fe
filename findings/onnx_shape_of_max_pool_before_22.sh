#!/usr/bin/env bash
# onnx 1.23.2: shape inference of MaxPool with ceil_mode counts a window that begins in the padding, before operator set 22.
#
# By the operator's text a window that would begin in the padding behind the input is left out. The reference evaluator,
# onnxruntime's kernel and PyTorch do so in every version; shape inference does so since opset 22, and says one element more
# before. onnxruntime infers shapes by the same code: it refuses a valid file that adds or multiplies such a result. Seen: 5
# elements, a window of 2, a stride of 3 and padding of 1 on both sides give 2 elements, and 3 are inferred.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
x = np.arange(5, dtype="f4").reshape(1, 1, 5)
attributes = {"kernel_shape": [2], "strides": [3], "pads": [1, 1], "ceil_mode": 1}
for opset in (12, 21, 22):
    value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    pool = helper.make_node("MaxPool", ["x"], ["y"], **attributes)
    imports = [helper.make_opsetid("", opset)]

    def model(nodes, inputs):
        graph = helper.make_graph(nodes, "g", inputs, [value(nodes[-1].output[0], None)])
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    alone = model([pool], [value("x", x.shape)])
    [inferred] = onnx.shape_inference.infer_shapes(alone).graph.output
    inferred = [dim.dim_value for dim in inferred.type.tensor_type.shape.dim]
    computed = ReferenceEvaluator(alone).run(None, {"x": x})[0].shape
    session = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    ran = session.run(None, {"x": x})[0].shape
    product = model([pool, helper.make_node("Mul", ["y", "w"], ["z"])], [value("x", x.shape), value("w", [1, 1, 2])])
    try:
        onnxruntime.InferenceSession(product.SerializeToString(), providers=["CPUExecutionProvider"])
        taken = "taken"
    except Exception as error:
        taken = "refused: " + str(error).split("]")[-1].strip()
    print("opset", opset, "inferred", inferred, "computed", computed, "by onnxruntime", ran, "a product with two elements is", taken)
    assert tuple(computed) == tuple(ran) == (1, 1, 2)
    assert (inferred == [1, 1, 2]) == (opset >= 22) == (taken == "taken"), "shape inference has changed"
PY
