#!/usr/bin/env bash
# onnx 1.22.0, onnxruntime 1.32.0: MeanVarianceNormalization makes NaN of some elements that are all equal, and not of the same
# ones.
#
# The operator's function takes the variance as E[x²] − E[x]², of which rounding may leave less than nothing where elements are
# nearly equal, and then its square root. Seen: onnxruntime makes NaN of 105 elements that are 1 or 7.7, the reference evaluator of
# those that are 3.3. A mean of squares of x − E[x], as norms of PyTorch have it, is never negative.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.22.0 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
shape = [1, 3, 5, 7]
node = helper.make_node("MeanVarianceNormalization", ["x"], ["y"], axes=[0, 2, 3])
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
graph = helper.make_graph([node], "g", [value("x")], [value("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
undefined = {"onnxruntime": 0, "reference": 0}
for element in (0.1, 1.0, 3.3, 7.7):
    x = np.full(shape, element, "f4")
    results = {"onnxruntime": session.run(None, {"x": x})[0], "reference": ReferenceEvaluator(model).run(None, {"x": x})[0]}
    print(element, {name: float(y.ravel()[0]) for name, y in results.items()})
    for name, y in results.items():
        undefined[name] += bool(np.isnan(y).any())
assert all(undefined.values()), "equal elements are no longer NaN"
PY
